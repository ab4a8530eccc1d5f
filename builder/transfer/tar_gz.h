/* SPDX-License-Identifier: MIT
 *
 * A layer of a container image: a tar of one file in one folder, packed with gzip.
 *
 *     // given int fd;
 *     struct tar_gz made;
 *     tar_gz_write("disk.qcow2", &(struct tar_gz_file){.name = "disk/vm.qcow2", .mode = 0440}, fd, &made, &err);
 */
#ifndef BUILDER_TRANSFER_TAR_GZ_H
#define BUILDER_TRANSFER_TAR_GZ_H

#include "base/digest.h"
#include "base/error.h"

#include <stdint.h>
#include <sys/types.h>

struct tar_gz_file {
    const char *name; /* FOLDER/FILE */
    mode_t mode;      /* of the file; that of the folder is 0755 */
    unsigned owner;   /* user and group, of both */
};

struct tar_gz {
    char hex[DIGEST_HEX + 1], raw_hex[DIGEST_HEX + 1]; /* packed, and of the tar itself */
    uint64_t size;                                     /* packed */
};

/* From a file to a descriptor. Equal bytes give an equal layer: times are 0. */
int tar_gz_write(const char *path, const struct tar_gz_file *as, int to, struct tar_gz *ret,
                 struct error **err);

#endif
