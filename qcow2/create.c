// SPDX-License-Identifier: MIT
//
// Layout of an empty overlay, in clusters: header with its extensions and the backing name;
// refcount table; refcount blocks; L1 table (all zero, so a hole). Refcounts are 16 bits wide, each
// of these clusters has the count 1. Everything but the L1 table is made in memory and written by
// one pwrite.
#include "base/alloc.h"
#include "base/buf.h"
#include "base/endian.h"
#include "base/file.h"
#include "qcow2/qcow2.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER_LENGTH = 112, REFCOUNT_ORDER = 4, L1_BYTES_MAX = 32 << 20 };

struct layout {
    uint64_t cluster;                 /* bytes */
    uint64_t l1_entries, l1_clusters; /* of the L1 table */
    uint64_t blocks, table_clusters;  /* refcount blocks and clusters of their table */
    uint64_t total;                   /* clusters of the file */
};

static uint64_t div_up(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

static void put32(struct buf *b, uint32_t v)
{
    v = htobe32(v);
    buf_add(b, &v, sizeof v);
}

static void put64(struct buf *b, uint64_t v)
{
    v = htobe64(v);
    buf_add(b, &v, sizeof v);
}

static void put_zeros(struct buf *b, uint64_t upto)
{
    if (upto <= b->len)
        return;
    size_t n = (size_t)upto - b->len;
    buf_reserve(b, n);
    memset(b->data + b->len, 0, n + 1);
    b->len += n;
}

static void put_extension(struct buf *b, uint32_t type, const char *bytes, size_t n)
{
    put32(b, type);
    put32(b, (uint32_t)n);
    buf_add(b, bytes, n);
    put_zeros(b, (b->len + 7) & ~(uint64_t)7);
}

static struct layout plan(const struct qcow2_overlay *o, uint64_t size, unsigned bits)
{
    struct layout l = {.cluster = UINT64_C(1) << bits};
    uint64_t per_l2 = l.cluster / (o->extended_l2 ? 16 : 8) * l.cluster;
    l.l1_entries = size ? div_up(size, per_l2) : 1;
    l.l1_clusters = div_up(l.l1_entries * 8, l.cluster);
    // the refcount structures count themselves: grow until they fit
    for (;;) {
        l.total = 1 + l.table_clusters + l.blocks + l.l1_clusters;
        uint64_t blocks = div_up(l.total, l.cluster / 2);
        uint64_t table = div_up(blocks * 8, l.cluster);
        if (blocks == l.blocks && table == l.table_clusters)
            return l;
        l.blocks = blocks;
        l.table_clusters = table;
    }
}

/* Header extensions and backing name, as they follow the header. */
static void put_variable_part(struct buf *b, const struct qcow2_overlay *o)
{
    if (o->backing) {
        const char *format = o->backing_format ? o->backing_format : "qcow2";
        put_extension(b, UINT32_C(0xe2792aca), format, strlen(format));
    }
    if (o->metadata)
        put_extension(b, QCOW2_EXT_METADATA, o->metadata, o->metadata_len);
    put64(b, 0); // end of the extensions
    if (o->backing)
        buf_adds(b, o->backing);
}

static void put_header(struct buf *b, const struct qcow2_overlay *o, const struct layout *l,
                       uint64_t size, unsigned bits, uint64_t backing_offset)
{
    put32(b, UINT32_C(0x514649fb));
    put32(b, 3);
    put64(b, backing_offset);
    put32(b, o->backing ? (uint32_t)strlen(o->backing) : 0);
    put32(b, bits);
    put64(b, size);
    put32(b, 0); // not encrypted
    put32(b, (uint32_t)l->l1_entries);
    put64(b, (1 + l->table_clusters + l->blocks) * l->cluster);
    put64(b, l->cluster); // refcount table
    put32(b, (uint32_t)l->table_clusters);
    put32(b, 0); // snapshots
    put64(b, 0);
    put64(b, o->extended_l2 ? 16 : 0); // incompatible features
    put64(b, 0);                       // compatible
    put64(b, 0);                       // autoclear
    put32(b, REFCOUNT_ORDER);
    put32(b, HEADER_LENGTH);
    put_zeros(b, HEADER_LENGTH); // compression type zlib, padding
}

static void put_refcount_table(struct buf *b, const struct layout *l)
{
    for (uint64_t i = 0; i < l->blocks; i++)
        put64(b, (1 + l->table_clusters + i) * l->cluster);
}

static void put_refcounts(struct buf *b, const struct layout *l)
{
    const uint16_t one = htobe16(1);
    for (uint64_t i = 0; i < l->total; i++)
        buf_add(b, &one, sizeof one);
}

static int check(const struct qcow2_overlay *o, unsigned bits, struct error **err)
{
    if (bits < 9 || bits > 21 || (o->extended_l2 && bits < 14))
        return error_set(err, ERR_USER, "invalid cluster size of 2^%u bytes", bits);
    if (o->size > QCOW2_SIZE_MAX)
        return error_set(err, ERR_USER, "a disk of %llu bytes exceeds the limit of 8 TiB",
                         (unsigned long long)o->size);
    if (o->backing && (!*o->backing || strlen(o->backing) > 1023))
        return error_set(err, ERR_USER, "invalid backing file name '%s'", o->backing);
    if (o->metadata && o->metadata_len > QCOW2_METADATA_MAX)
        return error_set(err, ERR_USER, "metadata of %zu bytes exceeds the limit of 1 MiB",
                         o->metadata_len);
    return 0;
}

static int write_pieces(int fd, const struct layout *l, const struct buf *header, bool sync)
{
    CLEANUP(buf_clear) struct buf table = BUF_INIT, counts = BUF_INIT;
    put_refcount_table(&table, l);
    put_refcounts(&counts, l);
    if (pwrite_all(fd, header->data, header->len, 0) < 0 ||
        pwrite_all(fd, table.data, table.len, (off_t)l->cluster) < 0 ||
        pwrite_all(fd, counts.data, counts.len, (off_t)((1 + l->table_clusters) * l->cluster)) < 0)
        return -1;
    if (ftruncate(fd, (off_t)(l->total * l->cluster)) < 0)
        return -1;
    return sync ? fsync(fd) : 0;
}

int qcow2_write_overlay(int fd, const struct qcow2_overlay *o, struct error **err)
{
    CLEANUP(buf_clear) struct buf tail = BUF_INIT, header = BUF_INIT;
    unsigned bits = o->cluster_bits ? o->cluster_bits : 16;
    if (check(o, bits, err) < 0)
        return -1;
    put_variable_part(&tail, o);
    while (HEADER_LENGTH + tail.len > (size_t)1 << bits)
        if (++bits > 21)
            return error_set(err, ERR_USER, "too much metadata");
    uint64_t size = (o->size + 511) & ~UINT64_C(511);
    struct layout l = plan(o, size, bits);
    if (l.l1_entries * 8 > L1_BYTES_MAX)
        return error_set(err, ERR_USER, "clusters of 2^%u bytes are too small for the disk", bits);
    uint64_t backing_offset = o->backing ? HEADER_LENGTH + tail.len - strlen(o->backing) : 0;
    put_header(&header, o, &l, size, bits, backing_offset);
    buf_add(&header, tail.data, tail.len);
    return write_pieces(fd, &l, &header, o->sync) < 0 ? error_errno(err, "cannot write") : 0;
}

int qcow2_create_overlay(const char *path, const struct qcow2_overlay *o, struct error **err)
{
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0 && errno == EEXIST)
        return error_set(err, ERR_EXISTS, "'%s' already exists", path);
    if (fd < 0)
        return error_errno(err, "cannot create '%s'", path);
    if (qcow2_write_overlay(fd, o, err) < 0) {
        (void)unlink(path);
        return error_wrap(err, "cannot create '%s'", path);
    }
    return 0;
}

