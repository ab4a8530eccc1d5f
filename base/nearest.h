/* SPDX-License-Identifier: MIT
 *
 * "did you mean": the known name that a misspelt one is most like.
 */
#ifndef BASE_NEAREST_H
#define BASE_NEAREST_H

#include "base/buf.h"

/* The name of the table (NULL-terminated) that is most like `word`, letters of either case; NULL
 * when none is like it (more than a third of its letters, at least one, would have to change). */
const char *nearest_name(struct str word, const char *const *names);

#endif
