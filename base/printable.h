/* SPDX-License-Identifier: MIT
 *
 * Text that somebody else may have written (a server, an archive, a disk, a file name), made fit
 * for a terminal: UTF-8 stays as it is, what a terminal could take for a command or what changes
 * the order of the letters is shown as an escape.
 */
#ifndef BASE_PRINTABLE_H
#define BASE_PRINTABLE_H

#include "base/buf.h"

#include <stdio.h>

/*
 * Adds n bytes of text to *out. Control characters (C0 but for newline and tab, DEL, C1), bytes
 * that are no UTF-8 (RFC 3629) and bidirectional overrides become \x1b, \u009b.
 */
void printable_add(struct buf *out, const char *text, size_t n);
/* A word or a phrase of a stranger's, on one line: newlines and tabs, too. Owned. */
char *printable_line(const char *text);
/* Writes the text to f; the caller adds newlines. */
void printable_print(FILE *f, const char *text);

#endif
