/* SPDX-License-Identifier: MIT
 *
 * Named VMs: the VM store, a folder of folders.
 *
 *   <vmstore>/<name>/disk.qcow2   what the guest has written, on top of a layer of the backend;
 *                                 disk-1.qcow2, …: to further disks
 *   <vmstore>/<name>/vm.json      what it was made from and how it is to be started: the caller's
 *   <vmstore>/<name>/id_ed25519   its private SSH key (vm/ssh_key.h)
 *   <vmstore>/<name>/lock         whoever runs or removes the VM holds the kernel lock of this
 *                                 file, which then holds his process number
 *   <vmstore>/.working/           what is being made (base/working.h)
 *
 *     // given const char *vmstore; json_t *config;
 *     CLEANUP(working_clear) struct working w = WORKING_INIT;
 *     named_vm_begin(vmstore, "web", &w, &err);
 *     ...                                 // the disk, at path_join(w.dir, NAMED_VM_DISK)
 *     named_vm_commit(vmstore, "web", &w, config, &err);   // now it is there, whole
 *
 *     CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
 *     named_vm_open(vmstore, "web", &vm, &err);
 *     named_vm_lock(&vm, &err);                            // ERR_BUSY: it runs
 *
 * <name> is encoded as vm/name.h says, which also says what is a name.
 */
#ifndef VM_NAMED_H
#define VM_NAMED_H

#include "base/error.h"
#include "base/vector.h"
#include "base/working.h"

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#define NAMED_VM_DISK "disk.qcow2"

struct session;

struct named_vm {
    char *name, *dir, *disk;
    char *word; /* the name as one types it to a shell, for hints that hold a command */
    json_t *config;
    int lock; /* held; -1 = not */
};
#define NAMED_VM_INIT \
    { \
        NULL, NULL, NULL, NULL, NULL, -1 \
    }
void named_vm_clear(struct named_vm *vm); /* ends the lock */

/* How many disks a VM has: one, and the members of its definition's "extra_images". */
size_t named_vm_disks(const struct named_vm *vm);
/* Disk i, from 0, which is vm->disk; owned. The second: in a folder that becomes a VM. */
char *named_vm_disk(const struct named_vm *vm, size_t i);
char *named_vm_disk_in(const char *dir, size_t i);

/* A name of plain letters made from any text: what is not one becomes '-'. Owned. */
char *named_vm_name(const char *text);
/* The folder of the VM of that name; owned. */
char *named_vm_folder(const char *vmstore, const char *name);
/* The name of a VM by its folder's; owned, NULL = none. */
char *named_vm_by_folder(const char *folder);
/* Opens a working folder for a new VM. ERR_USER: no name. ERR_EXISTS. */
int named_vm_begin(const char *vmstore, const char *name, struct working *w, struct error **err);
/* Writes vm.json beside the disk and gives the folder its name, durably. ERR_EXISTS: somebody was
 * quicker. clear w as usual afterwards. */
int named_vm_commit(const char *vmstore, const char *name, struct working *w, const json_t *config,
                    struct error **err);
/* The same, and its lock is held by us from the start; *ret is open. */
int named_vm_commit_held(const char *vmstore, const char *name, struct working *w, json_t *config,
                         struct named_vm *ret, struct error **err);

/*
 * A VM whose disk is elsewhere, for as long as it runs: it appears with its lock held by us, and *ret
 * is open. A caller that dies leaves a VM that does not run and was started. The errors of
 * named_vm_begin and named_vm_commit.
 */
int named_vm_appear(const char *vmstore, const char *name, json_t *config, struct named_vm *ret,
                    struct error **err);

/* ERR_NOT_FOUND; ERR_USER: no name, or vm.json is not readable. */
int named_vm_open(const char *vmstore, const char *name, struct named_vm *ret, struct error **err);
/* The same to remove it: where vm.json is not readable, its config is NULL. */
int named_vm_open_any(const char *vmstore, const char *name, struct named_vm *ret,
                      struct error **err);
/* Takes the lock and notes our process number. ERR_BUSY: "VM 'web' is running (process 123)". */
int named_vm_lock(struct named_vm *vm, struct error **err);
/*
 * What is to be known of the VM while it runs: run.json, beside vm.json, written by whoever holds
 * the lock. {"ssh_port": 40123, "user": "vagrant", "key": "/path", "accel": "tcg", "started": 1764000000}; the
 * caller's. pid is noted as the lock's holder.
 */
int named_vm_set_running(const struct named_vm *vm, pid_t pid, const json_t *record,
                         struct error **err);
/* Replaces what was noted, from any process; nothing is done if it does not run. */
int named_vm_note(const struct named_vm *vm, const json_t *record, struct error **err);
/* What was noted; new reference, NULL if it does not run or nothing was. */
json_t *named_vm_running(const struct named_vm *vm);
/* The same, without a look whether it runs. */
json_t *named_vm_noted(const struct named_vm *vm);
/* Whether it was ever started with a record, which outlives the run. */
bool named_vm_was_started(const struct named_vm *vm);
/* Who runs it: 0 = nobody, -1 = somebody who does not tell. */
pid_t named_vm_process(const struct named_vm *vm);
/* Writes what vm->config holds now into vm.json, whole or not at all. */
int named_vm_rewrite(const struct named_vm *vm, struct error **err);
/* Gives a VM that does not run (its lock is held by us) another name. ERR_EXISTS. */
int named_vm_rename(const char *vmstore, struct named_vm *vm, const char *name, struct error **err);
/* Whether somebody holds the lock. */
bool named_vm_runs(const struct named_vm *vm);
/*
 * Sends the signal to whoever holds the lock and waits at most timeout_ms for its end. 1: it has
 * ended; 0: it still runs; 2: it did not run; -1: *err (the session's interruption too).
 */
int named_vm_stop(const struct session *s, const struct named_vm *vm, int sig, int timeout_ms,
                  struct error **err);
/* Ends it at once: its kiln is asked to end QEMU (SIGUSR1), so that it can put its terminal back,
 * and killed if it does not. 1: it has ended; 2: it did not run; -1: *err, ERR_BUSY if it still
 * runs. */
int named_vm_kill(const struct session *s, const struct named_vm *vm, struct error **err);
/* Removes a VM that does not run (ERR_BUSY). One that is gone already is fine. */
int named_vm_remove(const char *vmstore, struct named_vm *vm, struct error **err);
/* Names of all VMs of kiln's making, sorted. A store that is not there has none. */
int named_vm_list(const char *vmstore, struct strv *ret, struct error **err);

#endif
