/* SPDX-License-Identifier: MIT
 *
 * Where kiln's own SSH key pair lies. What makes it and hands it out is vm_ssh_own_key (vm/ssh.h).
 */
#ifndef VM_SSH_KEY_H
#define VM_SSH_KEY_H

struct session;

/* Path of the private key, whether it exists or not; owned. NULL when session is NULL. */
char *vm_ssh_own_key_path(const struct session *s);

#endif
