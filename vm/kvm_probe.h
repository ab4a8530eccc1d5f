/* SPDX-License-Identifier: MIT
 *
 * Whether KVM can run a guest, asked of the kernel alone: no QEMU, no guest kernel.
 *
 *     if (kvm_probe(&err) < 0)
 *         puts(err->message);   // "KVM is too slow here: …"
 *
 * A /dev/kvm that opens proves little: there are hosts where 64-bit guest code is interpreted, and
 * a guest kernel seems to hang. The probe runs a million turns of a loop in long mode, a CPUID, an
 * OUT and a HLT: less than a millisecond on a processor, 20 to 80 ms under emulated SVM, seconds
 * where code is interpreted.
 */
#ifndef VM_KVM_PROBE_H
#define VM_KVM_PROBE_H

#include "base/error.h"

/*
 * 0: guest code runs. -1: it does not, or not within 0.5 s of processor time (so a busy host makes
 * no difference) and 5 s in all. Errors: ERR_GUEST, with a message that says which it was;
 * ERR_SYSTEM when no process can be started for it. Call it from the main thread (it forks).
 */
int kvm_probe(struct error **err);

/* "kvm_intel", "kvm_amd" or "kvm_pvm": whose /dev/kvm it is, by the loaded modules (those built in
 * have a name there too); NULL = none of them. */
const char *kvm_module(void);
/* The module and those of its parameters that a guest can tell, as "kvm_amd npt=1 nested=1"; owned.
 */
char *kvm_module_text(void);
/* -1 with an error if the module is known to run no ordinary guest kernel at a useful speed, which
 * the probe would find out in half a second. */
int kvm_module_check(struct error **err);

#endif
