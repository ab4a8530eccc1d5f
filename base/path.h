/* SPDX-License-Identifier: MIT
 *
 * Paths part by part, as texts: nothing is looked up.
 *
 *     // given struct str given; struct buf clean;
 *     struct str part;
 *     for (size_t at = 0; path_part(given, &at, &part);)      // "a//./b/" has the parts a and b
 *         if (!str_is(part, ".."))
 *             path_push(&clean, part);
 *         else if (!path_pop(&clean))
 *             break;                                         // it leads above where it began
 */
#ifndef BASE_PATH_H
#define BASE_PATH_H

#include "base/buf.h"

#include <stdbool.h>

/* The next part from *at on, which is moved behind it; empty parts and "." are skipped. false at the
 * end. */
bool path_part(struct str path, size_t *at, struct str *ret);
/* Appends a part, behind a '/' unless it is the first. */
void path_push(struct buf *path, struct str part);
/* Removes the last part and the '/' in front of it; false if there is none. */
bool path_pop(struct buf *path);

#endif
