/* SPDX-License-Identifier: MIT
 *
 * Volumes of VMs of a VMFile: disks that outlive the VM, <vmstore>/.volumes/<VM>/<name>.qcow2.
 *
 *     // given struct session *session; const struct fleet_vm *vm; struct vm_spec spec;
 *     fleet_volumes_make(session, vm, &err);
 *     fleet_volumes_spec(session, vm, &spec);
 */
#ifndef CLI_FLEET_VOLUME_H
#define CLI_FLEET_VOLUME_H

#include "fleet/fleet.h"
#include "vm/spec.h"

struct session;

/* Makes those that are missing, and grows the others. The VM must not run. ERR_USER: one has more bytes
 * than it should. */
int fleet_volumes_make(const struct session *s, const struct fleet_vm *vm, struct error **err);
/* Attaches them. */
void fleet_volumes_spec(const struct session *s, const struct fleet_vm *vm, struct vm_spec *spec);
int fleet_volumes_remove(const struct session *s, const char *name, struct error **err);

#endif
