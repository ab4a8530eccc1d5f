/* SPDX-License-Identifier: MIT
 *
 * VMs that start from a saved boot: the first one of its kind boots, is saved when it is ready (memory,
 * devices, what it wrote to its disks; a kind of vm/saved.h), and it and every later one are restored
 * from that, each with a throw-away overlay of its own on top.
 *
 *   <cache>/warm/<key>/ram, state, disk0.qcow2, disk1.qcow2…, warm.json
 *
 * The key is the text of vm_warm_key: the disks below, QEMU, its arguments without forwarded ports, and
 * under KVM the host's processor. A copy is told the time and gets random bytes by a small program that
 * waits in the guest since it was saved (vm/guest/wake.c), before anybody uses it; QEMU's vmgenid
 * device gets a new GUID, too. A plain command is run by another such program, in the login that it was
 * saved with (vm/guest/command.c): SSH would take most of the time, as all of it is translated anew.
 *
 *     // given struct session *session; struct vm_run_options options; int status;
 *     struct vm_warm_wish wish = {.image = "debian", .backend = "/home/me/backend", .layer = "0123"};
 *     vm_warm_run(session, &options, &wish, &status, &err);      // as vm_run
 */
#ifndef VM_WARM_H
#define VM_WARM_H

#include "base/error.h"
#include "vm/run.h"
#include "vm/saved.h"
#include "vm/ssh.h"

#include <stdbool.h>

struct qmp;
struct session;
struct strv;
struct vm;

/* When the boot is saved, besides that SSH answers, where the guest has a network. All strings borrowed;
 * at most one is set. */
struct vm_warm_ready {
    const char *serial; /* a line of the console matches this extended regular expression */
    unsigned port;      /* the guest listens on this TCP port; 0 = not asked */
    const char *file;   /* an absolute path of the guest exists */
};
/* "serial:REGEX", "port:80", "file:/run/ready"; text is borrowed. ERR_USAGE: another kind, no regular
 * expression, no port, no absolute path. */
int vm_warm_ready_parse(const char *text, struct vm_warm_ready *ret, struct error **err);

/* All is borrowed. */
struct vm_warm_wish {
    const char *image, *backend,
        *layer; /* where it is from, for vm_warm_sweep; backend is a real path */
    struct vm_warm_ready ready;
    const char *ready_text; /* as the user wrote it; NULL = none */
    bool
        compress; /* the memory is packed: less disk, but a restore takes longer and shares no pages */
    bool quiet;  /* why it boots is told with -v alone */
    bool strict; /* a guest that cannot be told the time, or given random bytes, is an error */
    bool
        again; /* an earlier start of the VM was not completed: what is written to its disks may be its */
    bool
        only; /* vm_warm_run makes it, unless there is one, and that is all; an error if it cannot be */
    uint64_t max_bytes; /* what all saved boots may take on the disk; 0 = 4 GiB */
};

/* As vm_run. What has no saved boot and cannot have one boots, with one notice that says why. Shared
 * folders are opened here (o->share_fds is NULL): a copy has no device for them, and mounts them by sshfs. With o->keep
 * the disks are as for vm_warm_detach. */
int vm_warm_run(const struct session *s, const struct vm_run_options *o,
                const struct vm_warm_wish *wish, int *ret_status, struct error **err);
/* As vm_detach, for a VM that has never been started: its disks, overlays in which nothing is written
 * yet (if something is, it boots), become copies of those of the saved boot. If it does not get as far as
 * to run, they are as before. */
int vm_warm_detach(const struct session *s, const struct vm_run_options *o,
                   const struct vm_warm_wish *wish, const char *dir, struct error **err);
/* Whether this QEMU was restored from a saved boot, and not from a state of its own since. */
bool vm_warm_is(struct qmp *qmp);
/* Whether it has the devices of one that was, then or earlier. */
bool vm_warm_was(struct qmp *qmp);
struct saved_sum vm_warm_usage(const struct session *s);
/* Removes those that were not used for max_age seconds (0: all). */
struct saved_sum vm_warm_prune(const struct session *s, long long max_age, bool dry_run);
/* Removes those of the session's backend whose image is gone or another one now: layer_of gives the
 * id of the layer an image stands for, owned, NULL if there is no such image. */
typedef char *vm_warm_layer_fn(const struct session *s, const char *image);
void vm_warm_sweep(const struct session *s, vm_warm_layer_fn *layer_of);

/* --- for vm_run --- */

/* A VM that is being saved, or restored. */
struct vm_warm {
    bool saving;
    struct saved *saved;
    char *ram;  /* file that is the memory */
    int ram_fd; /* that file, for QEMU to inherit and to write to; -1: it is mapped copy-on-write */
    const struct vm_warm_wish *wish;
    bool
        again; /* neither: a copy that was suspended to disk (vm/state.h) goes on; the rest is unset */
    bool
        loading; /* restored: the state is in use, and until `resumed` a failure may be its fault */
    bool resumed; /* restored: it runs, and what happens from now on is not the state's fault */
    bool command; /* and a program in the guest runs the user's command: vm_warm_command */
};
/* For a VM of a state whose "warm" is true. */
#define VM_WARM_AGAIN \
    { \
        .again = true, .ram_fd = -1 \
    }
/* QEMU's arguments for it. */
void vm_warm_args(const struct vm_warm *w, struct strv *args);
/* Saving: `user` is logged in (ssh NULL: the guest has no network). When the guest is ready, the
 * program that waits is put into it, and one that runs this user's commands. */
int vm_warm_prepare(const struct session *s, const struct vm_run_options *o, struct vm *vm,
                    struct vm_ssh *ssh, const char *user, struct error **err);
/* Saving: nobody is logged in any more. Memory and devices are kept, and QEMU ends. */
int vm_warm_save(const struct session *s, const struct vm_run_options *o, struct vm *vm,
                 struct error **err);
/* Restores it and lets it go on: at the state's moment, but with the time and random bytes of its own. */
int vm_warm_resume(const struct session *s, const struct vm_run_options *o, struct vm *vm,
                   struct error **err);
/* Whether what the session is to do is done in the guest without SSH: a command, by the user who was
 * logged in when it was saved (the note's), with nothing that needs a connection. */
bool vm_warm_command_fits(const struct vm_run_options *o, const json_t *note);
/* The spec's command with the session's three streams, as vm_ssh_run; every wait goes through `wait`. */
int vm_warm_command(const struct session *s, const struct vm_run_options *o, struct vm *vm,
                    vm_ssh_wait_fn *wait, void *wait_arg, int *ret_status, struct error **err);

/* For a VM in the background: QEMU's arguments for the ports of the programs that wait, and both ends. */
enum { VM_WARM_PORTS = 3 };
struct vm_warm_ports {
    int ours[VM_WARM_PORTS], theirs[VM_WARM_PORTS];
};
#define VM_WARM_PORTS_INIT \
    { \
        {-1, -1, -1}, \
        { \
            -1, -1, -1 \
        } \
    }
int vm_warm_ports_open(struct vm_warm_ports *p, struct strv *args, struct error **err);
void vm_warm_ports_clear(struct vm_warm_ports *p);
/* As vm_warm_resume; commands are run over SSH. */
int vm_warm_resume_detached(const struct session *s, struct vm_warm *w, struct qmp *q,
                            const struct vm_warm_ports *p, struct error **err);

#endif
