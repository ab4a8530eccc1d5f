/* SPDX-License-Identifier: MIT
 *
 * A build on a terminal: a line a step, and below the one that runs what it prints, and bars of what
 * is fetched and sent.
 *
 *   ✓ 1/3  FROM debian
 *   ✓ 2/3  RUN apt-get update && apt-get install -y nginx-light        cached
 *   ⠹ 3/3  RUN make -C /src                                               8 s
 *          │ cc -O2 -c main.c
 *
 *     // given struct build_tty_options options; struct build_options o; struct build_ui ui;
 *     // given struct build_result r;
 *     struct build_tty *t = build_tty_new(&options, &ui, &session->events);
 *     build_image(session, &o, &ui, &r, &err);
 *     build_tty_free(t, err);
 *
 * It is fed by events alone, from any thread; a thread of its own draws the seconds that pass. When a
 * step fails, all that it printed is shown. Another program may have the terminal in between
 * (session_terminal).
 */
#ifndef CLI_BUILD_TTY_H
#define CLI_BUILD_TTY_H

#include "base/session.h"
#include "builder/build/build.h"

struct build_tty_options {
    FILE *out;
    bool explain;      /* why each step is run; else only where it begins */
    bool stderr_apart; /* notices go to a standard error that is elsewhere */
};

/* Fills in *ui and *events: theirs are to be called until build_tty_free. */
struct build_tty *build_tty_new(const struct build_tty_options *o, struct build_ui *ui,
                                struct session_events *events);
/* A step that still runs has failed with that error; without one it is done. NULL: does nothing. */
void build_tty_free(struct build_tty *t, const struct error *err);

#endif
