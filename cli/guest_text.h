/* SPDX-License-Identifier: MIT
 *
 * What a command in the guest printed, made fit for a terminal that is ours: a line ends as it
 * would look (what a carriage return overwrote is gone), colours may stay, every other escape
 * sequence and control character goes.
 *
 *     // given size_t at; struct strv lines; struct buf line;
 *     CLEANUP(guest_text_clear) struct guest_text t = GUEST_TEXT_INIT;
 *     guest_text_add(&t, bytes, n);                      // as it comes
 *     guest_text_last(&t, 6, &lines);                    // to show while it runs
 *     while (guest_text_next(&t, &at, true, &line)) ...  // all of it
 */
#ifndef CLI_GUEST_TEXT_H
#define CLI_GUEST_TEXT_H

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/vector.h"

#include <stdbool.h>

/* Bytes that are kept, at least: of more, the last. */
#define GUEST_TEXT_MAX (8 << 20)

struct guest_text {
    struct buf all; /* as it came */
    bool cut;       /* its start is no longer there */
};
#define GUEST_TEXT_INIT \
    { \
        .all = BUF_INIT \
    }

void guest_text_add(struct guest_text *t, const char *bytes, size_t n);
void guest_text_clear(struct guest_text *t);
/* Adds the last lines that are not empty, at most n, to *ret, oldest first; without colours, tabs
 * as blanks, and of a very long line the first few thousand bytes. */
void guest_text_last(const struct guest_text *t, size_t n, struct strv *ret);
/* The line at *at (0 = the first) replaces *line, and *at moves on; false: there is none left. A
 * line that has colours ends without. */
bool guest_text_next(const struct guest_text *t, size_t *at, bool colours, struct buf *line);

#endif
