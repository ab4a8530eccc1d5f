/* SPDX-License-Identifier: MIT
 *
 * A VM that is suspended to disk: the memory and devices of one in the background (vm/detached.h), in
 * its folder. It goes on where it was, on this host or after its reboot.
 *
 *   <dir>/state        QEMU's migration stream, 0600
 *   <dir>/state.json   there once the stream is whole: {"qemu": "7.2.22", "accel": "tcg", "spec": {…},
 *                      "disks": [{"size": bytes, "time": ns}, …], "warm": true: it has the
 *                      devices of a saved boot's copy (vm/warm.h)}
 *
 *     #include "vm/named.h"
 *     // given struct named_vm vm; struct vm_run_options options; struct qmp *qmp;
 *     vm_state_save(session, &vm, &err);
 *     ...
 *     vm_state_check(vm.dir, &options, &err);
 *     vm_state_load(session, qmp, vm.dir, &err);     // of a QEMU with these options and -incoming
 */
#ifndef VM_STATE_H
#define VM_STATE_H

#include "base/error.h"
#include "vm/run.h"

#include <jansson.h>
#include <stdbool.h>

struct named_vm;
struct qmp;
struct session;

/* What is known of the folder's state; new reference, NULL = there is none. */
json_t *vm_state_read(const char *dir);
/* ERR_BUSY if there is one: its disk must not be changed or looked at. */
int vm_state_refuse(const struct named_vm *vm, struct error **err);
/* Of a VM that runs in the background, whose run.json has "spec", "accel" and "qemu". Its QEMU has
 * ended when this returns; on errors it goes on. ERR_SYSTEM with ENOSPC, ERR_CANCELLED. */
int vm_state_save(const struct session *s, const struct named_vm *vm, struct error **err);
/* Whether that QEMU may go on with it. ERR_USER: it is another version, or the disk was changed. */
int vm_state_check(const char *dir, const struct vm_run_options *o, struct error **err);
/* The VM goes on, and the state is gone. */
int vm_state_load(const struct session *s, struct qmp *qmp, const char *dir, struct error **err);
/* The memory is lost; nothing to do if there is none. */
int vm_state_drop(const char *dir, struct error **err);

#endif
