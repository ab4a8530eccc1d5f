/* SPDX-License-Identifier: MIT
 *
 * What one run of kiln shares: where things lie, how much to say, and whether the user asked to
 * stop. cli/ fills it and passes it down; there are no other globals.
 */
#ifndef BASE_SESSION_H
#define BASE_SESSION_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What a user may want to hear of work in progress. Each member may be NULL: nobody listens. They
 * are called on the thread that calls the session_… function of the same name. */
struct session_events {
    void *arg;
    void (*notice)(void *arg, const char *line);  /* one line, without newline */
    void (*warning)(void *arg, const char *text); /* whole lines */
    void (*output)(void *arg, int stream, const char *bytes, size_t n); /* 1 stdout, 2 stderr */
    /* Bytes of a transfer; total 0 = not known; `end`: its last call. `what` may be "". */
    void (*progress)(void *arg, const char *what, uint64_t done, uint64_t total, bool end);
    /* Where time goes: "vm-start", "mount", "hash", "commit"…; milliseconds. */
    void (*timing)(void *arg, const char *what, double ms);
};

struct session {
    char *backend; /* folder of finished images; made when first needed */
    char *vmstore; /* folder of named VMs */
    char *cache;   /* folder of what may be deleted at any time */
    char *data;    /* KILN_HOME: holds backend and vmstore unless those were chosen apart */
    int verbosity; /* 0; 1 = -v: what is done and why; 2 = -vv: QMP and agent traffic */
    int cancel_fd; /* readable once the user interrupted; stays readable. -1 = never */
    FILE *log;     /* where session_debug writes; borrowed */
    struct session_events events;
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
/* These tell the listener of s->events; without one, or with s NULL, they do nothing. */
void session_notice(const struct session *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void session_warning(const struct session *s, const char *text);
void session_output(const struct session *s, int stream, const char *bytes, size_t n);
void session_progress(const struct session *s, const char *what, uint64_t done, uint64_t total,
                      bool end);
/* us: microseconds. They go to the log at verbosity 1, too. */
void session_timing(const struct session *s, const char *what, long long us);
/* Of the monotonic clock: for deadlines, and to say where time goes. */
long long now_ms(void);
long long now_us(void);

#endif
