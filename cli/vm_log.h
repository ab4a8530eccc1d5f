/* SPDX-License-Identifier: MIT
 *
 * The console log of a VM that runs, or ran, in the background, on standard output.
 *
 *     // given struct session *session; struct named_vm vm;
 *     vm_log_show(session, &vm, 20, true, &err);
 */
#ifndef CLI_VM_LOG_H
#define CLI_VM_LOG_H

#include "base/error.h"
#include "vm/named.h"

struct session;

/* The last `lines` lines (-1 = all); follow: until the VM ends, or the user interrupts. ERR_NOT_FOUND:
 * it was never started in the background. */
int vm_log_show(const struct session *s, const struct named_vm *vm, long long lines, bool follow,
                struct error **err);

#endif
