/* SPDX-License-Identifier: MIT
 *
 * The user's terminal in raw mode, for a console or shell elsewhere: keys go there, Ctrl-C too.
 *
 *     // given unsigned columns, rows;
 *     CLEANUP(terminal_restore) struct terminal t = TERMINAL_INIT;
 *     if (terminal_raw(&t, session->in, &err) < 0) ...
 *     if (terminal_take_resize(&t, &columns, &rows)) ...     // when t.winch_fd is readable
 *
 * The cleanup restores the terminal at every way out of the scope. Where the descriptor is no
 * terminal nothing is changed and winch_fd is -1.
 */
#ifndef BASE_TERMINAL_H
#define BASE_TERMINAL_H

#include "base/error.h"

#include <stdbool.h>
#include <termios.h>

struct terminal {
    int fd;       /* borrowed; -1 = not in raw mode */
    int winch_fd; /* readable when its size has changed; -1 = none */
    struct termios saved;
};
#define TERMINAL_INIT \
    { \
        .fd = -1, .winch_fd = -1 \
    }

/* Also handles SIGWINCH, which then comes through winch_fd: one terminal at a time. Error:
 * ERR_SYSTEM. */
int terminal_raw(struct terminal *t, int fd, struct error **err);
void terminal_restore(struct terminal *t); /* idempotent; keeps errno */
/* The size; 80 x 24 when fd is not a terminal or does not know. */
void terminal_size(int fd, unsigned *ret_columns, unsigned *ret_rows);
/* Takes the notice from winch_fd; true and the size if there was one. */
bool terminal_take_resize(struct terminal *t, unsigned *ret_columns, unsigned *ret_rows);

#endif
