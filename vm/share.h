/* SPDX-License-Identifier: MIT
 *
 * Folders of the host in the guest. Each is offered in two ways, and the guest takes the first that its
 * kernel has: virtiofs, where virtiofsd runs here, and 9p, which QEMU serves itself. One whose kernel has
 * neither uses sshfs (vm/share_sshfs.h).
 *
 *     #include "vm/spec.h"
 *     // given struct session *session; struct vm_spec spec; struct strv args; struct vm_ssh *ssh;
 *     // given const struct vm_ssh_options *login;
 *     CLEANUP(vm_share_links_clear) struct vm_share_links links = {0};
 *     vm_share_links_open(session, &spec, &links);
 *     vm_share_args(&args, &spec, links.fds);      // for a QEMU that inherits links.fds
 *     size_t done = 0;
 *     vm_share_mount(session, ssh, login, &spec, &done, &err);   // in the guest
 *
 * virtiofsd ends with QEMU's connection to it, so it outlives nobody. Not as root it runs in a user
 * namespace with our user as its root: in the guest only root can make files then.
 */
#ifndef VM_SHARE_H
#define VM_SHARE_H

#include "base/error.h"
#include "base/vector.h"

#include <stdbool.h>
#include <stddef.h>

struct session;
struct vm_spec;
struct vm_ssh;
struct vm_ssh_options;

/* QEMU's connections to the virtiofsd of each of spec->shares; -1 = there is none. */
struct vm_share_links {
    int *fds;
    size_t n;
};
/* Starts virtiofsd for each share, where that is possible; why not is reported with -v. */
void vm_share_links_open(const struct session *s, const struct vm_spec *spec,
                         struct vm_share_links *ret);
void vm_share_links_clear(struct vm_share_links *l);

/* QEMU's arguments for the shares; nothing without any. */
void vm_share_args(struct strv *args, const struct vm_spec *spec, const int *fds);
/* The commands that mount share `i` in a guest whose kernel can, as text for its shell; owned. */
char *vm_share_command(const struct vm_spec *spec, size_t i);
/* Mounts all but the first *done, as the user who is logged in, if that is root or may use sudo without a
 * password; *done: how many are mounted afterwards, also after an error. login: with whom and how he is.
 * -1: ERR_GUEST, with what the guest said, or as share_sshfs_mount. */
int vm_share_mount(const struct session *s, struct vm_ssh *ssh, const struct vm_ssh_options *login,
                   const struct vm_spec *spec, size_t *done, struct error **err);

#endif
