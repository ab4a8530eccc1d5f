// SPDX-License-Identifier: MIT
//
// A slot's device is there from the start; what changes is the block node behind it: qom-set of its
// "drive" (QEMU 6.2 and later allow it on a device in use), or blockdev-snapshot, which puts an
// overlay on top of the node that is there. block_resize, even to the same size, is what tells the
// guest. A disk that is not to be written to gets a throw-away overlay: the device is a writable
// one, and file systems that were not unmounted can then replay their journal.
#include "builder/worker/internal.h"
#include "qcow2/nodes.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/session.h"
#include "qcow2/qcow2.h"

#include <unistd.h>

enum { SEEN_TIMEOUT_MS = 20 * 1000, FREEZE_TIMEOUT_MS = 300 * 1000 };

void disk_slot_clear(struct disk_slot *s)
{
    strv_clear(&s->nodes);
    free(s->path);
    *s = (struct disk_slot){.path = NULL};
}

static const char *top_node(const struct disk_slot *s)
{
    return s->nodes.len ? s->nodes.ptr[s->nodes.len - 1] : NULL;
}

/* Path of a new throw-away overlay; owned. */
static char *make_overlay(struct builder_vm *vm, int slot, uint64_t size, struct error **err)
{
    AUTO_FREE char *parent = path_join(vm->session->cache, "work");
    if (!vm->work.dir) {
        working_sweep(parent);
        if (working_open(&vm->work, parent, err) < 0)
            return NULL;
    }
    AUTO_FREE char *path = xasprintf("%s/slot%d-%u.qcow2", vm->work.dir, slot, vm->next_node);
    if (qcow2_create_overlay(path, &(struct qcow2_overlay){.size = size}, err) < 0)
        return NULL;
    return STEAL(path);
}

json_t *builder_vm_disk_nodes(struct builder_vm *vm, int slot, const struct runner_disk *disk,
                              struct disk_slot *ret, struct error **err)
{
    AUTO_FREE char *name = xasprintf("disk%u", vm->next_node++);
    AUTO_FREE char *overlay = NULL;
    AUTO_FREE const char **files = xcalloc(disk->n_files + 1, sizeof *files);
    size_t n = 0;
    for (; n < disk->n_files; n++)
        files[n] = disk->files[n];
    if (!disk->writable) {
        overlay = make_overlay(vm, slot, disk->size, err);
        if (!overlay)
            return NULL;
        files[n++] = overlay;
    }
    // the target is kept only if all of its step succeeds, and is fsynced then; a throw-away
    // overlay is never kept
    struct qcow2_disk d = {.node = name,
                           .files = files,
                           .n_files = n,
                           .writable = true,
                           .cwd = vm->cwd,
                           .unsafe = slot == AGENT_DISK_TARGET || overlay};
    json_t *nodes = qcow2_nodes(&d, err);
    if (!nodes)
        return NULL;
    *ret = (struct disk_slot){.path = xstrdup(files[n - 1]), .size = disk->size};
    size_t i;
    json_t *node;
    json_array_foreach (nodes, i, node)
        strv_add(&ret->nodes, json_str(node, "node-name"));
    return nodes;
}

int builder_vm_announce(struct builder_vm *vm, int slot, struct error **err)
{
    const struct disk_slot *s = &vm->slots[slot];
    return qmp_callf(vm_qmp(vm->vm), QMP_TIMEOUT_MS, NULL, err, "block_resize", "{s:s, s:I}",
                     "node-name", top_node(s), "size", (json_int_t)s->size);
}

int builder_vm_seen(struct builder_vm *vm, int slot, struct error **err)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    message_put_num(&m, AGENT_TAG_SLOT, (uint64_t)slot);
    message_put_num(&m, AGENT_TAG_SIZE, vm->slots[slot].size);
    return builder_vm_call(vm, AGENT_DISK, &m, SEEN_TIMEOUT_MS, NULL, NULL, NULL, err);
}

static int add_nodes(struct builder_vm *vm, json_t *nodes, struct error **err)
{
    size_t i;
    json_t *node;
    json_array_foreach (nodes, i, node)
        if (qmp_command(vm_qmp(vm->vm), "blockdev-add", json_incref(node), QMP_TIMEOUT_MS, NULL,
                        err) < 0)
            return -1;
    return 0;
}

