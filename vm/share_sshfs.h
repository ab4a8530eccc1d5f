/* SPDX-License-Identifier: MIT
 *
 * A folder of the host in a guest whose kernel has neither virtiofs nor 9p: sshfs in the guest, an SFTP
 * server here, joined by an SSH connection of kiln's, as transient does it.
 *
 *     // given struct session *session; const struct vm_ssh_options *login; const struct vm_spec *spec;
 *     share_sshfs_mount(session, login, spec, 0, &err);
 *
 * Connection and server are kept by a process of their own, "kiln-share", whatever becomes of kiln. It
 * ends when the connection does: with the VM, or when the guest unmounts the folder.
 */
#ifndef VM_SHARE_SSHFS_H
#define VM_SHARE_SSHFS_H

#include "base/error.h"

#include <stddef.h>

struct session;
struct vm_spec;
struct vm_ssh_options;

/* Mounts share i in a guest that has sshfs, as the user of `login`, which says how he got in before. -1:
 * ERR_NOT_FOUND (no SFTP server here), ERR_GUEST with what the guest said, or what login->wait gives. */
int share_sshfs_mount(const struct session *s, const struct vm_ssh_options *login,
                      const struct vm_spec *spec, size_t i, struct error **err);

#endif
