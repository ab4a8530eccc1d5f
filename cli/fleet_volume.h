/* SPDX-License-Identifier: MIT
 *
 * Volumes of VMs of a VMFile: disks that outlive the VM, <vmstore>/.volumes/<VM>/<name>.qcow2.
 *
 *     // given struct session *session; const struct fleet_file *file; const struct fleet_vm *vm;
 *     // given struct vm_spec spec;
 *     fleet_volumes_make(session, file, vm, &err);
 *     fleet_volumes_spec(session, vm, &spec);
 */
#ifndef CLI_FLEET_VOLUME_H
#define CLI_FLEET_VOLUME_H

#include "cli/fleet_file.h"
#include "vm/spec.h"

struct session;

/* In the folder of a VM's volumes: the path of the VMFile they belong to. As long as that is there, no
 * other VMFile has them: ERR_EXISTS, here and in fleet_volumes_remove. */
#define FLEET_VOLUME_OWNER "owner"

/* Makes those that are missing, and grows the others. The VM must not run. ERR_USER: one has more bytes
 * than it should. */
int fleet_volumes_make(const struct session *s, const struct fleet_file *f,
                       const struct fleet_vm *vm, struct error **err);
/* Attaches them. */
void fleet_volumes_spec(const struct session *s, const struct fleet_vm *vm, struct vm_spec *spec);
/* Removes all that a VM of this name had; those of another VMFile stay if vm has none itself. */
int fleet_volumes_remove(const struct session *s, const struct fleet_file *f,
                         const struct fleet_vm *vm, struct error **err);

#endif
