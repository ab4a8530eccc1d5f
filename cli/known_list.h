/* SPDX-License-Identifier: MIT
 *
 * `image pull --list`: the well-known images (image/known.h), and which of them are here.
 */
#ifndef CLI_KNOWN_LIST_H
#define CLI_KNOWN_LIST_H

#include "cli/command.h"

/* With --json "images" of the result is a list of {"name", "title", "url", "checksum", "user", "also", "table", "here"}. An
 * argument is a pattern such as 'debian*'. */
int known_list(const struct session *s, const struct args *a, struct error **err);

#endif
