/* SPDX-License-Identifier: MIT
 *
 * What a user sees while SSH is awaited: on a terminal the seconds, in place, on stderr; with -v
 * the console's last line behind them, and without a terminal both every ten seconds.
 *
 *     // given struct session *session;
 *     CLEANUP(waiting_clear) struct waiting w = {.session = session};
 *     waiting_show(&w, 3000, "[  OK  ] Reached target network.target");
 *     waiting_show(&w, -1, NULL);      // it is over: the line goes
 */
#ifndef CLI_WAITING_H
#define CLI_WAITING_H

#include <stdbool.h>

struct session;

struct waiting {
    const struct session *session; /* borrowed */
    bool on_line;                  /* the cursor stands behind the text */
    long long shown;               /* seconds that were shown last */
    char *line;                    /* and the console's line; owned */
};

/* ms: since the wait began, -1 = it is over; line: the console's last one, NULL = none. The first
 * second is not shown. */
void waiting_show(struct waiting *w, long long ms, const char *line);
void waiting_clear(struct waiting *w);

#endif
