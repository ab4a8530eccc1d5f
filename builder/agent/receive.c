// SPDX-License-Identifier: MIT
// Four threads: one reads ahead (feed.c), this one makes files, one finishes small ones and one
// large ones (batch.c). Large contents are aligned in the stream and go from where they were read
// to the disk with O_DIRECT, into blocks reserved at once; the last odd bytes, and small files, go
// through the page cache. Files with holes, or with attributes beyond the usual, this thread does
// alone.
#include "builder/agent/receive.h"

#include "base/file.h"
#include "builder/agent/batch.h"
#include "builder/agent/feed.h"
#include "builder/agent/place.h"
#include "builder/agent/sys.h"
#include "builder/agent/tree.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

// One extent through the page cache.
static int copy_extent(struct feed *f, struct place *p, int fd, uint64_t at, uint64_t n,
                       struct error **err)
{
    while (n) {
        size_t part;
        const void *bytes = feed_piece(f, n < SIZE_MAX ? (size_t)n : SIZE_MAX, &part, err);
        if (!bytes)
            return -1;
        if (pwrite_all(fd, bytes, part, (off_t)at) < 0)
            return place_error(p, "write", err);
        if (feed_skip(f, part, err) < 0)
            return -1;
        at += part;
        n -= part;
    }
    return 0;
}

// One aligned extent: whole blocks directly, the rest through the page cache.
static int move_extent(struct agent *a, struct feed *f, struct place *p, int fd, uint64_t at,
                       uint64_t n, struct error **err)
{
    uint64_t whole = at % STREAM_ALIGN ? 0 : n & ~(uint64_t)(STREAM_ALIGN - 1);
    if (feed_align(f, err) < 0)
        return -1;
    for (uint64_t done = 0; done < whole;) {
        size_t part;
        const void *bytes = feed_piece(f, (size_t)(whole - done), &part, err);
        if (!bytes)
            return -1;
        if (sys_write_direct(fd, bytes, part, at + done) < 0)
            return place_error(p, "write", err);
        if (feed_skip(f, part, err) < 0)
            return -1;
        done += part;
        agent_poll(a, NULL, NULL);
    }
    sys_set_direct(fd, false);
    return copy_extent(f, p, fd, at + whole, n - whole, err);
}

static int write_content(struct agent *a, struct feed *f, struct place *p, const struct entry *e,
                         int fd, struct error **err)
{
    bool big = entry_is_big(e), dense = e->data == e->head.size;
    if (!dense && ftruncate(fd, (off_t)e->head.size) < 0)
        return place_error(p, "set the size of", err);
    if (big && dense && fallocate(fd, 0, 0, (off_t)e->head.size) < 0 && errno != EOPNOTSUPP)
        return place_error(p, "write", err);
    for (uint32_t i = 0; i < e->head.n_extents; i++) {
        uint64_t at, n;
        entry_extent(e, i, &at, &n);
        if ((big ? move_extent(a, f, p, fd, at, n, err) : copy_extent(f, p, fd, at, n, err)) < 0)
            return -1;
    }
    return 0;
}

static int next_entry(struct feed *f, struct buf *bytes, struct entry *ret, struct error **err)
{
    struct stream_entry head;
    if (feed_read(f, &head, sizeof head, err) < 0)
        return -1;
    size_t n = entry_size(&head, err);
    if (!n)
        return -1;
    buf_reset(bytes);
    buf_reserve(bytes, n);
    memcpy(bytes->data, &head, sizeof head);
    if (feed_read(f, bytes->data + sizeof head, n - sizeof head, err) < 0)
        return -1;
    bytes->len = n;
    return entry_decode(bytes->data, n, ret, err);
}

// A file in one piece, without attributes beyond the usual: for another thread.
static bool is_simple(const struct entry *e)
{
    return e->data == e->head.size && e->head.n_extents <= 1 && !e->xattrs.len;
}

// The threads that finish files.
struct finishers {
    struct batch *small, *large;
};

static void finishers_clear(struct finishers *t)
{
    batch_free(t->small);
    batch_free(t->large);
}

// All but the last odd bytes; *ret_n says how many.
static int hand_over_pieces(struct agent *a, struct feed *f, struct place *p, const struct entry *e,
                            struct batch *b, int fd, uint64_t *ret_n, struct error **err)
{
    uint64_t whole = e->data & ~(uint64_t)(STREAM_ALIGN - 1);
    if (fallocate(fd, 0, 0, (off_t)e->head.size) < 0 && errno != EOPNOTSUPP)
        return place_error(p, "write", err);
    if (feed_align(f, err) < 0)
        return -1;
    for (*ret_n = 0; *ret_n < whole;) {
        size_t part;
        const void *bytes = feed_piece(f, (size_t)(whole - *ret_n), &part, err);
        if (!bytes)
            return -1;
        struct batch_piece piece = {fd, p->path.data, bytes, part, *ret_n, f, feed_hold(f)};
        *ret_n += part;
        if (batch_add_piece(b, &piece, err) < 0 || feed_skip(f, part, err) < 0)
            return -1;
        agent_poll(a, NULL, NULL);
    }
    return 0;
}

