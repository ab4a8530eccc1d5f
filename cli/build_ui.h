/* SPDX-License-Identifier: MIT
 *
 * How a build is shown: on a terminal a line a step (build_tty.h), as text ("Step 2/7 : RUN …", the
 * command's output as it comes), as JSON (one event a line, for programs), or not at all.
 *
 * JSON events, each an object with "event" and "time" (seconds since 1970, fraction):
 *   step       n, total, text, state ("meta", "cached", "run"), why
 *   output     stream (1, 2), text (bytes that are no UTF-8 as U+FFFD)
 *   step_done  n, seconds, bytes
 *   progress   what, done, total, end
 *   notice, warning   text
 *   diagnostic severity ("error", "warning"), file, line, column, message, help, rule, text: of the
 *              Imagefile
 *   timing     what, ms
 *   result     name, file, layer, steps, cached, seconds: the last event of a build
 *   error      message, hint, file, line, column: the last event of a build that failed
 */
#ifndef CLI_BUILD_UI_H
#define CLI_BUILD_UI_H

#include "base/buf.h"
#include "builder/build/build.h"
#include "cli/build_tty.h"
#include "cli/command.h"
#include "cli/progress.h"
#include "image/pull.h"

enum shown_mode { SHOWN_TTY, SHOWN_PLAIN, SHOWN_JSON, SHOWN_QUIET };

struct build_shown {
    struct build_ui ui; /* give &shown.ui to build_image */
    struct session *session;
    struct session_events before; /* the session's, to be its own again at the end */
    enum shown_mode mode;
    bool explain;          /* set before build_shown_init: as build_tty_options */
    const char *host;      /* the same: where the image is; NULL = here */
    struct build_tty *tty; /* SHOWN_TTY; NULL once it has ended */
    bool line_open;        /* output did not end its line */
    struct buf tail;       /* start of a UTF-8 character, in JSON mode */
    struct progress bar;
    char *bar_of; /* the transfer that it shows; NULL = none */
};

/* A row of a command's table of options, and what was given. */
#define PULL_OPTION \
    { \
        "pull", 0, "[=missing|newer|always|never]", \
            "When to fetch images again [default: missing; --pull alone: always]", NULL \
    }
int args_pull(const struct args *a, enum pull_policy *ret, struct error **err);

/* Hears the session's events until build_shown_clear. "auto" is tty when stdout is a terminal that
 * can move its cursor, nobody asked for -v, and this is not a CI job; else plain. NULL: plain, with bars
 * of transfers on a terminal. ERR_USAGE. */
int build_shown_init(struct build_shown *s, struct session *session, const char *mode,
                     struct error **err);
void build_shown_result(struct build_shown *s, const struct build_result *r);
/* The build has failed: on a terminal its step, with all that it printed; in JSON mode the error as
 * the last event. The error itself is printed anyway. */
void build_shown_error(struct build_shown *s, const struct error *err);
void build_shown_clear(struct build_shown *s);

#endif
