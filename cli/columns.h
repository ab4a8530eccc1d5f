/* SPDX-License-Identifier: MIT
 *
 * Text in the columns of a terminal. Colours (ESC [ … m) take none and are kept; all else in the
 * text is printable UTF-8 (base/printable.h) without newlines or tabs.
 */
#ifndef CLI_COLUMNS_H
#define CLI_COLUMNS_H

#include "base/buf.h"

/* How many columns the text takes. */
size_t columns_of(const char *text);
/* Adds the text, cut to `columns` columns where it is longer: "…" is then its last one, and colours
 * end there. Returns how many columns were added. */
size_t columns_add(struct buf *b, const char *text, size_t columns);

#endif
