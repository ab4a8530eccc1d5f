/* SPDX-License-Identifier: MIT
 *
 * Child processes: an argv, never a shell. A child dies with us (PR_SET_PDEATHSIG), is killed and
 * reaped by the cleanup, and its end can be polled for (a pidfd). Any thread may start them, and may
 * end before they do; what a thread has for itself (a mount namespace, its scheduling) they do not
 * get.
 *
 *     // given char **argv; struct buf output;
 *     CLEANUP(process_clear) struct process p = PROCESS_INIT;
 *     if (process_start(&p, &(struct process_spec){.argv = argv, .out = PROCESS_PIPE}, &err) < 0) ...
 *
 * or, for a program that is just to be run:
 *
 *     if (process_run(session, argv, &output, &err) < 0) ...
 */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <sys/types.h>

struct session;

/* An argv of string literals and borrowed strings: ARGV("qemu-img", "check", path). */
#define ARGV(...) ((char *const *)(const char *const[]){__VA_ARGS__, NULL})

enum { PROCESS_NULL = -1, PROCESS_PIPE = -2, PROCESS_INHERIT = -3 };

struct process_spec {
    char *const *argv;   /* argv[0] is looked up in PATH */
    char *const *env;    /* NULL = ours */
    const char *cwd;     /* NULL = ours */
    int in, out, errors; /* a descriptor to use, or one of the three above; note that 0 means
                          * descriptor 0 */
    const int *keep;     /* further descriptors the child keeps under the same numbers */
    size_t n_keep;
    bool own_session; /* setsid: terminal signals (Ctrl-C) do not reach it */
    bool outlives;    /* it does not die with us; see process_forget */
};

struct process {
    pid_t pid;           /* 0 = none */
    int pidfd;           /* readable when it has ended */
    int in, out, errors; /* our ends of pipes, -1 = none */
    int status;          /* wait status, once waited for */
};
#define PROCESS_INIT \
    { \
        0, -1, -1, -1, -1, 0 \
    }

/* A program that is not there is ERR_NOT_FOUND. */
int process_start(struct process *p, const struct process_spec *spec, struct error **err);
/* Waits until it ends, at most timeout_ms (-1 = for ever). 0; -1 with ERR_BUSY at the timeout. */
int process_wait(struct process *p, int timeout_ms, struct error **err);
/* True if it has ended (its status is then set); never waits. */
bool process_ended(struct process *p);
void process_kill(struct process *p, int sig);
void process_clear(struct process *p);  /* SIGKILL, reap, close */
void process_forget(struct process *p); /* close, and leave it running */
/* "exit status 3", "killed by signal 9 (Killed)"; owned. */
char *process_status_text(int wait_status);
/* The same after a subject: "failed with exit status 3", "was killed by signal 9 (Killed)"; owned.
 */
char *process_failed_text(int wait_status);

/*
 * Runs argv to its end with stdin empty. Its stdout goes into *out (NULL: dropped), at most 64 MiB.
 * An exit status other than 0 is ERR_SYSTEM whose message ends with the last lines of its stderr.
 * Interruption of the session kills it: ERR_CANCELLED. session may be NULL.
 */
int process_run(const struct session *s, char *const *argv, struct buf *out, struct error **err);
/* The same in another environment; NULL = ours. */
int process_run_env(const struct session *s, char *const *argv, char *const *env, struct buf *out,
                    struct error **err);
/* The same of a child whose streams are not given. */
int process_run_spec(const struct session *s, const struct process_spec *spec, struct buf *out,
                     struct error **err);
/* Path of a program in PATH (also looks in /usr/sbin and /sbin), owned, or NULL. */
char *process_find(const char *name);

#endif
