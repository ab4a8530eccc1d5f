/* SPDX-License-Identifier: MIT
 *
 * The disk of a domain that `kiln libvirt define` makes: one qcow2 without a backing file, in a storage pool
 * or a folder. A chain that stood on the backend's layers would take less, but libvirt's QEMU is another
 * user, who may not read them, and pruning could not know of it.
 *
 *     // given struct virsh *virsh; struct args *args; struct image_content *content;
 *     CLEANUP(libvirt_disk_clear) struct libvirt_disk disk = {.virsh = virsh};
 *     libvirt_disk_choose(&disk, args, "web", &err);
 *     libvirt_disk_make(&disk, content, &err);
 *     ...
 *     disk.made = false;                                   // else libvirt_disk_clear removes it
 */
#ifndef CLI_LIBVIRT_DISK_H
#define CLI_LIBVIRT_DISK_H

#include "image/convert.h"
#include "libvirt/virsh.h"

struct args;

struct libvirt_disk {
    const struct virsh *virsh; /* borrowed */
    char *pool;                /* NULL: a folder of this machine */
    char *folder;              /* absolute, as the hypervisor's machine has it */
    char *file;                /* "web.qcow2" */
    char *path;                /* folder and file */
    bool upload; /* through libvirt, as we may not write to the pool's folder, or it is elsewhere */
    bool made;   /* it is there, and ours to remove */
};
/* --pool or --dir; else the pool "default", or for a libvirt of the user's own that has none the folder
 * libvirt/images of his data. ERR_NOT_FOUND, ERR_USER: no such pool or folder, a pool that is not active or not of
 * files; ERR_EXISTS: the disk is there already. */
int libvirt_disk_choose(struct libvirt_disk *d, const struct args *a, const char *name,
                        struct error **err);
int libvirt_disk_make(struct libvirt_disk *d, const struct image_content *c, struct error **err);
void libvirt_disk_clear(struct libvirt_disk *d);

#define LIBVIRT_DISK_OPTIONS \
    {"pool", 0, "POOL", "Storage pool for the disk [default: default]", NULL}, \
    { \
        "dir", 0, "DIR", "Folder for the disk, in place of a pool", NULL \
    }

#endif
