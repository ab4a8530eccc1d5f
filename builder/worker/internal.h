/* SPDX-License-Identifier: MIT
 *
 * What the files vm*.c share: the builder VM itself. Nobody else includes this.
 */
#ifndef BUILDER_WORKER_INTERNAL_H
#define BUILDER_WORKER_INTERNAL_H

#include "base/working.h"
#include "builder/agent/message.h"
#include "builder/agent/protocol.h"
#include "builder/appliance/appliance.h"
#include "builder/appliance/template.h"
#include "builder/worker/relay.h"
#include "builder/worker/stream.h"
#include "builder/worker/vm.h"
#include "vm/accel.h"
#include "vm/qemu.h"
#include "vm/vm.h"

/* Everything the guest can see of its machine, and so everything a template depends on. */
struct machine {
    struct qemu qemu;
    struct appliance appliance;
    enum accel accel; /* not auto */
    unsigned memory_mb, cpus;
};

struct disk_slot {
    struct strv nodes; /* nodes of ours, from the lowest; the last is the device's; none = the
                        * placeholder */
    char *path;        /* the file written to, for messages */
    uint64_t size;     /* bytes that the guest shall see */
};

/* See pulse.c; times by now_ms. */
struct pulse {
    bool watched;
    long long next;  /* when to send */
    long long asked; /* when the first that has not come back was sent; 0 = all came back */
};

struct builder_vm {
    struct runner runner;
    const struct session *session;
    struct session *own_session; /* the same, where it was started ahead; NULL */
    struct vm *vm;               /* NULL once it has ended */
    struct stream_server *stream;
    struct machine machine;
    bool restored;      /* from its template */
    bool may_fall_back; /* KVM was our choice, not the user's */
    struct disk_slot slots[AGENT_DISKS];
    unsigned next_node;      /* for names of nodes */
    char *cwd;               /* QEMU's; NULL = ours */
    struct working work;     /* throw-away overlays */
    struct guestfs *guestfs; /* of guestfs_runner (guestfs.h); NULL = of the other one */
    uint32_t next_id;
    struct buf received; /* from the agent, not yet a whole frame */
    bool out_of_step;    /* a frame was left unfinished: no further call can work */
    bool lost;           /* it died, went silent or broke the protocol */
    struct pulse pulse;
    int io_slot; /* an I/O error of the host stopped the VM; -1 = none */
    bool io_nospace;
    char *io_reason;
    char release[128];  /* the agent's uname -r */
    long long answered; /* when, by now_ms */
};

enum {
    BOOT_TIMEOUT_MS = 300 * 1000,
    KVM_TRIAL_MS = 120 * 1000, /* a boot under KVM, where TCG is the other choice */
    QMP_TIMEOUT_MS = 20 * 1000,
    RESTORE_TIMEOUT_MS = 40 * 1000
};

/* machine.c: the command line. */

/* Fills accel, memory and cpus; not qemu and appliance. */
void machine_size(struct machine *m, const struct runner_options *o);
void machine_clear(struct machine *m);
/* Owned text of all that a template depends on. */
char *machine_key(const struct machine *m);

enum machine_start { MACHINE_COLD, MACHINE_TEMPLATE, MACHINE_RESTORE };
/* t may be NULL for MACHINE_COLD. nodes[i] are the block nodes of slot i, an array, the device's
 * last; NULL = its placeholder. */
void machine_args(struct strv *args, const struct machine *m, enum machine_start start,
                  const struct saved *t, json_t *const nodes[AGENT_DISKS]);
uint64_t machine_placeholder_size(int slot); /* bytes */
char *machine_placeholder_node(int slot);    /* its node name; owned */

/* boot.c: fills vm->vm and vm->stream; the agent has answered HELLO. target are the nodes of
 * slot 0, or NULL. */
int builder_vm_boot(struct builder_vm *vm, json_t *target, struct error **err);
/* Ends QEMU and forgets what the agent sent. */
void builder_vm_kill(struct builder_vm *vm);

/* disk.c */

/* The block nodes of a disk for this slot (qcow2_nodes); their names go to *ret. */
json_t *builder_vm_disk_nodes(struct builder_vm *vm, int slot, const struct runner_disk *disk,
                              struct disk_slot *ret, struct error **err);
/* Puts another disk behind the device of a slot whose disk was of another size, so that the guest
 * sees the change. */
int builder_vm_exchange(struct builder_vm *vm, int slot, const struct runner_disk *disk,
                        struct error **err);
/* Tells the guest that something else is in the slot, and how large it is. */
int builder_vm_announce(struct builder_vm *vm, int slot, struct error **err);
/* Waits until the guest has seen what was announced. */
int builder_vm_seen(struct builder_vm *vm, int slot, struct error **err);
void disk_slot_clear(struct disk_slot *s);

/* pulse.c */
/* From now on waits end with ERR_GUEST when the guest shows no sign of life. */
void builder_vm_pulse_start(struct builder_vm *vm);
struct pollfd builder_vm_pulse_fd(const struct builder_vm *vm); /* what a wait polls for it */
/* A wait's deadline, or an earlier time when the next sign is due. */
long long builder_vm_pulse_deadline(const struct builder_vm *vm, long long deadline);
int builder_vm_pulse(struct builder_vm *vm, struct error **err);

/* guestfs.c: what is different in guestfs_runner. */
int guestfs_start(const struct session *s, const struct runner_options *o, struct runner **ret,
                  struct error **err);
int guestfs_mount(struct runner *r, int slot, bool read_only, const json_t *mounts,
                  struct error **err);
int guestfs_exec(struct runner *r, const struct runner_exec *e, struct runner_wait w,
                 int *ret_status, char **ret_changed, struct error **err);
int guestfs_terminal(struct runner *r, const struct runner_exec *e, int *ret_status,
                     struct error **err);
int guestfs_set_disk(struct runner *r, int slot, const struct runner_disk *disk,
                     struct error **err);
void guestfs_free(struct guestfs *g); /* ends its program; NULL is fine */

/* call.c */
/* The first request; flags: AGENT_REHEARSE or 0. */
int builder_vm_hello(struct builder_vm *vm, int flags, int timeout_ms, struct error **err);
/* Waits for QMP, the console, the end of QEMU and fds (n at most BUILDER_VM_FDS) as vm_wait does, and
 * turns an I/O error of the host, which stops the VM, into an error. */
enum { BUILDER_VM_FDS = RELAY_FDS + 8 };
int builder_vm_wait(struct builder_vm *vm, struct pollfd *fds, size_t n, long long deadline,
                    struct error **err);

#endif
