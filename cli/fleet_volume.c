// SPDX-License-Identifier: MIT
#include "cli/fleet_volume.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/process.h"
#include "base/session.h"
#include "qcow2/head.h"
#include "qcow2/qcow2.h"
#include "vm/qemu.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

static char *folder(const struct session *s, const char *name)
{
    AUTO_FREE char *all = path_join(s->vmstore, ".volumes");
    return path_join(all, name);
}

static char *volume_path(const struct session *s, const struct fleet_vm *vm,
                         const struct fleet_volume *v)
{
    return xasprintf("%s/.volumes/%s/%s.qcow2", s->vmstore, vm->name, v->name);
}

static int make_one(const struct session *s, const struct fleet_vm *vm,
                    const struct fleet_volume *v, struct error **err)
{
    AUTO_FREE char *path = volume_path(s, vm, v), *temp = xasprintf("%s.new", path);
    uint64_t wanted = (uint64_t)v->gigabytes << 30, size = 0;
    if (access(path, F_OK) < 0) {
        (void)unlink(temp); // of a kiln that was killed
        struct qcow2_overlay empty = {.size = wanted, .sync = true};
        if (qcow2_create_overlay(temp, &empty, err) < 0)
            return -1;
        return rename(temp, path) < 0 ? error_errno(err, "cannot make '%s'", path)
                                      : fsync_parent(path, err);
    }
    if (qcow2_size(path, &size, err) < 0)
        return -1;
    if (size > wanted) {
        error_set(err, ERR_USER, "volume '%s' of VM '%s' has %" PRIu64 " GB, and only grows",
                  v->name, vm->name, size >> 30);
        return error_hint(err, "'kiln down --destroy --volumes %s' removes it", vm->name);
    }
    AUTO_FREE char *text = xasprintf("%" PRIu64, wanted);
    return size == wanted
               ? 0
               : process_run(s, ARGV("qemu-img", "resize", "-q", "-f", "qcow2", path, text), NULL,
                             err);
}

/* 1: the folder's volumes are of this VMFile, 0: of none (or --adopt takes them over), -1: *err. */
static int check_owner(const struct fleet_file *f, const struct fleet_vm *vm, const char *dir,
                       struct error **err)
{
    AUTO_FREE char *path = path_join(dir, FLEET_VOLUME_OWNER);
    CLEANUP(buf_clear) struct buf owner = BUF_INIT;
    CLEANUP(error_freep) struct error *why = NULL;
    if (file_read(path, PATH_MAX, &owner, &why) < 0)
        return why->kind == ERR_NOT_FOUND ? 0 : error_propagate(err, STEAL(why));
    buf_adds(&owner, "");
    AUTO_FREE char *what = xasprintf("the volumes of VM '%s' are", vm->name);
    if (fleet_file_owns(f, owner.data, what, err) == 0)
        return !strcmp(owner.data, f->path);
    return err && (*err)->hint ? -1 : error_hint(err, "give the VM another name in one of them");
}

int fleet_volumes_make(const struct session *s, const struct fleet_file *f,
                       const struct fleet_vm *vm, struct error **err)
{
    AUTO_FREE char *dir = folder(s, vm->name);
    if (!vm->n_volumes)
        return 0;
    if (make_dirs_inside(dir, err) < 0)
        return -1;
    int ours = check_owner(f, vm, dir, err);
    AUTO_FREE char *owner = path_join(dir, FLEET_VOLUME_OWNER);
    if (ours < 0 || (!ours && file_write_whole(owner, 0600, f->path, strlen(f->path), err) < 0))
        return -1;
    for (size_t i = 0; i < vm->n_volumes; i++)
        if (make_one(s, vm, &vm->volumes[i], err) < 0)
            return -1;
    return 0;
}

void fleet_volumes_spec(const struct session *s, const struct fleet_vm *vm, struct vm_spec *spec)
{
    for (size_t i = 0; i < vm->n_volumes; i++) {
        AUTO_FREE char *path = volume_path(s, vm, &vm->volumes[i]), *escaped = qemu_escape(path);
        strv_add(&spec->qemu_args, "-blockdev");
        strv_addf(&spec->qemu_args,
                  "driver=qcow2,node-name=volume%zu,file.driver=file,file.filename=%s", i, escaped);
        strv_add(&spec->qemu_args, "-device");
        strv_addf(&spec->qemu_args, "virtio-blk-pci,drive=volume%zu,serial=%s", i,
                  vm->volumes[i].name);
    }
}

int fleet_volumes_remove(const struct session *s, const struct fleet_file *f,
                         const struct fleet_vm *vm, struct error **err)
{
    AUTO_FREE char *dir = folder(s, vm->name);
    CLEANUP(error_freep) struct error *why = NULL;
    if (check_owner(f, vm, dir, &why) >= 0)
        return remove_tree(dir, err);
    return why->kind == ERR_EXISTS && !vm->n_volumes ? 0 : error_propagate(err, STEAL(why));
}
