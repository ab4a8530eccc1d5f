// SPDX-License-Identifier: MIT
//
// The reader works on bytes in memory and trusts none of them: each field meets its limit before it
// is used in a calculation, sums are made so that they can't overflow, and tables must lie in the
// file. What the tables say is not read here; `qemu-img check` does that once the header has
// passed.
#include "qcow2/qcow2.h"

#include "base/alloc.h"
#include "base/endian.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC UINT32_C(0x514649fb)
enum {
    V2_LENGTH = 72,
    V3_LENGTH = 104,
    L1_BYTES_MAX = 32 << 20,
    REFTABLE_BYTES_MAX = 8 << 20,
    SNAPSHOTS_MAX = 65536,
    SNAPSHOT_BYTES_MIN = 40, // of one entry in the snapshot table
    BACKING_MAX = 1023,
    CLUSTER_BITS_MIN = 9,
    CLUSTER_BITS_MAX = 21,
};
enum incompatible { DIRTY = 1, CORRUPT = 2, DATA_FILE = 4, COMPRESSION = 8, EXTENDED_L2 = 16 };
#define RAW_EXTERNAL 2 // autoclear
#define EXT_BACKING_FORMAT UINT32_C(0xe2792aca)
#define EXT_CRYPTO UINT32_C(0x0537be77)
#define EXT_DATA_FILE UINT32_C(0x44415441)

/* The fields of the header as they are in the file. */
struct header {
    uint64_t backing_offset, size, l1_offset, reftable_offset, snapshots_offset;
    uint64_t incompatible, compatible, autoclear;
    uint32_t version, backing_len, cluster_bits, crypt, l1_size, reftable_clusters, snapshots;
    uint32_t refcount_order, length;
    unsigned char compression;
};

void qcow2_info_clear(struct qcow2_info *info)
{
    free(info->backing);
    free(info->backing_format);
    free(info->metadata);
    memset(info, 0, sizeof *info);
}

static int read_fields(const unsigned char *p, size_t n, struct header *h, struct error **err)
{
    if (n < 8 || be32_at(p) != MAGIC)
        return error_set(err, ERR_USER, "not a qcow2 image");
    h->version = be32_at(p + 4);
    if (h->version != 2 && h->version != 3)
        return error_set(err, ERR_USER, "qcow version %u is not supported", h->version);
    if (n < (h->version == 2 ? V2_LENGTH : V3_LENGTH))
        return error_set(err, ERR_USER, "the qcow2 header is truncated");
    h->backing_offset = be64_at(p + 8);
    h->backing_len = be32_at(p + 16);
    h->cluster_bits = be32_at(p + 20);
    h->size = be64_at(p + 24);
    h->crypt = be32_at(p + 32);
    h->l1_size = be32_at(p + 36);
    h->l1_offset = be64_at(p + 40);
    h->reftable_offset = be64_at(p + 48);
    h->reftable_clusters = be32_at(p + 56);
    h->snapshots = be32_at(p + 60);
    h->snapshots_offset = be64_at(p + 64);
    h->refcount_order = 4;
    h->length = V2_LENGTH;
    if (h->version == 2)
        return 0;
    h->incompatible = be64_at(p + 72);
    h->compatible = be64_at(p + 80);
    h->autoclear = be64_at(p + 88);
    h->refcount_order = be32_at(p + 96);
    h->length = be32_at(p + 100);
    if (h->length > V3_LENGTH && n > V3_LENGTH)
        h->compression = p[V3_LENGTH];
    return 0;
}

static int check_features(const struct header *h, int flags, struct error **err)
{
    if (h->incompatible & DATA_FILE || h->autoclear & RAW_EXTERNAL)
        return error_set(err, ERR_USER, "the image keeps its data in an external file");
    if (h->incompatible & ~(uint64_t)(DIRTY | CORRUPT | DATA_FILE | COMPRESSION | EXTENDED_L2))
        return error_set(err, ERR_USER, "the image uses unknown incompatible features (0x%llx)",
                         (unsigned long long)h->incompatible);
    if (h->incompatible & CORRUPT)
        return error_set(err, ERR_USER, "the image is marked as corrupt");
    if (h->crypt)
        return error_set(err, ERR_USER, "the image is encrypted");
    if (h->backing_offset && !(flags & QCOW2_OWN))
        return error_set(err, ERR_USER, "the image needs a backing file");
    if (((h->incompatible & COMPRESSION) != 0) != (h->compression != 0) || h->compression > 1)
        return error_set(err, ERR_USER, "the image uses unknown compression (%u)", h->compression);
    return 0;
}

