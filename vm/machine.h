/* SPDX-License-Identifier: MIT
 *
 * A machine as QEMU's command line has it: `run` and the builder VM describe theirs with the same
 * struct and get their arguments from one place.
 *
 *     struct vm_machine m = {.accel = ACCEL_TCG, .memory_mb = 1024, .cpus = 2};
 *     CLEANUP(strv_clear) struct strv args = {0};
 *     vm_machine_args(&args, &m);          // for vm_start (vm/vm.h), which adds QMP and console
 */
#ifndef VM_MACHINE_H
#define VM_MACHINE_H

#include "base/vector.h"
#include "vm/accel.h"
#include "vm/spec.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct vm_machine_disk {
    const json_t *nodes; /* block nodes for -blockdev, each after the ones below it; the device gets
                          * the last */
    const char *device;  /* "virtio-blk-pci,bootindex=1", without its drive */
};

struct vm_machine_nic {
    const char *id;     /* of the backend */
    const char *device; /* "virtio-net-pci,romfile=", without its netdev */
    const char *bridge; /* of the host, by qemu-bridge-helper */
    const char *group;  /* multicast group on the host's loopback; both NULL = the user network */
    const char *mac;    /* NULL = QEMU's */
    const char *user;   /* further properties of the user network, "ipv6=off"; NULL = none */
    const struct vm_forward *forwards;
    size_t n_forwards;
};

/* A virtio-serial port in the guest, joined to a chardev of vm_start's. */
struct vm_machine_port {
    const char *chardev, *name;
};

/* Everything is borrowed. */
struct vm_machine {
    enum accel accel; /* ACCEL_AUTO: the extra arguments choose one */
    const char *cpu;  /* NULL = what accel_cpu says; not used with ACCEL_AUTO */
    const char *type; /* value of -machine; NULL = QEMU's default */
    bool bare;        /* no device that is not named here, no configuration files, no reboot */
    unsigned memory_mb, cpus;
    const char *ram; /* file that is the memory; NULL = anonymous memory */
    bool ram_shared; /* writes go to that file; else they are private. Without a file: memory that
                      * another process can map, for vhost-user devices */
    const char *kernel, *initrd, *append; /* NULL = none */
    bool incoming;                        /* started by migrate-incoming, for device state */
    const struct vm_machine_port *ports;
    size_t n_ports;
    const struct vm_machine_nic *nics;
    size_t n_nics;
    bool no_nics;       /* not QEMU's default one either */
    const char *smbios; /* value of -smbios; NULL = none */
    bool scsi;          /* a virtio-scsi controller, for devices such as scsi-hd */
    const struct vm_machine_disk *disks;
    size_t n_disks;
    char *const *extra; /* NULL-terminated, last; NULL = none */
};

/* Adds the arguments, without the program's name. The same machine always gives the same ones. A
 * serial port on chardev "console" and a virtio-rng are always part of it. */
void vm_machine_args(struct strv *args, const struct vm_machine *m);

#endif
