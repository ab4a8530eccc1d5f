/* SPDX-License-Identifier: MIT
 *
 * The ext4 file system of a partition, opened for writing by libext2fs on a chain of qcow2 files.
 *
 *     // given struct qcow2_chain *disk;
 *     CLEANUP(volume_clear) struct volume v = {0};
 *     if (volume_open(&v, disk, 2, &err) < 0) ...     // partition 2
 *     if (volume_close(&v, &err) < 0) ...             // what libext2fs still held is written
 *
 * Opened is only what the builder VM leaves behind: clean, with no journal to replay, nothing to
 * delete at the next mount, no feature beyond those that kiln's mkfs gives (no quota, encryption,
 * casefold, inline data, bigalloc, orphan file). Else ERR_USER says what is unusual.
 *
 * Spec: kernel Documentation/filesystems/ext4.
 */
#ifndef BUILDER_EXT4_VOLUME_H
#define BUILDER_EXT4_VOLUME_H

#include "base/error.h"
#include "qcow2/chain.h"

#include <ext2fs/ext2fs.h>
#include <stdbool.h>
#include <time.h>

struct volume {
    struct qcow2_chain *disk; /* borrowed */
    uint64_t start, size;     /* of the partition, bytes */
    ext2_filsys fs;           /* NULL = not open */
    unsigned block;           /* bytes */
    struct timespec now;      /* the time of all changes */
    blk64_t goal;             /* where the search for free blocks begins */
    struct error *why;        /* of the disk, behind an error of libext2fs; owned */
};

int volume_open(struct volume *v, struct qcow2_chain *disk, unsigned partition, struct error **err);
int volume_close(struct volume *v, struct error **err);
void volume_clear(struct volume *v); /* writes nothing */

/* An error of libext2fs: "cannot <what>: …". Returns -1. */
int volume_error(struct volume *v, errcode_t code, const char *what, struct error **err);
/* n whole blocks at `block`, past libext2fs. */
int volume_write(struct volume *v, blk64_t block, const void *bytes, size_t n, struct error **err);
/* A run of at most `want` free blocks, which are taken; *ret_n is at least 1. */
int volume_take(struct volume *v, blk64_t want, blk64_t *ret, blk64_t *ret_n, struct error **err);

#endif
