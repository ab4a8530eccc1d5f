/* SPDX-License-Identifier: MIT
 *
 * A VM that runs on its own: QEMU in a session of its own, which outlives us, reached over two
 * sockets in the VM's folder. Nothing waits beside it: what is known of it is the kernel lock that
 * it holds (vm/named.h), and what its sockets answer.
 *
 *   <dir>/qmp.sock       QMP, one client at a time
 *   <dir>/console.sock   the serial console, one client at a time
 *   <dir>/console.log    all that the guest wrote on it since its start; console.log.1: the start before
 *   <dir>/qemu.log       QEMU's own messages
 *   <dir>/runstate.log   the states it went through (its trace event runstate_set)
 *
 *     // given struct vm_run_options options; const char *dir; struct qmp *qmp;
 *     vm_detach(session, &options, dir, &err);
 *     qmp = vm_detached_qmp(session, dir, &err);       // from any process, later
 *
 * The sockets are bound and connected to by names relative to the folder, so its path may be longer
 * than a socket's may be.
 */
#ifndef VM_DETACHED_H
#define VM_DETACHED_H

#include "vm/run.h"

#include <sys/types.h>

struct qmp;
struct named_vm;

/* Starts it. `o` must have keep and hold; its files become absolute names; o->up gets QEMU's process
 * number. The errors of vm_start; QEMU has ended then. */
int vm_detach(const struct session *s, const struct vm_run_options *o, const char *dir,
              struct error **err);

/* Whether the VM that runs in the folder is one of these. */
bool vm_is_detached(const char *dir);
/* A connection to its QMP, hands shaken. ERR_NOT_FOUND: nobody listens there. Owned. */
struct qmp *vm_detached_qmp(const struct session *s, const char *dir, struct error **err);
/* What QEMU last did with it, in QEMU's words: "running", "paused", "io-error" (the host had no space
 * for what the guest wrote), "guest-panicked"…; owned, NULL = not known. QEMU is not asked. */
char *vm_detached_state(const char *dir);
/*
 * For a VM whose kiln was killed while it started it: record, which is what it had noted by then, gets
 * "pid", "ssh_port" and "ports", and is noted. ERR_NOT_FOUND: there is no such QEMU. One that was to be
 * restored goes on, or ends if it had not got its memory yet.
 */
int vm_detached_adopt(const struct session *s, const struct named_vm *vm, json_t *record,
                      struct error **err);
/* A connection to its console; close it. -1. */
int vm_detached_console(const char *dir, struct error **err);
/* Presses the power button (system_powerdown) until the VM has ended, at most timeout_ms; with `kill`
 * ends QEMU at once. As named_vm_stop: 1 it has ended, 0 it still runs, 2 it did not run, -1 *err. */
int vm_detached_stop(const struct session *s, const struct named_vm *vm, bool kill, int timeout_ms,
                     struct error **err);

#endif
