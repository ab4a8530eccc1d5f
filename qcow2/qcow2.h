/* SPDX-License-Identifier: MIT
 *
 * qcow2 headers: a reader for files of strangers, to be used before any QEMU tool sees the file,
 * and a writer of complete, empty overlays that takes microseconds where qemu-img takes 20 ms.
 *
 * Spec: QEMU docs/interop/qcow2.txt, sections "Header", "Header extensions"; limits of QEMU's
 * block/qcow2.h (L1 table 32 MiB, refcount table 8 MiB, 65536 snapshots, clusters to 2 MiB).
 */
#ifndef QCOW2_QCOW2_H
#define QCOW2_QCOW2_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct session;

/* A disk larger than this is refused (8 TiB): a header can promise 2^61 bytes, tables included. */
#define QCOW2_SIZE_MAX (UINT64_C(8) << 40)
/* Our metadata extension: JSON text in a header extension of this type ("kiln"). QEMU keeps header
 * extensions it does not know, and ignores them. At most QCOW2_METADATA_MAX bytes. */
#define QCOW2_EXT_METADATA UINT32_C(0x6b696c6e)
#define QCOW2_METADATA_MAX (1u << 20)

struct qcow2_info {
    uint64_t size; /* of the disk, bytes */
    unsigned version, cluster_bits, refcount_bits;
    uint64_t incompatible, compatible, autoclear; /* feature bits; 0 in version 2 */
    bool extended_l2;
    bool dirty;           /* was not closed well: refcounts may be wrong (qemu-img check -r all) */
    unsigned snapshots;   /* internal ones */
    char *backing;        /* backing file name, NULL = none; owned */
    char *backing_format; /* NULL = not told; owned */
    char *metadata;       /* our extension's bytes and a NUL, NULL = none; owned */
    size_t metadata_len;
};
void qcow2_info_clear(struct qcow2_info *info);

enum qcow2_flags {
    QCOW2_OWN = 1, /* a file of our own making: may have a backing file name. The name is only
                    * reported: whether it may be followed is for the caller to decide */
};

/*
 * Reads and judges a header: `bytes` are the first n bytes of a file of file_size bytes; all of the
 * first cluster must be there unless the file is shorter. ERR_USER tells why it is refused: not
 * qcow2, version 1, a backing file (without QCOW2_OWN), an external data file, encryption, the
 * corrupt bit, unknown incompatible features, cluster size, refcount width or header length out of
 * range, L1, refcount or snapshot tables that are absurd, outside the file or too small for the
 * disk, disk larger than QCOW2_SIZE_MAX, extensions or names that leave the first cluster. Reads no
 * byte outside [bytes, bytes + n) and allocates at most n + a few. *ret is set only on success.
 */
int qcow2_parse(const void *bytes, size_t n, uint64_t file_size, int flags, struct qcow2_info *ret,
                struct error **err);
/* The same from a descriptor (pread; its offset stays) or a path (opened with O_NOFOLLOW; the error
 * names it; ERR_NOT_FOUND when there is none). */
int qcow2_read_fd(int fd, int flags, struct qcow2_info *ret, struct error **err);
int qcow2_read(const char *path, int flags, struct qcow2_info *ret, struct error **err);

/* Entries of an L1 table, as QEMU bounds it (32 MiB). */
#define QCOW2_L1_MAX (4u << 20)
/*
 * Judges the L1, L2 and snapshot tables of a stranger's image whose header was judged (`info`): all
 * in the file, no L2 table named twice by one L1 table, and no more entries than the file's size
 * makes plausible, so that `qemu-img check` takes seconds. Reads each table once, at about 1 GB/s.
 * ERR_USER, ERR_SYSTEM, ERR_CANCELLED.
 */
int qcow2_check_tables(const struct session *s, int fd, const struct qcow2_info *info,
                       struct error **err);

struct qcow2_overlay {
    uint64_t size;         /* of the disk, bytes; rounded up to 512 */
    unsigned cluster_bits; /* 9..21; 0 = 16. Made larger if the metadata needs it */
    bool extended_l2;      /* 32 subclusters a cluster; cluster_bits must be 14 or more */
    const char *backing; /* name to write, at most 1023 bytes; NULL = none. Not checked to exist */
    const char *backing_format; /* "qcow2" if NULL and backing is set */
    const char *metadata;       /* JSON text for QCOW2_EXT_METADATA; NULL = none */
    size_t metadata_len;
    bool sync; /* fsync the file before returning (not its folder) */
};

/*
 * Makes the file `path` (mode 0644; it must not exist: ERR_EXISTS): a complete qcow2 version 3
 * image in which nothing is allocated. It is ready to be written to by QEMU. On error nothing is
 * left. ERR_USER: parameters out of range.
 */
int qcow2_create_overlay(const char *path, const struct qcow2_overlay *overlay, struct error **err);
/* The same in an open file, which is empty. */
int qcow2_write_overlay(int fd, const struct qcow2_overlay *overlay, struct error **err);

/*
 * Puts metadata into the header of an existing image that has no backing file and that nobody uses,
 * replacing what was there. ERR_USER: it does not fit into the first cluster.
 */
int qcow2_set_metadata(const char *path, const char *text, size_t n, struct error **err);

#endif
