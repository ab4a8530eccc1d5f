/* SPDX-License-Identifier: MIT
 *
 * .imageignore: which paths of the build directory are hidden. The rules are those of
 * .dockerignore (https://docs.docker.com/build/concepts/context/#dockerignore-files): one pattern a
 * line; '#' in the first column is a comment; blanks around a pattern do not count; patterns are
 * anchored at the root of the build directory and cleaned ("./a//b/" = "a/b", "/../a" = "a"); '*'
 * and '?' do not match '/'; "**" matches any number of folders, none too, and "**.o" any path that
 * ends in ".o"; '!' shows again; the last pattern that matches decides; a pattern that matches a
 * folder matches everything below it.
 *
 * COPY --exclude uses the same matcher with paths relative to the copied folder.
 *
 *     CLEANUP(ignore_freep) struct ignore *ig = ignore_new();
 *     if (ignore_parse(ig, ".imageignore", text, len, &err) < 0) ...
 *     if (ignore_hides(ig, "src/a.o")) ...
 */
#ifndef IMAGEFILE_IGNORE_H
#define IMAGEFILE_IGNORE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct ignore;

struct ignore *ignore_new(void); /* hides nothing */
void ignore_free(struct ignore *ig);
DEFINE_CLEANUP(struct ignore, ignore_free);
/* Adds the patterns of a file (`name` is for messages); a BOM and CR before LF are skipped. Errors:
 * ERR_USER with the place of the first malformed pattern. */
int ignore_parse(struct ignore *ig, const char *name, const char *text, size_t len,
                 struct error **err);
/* Adds one pattern ("!" works too), a C string. Errors: ERR_USER, malformed. */
int ignore_add(struct ignore *ig, const char *pattern, struct error **err);
/* Paths are relative to the root, '/' between names, neither "./" in front nor '/' at the end. A
 * NULL or empty ig hides nothing. Time: patterns × length of the path. */
bool ignore_hides(const struct ignore *ig, const char *path);
/* The folder is hidden and no '!' pattern can show anything below it: a walk may skip it. */
bool ignore_prunes(const struct ignore *ig, const char *folder);
/* The text of the pattern that decided about path; NULL if none matched. Borrowed from ig. */
const char *ignore_decider(const struct ignore *ig, const char *path);

#endif
