/* SPDX-License-Identifier: MIT
 *
 * A login to a VM as a user who need not be known: of the users that VMs usually have, the first one
 * whom the server lets in.
 *
 *     #include "vm/ssh.h"
 *     // given struct vm_ssh_options options;
 *     AUTO_FREE char *user = NULL;
 *     CLEANUP(vm_ssh_freep) struct vm_ssh *ssh = vm_login(&options, "debian-12", &user, &err);
 */
#ifndef VM_LOGIN_H
#define VM_LOGIN_H

#include "base/error.h"

struct vm_ssh;
struct vm_ssh_options;

/* As vm_ssh_open. Without o->user: "vagrant", "root", then the one of the cloud images of the
 * distribution, which the server's greeting or else the image's name tells ("debian"). Each needs a
 * connection of its own (OpenSSH lets nobody change the user), until o->deadline. image may be NULL.
 * *ret_user, owned, is who is logged in; it is reported if it is not the first. */
struct vm_ssh *vm_login(const struct vm_ssh_options *o, const char *image, char **ret_user,
                        struct error **err);

#endif
