// SPDX-License-Identifier: MIT
//
// L2 tables are read when they are first needed and stay in memory, in the machine's byte order.
// New clusters are taken at the end of the top file, so that long writes stay in one piece there.
// Reference counts are all loaded at the start (two bytes a cluster) and written at the end.
#include "qcow2/chain.h"

#include "base/alloc.h"
#include "base/endian.h"
#include "base/file.h"
#include "base/zero.h"
#include "qcow2/qcow2.h"

#include <endian.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OFFSET_MASK UINT64_C(0x00fffffffffffe00)
#define COPIED (UINT64_C(1) << 63)
#define COMPRESSED (UINT64_C(1) << 62)
#define READS_ZERO UINT64_C(1)
enum { HEADER = 104, DIRTY = 1, COUNTS_MAX = 1 << 27 };
enum { AHEAD = 4 << 20 }; /* bytes that are begun to be written to the disk at once */

/* One L2 table. */
struct table {
    uint64_t *entries; /* NULL = not loaded */
    bool dirty;
};

struct chain_file {
    int fd;
    unsigned bits;
    uint64_t cluster, size, file_size; /* bytes */
    uint64_t l1_offset, *l1;
    struct table *tables;
    size_t l1_len;
};

struct qcow2_chain {
    struct chain_file *files;
    size_t n;
    uint64_t table_offset, *table; /* of the reference counts of the top file */
    size_t table_len;              /* entries */
    uint16_t *counts;
    uint64_t clusters, counts_room; /* of the top file */
    uint64_t begun;                 /* up to here it was begun to be written to the disk */
    unsigned char *spare;           /* one cluster of the top file */
};

static struct chain_file *top_of(struct qcow2_chain *c)
{
    return &c->files[c->n - 1];
}

uint64_t qcow2_chain_size(const struct qcow2_chain *c)
{
    return c->files[c->n - 1].size;
}

void qcow2_chain_free(struct qcow2_chain *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n; i++) {
        for (size_t k = 0; c->files[i].tables && k < c->files[i].l1_len; k++)
            free(c->files[i].tables[k].entries);
        free(c->files[i].tables);
        free(c->files[i].l1);
    }
    free(c->files);
    free(c->table);
    free(c->counts);
    free(c->spare);
    free(c);
}

