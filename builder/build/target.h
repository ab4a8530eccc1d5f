/* SPDX-License-Identifier: MIT
 *
 * The disk that steps change, in a builder VM: a chain of finished layers and one overlay of ours in
 * the store's scratch folder, and other layers beside it to copy from.
 *
 *     // given struct store *store; struct runner_options options; struct disk_state disk;
 *     // given const struct runner_ops *ops; const char *new_id;
 *     struct target t = {.s = session, .store = store, .ops = ops,
 *                        .options = options};
 *     target_ready(&t, &disk, &err);       // runner_… functions may change it now
 *     char *file = target_seal(&t, new_id, disk.size, &err);
 *     target_clear(&t);
 */
#ifndef BUILDER_BUILD_TARGET_H
#define BUILDER_BUILD_TARGET_H

#include "base/digest.h"
#include "builder/runner/runner.h"
#include "cache/store.h"

#define ID_SIZE (DIGEST_HEX + 1)

/* A disk to build on or copy from: the top layer and what mounting it needs to know. */
struct disk_state {
    char id[ID_SIZE]; /* "" = an empty disk */
    uint64_t size;    /* of the disk, bytes */
    json_t *mounts; /* [[partition number, "/path"], …] of a disk we partitioned; NULL = find out */
};
void disk_state_copy(struct disk_state *to, const struct disk_state *from);
void disk_state_clear(struct disk_state *d);

/* One of the slots RUNNER_EXTRA… and what is in it. */
struct attachment {
    char id[ID_SIZE];   /* layer; "" = free */
    unsigned long used; /* for replacing the least recently used */
};

struct target {
    /* Set by the owner, borrowed. */
    const struct session *s;
    struct store *store;
    const struct runner_ops *ops;  /* of its runners: the builder VM's */
    struct runner_options options; /* .target is ignored */

    struct runner *runner;     /* NULL = none runs */
    struct runner_ahead *next; /* for the next stage; NULL = none */
    char top[ID_SIZE];         /* layer under the overlay; "" = none */
    char *overlay;             /* the writable top, in the store's scratch folder */
    uint64_t overlay_size;     /* of its disk, bytes */
    bool dirty;                /* the overlay holds something no layer should; set by who writes */
    bool mounted;              /* the tree */
    bool spent;                /* a command changed the VM itself: no further step may run in it */
    unsigned long overlays;    /* for their names */
    struct attachment slots[RUNNER_SLOTS];
    unsigned long tick;
};

/* A VM runs in which only steps below `disk` have run, a clean overlay on `disk` is its target, its
 * tree is mounted (but for an empty disk). */
int target_ready(struct target *t, const struct disk_state *disk, struct error **err);
/* The same with a runner of another kind than t->ops, which is ended if it is of another one. */
int target_ready_on(struct target *t, const struct runner_ops *ops, const struct disk_state *disk,
                    struct error **err);
/* Whether a VM is ready for `disk` already. */
bool target_in_vm(const struct target *t, const struct disk_state *disk);
/* A VM for `disk` in which nothing has run and whose target is not mounted: what it says about other
 * layers can be believed. */
int target_untouched(struct target *t, const struct disk_state *disk, struct error **err);
int target_mount(struct target *t, const json_t *mounts, struct error **err);
/* Returns the path of the overlay, which is complete, and which the caller owns from now on. The next
 * one names `backing_id`. */
char *target_seal(struct target *t, const char *backing_id, uint64_t size, struct error **err);
/* A layer mounted read-only in an extra slot; returns the slot. `keep`: as for target_free_slot. */
int target_attach(struct target *t, const struct disk_state *disk, unsigned keep,
                  struct error **err);
/* An extra slot that is free now, by ending the least recently used attachment; -1. `keep`: bit
 * mask of slots to leave alone. */
int target_free_slot(struct target *t, unsigned keep, struct error **err);
/* Ends the attachments that are not in `keep`: a command sees no disk that it did not ask for. */
int target_detach_others(struct target *t, unsigned keep, struct error **err);
/* Begins to start the VM that the next target_ready will need, while this one works. */
void target_start_ahead(struct target *t);
/* Ends the VM; what was not sealed is gone. */
void target_drop(struct target *t);
/* The same, and of the one that was started ahead. */
void target_clear(struct target *t);

/* Makes a complete empty overlay file in the scratch folder; owned path. */
char *overlay_new(const char *scratch, unsigned long n, const char *backing_id, uint64_t size,
                  struct error **err);

#endif
