/* SPDX-License-Identifier: MIT
 *
 * How a VM is started and reached: what `run`, `create` and `start` have in common.
 *
 *     // given struct args *args; int status;
 *     CLEANUP(vm_options_clear) struct vm_options o;
 *     vm_options_init(&o);
 *     vm_options_take(args, &o, &err);          // may come again: later options win
 *     status = vm_options_boot(session, &o, &err);
 */
#ifndef CLI_VM_OPTIONS_H
#define CLI_VM_OPTIONS_H

#include "cli/command.h"
#include "vm/run.h"

struct vm_options {
    struct vm_run_options run; /* the caller sets files, n_files, size, keep and hold */
    const char *accel, *qemu;  /* as given; NULL = the default */
    bool ssh_timeout_given;
    struct strv qemu_args; /* owned */
};
void vm_options_init(struct vm_options *o);
void vm_options_clear(struct vm_options *o);

/* Sets what the arguments say and leaves the rest; strings are borrowed from the arguments. */
int vm_options_take(const struct args *a, struct vm_options *o, struct error **err);
/* Finds QEMU, chooses the accelerator and runs the VM for this user; the exit status or -1. */
int vm_options_boot(const struct session *s, struct vm_options *o, struct error **err);

/* Rows of a command's table of options. */
// clang-format off
#define VM_OPTIONS \
    {"ssh-command", 0, "CMD", "Run a command over SSH; its exit status becomes kiln's", NULL}, \
    {"ssh-console", 0, NULL, "A shell over SSH instead of the serial console", "ssh"}, \
    {"ssh-with-serial", 0, NULL, "As --ssh, and show the serial console until SSH is there", "sshs"}, \
    {"ssh-user", 0, "USER", "User to log in as [default: vagrant]", NULL}, \
    {"ssh-key", 0, "FILE", "Private key [default: kiln's own, ssh-agent's, ~/.ssh/id_*]", NULL}, \
    {"ssh-port", 0, "PORT", "Port on 127.0.0.1 for the guest's SSH [default: a free one]", NULL}, \
    {"ssh-timeout", 0, "SECONDS", "How long to wait for SSH [default: 90, without KVM 270]", NULL}, \
    {"ssh-net-driver", 0, "DRIVER", "QEMU's network device [default: virtio-net-pci]", NULL}, \
    {"shutdown-timeout", 0, "SECONDS", "How long the guest may take to power off [default: 20]", NULL}, \
    {"qmp-timeout", 0, "SECONDS", "How long QEMU may take to answer [default: 10]", NULL}, \
    {"qemu-bin-name", 0, "PROGRAM", "QEMU [default: KILN_QEMU or qemu-system-x86_64]", NULL}, \
    {"accel", 0, "auto|kvm|tcg", "Accelerator [default: KILN_ACCEL or auto]", NULL}, \
    {"memory", 0, "SIZE", "Memory of the VM [default: 1GB]", NULL}, \
    {"cpus", 0, "N", "CPUs of the VM [default: 2, or 1 on a host with one]", NULL}, \
    {"no-virtio", 0, NULL, "An IDE disk, for guests without virtio drivers", "no-virtio-scsi"}
// clang-format on

#endif
