/* SPDX-License-Identifier: MIT
 *
 * --publish: ports of the host that lead to the guest.
 *
 *     // given struct args *args; struct vm_spec spec;
 *     if (vm_forwards_take(args, &spec, &err) == 0)
 *         vm_forwards_check(&spec, &err);
 */
#ifndef CLI_VM_FORWARD_H
#define CLI_VM_FORWARD_H

#include "cli/command.h"
#include "vm/spec.h"

/* A port number, from 1 to 65535, at *at, which is moved behind it; false: none is there. */
bool vm_forward_port(const char **at, unsigned *ret);
/* Adds them to the first NIC; one that is there already is not added again. ERR_USAGE. */
int vm_forwards_take(const struct args *a, struct vm_spec *spec, struct error **err);
/* ERR_USAGE: two of them, or one and --ssh-port, want the same port of the host. */
int vm_forwards_check(const struct vm_spec *spec, struct error **err);

#endif
