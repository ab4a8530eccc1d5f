/* SPDX-License-Identifier: MIT
 *
 * UEFI firmware for a VM: OVMF, of Debian's package of that name. Its code is only read; its variables
 * (the boot entries that an installer makes) are a file of the VM's own.
 *
 *     // given struct strv args; const char *dir;
 *     CLEANUP(vm_uefi_clear) struct vm_uefi u = {0};
 *     vm_uefi_open(dir, &u, &err);
 *     vm_uefi_args(&args, &u);
 */
#ifndef VM_UEFI_H
#define VM_UEFI_H

#include "base/error.h"
#include "base/vector.h"

#include <stdbool.h>

#define VM_UEFI_VARS "uefi-vars.fd"

struct vm_uefi {
    char *code, *vars;
    bool throw_away; /* what is written to vars is dropped when QEMU ends */
};

/* dir: the VM's folder, where VM_UEFI_VARS is made from the firmware's template at the first start; NULL:
 * the VM leaves nothing. ERR_NOT_FOUND: no firmware is installed. */
int vm_uefi_open(const char *dir, struct vm_uefi *ret, struct error **err);
void vm_uefi_clear(struct vm_uefi *u);
/* QEMU's arguments. */
void vm_uefi_args(struct strv *args, const struct vm_uefi *u);

#endif