static int hand_over(struct agent *a, struct feed *f, struct place *p, const struct entry *e,
                     struct finishers *t, int fd, struct error **err)
{
    char bytes[STREAM_BIG];
    bool big = entry_is_big(e);
    struct batch_file file = {.fd = fd,
                              .path = p->path.data,
                              .bytes = bytes,
                              .mtime = {(time_t)e->head.mtime, e->head.mtime_ns}};
    place_attrs(p, e, &file.uid, &file.gid, &file.mode);
    if ((big && hand_over_pieces(a, f, p, e, t->large, fd, &file.at, err) < 0) ||
        feed_read(f, bytes, (size_t)(e->data - file.at), err) < 0) {
        (void)batch_finish(t->large, &p->no_owner, NULL); // it may still be written to
        close(fd);
        return -1;
    }
    file.n = (size_t)(e->data - file.at);
    p->count++;
    return batch_add(big ? t->large : t->small, &file, err);
}

static int take_file(struct agent *a, struct feed *f, struct place *p, const struct entry *e,
                     struct finishers *t, struct error **err)
{
    AUTO_CLOSE int fd = place_file(p, e, err);
    if (fd >= 0 && is_simple(e))
        return hand_over(a, f, p, e, t, STEAL_FD(fd), err);
    if (fd < 0 || write_content(a, f, p, e, fd, err) < 0)
        return -1;
    return place_file_done(p, e, STEAL_FD(fd), err);
}

static int take_entries(struct agent *a, struct feed *f, struct place *p, struct receive *r,
                        struct error **err)
{
    CLEANUP(buf_clear) struct buf bytes = BUF_INIT;
    CLEANUP(finishers_clear) struct finishers t = {batch_new(32), batch_new(1)};
    for (unsigned n = 0;; n++) {
        struct entry e;
        if (next_entry(f, &bytes, &e, err) < 0)
            return -1;
        if (e.head.type == STREAM_END)
            return batch_finish(t.small, &p->no_owner, err) < 0
                       ? -1
                       : batch_finish(t.large, &p->no_owner, err);
        if (e.head.type == STREAM_ABORT)
            return error_set(err, ERR_GUEST, STR_FMT, STR_ARG(e.path));
        if ((e.head.type == STREAM_FILE ? take_file(a, f, p, &e, &t, err)
                                        : place_other(p, &e, err)) < 0)
            return -1;
        r->size += e.data;
        if (n % 64 == 0)
            agent_poll(a, NULL, NULL);
    }
}

int receive(struct agent *a, struct receive *r, struct error **err)
{
    AUTO_FREE char *device = xasprintf("/dev/%s", a->slots[AGENT_DISK_STREAM].disk);
    CLEANUP(place_clear) struct place p;
    place_init(&p, r->root, r->path, r->dest_dir);
    p.has_owner = r->has_owner;
    p.uid = r->uid;
    p.gid = r->gid;
    p.chmod = r->chmod ? xstrdup(r->chmod) : NULL;
    CLEANUP(feed_freep) struct feed *f = feed_new(device, r->offset, err);
    if (!f || take_entries(a, f, &p, r, err) < 0 || place_finish(&p, err) < 0)
        return -1;
    r->count = p.count;
    if (p.no_owner)
        agent_warn(a, "'%s' is on a file system without owners, modes or attributes: not all kept",
                   r->path);
    return 0;
}

int agent_receive(struct agent *a, const struct request *rq, struct message *reply,
                  struct error **err)
{
    AUTO_FREE char *path = NULL, *owner = NULL, *chmod = NULL;
    AUTO_CLOSE int root = tree_open(a, AGENT_DISK_TARGET, err);
    if (root < 0 || agent_path(rq, AGENT_TAG_PATH, &path, err) < 0 ||
        agent_string(rq, AGENT_TAG_OWNER, &owner, err) < 0 || agent_mode(rq, &chmod, err) < 0)
        return -1;
    uint64_t flags = message_num(&rq->fields, AGENT_TAG_FLAGS, 0);
    struct receive r = {.root = root,
                        .path = path,
                        .offset = message_num(&rq->fields, AGENT_TAG_OFFSET, 0),
                        .dest_dir = flags & AGENT_DEST_DIR,
                        .has_owner = owner,
                        .chmod = chmod};
    if (owner && tree_owner(a, AGENT_DISK_TARGET, owner, &r.uid, &r.gid, err) < 0)
        return -1;
    if (receive(a, &r, err) < 0)
        return -1;
    message_put_num(reply, AGENT_TAG_COUNT, r.count);
    message_put_num(reply, AGENT_TAG_SIZE, r.size);
    return 0;
}
