/* SPDX-License-Identifier: MIT
 *
 * The events of a build that another kiln printed as JSON (docs/json.md), told again here.
 *
 *     // given struct session *session; struct build_ui *ui; json_t *event;
 *     struct build_result result = {0};
 *     if (build_event_tell(session, ui, event, &result, &err) < 0) ...   // the build failed
 */
#ifndef CLI_BUILD_EVENTS_H
#define CLI_BUILD_EVENTS_H

#include "builder/build/build.h"

/* What a build's ui and the session's listener have members for goes to them, a result to *ret. 1: it is
 * another kind of event; 0; -1: it is the build's error, now *err. */
int build_event_tell(const struct session *s, const struct build_ui *ui, const json_t *event,
                     struct build_result *ret, struct error **err);

#endif
