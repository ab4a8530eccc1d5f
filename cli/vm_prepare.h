/* SPDX-License-Identifier: MIT
 *
 * What is written into the disk of a new VM before it boots for the first time: --inject, --hostname,
 * --copy-in-before; and its growth, --grow.
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

/* ERR_USAGE: --hostname is none. */
int vm_prepare_check(const struct args *a, struct error **err);
/* copies: NULL = none. */
bool vm_prepare_wanted(const struct args *a, const struct vm_copies *copies);
/* disk: the new VM's, an overlay that is still empty; in the folder disk->scratch its key pair is made.
 * spec: whom the guest lets in becomes its user, if it has none: root. A disk that --disk-size made larger
 * and that can't grow is a notice, unless --grow asked for it. */
int vm_prepare(const struct session *s, const struct args *a, struct vm_spec *spec,
               const struct vm_copies *copies, const struct offline_options *disk,
               struct error **err);

/* Rows of a command's table of options. */
// clang-format off
#define PREPARE_OPTIONS \
    {"inject", 0, NULL, "Write a login for the VM's key into its disk before the first boot", NULL}, \
    {"hostname", 0, "NAME", "Write the guest's host name into its disk before the first boot", NULL}, \
    {"grow", 0, NULL, "Grow the last partition and its file system to the disk's end before the first boot [default with --disk-size]", NULL}, \
    {"no-grow", 0, NULL, "Leave that to the guest", NULL}
// clang-format on

#endif
