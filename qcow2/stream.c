// SPDX-License-Identifier: MIT
//
// Layout, in clusters: header; data and L2 tables in the order in which they become complete (an L2
// table when the stream has passed its 512 MiB); L1 table; refcount blocks; refcount table. The
// file has no holes, so every cluster of it has the count 1. The header comes last: without it the
// file is nothing.
#include "qcow2/stream.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/zero.h"
#include "qcow2/qcow2.h"

#include <endian.h>
#include <string.h>
#include <unistd.h>

#define COPIED (UINT64_C(1) << 63) // refcount is exactly 1
enum { BITS = 16, CLUSTER = 1 << BITS, PER_L2 = CLUSTER / 8, HEADER_LENGTH = 104 };

struct qcow2_stream {
    int fd;
    uint64_t at;         /* bytes of the disk so far */
    uint64_t next;       /* free cluster of the file */
    uint64_t *l1;        /* big endian, as in the file */
    size_t l1_len;       /* entries */
    uint64_t l2[PER_L2]; /* of the 512 MiB that `at` is in */
    bool l2_used;
    unsigned char partial[CLUSTER]; /* the cluster that `at` is in, up to at % CLUSTER */
};

struct qcow2_stream *qcow2_stream_new(int fd)
{
    struct qcow2_stream *q = xcalloc(1, sizeof *q);
    q->fd = fd;
    q->next = 1;
    return q;
}

void qcow2_stream_free(struct qcow2_stream *q)
{
    if (q)
        free(q->l1);
    free(q);
}

uint64_t qcow2_stream_written(const struct qcow2_stream *q)
{
    return q->next * CLUSTER;
}

static int write_clusters(struct qcow2_stream *q, const void *bytes, size_t n, uint64_t *ret_offset,
                          struct error **err)
{
    uint64_t offset = q->next * CLUSTER;
    if (pwrite_all(q->fd, bytes, n, (off_t)offset) < 0)
        return error_errno(err, "cannot write the image");
    q->next += n / CLUSTER + (n % CLUSTER != 0);
    *ret_offset = offset;
    return 0;
}

/* The stream is at the end of what the L2 table covers, or at its own end. */
static int close_l2(struct qcow2_stream *q, struct error **err)
{
    uint64_t offset = 0;
    if (q->l2_used && write_clusters(q, q->l2, sizeof q->l2, &offset, err) < 0)
        return -1;
    q->l1 = xreallocarray(q->l1, q->l1_len + 1, sizeof *q->l1);
    q->l1[q->l1_len++] = htobe64(offset ? offset | COPIED : 0);
    memset(q->l2, 0, sizeof q->l2);
    q->l2_used = false;
    return 0;
}

/* Goes n bytes on within one cluster run; the L2 table is closed when its end is reached. */
static int advance(struct qcow2_stream *q, uint64_t n, struct error **err)
{
    q->at += n;
    return q->at % ((uint64_t)PER_L2 * CLUSTER) == 0 ? close_l2(q, err) : 0;
}

/* Whole clusters that lie at q->at, all below one L2 table: runs that are not zero are written at
 * once. */
static int add_clusters(struct qcow2_stream *q, const unsigned char *p, size_t clusters,
                        struct error **err)
{
    size_t first = q->at / CLUSTER % PER_L2;
    for (size_t i = 0; i < clusters;) {
        size_t run = 0;
        while (i + run < clusters && !is_zero(p + (i + run) * CLUSTER, CLUSTER))
            run++;
        if (!run) {
            i++;
            continue;
        }
        uint64_t offset = 0;
        if (write_clusters(q, p + i * CLUSTER, run * CLUSTER, &offset, err) < 0)
            return -1;
        for (size_t k = 0; k < run; k++)
            q->l2[first + i + k] = htobe64((offset + k * CLUSTER) | COPIED);
        q->l2_used = true;
        i += run;
    }
    return advance(q, clusters * CLUSTER, err);
}

/* Up to the end of the cluster, or less; returns how much was taken. */
static ssize_t add_partial(struct qcow2_stream *q, const unsigned char *p, uint64_t n,
                           struct error **err)
{
    size_t have = q->at % CLUSTER, take = n < CLUSTER - have ? (size_t)n : CLUSTER - have;
    if (!have)
        memset(q->partial, 0, CLUSTER);
    if (p)
        memcpy(q->partial + have, p, take);
    if (have + take < CLUSTER) {
        q->at += take;
        return (ssize_t)take;
    }
    q->at -= have;
    return add_clusters(q, q->partial, 1, err) < 0 ? -1 : (ssize_t)take;
}

/* As many whole clusters as the L2 table has room for. */
static uint64_t room_in_l2(const struct qcow2_stream *q, uint64_t n)
{
    uint64_t left = PER_L2 - q->at / CLUSTER % PER_L2;
    return n / CLUSTER < left ? n / CLUSTER : left;
}

