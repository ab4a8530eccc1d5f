/* SPDX-License-Identifier: MIT
 *
 * The provisions of a VM that runs: over SSH, one after another, their output shown and kept in
 * provision.log of the VM's folder.
 *
 *     // given struct session *session; const struct fleet_file *file; const struct fleet_vm *vm;
 *     fleet_run_steps(session, file, vm, &err);
 */
#ifndef CLI_FLEET_STEPS_H
#define CLI_FLEET_STEPS_H

#include "cli/fleet_file.h"
#include "cli/vm_live.h"

/* In a VM's folder. */
#define FLEET_LOG "provision.log"

/* The first login since its start, for which live is open: waits as --ssh-timeout and the VM's ssh block
 * say, else 120 s as vmctl does, or longer as the VM was started with. NULL with *err. */
struct vm_ssh *fleet_login(const struct session *s, const struct fleet_file *f,
                           const struct fleet_vm *vm, struct vm_live *live, struct error **err);

/* The first that fails ends it: ERR_GUEST with its place in the VMFile. */
int fleet_run_steps(const struct session *s, const struct fleet_file *f, const struct fleet_vm *vm,
                    struct error **err);

#endif
