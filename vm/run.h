/* SPDX-License-Identifier: MIT
 *
 * One VM for one user: booted from a chain of disk files, used over its serial console or SSH, and
 * ended when the user leaves. `kiln run` is this; the store of named VMs uses it with `keep`.
 *
 *     // given struct qemu qemu; struct strv chain; uint64_t size; int status;
 *     struct vm_run_options o = VM_RUN_OPTIONS_INIT;
 *     o.qemu = &qemu, o.size = size;
 *     o.files = (const char *const *)chain.ptr, o.n_files = chain.len;
 *     vm_run(session, &o, &status, &err);
 *
 * Without `keep` what the guest writes goes to a file without a name (O_TMPFILE in TMPDIR or
 * /var/tmp): it is gone with QEMU's end, however that comes, SIGKILL of kiln included.
 */
#ifndef VM_RUN_H
#define VM_RUN_H

#include "base/error.h"
#include "vm/accel.h"
#include "vm/qemu.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct session;

enum vm_run_mode {
    RUN_SERIAL,      /* the serial console on stdin and stdout; Ctrl-A x ends, Ctrl-A h helps */
    RUN_SSH_CONSOLE, /* a login shell over SSH */
    RUN_SSH_COMMAND, /* one command over SSH, its status passed on */
};

struct vm_run_options {
    const struct qemu *qemu;
    const char *const *files; /* qcow2 chain from base to top */
    size_t n_files;
    uint64_t size; /* of the disk, bytes */
    bool keep;     /* the guest writes to the top file itself */
    int hold;      /* with keep: a descriptor whose kernel lock is to last until QEMU has ended */
    enum accel accel; /* ACCEL_KVM or ACCEL_TCG */
    unsigned memory_mb, cpus;
    bool ide;               /* for guests without virtio drivers; else virtio-blk */
    char *const *qemu_args; /* NULL-terminated, last on QEMU's command line; NULL = none */
    enum vm_run_mode mode;
    bool serial_too;         /* show the serial console until SSH is there */
    const char *ssh_command; /* for RUN_SSH_COMMAND */
    const char *ssh_user;
    const char *ssh_key;    /* NULL = as vm/ssh.h says */
    const char *net_driver; /* "virtio-net-pci" */
    unsigned ssh_port;      /* on 127.0.0.1, to the guest's port 22; 0 = the kernel chooses */
    int ssh_timeout_ms, shutdown_timeout_ms, qmp_timeout_ms;
    void (*notice)(void *arg, const char *line); /* one line for the user; NULL = none */
    void (*started)(void *arg);                  /* just before QEMU starts; NULL = none */
    void *arg;
};
#define VM_RUN_OPTIONS_INIT \
    { \
        .hold = -1, .accel = ACCEL_TCG, .memory_mb = 1024, .cpus = 1, .ssh_user = "vagrant", \
        .net_driver = "virtio-net-pci", .ssh_timeout_ms = 90000, .shutdown_timeout_ms = 20000, \
        .qmp_timeout_ms = 10000 \
    }

/*
 * Returns when the user has left and QEMU has ended. *ret_status: the SSH command's or shell's exit
 * status; 0 for the serial console. A guest that powered off ends console sessions with 0.
 * An interruption (ERR_CANCELLED) or any other error stops the VM at once; with `keep` by its power
 * button first.
 */
int vm_run(const struct session *s, const struct vm_run_options *o, int *ret_status,
           struct error **err);

/* Whether arguments for QEMU choose an accelerator, so that none should be given. */
bool vm_run_args_choose_accel(char *const *qemu_args);

#endif
