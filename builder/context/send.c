// SPDX-License-Identifier: MIT
//
// sender_read fills the caller's buffer from, in this order: bytes of entry heads that wait in
// `out`, zeros up to an alignment, data of the file or archive entry that is open; when there is
// none of these, the next entry is begun, which puts its head into `out`. A problem puts a
// STREAM_ABORT there instead, after the announced bytes of the file at hand have been made up with
// zeros: the reader must find the abort where the next entry would be.
#include "builder/context/send.h"

#include "base/alloc.h"
#include "base/session.h"
#include "builder/agent/stream.h"
#include "builder/context/archive.h"
#include "builder/context/hash.h"
#include "builder/context/selection.h"
#include "builder/context/xattr.h"

#include <endian.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

enum source_state {
    AT_ENTRY, /* the next entry is to be begun */
    IN_FILE,
    IN_INLINE,
    IN_ARCHIVE,   /* between the entries of an archive */
    IN_TAR_ENTRY, /* in the data of one */
    IN_ZEROS,     /* in a file that could not be read on */
    ENDED,
};

struct sender {
    const struct session *session;
    const struct selection *sel;
    enum source_state state;
    size_t next_pick;
    uint64_t offset; /* bytes of the stream made so far */

    struct buf out; /* heads of entries */
    size_t out_at;
    uint64_t padding;       /* zeros to come before data */
    struct extents extents; /* of the file at hand */
    size_t extent;
    uint64_t extent_done;
    bool aligned;        /* each extent starts at a multiple of STREAM_ALIGN */
    uint64_t zeros_left; /* IN_ZEROS */

    const struct picked *pick; /* the entry at hand */
    int fd;
    struct sha256 *hash;
    uint64_t hashed; /* how far into the file */
    struct tar *tar;
    const struct item_source *items; /* in its place */
    uint64_t tar_before;             /* progress when it was begun */

    struct buf path, link, xattrs; /* scratch */
    struct error *error;
    uint64_t done, total, entries; /* atomic */
};

struct sender *sender_new(const struct session *s, const struct selection *sel)
{
    struct sender *snd = xcalloc(1, sizeof *snd);
    snd->session = s;
    snd->sel = sel;
    snd->fd = -1;
    snd->total = sel->bytes;
    buf_init(&snd->out);
    buf_init(&snd->path);
    buf_init(&snd->link);
    buf_init(&snd->xattrs);
    return snd;
}

static void close_source(struct sender *snd)
{
    if (snd->fd >= 0)
        (void)close(snd->fd);
    snd->fd = -1;
    sha256_free(STEAL(snd->hash));
    tar_free(STEAL(snd->tar));
    snd->items = NULL;
}

void sender_free(struct sender *snd)
{
    if (!snd)
        return;
    close_source(snd);
    extents_clear(&snd->extents);
    buf_clear(&snd->out);
    buf_clear(&snd->path);
    buf_clear(&snd->link);
    buf_clear(&snd->xattrs);
    error_free(snd->error);
    free(snd);
}

void sender_progress(const struct sender *snd, struct sender_progress *ret)
{
    ret->done = __atomic_load_n(&snd->done, __ATOMIC_RELAXED);
    ret->entries = __atomic_load_n(&snd->entries, __ATOMIC_RELAXED);
    ret->total = snd->total;
}

int sender_result(const struct sender *snd, struct error **err)
{
    if (!snd->error)
        return 0;
    error_set(err, snd->error->kind, "%s", snd->error->message);
    if (snd->error->hint)
        error_hint(err, "%s", snd->error->hint);
    return -1;
}

static void add_done(struct sender *snd, uint64_t n)
{
    __atomic_add_fetch(&snd->done, n, __ATOMIC_RELAXED);
}

static const struct part *part_at_hand(const struct sender *snd)
{
    return &snd->sel->parts.ptr[snd->pick->part];
}

