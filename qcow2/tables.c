// SPDX-License-Identifier: MIT
//
// `qemu-img check` visits each entry of each L2 table as often as an L1 table names it, a
// microsecond an entry. A sound image names a table once, and each cluster it has takes some bytes
// of the file; so what the visit may cost is bounded by the file's size, and a small file that
// would keep the check busy for hours is refused.
#include "base/alloc.h"
#include "base/endian.h"
#include "base/file.h"
#include "base/session.h"
#include "qcow2/qcow2.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define OFFSET_MASK UINT64_C(0x00fffffffffffe00)
/* Entries that any file may have, and bytes of the file for each further one. */
enum { ENTRIES_FREE = 1 << 18, BYTES_AN_ENTRY = 128, TABLE_COST = 64, SNAPSHOT_HEAD = 40 };

struct walk {
    const struct session *session;
    int fd;
    uint64_t file_size, cluster, entry_size;
    uint64_t budget; /* of entries that may still be visited */
    unsigned char *table;
};

static int spend(struct walk *w, uint64_t n, struct error **err)
{
    if (n > w->budget)
        return error_set(err, ERR_USER,
                         "the image's tables describe more data than a file of %llu bytes can hold",
                         (unsigned long long)w->file_size);
    w->budget -= n;
    return 0;
}

static int visit_l2(struct walk *w, uint64_t offset, struct error **err)
{
    static const unsigned char none[16];
    if (offset % w->cluster || offset < w->cluster || offset > w->file_size - w->cluster ||
        w->file_size < w->cluster)
        return error_set(err, ERR_USER, "the L2 table at %llu is outside the file",
                         (unsigned long long)offset);
    if (pread_all(w->fd, w->table, w->cluster, (off_t)offset) != (ssize_t)w->cluster)
        return error_errno(err, "cannot read the image");
    uint64_t used = TABLE_COST;
    for (uint64_t i = 0; i < w->cluster; i += w->entry_size)
        used += memcmp(w->table + i, none, w->entry_size) != 0;
    return spend(w, used, err);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

static int visit_l1(struct walk *w, uint64_t offset, uint64_t entries, struct error **err)
{
    if (!entries)
        return 0;
    if (entries > QCOW2_L1_MAX || offset > w->file_size || entries * 8 > w->file_size - offset)
        return error_set(err, ERR_USER, "an L1 table is outside the file");
    AUTO_FREE uint64_t *l1 = xcalloc(entries, sizeof *l1);
    if (pread_all(w->fd, l1, entries * 8, (off_t)offset) != (ssize_t)(entries * 8))
        return error_errno(err, "cannot read the image");
    if (spend(w, entries / TABLE_COST, err) < 0)
        return -1;
    for (uint64_t i = 0; i < entries; i++)
        l1[i] = be64_at(&l1[i]) & OFFSET_MASK;
    qsort(l1, entries, sizeof *l1, by_value);
    for (uint64_t i = 0; i < entries; i++) {
        if (!l1[i])
            continue;
        if (i && l1[i] == l1[i - 1])
            return error_set(err, ERR_USER, "the L1 table refers to the L2 table at %llu twice",
                             (unsigned long long)l1[i]);
        if (session_cancelled(w->session))
            return error_set(err, ERR_CANCELLED, "interrupted");
        if (visit_l2(w, l1[i], err) < 0)
            return -1;
    }
    return 0;
}

/* The snapshot table: entries of 40 bytes, extra data, id and name, each padded to 8. */
static int visit_snapshots(struct walk *w, uint64_t at, uint32_t n, struct error **err)
{
    unsigned char h[SNAPSHOT_HEAD];
    for (uint32_t i = 0; i < n; i++) {
        if (at > w->file_size || pread_all(w->fd, h, sizeof h, (off_t)at) != (ssize_t)sizeof h)
            return error_set(err, ERR_USER, "the snapshot table is outside the file");
        if (visit_l1(w, be64_at(h), be32_at(h + 8), err) < 0)
            return error_wrap(err, "snapshot %u", i + 1);
        uint64_t names = (uint64_t)(h[12] << 8 | h[13]) + (uint64_t)(h[14] << 8 | h[15]);
        at += (SNAPSHOT_HEAD + be32_at(h + 36) + names + 7) & ~UINT64_C(7);
    }
    return 0;
}

int qcow2_check_tables(const struct session *s, int fd, const struct qcow2_info *info,
                       struct error **err)
{
    unsigned char h[72];
    struct stat st;
    if (fstat(fd, &st) < 0 || pread_all(fd, h, sizeof h, 0) != (ssize_t)sizeof h)
        return error_errno(err, "cannot read the image");
    uint64_t cluster = UINT64_C(1) << info->cluster_bits;
    AUTO_FREE unsigned char *table = xmalloc(cluster);
    struct walk w = {.session = s,
                     .fd = fd,
                     .file_size = (uint64_t)st.st_size,
                     .cluster = cluster,
                     .entry_size = info->extended_l2 ? 16 : 8,
                     .budget = ENTRIES_FREE + (uint64_t)st.st_size / BYTES_AN_ENTRY,
                     .table = table};
    if (visit_l1(&w, be64_at(h + 40), be32_at(h + 36), err) < 0)
        return -1;
    return visit_snapshots(&w, be64_at(h + 64), be32_at(h + 60), err);
}
