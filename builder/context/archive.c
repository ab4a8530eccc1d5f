// SPDX-License-Identifier: MIT
//
// libarchive parses what unpacked.c decompresses. An item's holes are known from its header
// (archive_entry_sparse), and its data comes from libarchive in blocks with offsets: fill() walks
// the announced extents and the blocks together, so that exactly the announced bytes come out
// whatever the archive says.
//
// libarchive converts names of pax headers from UTF-8 to the locale's charset, so its calls are
// made in a UTF-8 locale of this thread; a name that is not UTF-8 then comes as its bytes.
#include "builder/context/archive.h"

#include "base/alloc.h"
#include "base/path.h"
#include "builder/context/acl.h"
#include "builder/context/unpacked.h"
#include "builder/context/xattr.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <limits.h>
#include <locale.h>

struct tar {
    char *shown; /* "the archive 'rootfs.tar'" */
    struct unpacked *unpacked;
    struct error *problem; /* of reading or decompressing, not yet told */
    struct archive *archive;
    struct archive_entry *entry; /* the current one; libarchive's. NULL = none yet */
    bool first_waits;            /* tar_open has read the first header */
    bool empty;                  /* and there was none */
    locale_t utf8;

    uint64_t n_entries, n_bytes;
    struct buf path, link, xattrs;
    struct extents extents;

    size_t extent;        /* the one being given out */
    uint64_t extent_done; /* bytes of it */
    const char *block;    /* libarchive's block, not yet used up */
    size_t block_len;
    uint64_t block_at; /* its offset in the file */
    bool data_ended;
};

static int fail(const struct tar *t, struct error **err, const char *what)
{
    return error_set(err, ERR_USER, "%s can't be unpacked: %s", t->shown, what);
}

static int fail_libarchive(struct tar *t, struct error **err)
{
    const char *why = archive_error_string(t->archive);
    if (!t->problem)
        return fail(t, err, why ? why : "it is damaged");
    if (t->problem->kind == ERR_CANCELLED)
        return error_propagate(err, STEAL(t->problem));
    (void)error_wrap(&t->problem, "%s can't be unpacked", t->shown);
    return error_propagate(err, STEAL(t->problem));
}

/* archive_read_callback */
static ssize_t next_bytes(struct archive *a, void *arg, const void **ret_bytes)
{
    struct tar *t = arg;
    ssize_t n = t->problem ? -1 : unpacked_next(t->unpacked, ret_bytes, &t->problem);
    if (n < 0)
        archive_set_error(a, EILSEQ, "%s", t->problem->message);
    return n;
}

/* archive_read_next_header in our locale. 1, 0 at the end, -1. */
static int next_header(struct tar *t)
{
    locale_t old = t->utf8 ? uselocale(t->utf8) : (locale_t)0;
    int got = archive_read_next_header(t->archive, &t->entry);
    if (old)
        (void)uselocale(old);
    if (got == ARCHIVE_EOF)
        return 0;
    if (got == ARCHIVE_OK)
        return 1;
    // A warning means that a name is not UTF-8, which is fine, or that a part of the header was
    // dropped, which is damage.
    const char *why = archive_error_string(t->archive);
    return got == ARCHIVE_WARN && why && strstr(why, "can't be converted") ? 1 : -1;
}

static struct archive *new_reader(void)
{
    struct archive *a = archive_read_new();
    if (!a || archive_read_support_format_tar(a) != ARCHIVE_OK)
        alloc_failed();
    return a;
}