/* Puts an entry's head into out; h is in the CPU's byte order, without lengths. */
static void put_head(struct sender *snd, struct stream_entry h, struct str path, struct str link,
                     struct str xattrs, const struct extents *x)
{
    static const struct extents none;
    uint64_t data = 0;
    if (!x)
        x = &none;
    vec_foreach (const struct extent *, e, x)
        data += e->length;
    struct stream_entry le = {
        .magic = htole32(STREAM_MAGIC),
        .type = h.type,
        .flags = h.flags,
        .mode = htole32(h.mode),
        .uid = htole32(h.uid),
        .gid = htole32(h.gid),
        .rdev_major = htole32(h.rdev_major),
        .rdev_minor = htole32(h.rdev_minor),
        .mtime_ns = htole32(h.mtime_ns),
        .mtime = (int64_t)htole64((uint64_t)h.mtime),
        .size = htole64(h.size),
        .path_len = htole32((uint32_t)path.len),
        .link_len = htole32((uint32_t)link.len),
        .xattr_len = htole32((uint32_t)xattrs.len),
        .n_extents = htole32((uint32_t)x->len),
    };
    buf_add(&snd->out, &le, sizeof le);
    buf_add_str(&snd->out, path);
    buf_add_str(&snd->out, link);
    buf_add_str(&snd->out, xattrs);
    vec_foreach (const struct extent *, e, x) {
        uint64_t pair[2] = {htole64(e->offset), htole64(e->length)};
        buf_add(&snd->out, pair, sizeof pair);
    }
    snd->aligned = data >= STREAM_BIG;
    if (h.type < STREAM_END)
        __atomic_add_fetch(&snd->entries, 1, __ATOMIC_RELAXED);
}

/* Zeros from here (or from behind the head) up to where an extent's bytes may start. */
static void align(struct sender *snd)
{
    if (!snd->aligned)
        return;
    uint64_t at = snd->offset + (snd->out.len - snd->out_at);
    snd->padding = -at & (STREAM_ALIGN - 1);
}

static void end_stream(struct sender *snd, uint8_t type, const char *message)
{
    close_source(snd);
    struct str text = str_of(message);
    if (text.len > STREAM_PATH_MAX)
        text.len = STREAM_PATH_MAX;
    put_head(snd, (struct stream_entry){.type = type}, text, STR(""), STR(""), NULL);
    snd->state = ENDED;
}

/* Ends the stream with snd->error, which is set; what is still owed of an entry's data becomes
 * zeros first. */
static void abort_stream(struct sender *snd)
{
    close_source(snd);
    snd->zeros_left = snd->padding = 0;
    uint64_t at = snd->offset;
    for (size_t i = snd->extent; i < snd->extents.len; i++) {
        if (i > snd->extent && snd->aligned)
            at += -at & (STREAM_ALIGN - 1);
        at += snd->extents.ptr[i].length - (i == snd->extent ? snd->extent_done : 0);
    }
    snd->zeros_left = at - snd->offset;
    snd->extents.len = 0;
    snd->state = IN_ZEROS;
}

/* A part's path for people. */
static void shown_path(struct sender *snd)
{
    buf_reset(&snd->path);
    picked_add_shown(&snd->path, part_at_hand(snd), snd->pick->node);
    if (!snd->path.len)
        buf_adds(&snd->path, snd->sel->ctx->dir);
}

static int changed(struct sender *snd)
{
    shown_path(snd);
    error_set(&snd->error, ERR_USER, "'%s' changed while it was copied", snd->path.data);
    return error_hint(&snd->error, "build again when nothing writes to it");
}

