// SPDX-License-Identifier: MIT
//
// QEMU takes open-file-description locks on bytes 100 to 299 of every image file it opens
// (block/file-posix.c, "RAW_LOCK_PERM_BASE"), so asking the kernel whether we could lock these
// exclusively tells whether one has it open. VMs that do not run are found by their disks' headers,
// and by the name they were made from: the layer they stand on is then kept by pruning, whatever
// becomes of the name.
#include "cli/image_use.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/session.h"
#include "cache/store.h"
#include "cli/vm_find.h"
#include "image/backend.h"
#include "image/name.h"
#include "qcow2/qcow2.h"
#include "vm/named.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int not_open(const char *name, const char *path, struct error **err)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 200};
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || fcntl(fd, F_OFD_GETLK, &l) < 0 || l.l_type == F_UNLCK)
        return 0;
    return error_set(err, ERR_BUSY, "image '%s' is in use by a running VM", name);
}

/* Whether the disk's header names a file that is the image. */
static bool stands_on(const char *disk, const struct stat *image)
{
    CLEANUP(qcow2_info_clear) struct qcow2_info info = {0};
    struct stat below;
    if (qcow2_read(disk, QCOW2_OWN, &info, NULL) < 0 || !info.backing)
        return false;
    AUTO_FREE char *dir = path_parent(disk), *path = path_join(dir, info.backing);
    return stat(path, &below) == 0 && below.st_dev == image->st_dev &&
           below.st_ino == image->st_ino;
}

static bool vm_stands_on(const char *folder, const struct stat *image)
{
    DIR *d = opendir(folder);
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d));) {
        AUTO_FREE char *disk = path_join(folder, e->d_name);
        found = *e->d_name != '.' && stands_on(disk, image);
    }
    if (d)
        closedir(d);
    return found;
}

/* Whether `kiln create` made the VM from the image of that name. */
static bool made_from(const struct session *s, const char *vm, const char *image)
{
    CLEANUP(named_vm_clear) struct named_vm found = NAMED_VM_INIT;
    if (named_vm_open(s->vmstore, vm, &found, NULL) < 0)
        return false;
    const char *from = json_str(found.config, "image");
    bool made = from && !strcmp(from, image);
    size_t i;
    json_t *extra;
    json_array_foreach (json_object_get(found.config, "extra_images"), i, extra) {
        from = json_str(extra, "image");
        made |= from && !strcmp(from, image);
    }
    return made;
}

static int no_vm(const struct session *s, const char *name, const char *path, struct error **err)
{
    struct stat image;
    DIR *d = stat(path, &image) == 0 ? opendir(s->vmstore) : NULL;
    CLEANUP(buf_clear) struct buf names = BUF_INIT;
    size_t n = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        AUTO_FREE char *folder = path_join(s->vmstore, e->d_name);
        AUTO_FREE char *vm = named_vm_by_folder(e->d_name);
        if (*e->d_name != '.' && (vm_stands_on(folder, &image) || (vm && made_from(s, vm, name))))
            buf_addf(&names, "%s'%s'", n++ ? ", " : "", vm ? vm : e->d_name);
    }
    if (d)
        closedir(d);
    if (!n)
        return 0;
    error_set(err, ERR_BUSY, "image '%s' is in use by VM%s %s", name, n > 1 ? "s" : "", names.data);
    return error_hint(err,
                      "'kiln rm' removes a VM; use --force to remove the image and keep the VM");
}

int image_unused(const struct session *s, const char *name, struct error **err)
{
    AUTO_FREE char *file = image_name_encode(name), *path = path_join(s->backend, file);
    CLEANUP(backend_image_clear) struct backend_image image = {0};
    if (!backend_has(s->backend, name))
        return 0;
    if (not_open(name, path, err) < 0 || no_vm(s, name, path, err) < 0)
        return -1;
    // `run` opens the layer and not the name; a broken image has no user
    if (backend_find(s->backend, name, &image, NULL) < 0 || !image.thin)
        return 0;
    AUTO_FREE char *layer = xasprintf("%s/.layers/%s/disk.qcow2", s->backend, image.layer);
    return not_open(name, layer, err);
}

int image_lease(const struct session *s, const char *name, struct store **ret, struct error **err)
{
    CLEANUP(backend_image_clear) struct backend_image image = {0};
    CLEANUP(store_freep) struct store *st = NULL;
    CLEANUP(layer_freep) struct layer *layer = NULL;
    *ret = NULL;
    if (backend_find(s->backend, name, &image, err) < 0)
        return vm_find_instead(s, name, "'kiln commit %s IMAGE' makes an image of its disk", err);
    if (!image.thin)
        return 0;
    if (store_open(s, s->backend, &st, err) < 0 || store_get(st, image.layer, &layer, err) < 0)
        return error_wrap(err, "image '%s'", name);
    *ret = STEAL(st);
    return 0;
}