/* Whoever names a file so would not want it copied as it is because it is damaged. */
static bool is_named_as_tar(const char *name)
{
    static const char *const ends[] = {".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".tzst"};
    size_t len = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (len > strlen(ends[i]) && !strcmp(name + len - strlen(ends[i]), ends[i]))
            return true;
    return strstr(name, ".tar.") != NULL;
}

static struct tar *new_tar(const struct session *s, int fd, const char *name)
{
    struct tar *t = xcalloc(1, sizeof *t);
    t->shown = name ? xasprintf("the archive '%s'", name) : xstrdup("the archive");
    t->unpacked = unpacked_open(s, fd);
    t->utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    buf_init(&t->path);
    buf_init(&t->link);
    buf_init(&t->xattrs);
    t->archive = new_reader();
    return t;
}

/* As next_header. */
static int first_header(struct tar *t)
{
    if (archive_read_open(t->archive, t, NULL, next_bytes, NULL) != ARCHIVE_OK)
        return -1;
    int got = next_header(t);
    t->first_waits = got > 0;
    t->empty = got == 0;
    return got;
}

int tar_open(const struct session *s, int fd, const char *name, struct tar **ret,
             struct error **err)
{
    CLEANUP(tar_freep) struct tar *t = new_tar(s, fd, name);
    *ret = NULL;
    if (first_header(t) > 0)
        *ret = STEAL(t);
    else if (t->problem && (t->problem->kind != ERR_USER || is_named_as_tar(name)))
        return fail_libarchive(t, err);
    return 0;
}

int tar_open_sure(const struct session *s, int fd, const char *name, struct tar **ret,
                  struct error **err)
{
    CLEANUP(tar_freep) struct tar *t = new_tar(s, fd, name);
    if (first_header(t) < 0)
        return t->problem ? fail_libarchive(t, err) : fail(t, err, "it is not a tar archive");
    *ret = STEAL(t);
    return 0;
}

void tar_free(struct tar *t)
{
    if (!t)
        return;
    if (t->archive)
        (void)archive_read_free(t->archive);
    unpacked_free(t->unpacked);
    error_free(t->problem);
    if (t->utf8)
        freelocale(t->utf8);
    buf_clear(&t->path);
    buf_clear(&t->link);
    buf_clear(&t->xattrs);
    extents_clear(&t->extents);
    free(t->shown);
    free(t);
}

/* Makes a name relative and plain. */
static int clean_name(const struct tar *t, const char *name, struct buf *ret, struct error **err)
{
    buf_reset(ret);
    struct str part;
    for (size_t at = 0; path_part(str_of(name), &at, &part);) {
        if (str_is(part, "..")) {
            error_set(err, ERR_USER, "%s can't be unpacked: its entry '%s' has a '..'", t->shown,
                      name);
            return error_hint(err, "archives must not write outside of their destination");
        }
        if (part.len > NAME_MAX)
            return error_set(err, ERR_USER,
                             "%s can't be unpacked: it has a name of %zu bytes "
                             "('%.20s…'), and no file system takes more than %d",
                             t->shown, part.len, part.ptr, NAME_MAX);
        path_push(ret, part);
    }
    if (ret->len <= STREAM_PATH_MAX)
        return 0;
    return fail(t, err, "it has a name of more than 4096 bytes");
}

/* The archive's bytes of a name, or what libarchive can give instead. */
static const char *either(const char *bytes, const char *utf8)
{
    return bytes ? bytes : utf8;
}

static int type_of(struct archive_entry *e)
{
    switch (archive_entry_filetype(e)) {
    case AE_IFREG:
        return STREAM_FILE;
    case AE_IFDIR:
        return STREAM_DIR;
    case AE_IFLNK:
        return STREAM_SYMLINK;
    case AE_IFCHR:
        return STREAM_CHAR;
    case AE_IFBLK:
        return STREAM_BLOCK;
    case AE_IFIFO:
        return STREAM_FIFO;
    default:
        return 0;
    }
}

static int take_names(struct tar *t, struct stream_entry *head, struct error **err)
{
    struct archive_entry *e = t->entry;
    const char *path = either(archive_entry_pathname(e), archive_entry_pathname_utf8(e));
    const char *hard = either(archive_entry_hardlink(e), archive_entry_hardlink_utf8(e));
    const char *soft = either(archive_entry_symlink(e), archive_entry_symlink_utf8(e));
    if (!path || clean_name(t, path, &t->path, err) < 0)
        return path ? -1 : fail(t, err, "it has an entry without a name");
    head->type = (uint8_t)(hard ? STREAM_HARDLINK : type_of(e));
    buf_reset(&t->link);
    if (hard) {
        if (clean_name(t, hard, &t->link, err) < 0)
            return -1;
    } else if (head->type == STREAM_SYMLINK)
        buf_adds(&t->link, soft ? soft : "");
    if (!head->type || ((head->type == STREAM_HARDLINK || head->type == STREAM_SYMLINK) &&
                        (!t->link.len || t->link.len > STREAM_PATH_MAX)))
        return error_set(err, ERR_USER, "%s can't be unpacked: its entry '%s' is damaged", t->shown,
                         path);
    if (!t->path.len && head->type != STREAM_DIR)
        return error_set(err, ERR_USER, "%s can't be unpacked: its entry '%s' has no name",
                         t->shown, path);
    return 0;
}

static int take_attributes(struct tar *t, struct stream_entry *head, struct error **err)
{
    struct archive_entry *e = t->entry;
    int64_t uid = archive_entry_uid(e), gid = archive_entry_gid(e);
    if (uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX)
        return error_set(err, ERR_USER,
                         "%s can't be unpacked: its entry '%s' has an impossible "
                         "owner",
                         t->shown, t->path.data);
    head->magic = STREAM_MAGIC;
    head->flags = STREAM_ARCHIVE | (head->type == STREAM_DIR ? STREAM_DIR_ATTRS : 0);
    head->mode = archive_entry_perm(e) & 07777;
    head->uid = (uint32_t)uid;
    head->gid = (uint32_t)gid;
    head->mtime = archive_entry_mtime(e);
    head->mtime_ns = (uint32_t)archive_entry_mtime_nsec(e);
    if (head->type == STREAM_CHAR || head->type == STREAM_BLOCK) {
        head->rdev_major = (uint32_t)archive_entry_rdevmajor(e);
        head->rdev_minor = (uint32_t)archive_entry_rdevminor(e);
    }
    return 0;
}

static int take_xattrs(struct tar *t, const struct stream_entry *head, struct error **err)
{
    struct archive_entry *e = t->entry;
    buf_reset(&t->xattrs);
    if (head->type == STREAM_HARDLINK)
        return 0;
    const char *name;
    const void *value;
    size_t n;
    bool has_acls = false;
    (void)archive_entry_xattr_reset(e);
    while (archive_entry_xattr_next(e, &name, &value, &n) == ARCHIVE_OK) {
        // GNU tar writes ACLs as attributes with numbers and as text with names; numbers count.
        has_acls |= acl_is_xattr(name);
        if (t->xattrs.len + n > STREAM_XATTR_MAX || strlen(name) > 255)
            return error_set(err, ERR_USER,
                             "%s can't be unpacked: its entry '%s' has too many "
                             "extended attributes",
                             t->shown, t->path.data);
        xattrs_add(&t->xattrs, name, value, n);
    }
    if (!has_acls)
        acl_add_xattrs(e, &t->xattrs);
    return t->xattrs.len <= STREAM_XATTR_MAX ? 0 : fail(t, err, "it has too long an ACL");
}

/* Adds a part with data; one that touches the last one, or is one too many, makes that longer. */
static void add_extent(struct extents *x, uint64_t offset, uint64_t length)
{
    struct extent *last = x->len ? &x->ptr[x->len - 1] : NULL;
    if (!length)
        return;
    if (last && (offset <= last->offset + last->length || x->len == STREAM_EXTENTS_MAX))
        last->length = offset + length - last->offset;
    else
        *extents_push(x) = (struct extent){offset, length};
}

static int take_extents(struct tar *t, struct stream_entry *head, struct error **err)
{
    struct archive_entry *e = t->entry;
    t->extents.len = t->extent = 0;
    t->extent_done = t->block_at = t->block_len = 0;
    t->data_ended = false;
    if (head->type != STREAM_FILE)
        return 0;
    int64_t size = archive_entry_size(e), offset, length, end = 0;
    if (size < 0)
        return fail(t, err, "it has a file of negative size");
    head->size = (uint64_t)size;
    if (!archive_entry_sparse_reset(e))
        add_extent(&t->extents, 0, head->size);
    while (archive_entry_sparse_next(e, &offset, &length) == ARCHIVE_OK) {
        if (offset < end || length < 0 || length > size - offset)
            return error_set(err, ERR_USER,
                             "%s can't be unpacked: its entry '%s' has a damaged map "
                             "of holes",
                             t->shown, t->path.data);
        end = offset + length;
        add_extent(&t->extents, (uint64_t)offset, (uint64_t)length);
    }
    vec_foreach (const struct extent *, x, &t->extents)
        t->n_bytes += x->length;
    return t->n_bytes <= TAR_BYTES_MAX ? 0 : fail(t, err, "it holds more than 4 TiB");
}

int tar_next(struct tar *t, struct tar_item *ret, struct error **err)
{
    int got = t->first_waits ? 1 : t->empty ? 0 : next_header(t);
    t->first_waits = false;
    if (got < 0)
        return fail_libarchive(t, err);
    if (got == 0)
        return 0;
    if (++t->n_entries > TAR_ENTRIES_MAX)
        return fail(t, err, "it has too many entries");
    struct stream_entry head = {0};
    locale_t old = t->utf8 ? uselocale(t->utf8) : (locale_t)0;
    got = take_names(t, &head, err);
    if (!got)
        got = take_attributes(t, &head, err);
    if (!got)
        got = take_xattrs(t, &head, err);
    if (!got)
        got = take_extents(t, &head, err);
    if (old)
        (void)uselocale(old);
    if (got < 0)
        return -1;
    *ret = (struct tar_item){.head = head,
                             .path = buf_str(&t->path),
                             .link = buf_str(&t->link),
                             .xattrs = buf_str(&t->xattrs),
                             .extents = &t->extents};
    return 1;
}

/* Sees to it that the block, if there is one more, reaches beyond `at`. */
static int next_block(struct tar *t, uint64_t at, struct error **err)
{
    while (!t->data_ended && t->block_at + t->block_len <= at) {
        const void *bytes;
        la_int64_t offset;
        int got = archive_read_data_block(t->archive, &bytes, &t->block_len, &offset);
        if (got == ARCHIVE_EOF) {
            t->data_ended = true;
            t->block_len = 0;
        } else if (got != ARCHIVE_OK || offset < 0)
            return fail_libarchive(t, err);
        t->block = bytes;
        t->block_at = (uint64_t)offset;
    }
    return 0;
}

/* Up to n bytes that lie at `at` in the file: of the block, or zeros before it and after the last.
 */
static ssize_t fill(struct tar *t, uint64_t at, char *bytes, size_t n, struct error **err)
{
    if (next_block(t, at, err) < 0)
        return -1;
    if (t->data_ended || t->block_at > at) {
        uint64_t gap = t->data_ended ? n : t->block_at - at;
        n = gap < n ? (size_t)gap : n;
        memset(bytes, 0, n);
        return (ssize_t)n;
    }
    size_t skip = (size_t)(at - t->block_at), have = t->block_len - skip;
    n = have < n ? have : n;
    memcpy(bytes, t->block + skip, n);
    return (ssize_t)n;
}

ssize_t tar_data(struct tar *t, void *bytes, size_t n, struct error **err)
{
    size_t done = 0;
    while (done < n && t->extent < t->extents.len) {
        const struct extent *x = &t->extents.ptr[t->extent];
        uint64_t left = x->length - t->extent_done;
        size_t want = left < n - done ? (size_t)left : n - done;
        ssize_t got = fill(t, x->offset + t->extent_done, (char *)bytes + done, want, err);
        if (got < 0)
            return -1;
        done += (size_t)got;
        t->extent_done += (uint64_t)got;
        if (t->extent_done == x->length) {
            t->extent++;
            t->extent_done = 0;
        }
    }
    return (ssize_t)done;
}

int tar_finish(struct tar *t, struct digest *ret, struct error **err)
{
    struct error *why = NULL;
    if (unpacked_digest(t->unpacked, ret, &why) == 0)
        return 0;
    if (why->kind != ERR_CANCELLED)
        error_wrap(&why, "%s can't be unpacked", t->shown);
    return error_propagate(err, why);
}

uint64_t tar_consumed(const struct tar *t)
{
    return unpacked_consumed(t->unpacked);
}
