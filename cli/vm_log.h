/* SPDX-License-Identifier: MIT
 *
 * A log in the folder of a VM that runs, or ran, in the background, on standard output.
 *
 *     // given struct session *session; struct named_vm vm;
 *     vm_log_show(session, &vm, VM_CONSOLE_LOG, 20, true, &err);
 */
#ifndef CLI_VM_LOG_H
#define CLI_VM_LOG_H

#include "base/error.h"
#include "vm/named.h"

struct session;

#define VM_CONSOLE_LOG "console.log"

/* The last `lines` lines of the file `name` (-1 = all); follow: until the VM ends, or the user interrupts. ERR_NOT_FOUND:
 * there is none. */
int vm_log_show(const struct session *s, const struct named_vm *vm, const char *name,
                long long lines, bool follow, struct error **err);

#endif
