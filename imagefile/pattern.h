/* SPDX-License-Identifier: MIT
 *
 * Patterns in variables, as shells and Dockerfile have them: ${x#p}, ${x%p}, ${x/p/text}. In a
 * pattern '*' is any text, '?' any byte, and a backslash takes the next byte as it is.
 */
#ifndef IMAGEFILE_PATTERN_H
#define IMAGEFILE_PATTERN_H

#include "base/buf.h"

#define PATTERN_MAX 256        /* bytes of a pattern */
#define PATTERN_VALUE_MAX 4096 /* bytes of a value that it is held against */

/* The value without what matches at its start ('#') or end ('%'); `longest`: as much as can be. A
 * view into value. Both lengths are at most the limits above. */
struct str pattern_cut(struct str value, struct str pattern, char side, bool longest);
/* Appends the value with the first match, or `all`, replaced; each match is as long as can be, and
 * an empty one is none. */
void pattern_replace(struct str value, struct str pattern, struct str by, bool all,
                     struct buf *out);

#endif
