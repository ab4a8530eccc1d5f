/* SPDX-License-Identifier: MIT
 *
 * An SSH connection that is kept open for the next command, so that it needs no login: under TCG that
 * is most of what a short command costs.
 *
 *     // given struct session *session; const char *dir, *command; struct vm_ssh_options o; int status;
 *     int rc = vm_ssh_kept_run(session, dir, command, &status, &err);
 *     if (rc == 0) {
 *         struct vm_ssh *ssh = vm_ssh_open(&o, &err);
 *         rc = vm_ssh_run(ssh, command, &status, &err);
 *         vm_ssh_keep_take(ssh, dir);
 *     }
 *
 * The keeper is a fork of the kiln that logged in: a session of its own, nothing open but the
 * connection, its socket <dir>/ssh.sock and the kernel lock <dir>/ssh.lock. It ends when the
 * connection does, and so with the VM, or when nobody has used it for five minutes. It runs one
 * command at a time; whoever comes meanwhile is turned away and logs in.
 */
#ifndef VM_SSH_KEEP_H
#define VM_SSH_KEEP_H

#include "vm/ssh.h"

/* Runs the command as vm_ssh_run does, over the connection kept for the VM of the folder. 1: it has
 * ended, with *ret_status; 0: it was not started, as nobody keeps a connection that is free; -1: as
 * vm_ssh_run. */
int vm_ssh_kept_run(const struct session *s, const char *dir, const char *command, int *ret_status,
                    struct error **err);

/* Takes the connection: a keeper has it from now on, or it is closed, if there is a keeper already. */
void vm_ssh_keep_take(struct vm_ssh *ssh, const char *dir);

#endif
