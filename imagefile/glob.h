/* SPDX-License-Identifier: MIT
 *
 * Patterns of COPY and ADD sources, by the rules of Go's filepath.Match that Dockerfile uses
 * (https://pkg.go.dev/path/filepath#Match): '*' any bytes but '/', '?' one character (UTF-8; a
 * stray byte counts as one) but '/', "[a-z]" and "[^a-z]", '\' takes the next one literally. The
 * whole name must match; "**" is no more than "*". Time is at most pattern × name.
 */
#ifndef IMAGEFILE_GLOB_H
#define IMAGEFILE_GLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The character at s (not its end) and its length in bytes; a stray byte is a character of its own,
 * above all of Unicode. */
uint32_t glob_char(const char *s, size_t *ret_len);
/* A class at p ('['): its length in bytes, 0 if it is malformed; *ret_match = does it hold c? It
 * never holds '/'. */
size_t glob_class(const char *p, uint32_t c, bool *ret_match);

bool glob_valid(const char *pattern);
/* false also for a pattern that is not valid */
bool glob_match(const char *pattern, const char *name);
/* Does it hold any of * ? [ or a backslash? If not, the pattern is a plain name. */
bool glob_magic(const char *pattern);

#endif
