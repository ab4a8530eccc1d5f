// SPDX-License-Identifier: MIT
//
// Keeps the builder VM where the next step needs it. The target is always a chain of finished
// layers and one overlay of ours in the store's scratch folder. While steps follow each other the
// VM just goes on: sealing an overlay puts the next one on top. What has run in a VM, or was
// mounted in it as a target, may have taken it over, so it is used only for steps that descend from
// all of that. When the next step stands on other layers (another stage; a layer that another kiln
// built meanwhile; an overlay written to by something that is not a layer), a new VM is restored,
// and so it is after a command that changed the VM itself.
#include "builder/build/target.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/session.h"
#include "qcow2/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* 4 KiB clusters: a one-line change then costs 120 KiB of layer, with 64 KiB ones 900. */
enum { OVERLAY_CLUSTER_BITS = 12 };

char *overlay_new(const char *scratch, unsigned long n, const char *backing_id, uint64_t size,
                  struct error **err)
{
    AUTO_FREE char *path = xasprintf("%s/overlay-%lu", scratch, n);
    AUTO_FREE char *backing = *backing_id ? xasprintf("../%s/disk.qcow2", backing_id) : NULL;
    struct qcow2_overlay o = {
        .size = size, .cluster_bits = OVERLAY_CLUSTER_BITS, .backing = backing};
    if (qcow2_create_overlay(path, &o, err) < 0)
        return NULL;
    return STEAL(path);
}

void disk_state_copy(struct disk_state *to, const struct disk_state *from)
{
    json_t *mounts = from->mounts ? json_deep_copy(from->mounts) : NULL;
    json_decref(to->mounts);
    *to = *from;
    to->mounts = mounts;
}

void disk_state_clear(struct disk_state *d)
{
    json_decref(d->mounts);
    *d = (struct disk_state){0};
}

void target_drop(struct target *t)
{
    runner_free(STEAL(t->runner));
    if (t->overlay)
        unlink(t->overlay);
    free(STEAL(t->overlay));
    t->mounted = t->dirty = t->spent = false;
    memset(t->slots, 0, sizeof t->slots);
}

void target_clear(struct target *t)
{
    target_drop(t);
    if (t->next)
        t->ops->drop(STEAL(t->next));
}

int target_mount(struct target *t, const json_t *mounts, struct error **err)
{
    long long start = now_us();
    if (runner_mount(t->runner, RUNNER_TARGET, false, mounts, err) < 0)
        return -1;
    t->mounted = true;
    session_timing(t->s, "mount", now_us() - start);
    return 0;
}

/* The chain of files of a layer, and a new overlay on it. */
static int target_files(struct target *t, const struct disk_state *disk, struct strv *files,
                        struct error **err)
{
    if (*disk->id && store_chain(t->store, disk->id, files, err) < 0)
        return -1;
    t->overlay = overlay_new(store_scratch(t->store), t->overlays++, disk->id, disk->size, err);
    if (!t->overlay)
        return -1;
    strv_add(files, t->overlay);
    t->overlay_size = disk->size;
    memcpy(t->top, disk->id, sizeof t->top);
    return 0;
}

/* One that was started ahead, with its target, or NULL. */
static struct runner *take_ahead(struct target *t, const struct runner_disk *target)
{
    return t->next ? t->ops->take(STEAL(t->next), target) : NULL;
}

static int start(struct target *t, const struct runner_ops *ops, const struct disk_state *disk,
                 struct error **err)
{
    CLEANUP(strv_clear) struct strv files = {0};
    long long start = now_us();
    if (target_files(t, disk, &files, err) < 0)
        return -1;
    struct runner_options o = t->options;
    o.target = (struct runner_disk){(const char *const *)files.ptr, files.len, true, disk->size};
    t->runner = ops == t->ops ? take_ahead(t, &o.target) : NULL;
    if (t->runner) {
        session_timing(t->s, "vm-start", now_us() - start);
        return 0;
    }
    if (ops->start(t->s, &o, &t->runner, err) < 0)
        return -1;
    long long attached = now_us(), answered = runner_answered(t->runner) * 1000;
    if (answered < start) // within the same millisecond
        answered = start;
    session_timing(t->s, "vm-start", answered - start);
    session_timing(t->s, "attach", attached - answered);
    return 0;
}

