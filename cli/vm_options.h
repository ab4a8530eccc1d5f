/* SPDX-License-Identifier: MIT
 *
 * How a VM is started and reached: what `run`, `create` and `start` have in common.
 *
 *     // given struct args *args; struct vm_run_disk disk;
 *     CLEANUP(vm_spec_clear) struct vm_spec spec;
 *     vm_spec_init(&spec);
 *     vm_options_take(args, &spec, &err);          // may come again: later options win
 *     struct vm_run_options o = {.disks = &disk, .n_disks = 1, .hold = -1};
 *     int status = vm_options_boot(session, &spec, &o, NULL, NULL, false, &err);
 */
#ifndef CLI_VM_OPTIONS_H
#define CLI_VM_OPTIONS_H

#include "cli/command.h"
#include "cli/config.h"
#include "cli/ssh_options.h"
#include "cli/vm_copy.h"
#include "cli/vm_share.h"
#include "vm/named.h"
#include "vm/run.h"

#include <jansson.h>

/* Sets what the arguments say and leaves the rest. A key file becomes an absolute path. */
int vm_options_take(const struct args *a, struct vm_spec *spec, struct error **err);
/* --disk-size: *size, that of the image's disk in bytes, grows to it. ERR_USER if it is smaller. */
int vm_options_disk_size(const struct args *a, uint64_t *size, struct error **err);
/* --kernel, --initrd and --append. ERR_USAGE: the others without --kernel; ERR_NOT_FOUND… of a file. */
int vm_options_kernel(const struct args *a, struct vm_spec *spec, struct error **err);
/* Finds QEMU, chooses the accelerator and runs the VM for this user; the exit status or -1. Of
 * `disk` the members that are about the disks count, stop_when_full with them. named: the VM of the store that it is, whose
 * lock is held; NULL = none. copies: what
 * goes in and out over SSH, or NULL. With `detach` it goes on alone, and 0 comes once it runs. */
int vm_options_boot(const struct session *s, const struct vm_spec *spec,
                    const struct vm_run_options *disk, const struct named_vm *named,
                    const struct vm_copies *copies, bool detach, struct error **err);
/* ERR_USAGE: run's command with an option that it does not go with, or --tty without a terminal. */
int vm_options_check_command(const struct args *a, struct error **err);
/* ERR_USAGE: --detach with an option that connects the user. */
int vm_options_check_detach(const struct args *a, struct error **err);

/* Rows of a command's table of options. */
// clang-format off
#define DETACH_OPTION {"detach", 'd', NULL, "Leave the VM running in the background", NULL}
#define DISK_SIZE_OPTION \
    {"disk-size", 0, "SIZE", "A disk larger than the image's, such as 20GB; its file system grows", NULL}
#define KERNEL_OPTIONS \
    {"kernel", 0, "FILE", "Boot this kernel instead of what the disk would boot", NULL}, \
    {"initrd", 0, "FILE", "Initramfs for --kernel", NULL}, \
    {"append", 0, "TEXT", "Command line for --kernel", NULL}
#define VM_OPTIONS \
    {"ssh-command", 0, "CMD", "Run a command over SSH; its exit status becomes kiln's", "cmd"}, \
    {"ssh-console", 0, NULL, "A shell over SSH instead of the serial console", "ssh"}, \
    {"ssh-with-serial", 0, NULL, "As --ssh, and show the serial console until SSH is there", "sshs"}, \
    {"ssh-user", 0, "USER", "User to log in as [default: the image's, else the first that can log in of vagrant, root and its cloud user]", NULL}, \
    {"ssh-key", 0, "FILE", "Private key [default: the VM's, kiln's own, ssh-agent's, ~/.ssh/id_*]", NULL}, \
    {"ssh-port", 0, "PORT", "Port on 127.0.0.1 for the guest's SSH [default: a free one]", NULL}, \
    {"ssh-timeout", 0, "SECONDS", "How long to wait for SSH [default: 90, without KVM 270]", NULL}, \
    SSH_PROGRAM_OPTIONS, \
    VOLUME_OPTION, \
    CONFIG_OPTION, \
    {"publish", 'p', "[ADDRESS:]PORT:GUEST-PORT[/udp]", "Forward a port of 127.0.0.1, or ADDRESS, to the guest", NULL}, \
    {"ssh-net-driver", 0, "DRIVER", "QEMU's network device [default: virtio-net-pci]", NULL}, \
    {"shutdown-timeout", 0, "SECONDS", "How long the guest may take to power off [default: 20]", NULL}, \
    {"qmp-timeout", 0, "SECONDS", "How long QEMU may take to answer [default: 10]", NULL}, \
    {"qemu-bin-name", 0, "PROGRAM", "QEMU [default: KILN_QEMU or qemu-system-x86_64]", NULL}, \
    {"accel", 0, "auto|kvm|tcg", "Accelerator [default: KILN_ACCEL or auto]", NULL}, \
    {"memory", 'm', "SIZE", "Memory of the VM [default: 1GB]", NULL}, \
    {"cpus", 0, "N", "CPUs of the VM [default: 2, or 1 on a host with one]", "vcpus"}, \
    {"network", 0, "user|none|tap,bridge=NAME", "Network of the guest; none: no device at all [default: user]", NULL}, \
    {"disk-bus", 0, "virtio|scsi|ide", "What the disk is attached to; scsi: it is /dev/sda [default: virtio]", NULL}, \
    {"no-virtio", 0, NULL, "As --disk-bus ide, for guests without virtio drivers", "no-virtio-scsi"}, \
    {"uefi", 0, NULL, "Boot by UEFI firmware (the package ovmf) instead of a BIOS", NULL}, \
    KERNEL_OPTIONS, \
    {"console", 0, "FILE", "Write what the guest says on its serial console to FILE", NULL}, \
    {"timeout", 0, "SECONDS", "End the VM after this time, with exit status 124 [default: none]", NULL}
// clang-format on

#endif
