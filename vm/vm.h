/* SPDX-License-Identifier: MIT
 *
 * One running QEMU: its process, its QMP, its console and further channels, and one way to wait for
 * all of them.
 *
 *     // given struct strv args; long long deadline;
 *     struct vm_start_options o = {.qemu = path, .args = &args, .ports = ARGV("agent")};
 *     CLEANUP(vm_freep) struct vm *vm = vm_start(session, &o, &err);
 *     struct pollfd f = {.fd = vm_port(vm, "agent"), .events = POLLIN};
 *     for (;;) {
 *         int rc = vm_wait(vm, &f, 1, deadline, &err);   // -1: VM died, interrupted
 *         if (rc == 0) {
 *             error_set(&err, ERR_GUEST, "no answer");
 *             vm_add_console(vm, &err);
 *         }
 *         if (f.revents) ...
 *     }
 *     vm_quit(vm, 5000, &err);
 *
 * Everything between kiln and QEMU goes over socket pairs: no socket files, no names that could
 * clash or be left behind. QEMU is in its own session (Ctrl-C does not reach it), dies with us and
 * is killed and reaped by vm_free. One thread only.
 */
#ifndef VM_VM_H
#define VM_VM_H

#include "base/error.h"
#include "base/vector.h"
#include "vm/qmp.h"

#include <poll.h>
#include <stdbool.h>
#include <sys/types.h>

struct session;
struct vm;

struct vm_start_options {
    const char *qemu;        /* program, from qemu_find */
    const struct strv *args; /* its arguments without the program's name; see below */
    char *const *ports;      /* NULL-terminated names of further chardevs; NULL = none */
    const int *keep;         /* descriptors QEMU gets under the same numbers (for -add-fd) */
    size_t n_keep;           /* the caller may close them after vm_start */
    const char *cwd;         /* QEMU's working directory; NULL = ours */
    bool monitor_on_console; /* chardev "console" is a multiplexer (Ctrl-A x, Ctrl-A c) */
    bool show_stdout;        /* QEMU's stdout is ours; else it is dropped */
    int qmp_timeout_ms;      /* for QMP's greeting; 0 = 10 s */
    bool *ret_answered;      /* true: QEMU answered an option such as -version and ended; then
                                vm_start fails with an error that may be dropped. NULL = not asked */
};

/*
 * Starts QEMU and shakes hands over QMP. vm_start puts before the args its own plumbing: chardev
 * "console" (the args connect it: "-serial", "chardev:console"), a chardev of the given name for
 * every port, the QMP monitor, and "-display none". All else is up to args. session is borrowed
 * until vm_free. NULL: ERR_NOT_FOUND, ERR_SYSTEM, ERR_KILLED, or ERR_GUEST with what QEMU wrote to
 * stderr.
 */
struct vm *vm_start(const struct session *session, const struct vm_start_options *spec,
                    struct error **err);
void vm_free(struct vm *vm); /* kills QEMU at once if it runs; NULL is fine; keeps errno */
DEFINE_CLEANUP(struct vm, vm_free);

struct qmp *vm_qmp(struct vm *vm); /* borrowed; its waits are vm_wait's */
pid_t vm_pid(const struct vm *vm);
/* Our end of a port: a non-blocking stream socket; borrowed. -1 if there is no such port. "console"
 * gives the console, for writing only. */
int vm_port(const struct vm *vm, const char *name);

enum { VM_WAIT_FDS = 96 }; /* most that vm_wait takes */

/*
 * Waits until one of fds is ready (revents are set), console output or a QMP event came (taken in
 * already), or the deadline on now_ms()'s scale passed (-1 = none). Returns 1: look at what you
 * wait for, then call again; 0: deadline; -1: QEMU ended (ERR_GUEST, with its last words;
 * ERR_KILLED if a signal from outside did it), the user interrupted (ERR_CANCELLED), QMP broke
 * (ERR_GUEST). fds may be NULL.
 */
int vm_wait(struct vm *vm, struct pollfd *fds, size_t n, long long deadline, struct error **err);

/* Called with console bytes as they come; NULL = no more. */
typedef void vm_console_fn(void *arg, const char *bytes, size_t n);
void vm_on_console(struct vm *vm, vm_console_fn *fn, void *arg);
/* Called with every QMP event. As qmp_event_fn: it must not call qmp_ functions. */
void vm_on_event(struct vm *vm, qmp_event_fn *fn, void *arg);
/* From now on an interruption by the user does not end waits: for the shutdown. */
void vm_ignore_cancel(struct vm *vm);

/* Last console lines (console_last_lines); owned. */
char *vm_console_text(const struct vm *vm, unsigned lines);
/* Adds the last console lines to the error's message: "…\nlast lines of its console:\n  …".
 * Returns -1. Nothing is added when there are none. */
int vm_add_console(const struct vm *vm, struct error **err);

/* True once QEMU has ended and been reaped; never waits. */
bool vm_ended(struct vm *vm);
/* The wait status, once vm_ended. */
int vm_status(const struct vm *vm);
/* Whether a signal from outside ended QEMU, so that its end says nothing about the VM; err then says so
 * (ERR_KILLED). Never waits. */
bool vm_was_killed(struct vm *vm, struct error **err);
/* From now on QEMU's end with exit status 0 (the guest powered off, the user quit the
 * monitor) is not an error: vm_wait returns 1 and vm_ended is true. */
void vm_may_end(struct vm *vm);
/* Waits for QEMU's end without taking it for an error: 0, or -1 with ERR_BUSY when it still runs
 * after timeout_ms. Console and events are served meanwhile; an interruption is not looked at. */
int vm_wait_end(struct vm *vm, int timeout_ms, struct error **err);
/* QMP quit, then SIGTERM, then SIGKILL, each with its share of timeout_ms. QEMU has ended when this
 * returns. 0 if quit did it, else -1 with ERR_GUEST. */
int vm_quit(struct vm *vm, int timeout_ms, struct error **err);
/* The guest's power button (system_powerdown), waits at most timeout_ms for QEMU to end, then
 * vm_quit. It is pressed again every few seconds, as a guest that boots does not listen yet. With
 * session_hurry it does not wait. 0 if the guest went down by itself; -1 with ERR_GUEST if it had
 * to be killed. */
int vm_powerdown(struct vm *vm, int timeout_ms, struct error **err);

#endif
