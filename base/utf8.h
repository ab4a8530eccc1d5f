/* SPDX-License-Identifier: MIT
 *
 * UTF-8 (RFC 3629) a character at a time, and how wide a terminal shows it.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Length in bytes of the character at p, 1 to 4, and its value; 0: these n bytes (at least 1) do not
 * begin with a character. */
size_t utf8_next(const char *p, size_t n, uint32_t *ret);
/* Columns: 2 for East Asian wide characters and emoji, 0 for what combines with the one before, else
 * 1. Does not depend on the locale, as wcwidth(3) does. */
unsigned utf8_columns(uint32_t c);

#endif
