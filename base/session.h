/* SPDX-License-Identifier: MIT
 *
 * What one run of kiln shares: where things lie, how much to say, and whether the user asked to
 * stop. cli/ fills it and passes it down; there are no other globals.
 */
#ifndef BASE_SESSION_H
#define BASE_SESSION_H

#include "base/error.h"
#include "base/vector.h"

#include <stdatomic.h>
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
    /* Another program, such as a shell in the guest, has the terminal now; or has it no more. */
    void (*terminal)(void *arg, bool taken);
};

/* What stops a session; a signal handler or any thread may set it, by session_interrupt. */
struct interrupt {
    atomic_int signal;  /* SIGINT…: the first one; 0 = none */
    atomic_int wake_fd; /* gets a byte then, not blocking; -1 = none */
};

struct session {
    char *backend;      /* folder of finished images; made when first needed */
    char *vmstore;      /* folder of named VMs */
    char *cache;        /* folder of what may be deleted at any time */
    struct strv tables; /* folders with tables of well-known images, the user's first */
    char *data;         /* KILN_HOME: holds backend and vmstore unless those were chosen apart */
    int verbosity;      /* 0; 1 = -v: what is done and why; 2 = -vv: QMP and agent traffic */
    int cancel_fd; /* readable once the user interrupted; stays readable. -1 = never. Borrowed */
    struct interrupt *interrupt; /* NULL = nothing interrupts; borrowed */
    char *const *env;            /* NAME=VALUE…, NULL at the end; NULL = empty; borrowed */
    int in, out, errors;         /* the user's standard streams, for terminals and consoles;
                                  * borrowed */
    FILE *log;                   /* where session_debug writes; NULL = nowhere; borrowed */
    struct session_events events;
};
/* Nothing is set and nobody listens; its streams are 0, 1 and 2. */
#define SESSION_INIT \
    { \
        .cancel_fd = -1, .out = 1, .errors = 2 \
    }

/* A session of this environment, with its places by KILN_HOME, XDG_DATA_HOME, XDG_CACHE_HOME, HOME,
 * in that order of preference. Error: none of them is set; the session can be used without them. The
 * tables are in kiln/images.d of XDG_CONFIG_HOME (~/.config), in /etc/kiln/images.d, and in
 * share/kiln/images.d of the program's prefix or folder. */
int session_init(struct session *s, char *const *env, struct error **err);
void session_clear(struct session *s);
/* The value of an environment variable, borrowed; NULL if it is not set. s may be NULL. */
const char *session_env(const struct session *s, const char *name);
/* The same; NULL also if it is empty, which for most settings means the same. */
const char *session_setting(const struct session *s, const char *name);
/* Stops the session as `signal` would; only the first one counts, but SIGQUIT always does. SIGPIPE:
 * whoever read our output has gone. Async-signal-safe; without s->interrupt it does nothing. */
void session_interrupt(const struct session *s, int signal);
/* s may be NULL in these three. */
bool session_cancelled(const struct session *s);
int session_cancel_signal(const struct session *s); /* what stopped it; 0 = nothing */
bool session_hurry(const struct session *s); /* SIGQUIT: a guest is ended, not asked to power off */
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
void session_terminal(const struct session *s, bool taken);
/* us: microseconds. They go to the log at verbosity 1, too. */
void session_timing(const struct session *s, const char *what, long long us);
/* Of the monotonic clock: for deadlines, and to say where time goes. */
long long now_ms(void);
long long now_us(void);

#endif
