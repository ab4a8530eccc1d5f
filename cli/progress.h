/* SPDX-License-Identifier: MIT
 *
 * The progress bar, as transient's users know it:
 *
 *   100% |##########################|  12.7 MiB/s |  35.0 MiB | Time:  0:00:02
 *
 * On a terminal it is redrawn in place; elsewhere nothing is shown until a transfer has lasted ten
 * seconds, then a line every ten seconds and one at the end.
 *
 *     CLEANUP(progress_clear) struct progress p;
 *     progress_init(&p, stderr, PROGRESS_AUTO);
 *     progress_hear(&p, session);      // or progress_update, progress_end
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include "base/buf.h"
#include "base/session.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum progress_mode { PROGRESS_AUTO, PROGRESS_BAR, PROGRESS_LINES, PROGRESS_NONE };

struct progress {
    FILE *out;
    enum progress_mode mode;  /* never PROGRESS_AUTO */
    long long started, drawn; /* now_ms; 0 = no transfer is shown */
    uint64_t from;            /* bytes that were there when it started (a resumed download) */
    bool on_line;             /* the cursor stands behind a bar */
    struct session *session;  /* that it hears; NULL = none */
    struct session_events before;
};

/* PROGRESS_AUTO: bars if `out` is a terminal (and TERM is not "dumb"), lines if not. */
void progress_init(struct progress *p, FILE *out, enum progress_mode mode);
/* done of total bytes (0 = not known). The first call starts the clock. Draws at most ten times a
 * second. */
void progress_update(struct progress *p, uint64_t done, uint64_t total);
/* The transfer is over: shows the final state and ends the line. */
void progress_end(struct progress *p, uint64_t done, uint64_t total);
/* A whole line, also while a bar is shown. */
void progress_line(struct progress *p, const char *line);
/* Ends a line that a bar is on, so that an error message can follow, and hears no session any more. */
void progress_clear(struct progress *p);
/* Shows the session's notices and progress until progress_clear. */
void progress_hear(struct progress *p, struct session *s);

/* The text of a bar of at most `columns` columns, without newline (for tests, too). ms: since the
 * start; over: the transfer is. */
void progress_text(struct buf *b, unsigned columns, uint64_t done, uint64_t total, uint64_t from,
                   long long ms, bool over);

#endif
