/* SPDX-License-Identifier: MIT
 *
 * --cloud-init: the seed of a VM that is being made (vm/seed.h).
 *
 *     // given struct args *args; struct vm_spec spec; const char *dir;
 *     vm_seed_make(args, "web", &spec, dir, &err);
 */
#ifndef CLI_VM_SEED_H
#define CLI_VM_SEED_H

#include "cli/command.h"
#include "vm/spec.h"

/* Where the user-data of --cloud-init=FILE came from matters no more afterwards. Without --cloud-init
 * nothing is done. dir: the VM's, or the one that becomes it, where its key pair is. A user of the spec
 * who is missing becomes "vm". */
int vm_seed_make(const struct args *a, const char *name, struct vm_spec *spec, const char *dir,
                 struct error **err);

/* Rows of a command's table of options. */
// clang-format off
#define SEED_OPTIONS \
    {"cloud-init", 0, "FILE", "A seed for cloud-init in the guest with this user-data; -: made of --hostname, --ssh-user, the keys", NULL}, \
    {"network-config", 0, "FILE", "With --cloud-init: the seed's network-config", NULL}, \
    {"public-key", 0, "FILE", "With --cloud-init -: the key that is let in [default: the VM's own]", NULL}
// clang-format on

#endif
