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

/* named_vm_open. If there is no such VM, but VMFile.kdl in the current folder has it, the hint is how
 * to make it. */
int vm_find(const struct session *s, const char *name, struct named_vm *ret, struct error **err);

#endif
