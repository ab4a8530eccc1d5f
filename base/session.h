/* SPDX-License-Identifier: MIT
 *
 * What one run of kiln shares: where things lie, how much to say, and whether the user asked to
 * stop. cli/ fills it and passes it down; there are no other globals.
 */
#ifndef BASE_SESSION_H
#define BASE_SESSION_H

#include "base/error.h"

#include <stdbool.h>
#include <stdio.h>

struct session {
    char *backend; /* folder of finished images; made when first needed */
    char *vmstore; /* folder of named VMs */
    char *cache;   /* folder of what may be deleted at any time */
    char *data;    /* KILN_HOME: holds backend and vmstore unless those were chosen apart */
    int verbosity; /* 0; 1 = -v: what is done and why; 2 = -vv: QMP and agent traffic */
    int cancel_fd; /* readable once the user interrupted; stays readable. -1 = never */
    FILE *log;     /* where session_debug writes; borrowed */
};

/* Places by KILN_HOME, XDG_DATA_HOME, XDG_CACHE_HOME, HOME, in that order of preference. Error:
 * none of them is set. */
int session_init(struct session *s, struct error **err);
void session_clear(struct session *s);
/* From now on SIGINT, SIGTERM, SIGHUP and SIGQUIT make cancel_fd readable instead of ending the
 * process; a third one ends it. SIGQUIT asks for more haste: session_hurry. */
int session_catch_signals(struct session *s, struct error **err);
/* Whoever read our standard output has gone: from now on as if SIGPIPE had interrupted us. */
void session_reader_gone(void);
bool session_cancelled(const struct session *s);
int session_cancel_signal(void); /* the signal that was caught, 0 = none */
bool session_hurry(void);        /* SIGQUIT came: a guest is not asked to power off, but ended */
/* Writes "<text>\n" to the log if verbosity is at least `level`. */
void session_debug(const struct session *s, int level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Milliseconds of the monotonic clock: for deadlines. */
long long now_ms(void);

#endif