/* Where the entry at hand goes; a single file for "" has its own name as its link. */
static void place(struct sender *snd)
{
    const struct part *p = part_at_hand(snd);
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

static bool same_as_selected(const struct node *n, const struct stat *st)
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

/* Opens the node at hand and reads its xattrs. 0, or -1 with snd->error. */
static int open_node(struct sender *snd, struct stat *st)
{
    const struct node *n = snd->pick->node;
    snd->fd = tree_open(snd->sel->ctx->tree, n);
    if (snd->fd < 0 && (errno == ENOENT || errno == ELOOP || errno == ENOTDIR))
        return changed(snd);
    if (snd->fd < 0 || fstat(snd->fd, st) < 0 || xattrs_read(snd->fd, &snd->xattrs) < 0) {
        int saved = errno;
        shown_path(snd);
        errno = saved;
        return error_errno(&snd->error, "cannot read '%s'", snd->path.data);
    }
    return xattrs_are(snd, n->xattrs) ? 0 : changed(snd);
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
    put_head(snd, h, buf_str(&snd->path), buf_str(&snd->link), xattrs, &snd->extents);
    snd->hash = state == IN_FILE ? sha256_new() : NULL;
    snd->hashed = 0;
    snd->state = state;
    if (snd->extents.len)
        align(snd);
}

static int begin_file(struct sender *snd)
{
    const struct node *n = snd->pick->node;
    struct stat st;
    if (open_node(snd, &st) < 0)
        return -1;
    if (!same_as_selected(n, &st))
        return changed(snd);
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
    if (snd->pick->node->xattrs && open_node(snd, &st) < 0)
        return -1;
    place(snd);
    put_head(snd, node_head(snd->pick->node, STREAM_DIR), buf_str(&snd->path), STR(""),
             buf_str(&snd->xattrs), NULL);
    close_source(snd);
    return 0;
}

static void begin_link(struct sender *snd)
{
    const struct picked *first = &snd->sel->picks.ptr[snd->pick->first - 1];
    place(snd);
    buf_reset(&snd->link);
    picked_add_dest(&snd->link, &snd->sel->parts.ptr[first->part], first->node);
    put_head(snd, node_head(snd->pick->node, STREAM_HARDLINK), buf_str(&snd->path),
             buf_str(&snd->link), STR(""), NULL);
}

static int begin_node(struct sender *snd)
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
        put_head(snd, node_head(n, STREAM_SYMLINK), buf_str(&snd->path), str_of(n->link), STR(""),
                 NULL);
        return 0;
    default:
        place(snd);
        put_head(snd,
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

static void begin_inline(struct sender *snd)
{
    const struct part *p = part_at_hand(snd);
    one_extent(snd, p->bytes.len);
    struct stream_entry h = {
        .type = STREAM_FILE, .mode = 0644, .mtime = time(NULL), .size = p->bytes.len};
    begin_data(snd, h, STR(""), IN_INLINE);
}

static int open_remote(struct sender *snd)
{
    const struct part *p = part_at_hand(snd);
    // A description of its own: a dup would share the offset with other readers.
    AUTO_FREE char *path = xasprintf("/proc/self/fd/%d", p->remote.fd);
    snd->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (snd->fd < 0)
        return error_errno(&snd->error, "cannot open the file of '%s'", p->shown);
    return 0;
}

static int begin_remote(struct sender *snd)
{
    const struct part *p = part_at_hand(snd);
    if (open_remote(snd) < 0)
        return -1;
    one_extent(snd, p->remote.size);
    struct stream_entry h = {
        .type = STREAM_FILE, .mode = 0600, .mtime = p->remote.mtime, .size = p->remote.size};
    begin_data(snd, h, STR(""), IN_FILE);
    return 0;
}

/* Begins an archive; false (without error) when the file is none. */
static bool begin_archive(struct sender *snd)
{
    const struct part *p = part_at_hand(snd);
    if (snd->pick->node) {
        struct stat st;
        if (open_node(snd, &st) < 0)
            return false;
        if (!same_as_selected(snd->pick->node, &st)) {
            (void)changed(snd);
            return false;
        }
    } else if (open_remote(snd) < 0)
        return false;
    if (tar_open(snd->session, STEAL_FD(snd->fd), p->shown, &snd->tar, &snd->error) < 0 ||
        !snd->tar)
        return false;
    snd->tar_before = snd->done;
    snd->state = IN_ARCHIVE;
    return true;
}

/* Begins the next entry, or ends the stream. */
static void begin_entry(struct sender *snd)
{
    snd->extents.len = snd->extent = 0;
    if (snd->next_pick == snd->sel->picks.len) {
        end_stream(snd, STREAM_END, "");
        return;
    }
    if (session_cancelled(snd->session)) {
        error_set(&snd->error, ERR_CANCELLED, "interrupted");
        abort_stream(snd);
        return;
    }
    snd->pick = &snd->sel->picks.ptr[snd->next_pick++];
    const struct part *p = part_at_hand(snd);
    int got = 0;
    if (p->kind == SOURCE_ITEMS) {
        snd->items = p->items;
        snd->tar_before = snd->done;
        snd->state = IN_ARCHIVE;
        return;
    }
    if (p->unpack && begin_archive(snd))
        return;
    if (snd->error)
        got = -1;
    else if (snd->pick->node)
        got = begin_node(snd);
    else if (p->kind == SOURCE_INLINE)
        begin_inline(snd);
    else
        got = begin_remote(snd);
    if (got < 0)
        abort_stream(snd);
}

static const struct digest *expected_content(const struct sender *snd)
{
    return snd->pick->node ? snd->pick->node->content : &part_at_hand(snd)->remote.digest;
}

static void end_file(struct sender *snd)
{
    const struct node *n = snd->pick->node;
    uint64_t size = n ? n->id.size : part_at_hand(snd)->remote.size;
    hash_zeros(snd->hash, size - snd->hashed);
    add_done(snd, size - snd->hashed);
    struct digest d = sha256_finish(STEAL(snd->hash));
    struct stat st;
    if (!digest_eq(&d, expected_content(snd)) ||
        (n && (fstat(snd->fd, &st) < 0 || !same_as_selected(n, &st)))) {
        (void)changed(snd);
        abort_stream(snd);
        return;
    }
    close_source(snd);
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

/* Moves past n bytes of the extent at hand. */
static void advance(struct sender *snd, size_t n)
{
    snd->extent_done += n;
    if (snd->extent_done < snd->extents.ptr[snd->extent].length)
        return;
    snd->extent++;
    snd->extent_done = 0;
    // The caller counts these n bytes into `offset` only after this.
    if (snd->extent < snd->extents.len && snd->aligned)
        snd->padding = -(snd->offset + n) & (STREAM_ALIGN - 1);
}

static size_t in_extent(const struct sender *snd, size_t n)
{
    uint64_t left = snd->extents.ptr[snd->extent].length - snd->extent_done;
    return left < n ? (size_t)left : n;
}

static size_t read_file(struct sender *snd, char *bytes, size_t n)
{
    if (snd->extent == snd->extents.len) {
        end_file(snd);
        return 0;
    }
    uint64_t at = snd->extents.ptr[snd->extent].offset + snd->extent_done;
    ssize_t got = read_at(snd->fd, bytes, in_extent(snd, n), at);
    if (got <= 0) {
        int saved = errno;
        if (got == 0)
            (void)changed(snd);
        else {
            shown_path(snd);
            errno = saved;
            (void)error_errno(&snd->error, "cannot read '%s'", snd->path.data);
        }
        abort_stream(snd);
        return 0;
    }
    add_done(snd, at - snd->hashed + (uint64_t)got);
    hash_zeros(snd->hash, at - snd->hashed);
    sha256_add(snd->hash, bytes, (size_t)got);
    snd->hashed = at + (uint64_t)got;
    advance(snd, (size_t)got);
    return (size_t)got;
}

static size_t read_inline(struct sender *snd, char *bytes, size_t n)
{
    if (snd->extent == snd->extents.len) {
        snd->state = AT_ENTRY;
        return 0;
    }
    n = in_extent(snd, n);
    memcpy(bytes, part_at_hand(snd)->bytes.ptr + snd->extent_done, n);
    add_done(snd, n);
    advance(snd, n);
    return n;
}

static void tell_archive_progress(struct sender *snd)
{
    uint64_t n = snd->items ? snd->items->consumed(snd->items->arg) : tar_consumed(snd->tar);
    __atomic_store_n(&snd->done, snd->tar_before + n, __ATOMIC_RELAXED);
}

static void end_archive(struct sender *snd)
{
    struct digest d;
    if (!snd->items && tar_finish(snd->tar, &d, &snd->error) == 0 &&
        !digest_eq(&d, expected_content(snd)))
        (void)changed(snd);
    tell_archive_progress(snd);
    if (snd->error) {
        abort_stream(snd);
        return;
    }
    close_source(snd);
    snd->state = AT_ENTRY;
}

static int next_item(struct sender *snd, struct tar_item *ret)
{
    return snd->items ? snd->items->next(snd->items->arg, ret, &snd->error)
                      : tar_next(snd->tar, ret, &snd->error);
}

static void begin_tar_entry(struct sender *snd)
{
    struct tar_item item;
    snd->extents.len = snd->extent = 0;
    int got = session_cancelled(snd->session) ? error_set(&snd->error, ERR_CANCELLED, "interrupted")
                                              : next_item(snd, &item);
    if (got < 0) {
        abort_stream(snd);
        return;
    }
    tell_archive_progress(snd);
    if (!got) {
        end_archive(snd);
        return;
    }
    vec_foreach (const struct extent *, x, item.extents)
        *extents_push(&snd->extents) = *x;
    snd->extent_done = 0;
    put_head(snd, item.head, item.path, item.link, item.xattrs, &snd->extents);
    if (!snd->extents.len)
        return;
    align(snd);
    snd->state = IN_TAR_ENTRY;
}

static size_t read_tar_entry(struct sender *snd, char *bytes, size_t n)
{
    if (snd->extent == snd->extents.len) {
        snd->state = IN_ARCHIVE;
        return 0;
    }
    const struct item_source *from = snd->items;
    n = in_extent(snd, n);
    ssize_t got = from ? from->data(from->arg, bytes, n, &snd->error)
                       : tar_data(snd->tar, bytes, n, &snd->error);
    if (got < 0) {
        abort_stream(snd);
        return 0;
    }
    tell_archive_progress(snd);
    advance(snd, (size_t)got);
    return (size_t)got;
}

static size_t take(uint64_t *left, char *bytes, size_t n)
{
    n = *left < n ? (size_t)*left : n;
    memset(bytes, 0, n);
    *left -= n;
    return n;
}

static size_t take_out(struct sender *snd, char *bytes, size_t n)
{
    size_t left = snd->out.len - snd->out_at;
    n = left < n ? left : n;
    memcpy(bytes, snd->out.data + snd->out_at, n);
    snd->out_at += n;
    if (snd->out_at == snd->out.len) {
        buf_reset(&snd->out);
        snd->out_at = 0;
    }
    return n;
}

/* Some bytes, at most n; none after a change of state. */
static size_t step(struct sender *snd, char *bytes, size_t n)
{
    if (snd->out.len)
        return take_out(snd, bytes, n);
    if (snd->padding)
        return take(&snd->padding, bytes, n);
    switch (snd->state) {
    case AT_ENTRY:
        begin_entry(snd);
        return 0;
    case IN_FILE:
        return read_file(snd, bytes, n);
    case IN_INLINE:
        return read_inline(snd, bytes, n);
    case IN_ARCHIVE:
        begin_tar_entry(snd);
        return 0;
    case IN_TAR_ENTRY:
        return read_tar_entry(snd, bytes, n);
    case IN_ZEROS:
        if (!snd->zeros_left)
            end_stream(snd, STREAM_ABORT, snd->error->message);
        return take(&snd->zeros_left, bytes, n);
    case ENDED:
        return 0;
    }
    return 0;
}

ssize_t sender_read(void *sender, void *bytes, size_t n)
{
    struct sender *snd = sender;
    size_t done = 0;
    while (done < n && (snd->state != ENDED || snd->out.len)) {
        size_t got = step(snd, (char *)bytes + done, n - done);
        done += got;
        snd->offset += got;
    }
    return (ssize_t)done;
}