static int check_sizes(const struct header *h, struct error **err)
{
    if (h->cluster_bits < CLUSTER_BITS_MIN || h->cluster_bits > CLUSTER_BITS_MAX ||
        (h->incompatible & EXTENDED_L2 && h->cluster_bits < 14))
        return error_set(err, ERR_USER, "invalid cluster size of 2^%u bytes", h->cluster_bits);
    if (h->version == 3 && (h->length < V3_LENGTH || h->length % 8 || h->length > 512))
        return error_set(err, ERR_USER, "invalid header length of %u bytes", h->length);
    if (h->refcount_order > 6)
        return error_set(err, ERR_USER, "invalid refcount width of 2^%u bits", h->refcount_order);
    if (h->size > QCOW2_SIZE_MAX)
        return error_set(err, ERR_USER, "the disk has %llu bytes, more than the limit of 8 TiB",
                         (unsigned long long)h->size);
    return 0;
}

/* A table of `bytes` bytes at offset must lie in the file, on a cluster boundary, behind the
 * header. */
static int check_table(const char *what, uint64_t offset, uint64_t bytes, uint64_t file_size,
                       uint64_t cluster, struct error **err)
{
    if (offset % cluster || offset < cluster || offset > file_size || bytes > file_size - offset)
        return error_set(err, ERR_USER, "the %s at %llu is outside the file", what,
                         (unsigned long long)offset);
    return 0;
}

static int check_tables(const struct header *h, uint64_t file_size, struct error **err)
{
    uint64_t cluster = UINT64_C(1) << h->cluster_bits;
    uint64_t per_l2 = cluster / (h->incompatible & EXTENDED_L2 ? 16 : 8) * cluster;
    uint64_t l1_needed = h->size / per_l2 + (h->size % per_l2 != 0);
    uint64_t l1_bytes = (uint64_t)h->l1_size * 8;
    uint64_t ref_bytes = (uint64_t)h->reftable_clusters << h->cluster_bits;
    if (l1_bytes > L1_BYTES_MAX)
        return error_set(err, ERR_USER, "the L1 table has too many entries (%u)", h->l1_size);
    if (h->l1_size < l1_needed)
        return error_set(err, ERR_USER, "the L1 table has %u entries, too few for the disk",
                         h->l1_size);
    if (!h->reftable_clusters || ref_bytes > REFTABLE_BYTES_MAX)
        return error_set(err, ERR_USER, "the refcount table has an invalid size of %u clusters",
                         h->reftable_clusters);
    if (h->snapshots > SNAPSHOTS_MAX)
        return error_set(err, ERR_USER, "the image has too many snapshots (%u)", h->snapshots);
    if (h->l1_size && check_table("L1 table", h->l1_offset, l1_bytes, file_size, cluster, err) < 0)
        return -1;
    if (check_table("refcount table", h->reftable_offset, ref_bytes, file_size, cluster, err) < 0)
        return -1;
    if (h->snapshots &&
        check_table("snapshot table", h->snapshots_offset,
                    (uint64_t)h->snapshots * SNAPSHOT_BYTES_MIN, file_size, cluster, err) < 0)
        return -1;
    return 0;
}

/* One extension's data into the result. */
static int take_extension(uint32_t type, const unsigned char *data, size_t n,
                          struct qcow2_info *info, struct error **err)
{
    switch (type) {
    case EXT_DATA_FILE:
        return error_set(err, ERR_USER, "the image keeps its data in an external file");
    case EXT_CRYPTO:
        return error_set(err, ERR_USER, "the image is encrypted");
    case EXT_BACKING_FORMAT:
        if (info->backing_format || n > 15 || memchr(data, 0, n))
            return error_set(err, ERR_USER, "invalid backing format");
        info->backing_format = xstrndup((const char *)data, n);
        return 0;
    case QCOW2_EXT_METADATA:
        if (info->metadata || n > QCOW2_METADATA_MAX)
            return error_set(err, ERR_USER, "the image's metadata is not readable");
        info->metadata = xstrndup((const char *)data, n);
        info->metadata_len = n;
        return 0;
    default:
        return 0;
    }
}