/* n numbers of 8 bytes at `offset`, owned; NULL with an error. */
static uint64_t *read_numbers(const struct chain_file *f, uint64_t offset, size_t n,
                              struct error **err)
{
    if (offset > f->file_size || n * 8 > f->file_size - offset || offset % 8) {
        error_set(err, ERR_USER, "a table of the qcow2 file is outside of it");
        return NULL;
    }
    AUTO_FREE uint64_t *p = xcalloc(n ? n : 1, sizeof *p);
    if (pread_all(f->fd, p, n * 8, (off_t)offset) != (ssize_t)(n * 8)) {
        error_errno(err, "cannot read a layer");
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        p[i] = be64toh(p[i]);
    return STEAL(p);
}

static int check_header(const unsigned char *h, bool top, struct error **err)
{
    uint64_t incompatible = be32_at(h + 4) >= 3 ? be64_at(h + 72) : 0;
    if (incompatible & ~(uint64_t)(top ? 0 : DIRTY))
        return error_set(err, ERR_USER, "a layer has features that only QEMU reads");
    if (top && (be32_at(h + 4) != 3 || be32_at(h + 96) != 4 || be32_at(h + 60)))
        return error_set(err, ERR_USER, "the new layer is not of kiln's making");
    return 0;
}

/* The header, judged; its first HEADER bytes into h. */
static int read_head(struct chain_file *f, unsigned char *h, struct qcow2_info *ret,
                     struct error **err)
{
    // no fstat: the caller may be in a sandbox that has none
    off_t end = lseek(f->fd, 0, SEEK_END);
    if (end < 0 || pread_all(f->fd, h, HEADER, 0) < 0)
        return error_errno(err, "cannot read a layer");
    f->file_size = (uint64_t)end;
    uint32_t bits = be32_at(h + 20);
    size_t n = end < HEADER || bits > 21 ? HEADER : (size_t)1 << bits;
    AUTO_FREE unsigned char *cluster = xcalloc(1, n < HEADER ? HEADER : n);
    ssize_t got = pread_all(f->fd, cluster, n, 0);
    return got < 0 ? error_errno(err, "cannot read a layer")
                   : qcow2_parse(cluster, (size_t)got, f->file_size, QCOW2_OWN, ret, err);
}

static int open_file(struct chain_file *f, int fd, bool top, unsigned char *h, struct error **err)
{
    CLEANUP(qcow2_info_clear) struct qcow2_info info = {0};
    f->fd = fd;
    memset(h, 0, HEADER);
    if (read_head(f, h, &info, err) < 0)
        return -1;
    f->bits = info.cluster_bits;
    f->cluster = UINT64_C(1) << f->bits;
    f->size = info.size;
    f->l1_len = be32_at(h + 36);
    f->l1_offset = be64_at(h + 40);
    if (check_header(h, top, err) < 0) // extended L2 entries are among the features
        return -1;
    f->l1 = read_numbers(f, f->l1_offset, f->l1_len, err);
    f->tables = xcalloc(f->l1_len ? f->l1_len : 1, sizeof *f->tables);
    return f->l1 ? 0 : -1;
}

static int grow_counts(struct qcow2_chain *c, uint64_t clusters, struct error **err)
{
    if (clusters > COUNTS_MAX)
        return error_set(err, ERR_USER, "the new layer is too large to be written without QEMU");
    if (clusters > c->counts_room) {
        uint64_t room = clusters * 2;
        c->counts = xreallocarray(c->counts, room, sizeof *c->counts);
        memset(c->counts + c->counts_room, 0, (room - c->counts_room) * sizeof *c->counts);
        c->counts_room = room;
    }
    c->clusters = clusters;
    return 0;
}

/* The reference counts that the top file has. */
static int load_counts(struct qcow2_chain *c, const unsigned char *h, struct error **err)
{
    struct chain_file *f = top_of(c);
    uint64_t per_block = f->cluster / 2;
    c->table_offset = be64_at(h + 48);
    c->table_len = (size_t)be32_at(h + 56) * (f->cluster / 8);
    c->table = read_numbers(f, c->table_offset, c->table_len, err);
    if (!c->table ||
        grow_counts(c, f->file_size / f->cluster + (f->file_size % f->cluster != 0), err) < 0)
        return -1;
    for (uint64_t i = 0; i < c->table_len && i * per_block < c->clusters; i++) {
        if (!c->table[i])
            continue;
        uint64_t left = c->clusters - i * per_block, n = left < per_block ? left : per_block;
        uint16_t *to = c->counts + i * per_block;
        if (pread_all(f->fd, to, n * 2, (off_t)c->table[i]) != (ssize_t)(n * 2))
            return error_errno(err, "cannot read the new layer");
        for (uint64_t k = 0; k < n; k++)
            to[k] = be16toh(to[k]);
    }
    return 0;
}

struct qcow2_chain *qcow2_chain_open(const int *fds, size_t n, struct error **err)
{
    CLEANUP(qcow2_chain_freep) struct qcow2_chain *c = xcalloc(1, sizeof *c);
    unsigned char header[HEADER];
    c->files = xcalloc(n, sizeof *c->files);
    for (c->n = 0; c->n < n; c->n++)
        if (open_file(&c->files[c->n], fds[c->n], c->n + 1 == n, header, err) < 0) {
            c->n++; // what it has is to be freed
            return NULL;
        }
    c->spare = xmalloc(top_of(c)->cluster);
    return load_counts(c, header, err) < 0 ? NULL : STEAL(c);
}

static int load_table(struct chain_file *f, size_t i, struct error **err)
{
    size_t n = f->cluster / 8;
    if (f->tables[i].entries)
        return 0;
    uint64_t offset = f->l1[i] & OFFSET_MASK;
    f->tables[i].entries = offset ? read_numbers(f, offset, n, err) : xcalloc(n, sizeof(uint64_t));
    return f->tables[i].entries ? 0 : -1;
}

/* The entry of the cluster that holds `at`; NULL with an error, or without one: the file has none
 * there. */
static uint64_t *entry_of(struct chain_file *f, uint64_t at, bool make, struct error **err)
{
    uint64_t cluster = at >> f->bits, per_table = f->cluster / 8;
    size_t i = (size_t)(cluster / per_table);
    if (i >= f->l1_len)
        return NULL;
    if (!make && !f->tables[i].entries && !(f->l1[i] & OFFSET_MASK))
        return NULL;
    return load_table(f, i, err) < 0 ? NULL : &f->tables[i].entries[cluster % per_table];
}

/* Where `at` of the disk is: *ret_file NULL = it reads as zeros. *n becomes no more than what lies in
 * one piece. files[0..count) are asked. */
static int find(struct qcow2_chain *c, size_t count, uint64_t at, uint64_t *n,
                struct chain_file **ret_file, uint64_t *ret_offset, struct error **err)
{
    *ret_file = NULL;
    for (size_t i = count; i-- > 0;) {
        struct chain_file *f = &c->files[i];
        if (at >= f->size)
            return 0; // what is below is not seen through a smaller disk
        uint64_t in = at & (f->cluster - 1);
        if (*n > f->cluster - in)
            *n = f->cluster - in;
        struct error *why = NULL;
        uint64_t *e = entry_of(f, at, false, &why);
        if (why)
            return error_propagate(err, why);
        if (!e || !*e)
            continue;
        if (*e & COMPRESSED)
            return error_set(err, ERR_USER, "a layer is compressed");
        if (*e & READS_ZERO)
            return 0;
        *ret_file = f;
        *ret_offset = (*e & OFFSET_MASK) + in;
        return 0;
    }
    return 0;
}

static int check_range(const struct qcow2_chain *c, size_t n, uint64_t at, struct error **err)
{
    uint64_t size = qcow2_chain_size(c);
    return at > size || n > size - at
               ? error_set(err, ERR_USER, "%zu bytes at %llu are beyond the end of the disk", n,
                           (unsigned long long)at)
               : 0;
}

int qcow2_chain_read(struct qcow2_chain *c, void *bytes, size_t n, uint64_t at, struct error **err)
{
    if (check_range(c, n, at, err) < 0)
        return -1;
    for (char *p = bytes; n;) {
        struct chain_file *f;
        uint64_t piece = n, offset = 0;
        if (find(c, c->n, at, &piece, &f, &offset, err) < 0)
            return -1;
        ssize_t got = f ? pread_all(f->fd, p, piece, (off_t)offset) : 0;
        if (got < 0)
            return error_errno(err, "cannot read a layer");
        memset(p + got, 0, piece - (size_t)got); // a file may end within its last cluster
        p += piece;
        at += piece;
        n -= piece;
    }
    return 0;
}

/* n clusters at the end of the top file; *ret is where. */
static int take_clusters(struct qcow2_chain *c, uint64_t n, uint64_t *ret, struct error **err)
{
    uint64_t first = c->clusters;
    if (grow_counts(c, first + n, err) < 0)
        return -1;
    for (uint64_t i = 0; i < n; i++)
        c->counts[first + i] = 1;
    *ret = first << top_of(c)->bits;
    return 0;
}

static int write_top(struct qcow2_chain *c, const void *bytes, size_t n, uint64_t offset,
                     struct error **err)
{
    return pwrite_all(top_of(c)->fd, bytes, n, (off_t)offset) < 0
               ? error_errno(err, "cannot write the new layer")
               : 0;
}

/* A long file is on its way to the disk while the rest of it comes: whoever then waits for it by fsync
 * waits less. Only a hint. */
static void begin_to_sync(struct qcow2_chain *c, uint64_t end)
{
    if (end < c->begun + AHEAD)
        return;
    (void)sync_file_range(top_of(c)->fd, (off_t)c->begun, (off_t)(end - c->begun),
                          SYNC_FILE_RANGE_WRITE);
    c->begun = end;
}

static void set_entry(struct qcow2_chain *c, uint64_t *entry, uint64_t at, uint64_t value)
{
    struct chain_file *f = top_of(c);
    *entry = value;
    f->tables[(at >> f->bits) / (f->cluster / 8)].dirty = true;
}

/* Whether the cluster reads as zeros without the top file. */
static int zero_below(struct qcow2_chain *c, uint64_t at, bool *ret, struct error **err)
{
    uint64_t left = top_of(c)->cluster;
    for (*ret = true; *ret && left;) {
        struct chain_file *f;
        uint64_t piece = left, offset;
        if (find(c, c->n - 1, at, &piece, &f, &offset, err) < 0)
            return -1;
        *ret = !f;
        at += piece;
        left -= piece;
    }
    return 0;
}

/* One whole cluster that has a place already, or is zero and needs none. *ret_done false: it needs
 * one. */
static int write_without_room(struct qcow2_chain *c, uint64_t *entry, const unsigned char *p,
                              uint64_t at, bool *ret_done, struct error **err)
{
    struct chain_file *f = top_of(c);
    *ret_done = true;
    if (*entry & COMPRESSED)
        return error_set(err, ERR_USER, "a layer is compressed");
    if (*entry & OFFSET_MASK && !(*entry & READS_ZERO))
        return write_top(c, p, f->cluster, *entry & OFFSET_MASK, err);
    *ret_done = is_zero(p, f->cluster);
    bool zero = false;
    if (!*ret_done || *entry & READS_ZERO)
        return 0;
    if (zero_below(c, at, &zero, err) < 0)
        return -1;
    if (!zero)
        set_entry(c, entry, at, READS_ZERO);
    return 0;
}

/* Whole clusters: those that need room get it in runs. */
static int write_clusters(struct qcow2_chain *c, const unsigned char *p, uint64_t n, uint64_t at,
                          struct error **err)
{
    struct chain_file *f = top_of(c);
    uint64_t run = 0; // clusters before i that wait for room
    for (uint64_t i = 0; i <= n; i++) {
        bool done = true;
        uint64_t *entry = i < n ? entry_of(f, at + i * f->cluster, true, NULL) : NULL;
        if (i < n && !entry)
            return error_set(err, ERR_USER, "a table of the new layer cannot be read");
        if (i < n &&
            write_without_room(c, entry, p + i * f->cluster, at + i * f->cluster, &done, err) < 0)
            return -1;
        if (!done) {
            run++;
            continue;
        }
        uint64_t offset, first = i - run;
        if (run && (take_clusters(c, run, &offset, err) < 0 ||
                    write_top(c, p + first * f->cluster, run * f->cluster, offset, err) < 0))
            return -1;
        if (run)
            begin_to_sync(c, offset + run * f->cluster);
        for (uint64_t k = 0; k < run; k++) {
            uint64_t where = at + (first + k) * f->cluster;
            set_entry(c, entry_of(f, where, true, NULL), where, (offset + k * f->cluster) | COPIED);
        }
        run = 0;
    }
    return 0;
}

/* Less than a cluster. */
static int write_partial(struct qcow2_chain *c, const unsigned char *p, size_t n, uint64_t at,
                         struct error **err)
{
    uint64_t cluster = top_of(c)->cluster, start = at & ~(cluster - 1);
    uint64_t have = qcow2_chain_size(c) - start;
    memset(c->spare, 0, cluster);
    if (qcow2_chain_read(c, c->spare, have < cluster ? have : cluster, start, err) < 0)
        return -1;
    memcpy(c->spare + (at - start), p, n);
    return write_clusters(c, c->spare, 1, start, err);
}

int qcow2_chain_write(struct qcow2_chain *c, const void *bytes, size_t n, uint64_t at,
                      struct error **err)
{
    uint64_t cluster = top_of(c)->cluster;
    if (check_range(c, n, at, err) < 0)
        return -1;
    for (const unsigned char *p = bytes; n;) {
        uint64_t in = at & (cluster - 1), piece = n & ~(cluster - 1);
        int rc;
        if (in || !piece) {
            piece = cluster - in < n ? cluster - in : n;
            rc = write_partial(c, p, piece, at, err);
        } else {
            rc = write_clusters(c, p, piece / cluster, at, err);
        }
        if (rc < 0)
            return -1;
        p += piece;
        at += piece;
        n -= piece;
    }
    return 0;
}

static int write_numbers(struct qcow2_chain *c, const uint64_t *numbers, size_t n, uint64_t offset,
                         struct error **err)
{
    AUTO_FREE uint64_t *p = xcalloc(n ? n : 1, sizeof *p);
    for (size_t i = 0; i < n; i++)
        p[i] = htobe64(numbers[i]);
    return write_top(c, p, n * 8, offset, err);
}

static int write_tables(struct qcow2_chain *c, struct error **err)
{
    struct chain_file *f = top_of(c);
    for (size_t i = 0; i < f->l1_len; i++) {
        uint64_t offset = f->l1[i] & OFFSET_MASK;
        if (!f->tables[i].dirty)
            continue;
        if (!offset && take_clusters(c, 1, &offset, err) < 0)
            return -1;
        if (write_numbers(c, f->tables[i].entries, f->cluster / 8, offset, err) < 0)
            return -1;
        f->l1[i] = offset | COPIED;
        f->tables[i].dirty = false;
    }
    return write_numbers(c, f->l1, f->l1_len, f->l1_offset, err);
}

/* A larger table of the blocks of counts, behind all else; the old one's clusters are free then. */
static int move_count_table(struct qcow2_chain *c, struct error **err)
{
    struct chain_file *f = top_of(c);
    uint64_t per_cluster = f->cluster / 8, old = c->table_len / per_cluster, new = old * 2 + 1;
    struct {
        uint64_t offset;
        uint32_t clusters;
    } __attribute__((packed)) head;
    for (uint64_t i = 0; i < old; i++)
        c->counts[(c->table_offset >> f->bits) + i] = 0;
    if (take_clusters(c, new, &c->table_offset, err) < 0)
        return -1;
    c->table = xreallocarray(c->table, new *per_cluster, sizeof *c->table);
    memset(c->table + c->table_len, 0, (new *per_cluster - c->table_len) * sizeof *c->table);
    c->table_len = new *per_cluster;
    head.offset = htobe64(c->table_offset);
    head.clusters = htobe32((uint32_t) new);
    return write_top(c, &head, sizeof head, 48, err);
}

static int write_count_block(struct qcow2_chain *c, uint64_t i, struct error **err)
{
    struct chain_file *f = top_of(c);
    uint64_t per_block = f->cluster / 2;
    uint16_t *to = (uint16_t *)(void *)c->spare;
    for (uint64_t k = 0; k < per_block; k++)
        to[k] = i * per_block + k < c->clusters ? htobe16(c->counts[i * per_block + k]) : 0;
    return write_top(c, to, f->cluster, c->table[i], err);
}

static int write_counts(struct qcow2_chain *c, struct error **err)
{
    uint64_t per_block = top_of(c)->cluster / 2;
    // each block, and a larger table, may need a further block
    for (uint64_t i = 0; i * per_block < c->clusters; i++) {
        if (i >= c->table_len && move_count_table(c, err) < 0)
            return -1;
        if (!c->table[i] && take_clusters(c, 1, &c->table[i], err) < 0)
            return -1;
    }
    for (uint64_t i = 0; i * per_block < c->clusters; i++)
        if (write_count_block(c, i, err) < 0)
            return -1;
    return write_numbers(c, c->table, c->table_len, c->table_offset, err);
}

int qcow2_chain_finish(struct qcow2_chain *c, struct error **err)
{
    struct chain_file *f = top_of(c);
    if (write_tables(c, err) < 0 || write_counts(c, err) < 0)
        return -1;
    f->file_size = c->clusters << f->bits;
    return ftruncate(f->fd, (off_t)f->file_size) < 0
               ? error_errno(err, "cannot write the new layer")
               : 0;
}
