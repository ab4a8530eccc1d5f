/* SPDX-License-Identifier: MIT
 *
 * Tar archives (ustar, pax, GNU; plain, gzip, bzip2, xz, zstd; told by content) read as a sequence
 * of stream.h entries, without temporary files and with a few buffers of memory whatever the sizes.
 *
 *     // given struct session *session; struct tar_item item; struct digest digest; ssize_t got;
 *     struct tar *t;
 *     tar_open(session, fd, "rootfs.tar.xz", &t, &err);       // t is NULL if it is not an archive
 *     while (tar_next(t, &item, &err) > 0)
 *         while ((got = tar_data(t, bytes, n, &err)) > 0) ...
 *     tar_finish(t, &digest, &err);                  // of the file as it is on disk
 *
 * Owners (numbers), modes, times, devices, hard links, holes, extended attributes and POSIX ACLs
 * are kept. Names are made relative ("/a", "./a//b" become "a", "a/b"); one with a ".." part is an
 * error that names it, as are damage, truncation and what is beyond the limits. Link targets may be
 * anything: whoever writes follows none. Errors are ERR_USER and name the archive.
 *
 * Formats: pax in POSIX.1-2017 "pax", SCHILY.xattr and SCHILY.acl as star(1) writes them, GNU
 * sparse files as "Storing Sparse Files" in tar's manual; all by libarchive.
 */
#ifndef BUILDER_CONTEXT_ARCHIVE_H
#define BUILDER_CONTEXT_ARCHIVE_H

#include "base/buf.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/vector.h"
#include "builder/agent/stream.h"

#include <stdint.h>

struct session;
#include <sys/types.h>

struct tar;

struct extent {
    uint64_t offset, length; /* bytes */
};
DEFINE_VECTOR(extents, struct extent);

/* Valid until the next call of tar_next. */
struct tar_item {
    struct stream_entry head; /* in the CPU's byte order; lengths are not filled in */
    struct str path, link, xattrs;
    const struct extents *extents; /* where a file has data */
};

/* Bounds on what one archive may hold. */
#define TAR_BYTES_MAX (1ull << 42)
#define TAR_ENTRIES_MAX (16u << 20)

/* Takes over fd. A file whose beginning is not a tar header, after decompression, gives a NULL *ret
 * and no error (fd is then closed), unless it can't be decompressed although its name says that it
 * is an archive. `name` is for messages, copied; s (may be
 * NULL) is who may interrupt what follows: ERR_CANCELLED. */
int tar_open(const struct session *s, int fd, const char *name, struct tar **ret,
             struct error **err);
/* The same for what must be an archive, which may be one without entries; ERR_USER. A NULL name: the
 * caller names it. */
int tar_open_sure(const struct session *s, int fd, const char *name, struct tar **ret,
                  struct error **err);
void tar_free(struct tar *t);
DEFINE_CLEANUP(struct tar, tar_free);
/* 1 and an item; 0 at the end; -1. What was not read of the item before is skipped. */
int tar_next(struct tar *t, struct tar_item *ret, struct error **err);
/* The next bytes of the item's extents, one after the other; 0 at their end; -1. */
ssize_t tar_data(struct tar *t, void *bytes, size_t n, struct error **err);
/* After the end: reads what follows the archive in the file and gives the SHA-256 of the whole. */
int tar_finish(struct tar *t, struct digest *ret, struct error **err);
uint64_t tar_consumed(const struct tar *t); /* bytes of the file read so far; any thread */

/* Items made by somebody else than a tar archive, for a selection (context.h). */
struct item_source {
    void *arg;
    int (*next)(void *arg, struct tar_item *ret, struct error **err);      /* as tar_next */
    ssize_t (*data)(void *arg, void *bytes, size_t n, struct error **err); /* as tar_data */
    uint64_t (*consumed)(void *arg); /* bytes of what it reads; any thread */
};

#endif