void target_start_ahead(struct target *t)
{
    if (!t->next && t->ops->ahead && sysconf(_SC_NPROCESSORS_ONLN) >= 2)
        t->next = t->ops->ahead(t->s, &t->options);
}

int target_untouched(struct target *t, const struct disk_state *disk, struct error **err)
{
    if (t->runner && t->runner->ops == t->ops && !t->mounted && !t->dirty &&
        !strcmp(t->top, disk->id) && t->overlay_size == disk->size)
        return 0;
    target_drop(t);
    return start(t, t->ops, disk, err);
}

static bool is_there(const struct target *t, const struct disk_state *disk)
{
    return t->runner && t->overlay && !t->dirty && !t->spent && !strcmp(t->top, disk->id) &&
           t->overlay_size == disk->size;
}

bool target_in_vm(const struct target *t, const struct disk_state *disk)
{
    return is_there(t, disk) && t->runner->ops == t->ops;
}

int target_ready_on(struct target *t, const struct runner_ops *ops, const struct disk_state *disk,
                    struct error **err)
{
    if (!is_there(t, disk) || t->runner->ops != ops) {
        target_drop(t);
        if (start(t, ops, disk, err) < 0)
            return -1;
    }
    if (!*disk->id || t->mounted)
        return 0;
    return target_mount(t, disk->mounts, err);
}

int target_ready(struct target *t, const struct disk_state *disk, struct error **err)
{
    return target_ready_on(t, t->ops, disk, err);
}

char *target_seal(struct target *t, const char *backing_id, uint64_t size, struct error **err)
{
    long long start = now_us();
    AUTO_FREE char *next =
        overlay_new(store_scratch(t->store), t->overlays++, backing_id, size, err);
    if (!next)
        return NULL;
    if (runner_next_overlay(t->runner, next, err) < 0) {
        unlink(next);
        return NULL;
    }
    char *sealed = t->overlay;
    t->overlay = STEAL(next);
    t->overlay_size = size;
    memcpy(t->top, backing_id, sizeof t->top);
    session_timing(t->s, "seal", now_us() - start);
    return sealed;
}

static int empty_slot(struct target *t, int slot, struct error **err)
{
    if (*t->slots[slot].id && (runner_umount(t->runner, slot, err) < 0 ||
                               runner_set_disk(t->runner, slot, NULL, err) < 0))
        return -1;
    t->slots[slot] = (struct attachment){0};
    return 0;
}

int target_detach_others(struct target *t, unsigned keep, struct error **err)
{
    for (int i = RUNNER_EXTRA; i < RUNNER_SLOTS; i++)
        if (!(keep >> i & 1) && empty_slot(t, i, err) < 0)
            return -1;
    return 0;
}

int target_free_slot(struct target *t, unsigned keep, struct error **err)
{
    int best = -1;
    for (int i = RUNNER_EXTRA; i < RUNNER_SLOTS; i++)
        if (!(keep >> i & 1) && (best < 0 || t->slots[i].used < t->slots[best].used))
            best = i;
    if (best < 0)
        return error_set(err, ERR_USER, "a step can use at most %d other disks",
                         RUNNER_SLOTS - RUNNER_EXTRA);
    return empty_slot(t, best, err) < 0 ? -1 : best;
}

int target_attach(struct target *t, const struct disk_state *disk, unsigned keep,
                  struct error **err)
{
    for (int i = RUNNER_EXTRA; i < RUNNER_SLOTS; i++)
        if (!strcmp(t->slots[i].id, disk->id)) {
            t->slots[i].used = ++t->tick;
            return i;
        }
    int slot = target_free_slot(t, keep, err);
    CLEANUP(strv_clear) struct strv files = {0};
    if (slot < 0 || store_chain(t->store, disk->id, &files, err) < 0)
        return -1;
    struct runner_disk d = {(const char *const *)files.ptr, files.len, false, disk->size};
    if (runner_set_disk(t->runner, slot, &d, err) < 0 ||
        runner_mount(t->runner, slot, true, disk->mounts, err) < 0)
        return -1;
    memcpy(t->slots[slot].id, disk->id, ID_SIZE);
    t->slots[slot].used = ++t->tick;
    return slot;
}
