/* SPDX-License-Identifier: MIT
 *
 * A disk image in a tar archive. Which of its files that is depends on whose archive it is:
 *
 *   a Vagrant box for libvirt   box.img or box_0.img, in whatever folder
 *                               (developer.hashicorp.com/vagrant/docs/boxes/format)
 *   a layer of a containerDisk  the only file of the folder disk/ (kubevirt.io/user-guide,
 *                               "containerDisk")
 */
#ifndef IMAGE_TAR_DISK_H
#define IMAGE_TAR_DISK_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum tar_disk { TAR_DISK_NONE, TAR_DISK_BOX, TAR_DISK_CONTAINER };

struct tar_disk_io {
    /* The next bytes of the decompressed archive: count, 0 at the end, -1 with *err. They stay
     * valid until the next call. */
    int (*read)(void *arg, const void **ret, size_t *ret_n, struct error **err);
    /* n bytes of the disk (NULL: zeros). */
    int (*write)(void *arg, const void *bytes, uint64_t n, struct error **err);
    void *arg;
};
/* Finds the disk and writes it; `which` is not TAR_DISK_NONE. ERR_USER: no archive, a box without a
 * disk, a containerDisk with several; ERR_NOT_FOUND: a layer of a containerDisk has none. */
int tar_disk_extract(enum tar_disk which, const struct tar_disk_io *io, struct error **err);

#endif
