/* SPDX-License-Identifier: MIT
 *
 * SSH key pairs (ED25519) of VMs, and where kiln's own lies, which vm_ssh_own_key (vm/ssh.h) makes and
 * hands out.
 *
 *     // given const char *dir;
 *     AUTO_FREE char *private = vm_ssh_key_in(dir, &err);
 *     AUTO_FREE char *line = vm_ssh_key_public(private, &err);   // for authorized_keys
 */
#ifndef VM_SSH_KEY_H
#define VM_SSH_KEY_H

#include "base/error.h"

struct session;

/* The private key in a VM's folder. */
#define VM_SSH_KEY "id_ed25519"

/* A new private key as text (PEM), in memory only; owned. NULL: ERR_SYSTEM. */
char *vm_ssh_key_new(struct error **err);
/* The text of a private key's file; owned. NULL: ERR_NOT_FOUND, ERR_SYSTEM. */
char *vm_ssh_key_read(const char *path, struct error **err);
/* The one of the folder, <dir>/id_ed25519 (0600), which is made if it is missing. As above. */
char *vm_ssh_key_in(const char *dir, struct error **err);
/* Its public key as one line for authorized_keys, without the newline; owned. ERR_USER. */
char *vm_ssh_key_public(const char *private, struct error **err);

/* Path of the private key, whether it exists or not; owned. NULL when session is NULL. */
char *vm_ssh_own_key_path(const struct session *s);

#endif
