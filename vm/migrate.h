/* SPDX-License-Identifier: MIT
 *
 * Memory and devices of a VM to a file and back: QEMU's migration stream. Used for the builder VM's
 * template, saved boots (vm/warm.h) and VMs that are suspended to disk (vm/state.h).
 *
 *     // given struct session *session; struct qmp *qmp; int fd;
 *     vm_migrate(session, qmp, VM_MIGRATE_OUT, fd, true, &err);      // of a VM that is stopped
 *     vm_migrate(session, qmp, VM_MIGRATE_IN, fd, true, &err);       // into one with -incoming defer
 */
#ifndef VM_MIGRATE_H
#define VM_MIGRATE_H

#include "base/error.h"

#include <stdbool.h>

struct qmp;
struct session;

enum vm_migrate { VM_MIGRATE_OUT, VM_MIGRATE_IN };

/* Returns when all has been written or read. devices_only: memory that is a file stays there
 * (x-ignore-shared; what reads it maps the same bytes). ERR_SYSTEM with QEMU's reason; ERR_CANCELLED;
 * the errors of qmp_wait_event once QEMU is gone. */
int vm_migrate(const struct session *s, struct qmp *q, enum vm_migrate way, int fd,
               bool devices_only, struct error **err);

#endif
