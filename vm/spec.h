/* SPDX-License-Identifier: MIT
 *
 * A VM as a value: its hardware and how it is reached, apart from its disk and from any process.
 * `kiln run` makes one from its options, `kiln create` keeps it in vm.json for `kiln start`.
 *
 *     CLEANUP(vm_spec_clear) struct vm_spec spec;
 *     vm_spec_init(&spec);
 *     spec.memory_mb = 2048;
 *     vm_spec_set(&spec.ssh.user, "root");
 *     json_auto_t *v = vm_spec_to_json(&spec);
 *     vm_spec_from_json(v, &spec, &err);
 *
 * The JSON form, version 1; members that are absent have vm_spec_init's values, unknown ones are
 * ignored:
 *
 *   {"version": 1, "memory_mb": 1024, "cpus": 2, "accel": "tcg", "qemu": "qemu-system-x86_64",
 *    "disk_bus": "virtio" | "ide" | "scsi", "kernel": "/path", "initrd": "/path", "append": "text",
 *    "uefi": false, "nics": [{"driver": "virtio-net-pci", "bridge": "br0",
 *              "group": "239.255.1.2:20000", "mac": "52:54:00:00:00:01",
 *              "forwards": [{"address": "127.0.0.1", "host_port": 8080, "guest_port": 80,
 *                           "udp": true}]}],
 *    "session": "serial" | "ssh" | "command", "command": "uname -a", "tty": false,
 *    "show_serial": false,
 *    "ssh": {"user": "vagrant", "key": "/path", "port": 2222, "timeout_ms": -1, "program": "ssh",
 *            "sftp_server": "sftp-server", "options": ["ForwardAgent=yes"]},
 *    "shutdown_timeout_ms": 20000, "qmp_timeout_ms": 10000, "timeout_ms": 0,
 *    "shares": [{"host": "/path", "guest": "/path", "read_only": false}],
 *    "console_log": "/path", "qemu_args": ["-snapshot"]}
 */
#ifndef VM_SPEC_H
#define VM_SPEC_H

#include "base/error.h"
#include "base/vector.h"

#include <jansson.h>
#include <stdbool.h>

enum vm_bus {
    VM_BUS_VIRTIO,
    VM_BUS_IDE,  /* for guests without virtio drivers */
    VM_BUS_SCSI, /* virtio-scsi: the disk is /dev/sda, as transient's images expect */
};

/* How the user is connected. */
enum vm_session {
    VM_SERIAL,      /* the serial console on stdin and stdout; Ctrl-A x ends, Ctrl-A h helps */
    VM_SSH_CONSOLE, /* a login shell over SSH */
    VM_SSH_COMMAND, /* one command over SSH, whose status is passed on */
};

/* A TCP or UDP port of the host that leads to one of the guest. */
struct vm_forward {
    char *address;                  /* of the host; owned; never NULL */
    unsigned host_port, guest_port; /* host_port 0 = the kernel chooses */
    bool udp;
};
DEFINE_VECTOR(vm_forwards, struct vm_forward);

/* A folder of the host in the guest (vm/share.h). Both paths are absolute, owned. */
struct vm_share {
    char *host, *guest;
    bool read_only;
};
DEFINE_VECTOR(vm_shares, struct vm_share);

/* A network device on QEMU's user network, on a bridge of the host, or on a network of VMs alone:
 * QEMUs that send each other packets by multicast on the host's loopback. */
struct vm_nic {
    char *driver; /* QEMU's device, "virtio-net-pci"; owned */
    char *bridge; /* owned; NULL = none */
    char *group;  /* "ADDRESS:PORT" of the multicast group; owned; NULL = none */
    char *mac;    /* owned; NULL = QEMU's */
    struct vm_forwards forwards;
};
DEFINE_VECTOR(vm_nics, struct vm_nic);

enum { VM_CPUS_MAX = 255 }; /* of QEMU's machine q35 */

/* All strings are owned; NULL = not given. */
struct vm_spec {
    unsigned memory_mb, cpus; /* 1 to VM_CPUS_MAX */
    char *accel;              /* as accel_parse takes it */
    char *qemu;               /* program, as qemu_find takes it */
    enum vm_bus disk_bus;
    char *kernel, *initrd; /* files that QEMU boots instead of the disk's own */
    char *append;          /* command line of kernel */
    struct vm_shares shares;
    struct vm_nics nics; /* the first one gets the forward to the guest's SSH; may be empty */
    enum vm_session session;
    char *command;    /* for VM_SSH_COMMAND */
    bool uefi;        /* UEFI firmware instead of QEMU's BIOS */
    bool tty;         /* the command gets a terminal if stdin is one */
    bool show_serial; /* the serial console is shown until SSH answers */
    struct {
        char *user;          /* NULL = found out at the login (vm/login.h) */
        char *key;           /* private key file; NULL = as vm/ssh.h says */
        unsigned port;       /* on 127.0.0.1, to the guest's port 22; 0 = the kernel chooses */
        int timeout_ms;      /* to the first login; -1 = 90 s, or 270 s without KVM */
        char *program;       /* in place of the built-in client (vm/ssh_program.h) */
        char *sftp_server;   /* for shares by sshfs, as sftp_server_find takes it */
        struct strv options; /* for ssh's -o; with any, that is used, too */
    } ssh;
    int shutdown_timeout_ms, qmp_timeout_ms;
    int timeout_ms;        /* for the whole session; 0 = none */
    char *console_log;     /* file that gets what the guest writes to its serial console */
    struct strv qemu_args; /* last on QEMU's command line */
};

/* 1 GB, 2 CPUs (1 on a host with one), a virtio disk, one virtio-net-pci, serial console, 20 s to power
 * off, 10 s for QMP. */
void vm_spec_init(struct vm_spec *spec);
void vm_spec_clear(struct vm_spec *spec);

/* Replaces an owned string; text may be NULL. */
void vm_spec_set(char **member, const char *text);
/* Takes all NICs away. */
void vm_spec_no_network(struct vm_spec *spec);
/* Adds a virtio-net-pci on the user network, which comes first. */
void vm_spec_user_nic(struct vm_spec *spec);
/* Adds one on a bridge of the host, whose other members have other hardware addresses. */
void vm_spec_bridge(struct vm_spec *spec, const char *bridge, const char *mac);
/* Adds a virtio-net-pci on a network of VMs, as struct vm_nic has it. */
void vm_spec_group(struct vm_spec *spec, const char *group, const char *mac);
/* The first NIC that is on a bridge; NULL = none. */
const struct vm_nic *vm_spec_bridged(const struct vm_spec *spec);
/* Whether the first NIC is on the user network, which leads to the guest's SSH. */
bool vm_spec_has_user_network(const struct vm_spec *spec);
/* Adds a forward to the first NIC, which must be on the user network; its address is copied. */
void vm_spec_forward(struct vm_spec *spec, const struct vm_forward *forward);

/* Adds a share; its paths are copied. */
void vm_spec_share(struct vm_spec *spec, const struct vm_share *share);

/* New reference; NULL if a string is not UTF-8. */
json_t *vm_spec_to_json(const struct vm_spec *spec);
/* Replaces what *ret held, which stays as it is on errors. ERR_USER: a newer version, or a member
 * of the wrong type or out of range, which is named. */
int vm_spec_from_json(const json_t *v, struct vm_spec *ret, struct error **err);

#endif
