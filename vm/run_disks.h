/* SPDX-License-Identifier: MIT
 *
 * The disks of a VM that is run (vm/run.h), attached or detached, as QEMU is to open them.
 *
 *     #include "vm/run_machine.h"
 *     // given struct vm_run_options options; struct strv args;
 *     json_auto_t *disks = vm_run_disks(&options, &err);
 *     vm_run_machine(&options, disks, &args);
 */
#ifndef VM_RUN_DISKS_H
#define VM_RUN_DISKS_H

#include "vm/run.h"

#include <jansson.h>

/* Block nodes (qcow2/nodes.h), an array for each disk, by absolute names: new reference. The top nodes
 * are "disk", "disk1", …. Without keep the writable top of disk i is in the fdset i + 1, which the caller
 * adds. ERR_SYSTEM, ERR_USER as qcow2_nodes. */
json_t *vm_run_disks(const struct vm_run_options *o, struct error **err);

/* Where the guest's writes to disk i go: the last file of its chain. Borrowed. */
const char *vm_run_disk_top(const struct vm_run_options *o, size_t i);

/* ERR_USER: the bus has no room for that many disks. */
int vm_run_check_disks(const struct vm_run_options *o, struct error **err);

#endif