/* Extensions lie between the header and `end`: the backing file name or the end of the cluster. */
static int read_extensions(const unsigned char *p, size_t at, size_t end, struct qcow2_info *info,
                           struct error **err)
{
    while (end - at >= 8) {
        uint32_t type = be32_at(p + at), n = be32_at(p + at + 4);
        if (!type)
            return 0;
        at += 8;
        if (n > end - at)
            return error_set(err, ERR_USER,
                             "header extension 0x%x of %u bytes extends past the first cluster",
                             type, n);
        if (take_extension(type, p + at, n, info, err) < 0)
            return -1;
        size_t padded = ((size_t)n + 7) & ~(size_t)7;
        if (padded > end - at)
            return 0;
        at += padded;
    }
    return 0;
}

static int read_backing(const unsigned char *p, size_t end, const struct header *h,
                        struct qcow2_info *info, struct error **err)
{
    if (h->backing_len == 0 || h->backing_len > BACKING_MAX || h->backing_offset < h->length ||
        h->backing_offset > end || h->backing_len > end - h->backing_offset)
        return error_set(err, ERR_USER, "the backing file name extends past the first cluster");
    if (memchr(p + h->backing_offset, 0, h->backing_len))
        return error_set(err, ERR_USER, "invalid backing file name");
    info->backing = xstrndup((const char *)p + h->backing_offset, h->backing_len);
    return 0;
}

int qcow2_parse(const void *bytes, size_t n, uint64_t file_size, int flags, struct qcow2_info *ret,
                struct error **err)
{
    const unsigned char *p = bytes;
    struct header h = {0};
    if (read_fields(p, n, &h, err) < 0 || check_features(&h, flags, err) < 0 ||
        check_sizes(&h, err) < 0 || check_tables(&h, file_size, err) < 0)
        return -1;
    size_t cluster = (size_t)1 << h.cluster_bits, end = n < cluster ? n : cluster;
    CLEANUP(qcow2_info_clear)
    struct qcow2_info info = {
        .size = h.size,
        .version = h.version,
        .cluster_bits = h.cluster_bits,
        .refcount_bits = 1u << h.refcount_order,
        .incompatible = h.incompatible,
        .compatible = h.compatible,
        .autoclear = h.autoclear,
        .extended_l2 = (h.incompatible & EXTENDED_L2) != 0,
        .dirty = (h.incompatible & DIRTY) != 0,
        .snapshots = h.snapshots,
    };
    if (h.length > end)
        return error_set(err, ERR_USER, "the qcow2 header is truncated");
    if (h.backing_offset && read_backing(p, end, &h, &info, err) < 0)
        return -1;
    // QEMU reads extensions up to the backing file name, if there is one
    size_t ext_end = h.backing_offset ? (size_t)h.backing_offset : end;
    if (read_extensions(p, h.length, ext_end, &info, err) < 0)
        return -1;
    *ret = info;
    info = (struct qcow2_info){0};
    return 0;
}

int qcow2_read_fd(int fd, int flags, struct qcow2_info *ret, struct error **err)
{
    enum { FIRST = 64 * 1024 };
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_errno(err, "cannot read the image");
    if (!S_ISREG(st.st_mode))
        return error_set(err, ERR_USER, "not a regular file");
    AUTO_FREE unsigned char *head = xmalloc(FIRST);
    ssize_t n = pread_all(fd, head, FIRST, 0);
    if (n < 0)
        return error_errno(err, "cannot read the image");
    // only clusters over 64 KiB need a second read; their size is checked again by the parser
    uint32_t bits = n >= 24 ? be32_at(head + 20) : 0;
    if (n == FIRST && bits > 16 && bits <= CLUSTER_BITS_MAX) {
        head = xrealloc(head, (size_t)1 << bits);
        n = pread_all(fd, head, (size_t)1 << bits, 0);
        if (n < 0)
            return error_errno(err, "cannot read the image");
    }
    return qcow2_parse(head, (size_t)n, (uint64_t)st.st_size, flags, ret, err);
}

int qcow2_read(const char *path, int flags, struct qcow2_info *ret, struct error **err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return error_set(err, ERR_NOT_FOUND, "'%s' does not exist", path);
    if (fd < 0)
        return error_errno(err, "cannot open '%s'", path);
    if (qcow2_read_fd(fd, flags, ret, err) < 0)
        return error_wrap(err, "'%s'", path);
    return 0;
}
