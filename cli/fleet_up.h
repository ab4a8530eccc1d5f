/* SPDX-License-Identifier: MIT
 *
 * What `up`, `down`, `reload` and `provision` do with one VM. Each takes the VM's lock for the fleet
 * first (<vmstore>/.fleet/NAME), so that two of them do not meet.
 *
 *     // given struct session *session; struct fleet_file file; const struct fleet_vm *vm;
 *     struct fleet_work work = {.session = session, .file = &file, .provision = true};
 *     fleet_up(&work, vm, &err);
 */
#ifndef CLI_FLEET_UP_H
#define CLI_FLEET_UP_H

#include "cli/fleet_define.h"
#include "vm/named.h"

struct fleet_work {
    struct session *session;
    const struct fleet_file *file;
    bool provision; /* of up, reload: run the provisions */
    bool destroy;   /* of down: remove the VM, too */
    bool volumes;   /* and with it its volumes */
    int timeout_ms; /* of down, reload: until the VM is killed */
    /* Whether there is nothing to do with a VM: then no process is started for it. NULL = there is always. */
    bool (*is_done)(const struct fleet_work *w, const struct fleet_vm *vm);
};

/* What stands in a VM's way, or what is to be done: of up and status. */
struct fleet_state {
    const char *state;        /* "absent", "stopped", "suspended", "running", "paused" */
    bool provisioned;         /* its provisions have run to their end */
    bool joined;              /* of one that runs: its addresses in the file's networks are set */
    bool mounted;             /* of one that runs: its shares are */
    enum fleet_change change; /* between the file and the VM */
    struct buf changes;       /* their text */
};
void fleet_state_clear(struct fleet_state *st);
/* vm is open afterwards unless it is absent. ERR_EXISTS: a VM of this name that is not of this file. */
int fleet_look(const struct session *s, const struct fleet_file *f, const struct fleet_vm *def,
               struct named_vm *vm, struct fleet_state *ret, struct error **err);
/* Whether no earlier up left anything to do: shares, networks, provisions. */
bool fleet_is_finished(const struct fleet_state *st);
/* Tells what fleet_up would do. */
int fleet_explain(const struct fleet_work *w, const struct fleet_vm *vm, struct error **err);

/* fleet_work.is_done of `up`: it runs as the file has it, and no other kiln works on it. */
bool fleet_is_up(const struct fleet_work *w, const struct fleet_vm *vm);

int fleet_up(const struct fleet_work *w, const struct fleet_vm *vm, struct error **err);
int fleet_down(const struct fleet_work *w, const struct fleet_vm *vm, struct error **err);
int fleet_reload(const struct fleet_work *w, const struct fleet_vm *vm, struct error **err);
int fleet_provision(const struct fleet_work *w, const struct fleet_vm *vm, struct error **err);

#endif