/* Nodes nobody uses any more; the upper ones go first. */
static int delete_nodes(struct builder_vm *vm, const struct disk_slot *s, struct error **err)
{
    for (size_t i = s->nodes.len; i > 0; i--)
        if (qmp_callf(vm_qmp(vm->vm), QMP_TIMEOUT_MS, NULL, err, "blockdev-del", "{s:s}",
                      "node-name", s->nodes.ptr[i - 1]) < 0)
            return -1;
    return 0;
}

int builder_vm_exchange(struct builder_vm *vm, int slot, const struct runner_disk *disk,
                        struct error **err)
{
    CLEANUP(disk_slot_clear) struct disk_slot old = {.path = NULL};
    CLEANUP(disk_slot_clear) struct disk_slot new = {.path = NULL};
    struct qmp *q = vm_qmp(vm->vm);
    json_auto_t *nodes = builder_vm_disk_nodes(vm, slot, disk, &new, err);
    if (!nodes || add_nodes(vm, nodes, err) < 0)
        return -1;
    AUTO_FREE char *device = xasprintf("/machine/peripheral/kiln%d", slot);
    if (qmp_callf(q, QMP_TIMEOUT_MS, NULL, err, "qom-set", "{s:s, s:s, s:s}", "path", device,
                  "property", "drive", "value", top_node(&new)) < 0)
        return -1;
    old = vm->slots[slot];
    vm->slots[slot] = new;
    new = (struct disk_slot){.path = NULL};
    if (delete_nodes(vm, &old, err) < 0 || builder_vm_announce(vm, slot, err) < 0)
        return -1;
    return builder_vm_seen(vm, slot, err);
}

int builder_vm_set_disk(struct builder_vm *vm, int slot, const struct runner_disk *disk,
                        struct error **err)
{
    // null-co, which is there at first, cannot be announced: so an empty file
    static const struct runner_disk empty = {.size = AGENT_EMPTY_SIZE};
    if (slot < 0 || slot >= AGENT_DISKS || slot == AGENT_DISK_STREAM)
        return error_set(err, ERR_USER, "the builder VM has no disk slot %d", slot);
    if (!vm->vm)
        return error_set(err, ERR_GUEST, "the builder VM has ended");
    if (vm->slots[slot].nodes.len && builder_vm_exchange(vm, slot, &empty, err) < 0)
        return error_wrap(err, "cannot detach disk %d from the builder VM", slot);
    if (disk && builder_vm_exchange(vm, slot, disk, err) < 0)
        return error_wrap(err, "cannot attach disk %d to the builder VM", slot);
    return 0;
}

/* The file on top, in a node of its own without a backing file: blockdev-snapshot gives it one. */
static int add_overlay(struct builder_vm *vm, const char *path, const char *name,
                       struct error **err)
{
    struct qcow2_disk d = {
        .node = name, .files = &path, .n_files = 1, .writable = true, .unsafe = true};
    json_auto_t *nodes = qcow2_nodes(&d, err);
    return nodes ? add_nodes(vm, nodes, err) : -1;
}

int builder_vm_next_overlay(struct builder_vm *vm, const char *path, struct error **err)
{
    struct disk_slot *s = &vm->slots[AGENT_DISK_TARGET];
    if (!vm->vm)
        return error_set(err, ERR_GUEST, "the builder VM has ended");
    if (!s->nodes.len)
        return error_set(err, ERR_USER, "the builder VM has no target disk");
    AUTO_FREE char *name = xasprintf("disk%u", vm->next_node++);
    if (add_overlay(vm, path, name, err) < 0)
        return error_wrap(err, "cannot open the new layer '%s'", path);
    if (builder_vm_call(vm, AGENT_FREEZE, NULL, FREEZE_TIMEOUT_MS, NULL, NULL, NULL, err) < 0)
        return -1;
    // QEMU drains and flushes the old top, and reopens it read-only
    if (qmp_callf(vm_qmp(vm->vm), QMP_TIMEOUT_MS, NULL, err, "blockdev-snapshot", "{s:s, s:s}",
                  "node", top_node(s), "overlay", name) < 0)
        return error_wrap(err, "cannot put the new layer '%s' under the builder VM", path);
    strv_add(&s->nodes, name);
    free(s->path);
    s->path = xstrdup(path);
    return 0;
}
