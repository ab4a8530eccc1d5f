/* SPDX-License-Identifier: MIT
 *
 * Patterns of COPY --from and --exclude. Pure. '*' and '?' do not match '/', a leading dot is
 * nothing special, "[a-z]" and "\" as in fnmatch(3); a part that is "**" matches any number of
 * parts (in excludes, as in .dockerignore).
 */
#ifndef BUILDER_AGENT_GLOB_H
#define BUILDER_AGENT_GLOB_H

#include <stdbool.h>

/* Whether the whole path (parts between '/', none empty) matches. */
bool glob_match(const char *pattern, const char *path);
/* Whether one name, without '/', matches one part of a pattern. */
bool glob_match_name(const char *part, const char *name);
/* Whether text holds anything but itself. */
bool glob_is_pattern(const char *text);

#endif
