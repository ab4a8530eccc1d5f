/* SPDX-License-Identifier: MIT
 *
 * What differs between two manifests (builder/agent/manifest.h), in words.
 */
#ifndef BUILDER_CONTEXT_MANIFEST_H
#define BUILDER_CONTEXT_MANIFEST_H

#include "base/vector.h"
#include "builder/agent/manifest.h"

/*
 * What changed, one phrase each, at most `max` and then "and N more": "conf/app.ini changed",
 * "added x", "removed y", "mode of z changed (0644 to 0755)", "link a changed". Control characters
 * in paths are shown as \ooo. A damaged manifest gives one phrase that says so.
 */
void manifest_diff(struct str older, struct str newer, size_t max, struct strv *ret);

#endif