/* Copies the extensions from `at` on, without our own and without the end. */
static void copy_extensions(struct buf *to, const unsigned char *p, size_t at, size_t end)
{
    while (end - at >= 8) {
        uint32_t type = be32_at(p + at), n = be32_at(p + at + 4);
        if (!type || n > end - at - 8)
            return;
        if (type != QCOW2_EXT_METADATA)
            put_extension(to, type, (const char *)p + at + 8, n);
        at += 8 + (((size_t)n + 7) & ~(size_t)7);
        if (at > end)
            return;
    }
}

static int rewrite_header(int fd, const struct qcow2_info *info, const char *text, size_t n,
                          struct error **err)
{
    size_t cluster = (size_t)1 << info->cluster_bits;
    AUTO_FREE unsigned char *p = xcalloc(1, cluster);
    CLEANUP(buf_clear) struct buf new = BUF_INIT;
    if (pread_all(fd, p, cluster, 0) < 0)
        return error_errno(err, "cannot read the header");
    uint32_t length = info->version >= 3 ? be32_at(p + 100) : 72;
    buf_add(&new, p, length);
    copy_extensions(&new, p, length, cluster);
    put_extension(&new, QCOW2_EXT_METADATA, text, n);
    put64(&new, 0);
    if (n > QCOW2_METADATA_MAX || new.len > cluster)
        return error_set(err, ERR_USER, "%zu bytes of metadata don't fit into the header", n);
    if (pwrite_all(fd, new.data, new.len, 0) < 0)
        return error_errno(err, "cannot write the header");
    return 0;
}

int qcow2_set_metadata(const char *path, const char *text, size_t n, struct error **err)
{
    CLEANUP(qcow2_info_clear) struct qcow2_info info = {0};
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_errno(err, "cannot open '%s'", path);
    if (qcow2_read_fd(fd, 0, &info, err) < 0 || rewrite_header(fd, &info, text, n, err) < 0)
        return error_wrap(err, "'%s'", path);
    return 0;
}
