// SPDX-License-Identifier: MIT
#include "builder/context/sender.h"

#include "base/alloc.h"
#include "builder/context/hash.h"
#include "builder/context/xattr.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

/* Where the entry at hand goes; a single file for "" has its own name as its link. */
static void place(struct sender *snd)
{
    const struct part *p = sender_part(snd);
    const struct node *n = snd->pick->node;
    buf_reset(&snd->path);
    buf_reset(&snd->link);
    picked_add_dest(&snd->path, p, n);
    if (!snd->path.len && (!n || (n->type != MANIFEST_DIR && n->type != MANIFEST_SYMLINK)))
        buf_adds(&snd->link, p->own_name);
}

/* The parts of the open file that hold data; st tells whether there can be holes. */
static void find_extents(struct sender *snd, const struct stat *st)
{
    snd->extents.len = snd->extent = 0;
    snd->extent_done = 0;
    if (st->st_size == 0)
        return;
    if (st->st_size <= st->st_blocks * 512) {
        *extents_push(&snd->extents) = (struct extent){0, (uint64_t)st->st_size};
        return;
    }
    for (off_t at = 0; at < st->st_size;) {
        off_t data = lseek(snd->fd, at, SEEK_DATA);
        if (data < 0 && errno != ENXIO)
            data = at; // no such call here: all is data
        if (data < 0 || data >= st->st_size)
            break;
        off_t hole = lseek(snd->fd, data, SEEK_HOLE);
        if (hole <= data || hole > st->st_size || snd->extents.len + 1 == STREAM_EXTENTS_MAX)
            hole = st->st_size;
        *extents_push(&snd->extents) = (struct extent){(uint64_t)data, (uint64_t)(hole - data)};
        at = hole;
    }
}

bool sender_same_as_selected(const struct node *n, const struct stat *st)
{
    struct file_id now = file_id_of(st);
    return S_ISREG(st->st_mode) && file_id_eq(&now, &n->id) && (st->st_mode & 07777) == n->mode;
}

static bool xattrs_are(const struct sender *snd, const struct digest *expected)
{
    if (!snd->xattrs.len || !expected)
        return !snd->xattrs.len && !expected;
    struct digest d = digest_of(snd->xattrs.data, snd->xattrs.len);
    return digest_eq(&d, expected);
}

int sender_open_node(struct sender *snd, struct stat *st)
{
    const struct node *n = snd->pick->node;
    snd->fd = tree_open(snd->sel->ctx->tree, n);
    if (snd->fd < 0 && (errno == ENOENT || errno == ELOOP || errno == ENOTDIR))
        return sender_changed(snd);
    if (snd->fd < 0 || fstat(snd->fd, st) < 0 || xattrs_read(snd->fd, &snd->xattrs) < 0) {
        int saved = errno;
        sender_shown_path(snd);
        errno = saved;
        return error_errno(&snd->error, "cannot read '%s'", snd->path.data);
    }
    return xattrs_are(snd, n->xattrs) ? 0 : sender_changed(snd);
}

static struct stream_entry node_head(const struct node *n, uint8_t type)
{
    return (struct stream_entry){.type = type,
                                 .mode = n->mode,
                                 .rdev_major = n->major,
                                 .rdev_minor = n->minor,
                                 .mtime = n->mtime,
                                 .mtime_ns = n->mtime_ns};
}

/* The head of the entry at hand, whose data is snd->extents of what is open. */
static void begin_data(struct sender *snd, struct stream_entry h, struct str xattrs,
                       enum source_state state)
{
    place(snd);
    sender_put_head(snd, h, buf_str(&snd->path), buf_str(&snd->link), xattrs, &snd->extents);
    snd->hash = state == IN_FILE ? sha256_new() : NULL;
    snd->hashed = 0;
    snd->state = state;
    if (snd->extents.len)
        sender_align(snd);
}

static int begin_file(struct sender *snd)
{
    const struct node *n = snd->pick->node;
    struct stat st;
    if (sender_open_node(snd, &st) < 0)
        return -1;
    if (!sender_same_as_selected(n, &st))
        return sender_changed(snd);
    find_extents(snd, &st);
    struct stream_entry h = node_head(n, STREAM_FILE);
    h.size = n->id.size;
    begin_data(snd, h, buf_str(&snd->xattrs), IN_FILE);
    return 0;
}

static int begin_folder(struct sender *snd)
{
    struct stat st;
    buf_reset(&snd->xattrs);
    if (snd->pick->node->xattrs && sender_open_node(snd, &st) < 0)
        return -1;
    place(snd);
    sender_put_head(snd, node_head(snd->pick->node, STREAM_DIR), buf_str(&snd->path), STR(""),
                    buf_str(&snd->xattrs), NULL);
    sender_close_source(snd);
    return 0;
}

static void begin_link(struct sender *snd)
{
    const struct picked *first = &snd->sel->picks.ptr[snd->pick->first - 1];
    place(snd);
    buf_reset(&snd->link);
    picked_add_dest(&snd->link, &snd->sel->parts.ptr[first->part], first->node);
    sender_put_head(snd, node_head(snd->pick->node, STREAM_HARDLINK), buf_str(&snd->path),
                    buf_str(&snd->link), STR(""), NULL);
}

