/* SPDX-License-Identifier: MIT
 *
 * What is written into the disk of a new VM before it boots for the first time: --inject, --hostname,
 * --copy-in-before.
 *
 *     // given struct args *args; struct vm_spec spec; struct offline_options disk;
 *     if (vm_prepare_wanted(args, NULL))
 *         vm_prepare(session, args, &spec, NULL, &disk, &err);
 */
#ifndef CLI_VM_PREPARE_H
#define CLI_VM_PREPARE_H

#include "builder/build/offline.h"
#include "cli/command.h"
#include "cli/vm_copy.h"
#include "vm/spec.h"

/* copies: NULL = none. */
bool vm_prepare_wanted(const struct args *a, const struct vm_copies *copies);
/* disk: the new VM's; in the folder disk->scratch its key pair is made. spec: whom the guest lets in
 * becomes its user, if it has none: root. */
int vm_prepare(const struct session *s, const struct args *a, struct vm_spec *spec,
               const struct vm_copies *copies, const struct offline_options *disk,
               struct error **err);

/* Rows of a command's table of options. */
// clang-format off
#define PREPARE_OPTIONS \
    {"inject", 0, NULL, "Write a login for the VM's key into its disk before the first boot", NULL}, \
    {"hostname", 0, "NAME", "Write the guest's host name into its disk before the first boot", NULL}
// clang-format on

#endif