int qcow2_stream_add(struct qcow2_stream *q, const void *bytes, uint64_t n, struct error **err)
{
    if (n > QCOW2_SIZE_MAX || q->at + n > QCOW2_SIZE_MAX)
        return error_set(err, ERR_USER, "the disk is larger than the limit of 8 TiB");
    for (const unsigned char *p = bytes; n;) {
        uint64_t take;
        if (q->at % CLUSTER || n < CLUSTER) {
            ssize_t some = add_partial(q, p, n, err);
            if (some < 0)
                return -1;
            take = (uint64_t)some;
        } else {
            uint64_t clusters = room_in_l2(q, n);
            take = clusters * CLUSTER;
            if (p ? add_clusters(q, p, (size_t)clusters, err) < 0 : advance(q, take, err) < 0)
                return -1;
        }
        p = p ? p + take : NULL;
        n -= take;
    }
    return 0;
}

static void put(unsigned char *p, size_t at, unsigned n, uint64_t v)
{
    for (unsigned i = 0; i < n; i++)
        p[at + i] = (unsigned char)(v >> (8 * (n - 1 - i)));
}

/* Refcounts of all clusters of the file, its own included: fixed point first, then the tables. */
static int write_refcounts(struct qcow2_stream *q, uint64_t *ret_table, uint64_t *ret_clusters,
                           struct error **err)
{
    enum { PER_BLOCK = CLUSTER / 2 };
    uint64_t blocks = 0, table = 0, total;
    for (;;) {
        total = q->next + blocks + table;
        uint64_t b = (total + PER_BLOCK - 1) / PER_BLOCK, t = (b * 8 + CLUSTER - 1) / CLUSTER;
        if (b == blocks && t == table)
            break;
        blocks = b;
        table = t;
    }
    AUTO_FREE uint64_t *entries = xcalloc((size_t)table * PER_L2, sizeof *entries);
    AUTO_FREE uint16_t *counts = xcalloc(PER_BLOCK, sizeof *counts);
    for (uint64_t i = 0; i < blocks; i++) {
        uint64_t in_block = total - i * PER_BLOCK < PER_BLOCK ? total - i * PER_BLOCK : PER_BLOCK;
        for (uint64_t k = 0; k < PER_BLOCK; k++)
            counts[k] = k < in_block ? htobe16(1) : 0;
        uint64_t offset = 0;
        if (write_clusters(q, counts, CLUSTER, &offset, err) < 0)
            return -1;
        entries[i] = htobe64(offset);
    }
    *ret_clusters = table;
    return write_clusters(q, entries, (size_t)table * CLUSTER, ret_table, err);
}

static int finish(struct qcow2_stream *q, struct error **err)
{
    unsigned char h[HEADER_LENGTH + 8] = {0}; // with the end of the header extensions
    uint64_t l1 = 0, table = 0, table_clusters = 0;
    if (q->at % 512 && qcow2_stream_add(q, NULL, 512 - q->at % 512, err) < 0)
        return -1;
    uint64_t size = q->at;
    if (q->at % CLUSTER && qcow2_stream_add(q, NULL, CLUSTER - q->at % CLUSTER, err) < 0)
        return -1;
    if ((q->at % ((uint64_t)PER_L2 * CLUSTER) || !q->l1_len) && close_l2(q, err) < 0)
        return -1;
    size_t l1_bytes = (q->l1_len * 8 + CLUSTER - 1) / CLUSTER * CLUSTER;
    q->l1 = xrealloc(q->l1, l1_bytes);
    memset(q->l1 + q->l1_len, 0, l1_bytes - q->l1_len * 8);
    if (write_clusters(q, q->l1, l1_bytes, &l1, err) < 0 ||
        write_refcounts(q, &table, &table_clusters, err) < 0)
        return -1;
    put(h, 0, 4, 0x514649fb);
    put(h, 4, 4, 3);
    put(h, 20, 4, BITS);
    put(h, 24, 8, size);
    put(h, 36, 4, q->l1_len);
    put(h, 40, 8, l1);
    put(h, 48, 8, table);
    put(h, 56, 4, table_clusters);
    put(h, 96, 4, 4);
    put(h, 100, 4, HEADER_LENGTH);
    if (ftruncate(q->fd, (off_t)(q->next * CLUSTER)) < 0 || pwrite_all(q->fd, h, sizeof h, 0) < 0)
        return error_errno(err, "cannot write the image");
    return 0;
}

int qcow2_stream_finish(struct qcow2_stream *q, struct error **err)
{
    int rc = finish(q, err);
    qcow2_stream_free(q);
    return rc;
}
