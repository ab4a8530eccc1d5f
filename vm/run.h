/* SPDX-License-Identifier: MIT
 *
 * One VM for one user: booted from a chain of disk files, used over its serial console or SSH, and
 * ended when the user leaves. `kiln run` is this; the store of named VMs uses it with `keep`.
 *
 *     // given struct vm_spec spec; struct qemu qemu; struct strv chain; uint64_t size; int status;
 *     struct vm_run_disk disk = {(const char *const *)chain.ptr, chain.len, size};
 *     struct vm_run_options o = {.spec = &spec, .qemu = &qemu, .accel = ACCEL_TCG};
 *     o.disks = &disk, o.n_disks = 1, o.hold = -1;
 *     vm_run(session, &o, &status, &err);
 *
 * Without `keep` what the guest writes goes to files without a name (O_TMPFILE in TMPDIR or
 * /var/tmp): they are gone with QEMU's end, however that comes, SIGKILL of kiln included.
 */
#ifndef VM_RUN_H
#define VM_RUN_H

#include "base/error.h"
#include "vm/accel.h"
#include "vm/qemu.h"
#include "vm/spec.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct session;
struct vm_ssh;
struct vm_uefi;
struct vm_warm;
struct vm_warm_wish;

struct vm_run_disk {
    const char *const *files; /* qcow2 chain from base to top */
    size_t n_files;
    uint64_t size; /* bytes */
};

struct vm_run_options {
    const struct vm_spec *spec;
    const struct qemu *qemu;
    const char *public_keys; /* lines for root's authorized_keys in a guest with systemd 252 or
                               * newer, which has none; NULL = none */
    const char *vm_key;      /* private key of one of them, as text, for the login; NULL = none */
    const char *image;       /* its name, for vm_login; NULL = not known */
    enum accel accel;        /* ACCEL_AUTO only where the spec's QEMU arguments choose one */
    const struct vm_run_disk *disks; /* the guest boots from the first */
    size_t n_disks;
    const struct vm_uefi *uefi; /* NULL = QEMU's BIOS */
    const char *seed;           /* cloud-init's (vm/seed.h): an absolute path; NULL = none */
    const int *share_fds;       /* of vm_share_links, which last until QEMU runs; NULL = none */
    bool keep;                  /* the guest writes to the top files themselves */
    int hold;     /* with keep: a descriptor whose kernel lock is to last until QEMU has ended */
    bool restore; /* it goes on from a state: vm/state.h's, or that of `warm` */
    bool
        stop_when_full; /* a host without space halts the guest, which otherwise sees an error; vm_run
                          * lets it go on when there is some */
    const struct vm_warm_wish *wish; /* for whoever calls vm_warm_run; NULL = it is to boot */
    struct vm_warm *warm;            /* the VM is saved or restored (vm/warm.h); NULL = neither */
    void (*started)(void *arg, bool restored); /* just before QEMU starts; NULL = none */
    /* QEMU runs; ssh_port leads to the guest's SSH, 0 = none; ports are those of vm_run_ports, borrowed.
     * NULL = not asked */
    void (*up)(void *arg, pid_t pid, unsigned ssh_port, json_t *ports);
    /* While SSH is awaited, as vm_ssh_options.waiting; line: the console's last one, NULL = the session
     * is not verbose. NULL = nobody listens */
    void (*waiting)(void *arg, long long ms, const char *line);
    /* With SSH: somebody is logged in, and: his command or shell has ended. -1 ends the session. NULL =
     * not asked */
    int (*entered)(void *arg, struct vm_ssh *ssh, struct error **err);
    int (*leaving)(void *arg, struct vm_ssh *ssh, struct error **err);
    void *arg;
};

/* Exit statuses of errors (struct error's status). */
enum {
    VM_EXIT_TIMEOUT = 124, /* the spec's timeout passed */
    VM_EXIT_PANIC = 125,   /* the guest's kernel panicked before or while SSH was used */
    VM_EXIT_NO_SSH = 126,  /* nobody could log in */
    VM_EXIT_DIED = 127,    /* the VM ended in the middle */
};

/*
 * Returns when the user has left and QEMU has ended. *ret_status: the SSH command's or shell's exit
 * status; 0 for the serial console. A guest that powered off ends console sessions with 0.
 * An interruption (ERR_CANCELLED) or any other error stops the VM at once; with `keep` by its power
 * button first.
 */
int vm_run(const struct session *s, const struct vm_run_options *o, int *ret_status,
           struct error **err);

/* How long the guest may take to its first login, ms: three times as long without KVM. */
int vm_run_ssh_timeout(const struct vm_spec *spec, enum accel accel);

/* Whether arguments for QEMU choose an accelerator, so that none should be given. */
bool vm_run_args_choose_accel(char *const *qemu_args);

#endif
