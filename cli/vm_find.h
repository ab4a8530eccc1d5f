/* SPDX-License-Identifier: MIT
 *
 * A VM by the name that a user gave.
 *
 *     // given struct session *session;
 *     CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
 *     vm_find(session, "web", &vm, &err);
 */
#ifndef CLI_VM_FIND_H
#define CLI_VM_FIND_H

#include "vm/named.h"

/* named_vm_open. If there is no such VM, the hint is what else has that name (VMFile.kdl in the current
 * folder, an image), or the VM whose name is most like it. */
int vm_find(const struct session *s, const char *name, struct named_vm *ret, struct error **err);
/* Where `name` was looked for among the images, is none of them (ERR_NOT_FOUND) and is a VM's: the hint
 * says so, and then `then`, such as "'kiln start %s' boots it", with the name. Returns -1. */
int vm_find_instead(const struct session *s, const char *name, const char *then,
                    struct error **err);

#endif