int sender_begin_node(struct sender *snd)
{
    const struct node *n = snd->pick->node;
    switch (n->type) {
    case MANIFEST_DIR:
        return begin_folder(snd);
    case MANIFEST_FILE:
        if (!snd->pick->first)
            return begin_file(snd);
        begin_link(snd);
        return 0;
    case MANIFEST_SYMLINK:
        place(snd);
        sender_put_head(snd, node_head(n, STREAM_SYMLINK), buf_str(&snd->path), str_of(n->link),
                        STR(""), NULL);
        return 0;
    default:
        place(snd);
        sender_put_head(snd,
                        node_head(n, n->type == MANIFEST_CHAR    ? STREAM_CHAR
                                     : n->type == MANIFEST_BLOCK ? STREAM_BLOCK
                                                                 : STREAM_FIFO),
                        buf_str(&snd->path), buf_str(&snd->link), STR(""), NULL);
        return 0;
    }
}

static void one_extent(struct sender *snd, uint64_t size)
{
    snd->extents.len = snd->extent = 0;
    snd->extent_done = 0;
    if (size)
        *extents_push(&snd->extents) = (struct extent){0, size};
}

void sender_begin_inline(struct sender *snd)
{
    const struct part *p = sender_part(snd);
    one_extent(snd, p->bytes.len);
    struct stream_entry h = {
        .type = STREAM_FILE, .mode = 0644, .mtime = time(NULL), .size = p->bytes.len};
    begin_data(snd, h, STR(""), IN_INLINE);
}

int sender_open_remote(struct sender *snd)
{
    const struct part *p = sender_part(snd);
    // A description of its own: a dup would share the offset with other readers.
    AUTO_FREE char *path = xasprintf("/proc/self/fd/%d", p->remote.fd);
    snd->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (snd->fd < 0)
        return error_errno(&snd->error, "cannot open the file of '%s'", p->shown);
    return 0;
}

int sender_begin_remote(struct sender *snd)
{
    const struct part *p = sender_part(snd);
    if (sender_open_remote(snd) < 0)
        return -1;
    one_extent(snd, p->remote.size);
    struct stream_entry h = {
        .type = STREAM_FILE, .mode = 0600, .mtime = p->remote.mtime, .size = p->remote.size};
    begin_data(snd, h, STR(""), IN_FILE);
    return 0;
}

const struct digest *sender_expected(const struct sender *snd)
{
    return snd->pick->node ? snd->pick->node->content : &sender_part(snd)->remote.digest;
}

/* The zeros from what is hashed to `end`; false: interrupted. */
static bool add_hole(struct sender *snd, uint64_t end)
{
    if (hash_zeros(snd->session, snd->hash, end - snd->hashed))
        return true;
    error_set(&snd->error, ERR_CANCELLED, "interrupted");
    sender_abort(snd);
    return false;
}

static void end_file(struct sender *snd)
{
    const struct node *n = snd->pick->node;
    uint64_t size = n ? n->id.size : sender_part(snd)->remote.size;
    if (!add_hole(snd, size))
        return;
    sender_add_done(snd, size - snd->hashed);
    struct digest d = sha256_finish(STEAL(snd->hash));
    struct stat st;
    if (!digest_eq(&d, sender_expected(snd)) ||
        (n && (fstat(snd->fd, &st) < 0 || !sender_same_as_selected(n, &st)))) {
        (void)sender_changed(snd);
        sender_abort(snd);
        return;
    }
    sender_close_source(snd);
    snd->state = AT_ENTRY;
}

static ssize_t read_at(int fd, void *bytes, size_t n, uint64_t at)
{
    for (;;) {
        ssize_t got = pread(fd, bytes, n, (off_t)at);
        if (got >= 0 || errno != EINTR)
            return got;
    }
}

size_t sender_read_file(struct sender *snd, char *bytes, size_t n)
{
    if (snd->extent == snd->extents.len) {
        end_file(snd);
        return 0;
    }
    uint64_t at = snd->extents.ptr[snd->extent].offset + snd->extent_done;
    ssize_t got = read_at(snd->fd, bytes, sender_in_extent(snd, n), at);
    if (got <= 0) {
        int saved = errno;
        if (got == 0)
            (void)sender_changed(snd);
        else {
            sender_shown_path(snd);
            errno = saved;
            (void)error_errno(&snd->error, "cannot read '%s'", snd->path.data);
        }
        sender_abort(snd);
        return 0;
    }
    sender_add_done(snd, at - snd->hashed + (uint64_t)got);
    if (!add_hole(snd, at))
        return 0;
    sha256_add(snd->hash, bytes, (size_t)got);
    snd->hashed = at + (uint64_t)got;
    sender_advance(snd, (size_t)got);
    return (size_t)got;
}

size_t sender_read_inline(struct sender *snd, char *bytes, size_t n)
{
    if (snd->extent == snd->extents.len) {
        snd->state = AT_ENTRY;
        return 0;
    }
    n = sender_in_extent(snd, n);
    memcpy(bytes, sender_part(snd)->bytes.ptr + snd->extent_done, n);
    sender_add_done(snd, n);
    sender_advance(snd, n);
    return n;
}
