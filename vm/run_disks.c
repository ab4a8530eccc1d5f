// SPDX-License-Identifier: MIT
#include "vm/run_disks.h"

#include "base/alloc.h"
#include "qcow2/nodes.h"
#include "vm/warm.h"

#include <stdio.h>
#include <stdlib.h>

const char *vm_run_disk_top(const struct vm_run_options *o, size_t i)
{
    const struct vm_run_disk *d = &o->disks[i];
    return d->files[d->n_files - 1];
}

/* QEMU may run in another folder than we. */
static int absolute_files(const struct vm_run_disk *d, struct strv *ret, struct error **err)
{
    for (size_t i = 0; i < d->n_files; i++) {
        char *path = realpath(d->files[i], NULL);
        if (!path)
            return error_errno(err, "cannot find '%s'", d->files[i]);
        strv_add_take(ret, path);
    }
    return 0;
}

static json_t *disk_nodes(const struct vm_run_options *o, size_t i, struct error **err)
{
    CLEANUP(strv_clear) struct strv files = {0};
    char node[32] = "disk";
    if (i)
        (void)snprintf(node, sizeof node, "disk%zu", i);
    if (absolute_files(&o->disks[i], &files, err) < 0)
        return NULL;
    struct qcow2_disk d = {.node = node,
                           .files = (const char *const *)files.ptr,
                           .n_files = files.len,
                           .writable = true,
                           .unsafe = !o->keep || (o->warm && o->warm->saving), // synced at its end
                           .top_fdset = o->keep ? 0 : (int)i + 1};
    return qcow2_nodes(&d, err);
}

json_t *vm_run_disks(const struct vm_run_options *o, struct error **err)
{
    json_auto_t *disks = json_array();
    for (size_t i = 0; i < o->n_disks; i++) {
        json_t *nodes = disk_nodes(o, i, err);
        if (!nodes)
            return NULL;
        (void)json_array_append_new(disks, nodes);
    }
    return json_incref(disks);
}

int vm_run_check_disks(const struct vm_run_options *o, struct error **err)
{
    // two channels of two, and QEMU's CD-ROM drive; PCI slots, of which other devices take some
    static const size_t most[] = {[VM_BUS_VIRTIO] = 20, [VM_BUS_IDE] = 3, [VM_BUS_SCSI] = 64};
    size_t room = most[o->spec->disk_bus];
    if (o->n_disks <= room)
        return 0;
    error_set(err, ERR_USER, "%zu disks, and this bus has room for %zu", o->n_disks, room);
    return error_hint(err, "--disk-bus scsi has room for %zu", most[VM_BUS_SCSI]);
}
