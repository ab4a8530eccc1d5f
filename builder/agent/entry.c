// SPDX-License-Identifier: MIT
#include "builder/agent/entry.h"

#include <endian.h>

enum { EXTENT_BYTES = 16, XATTR_HEAD = 6, LINK_MAX = 4096 };

static void decode_head(const void *bytes, struct stream_entry *h)
{
    memcpy(h, bytes, sizeof *h);
    h->magic = le32toh(h->magic);
    h->zero = le16toh(h->zero);
    h->mode = le32toh(h->mode);
    h->uid = le32toh(h->uid);
    h->gid = le32toh(h->gid);
    h->rdev_major = le32toh(h->rdev_major);
    h->rdev_minor = le32toh(h->rdev_minor);
    h->mtime_ns = le32toh(h->mtime_ns);
    h->mtime = (int64_t)le64toh((uint64_t)h->mtime);
    h->size = le64toh(h->size);
    h->path_len = le32toh(h->path_len);
    h->link_len = le32toh(h->link_len);
    h->xattr_len = le32toh(h->xattr_len);
    h->n_extents = le32toh(h->n_extents);
}

static int damaged(struct error **err, const char *what)
{
    return error_set(err, ERR_GUEST, "the stream of files is damaged: %s", what);
}

size_t entry_size(const void *head, struct error **err)
{
    struct stream_entry h;
    decode_head(head, &h);
    if (h.magic != STREAM_MAGIC || h.zero) {
        damaged(err, "no entry where one should start");
        return 0;
    }
    if (h.path_len > STREAM_PATH_MAX || h.link_len > LINK_MAX || h.xattr_len > STREAM_XATTR_MAX ||
        h.n_extents > STREAM_EXTENTS_MAX) {
        damaged(err, "an entry beyond the limits");
        return 0;
    }
    return sizeof h + h.path_len + h.link_len + h.xattr_len + (size_t)h.n_extents * EXTENT_BYTES;
}

void entry_extent(const struct entry *e, uint32_t i, uint64_t *ret_offset, uint64_t *ret_length)
{
    uint64_t pair[2];
    memcpy(pair, e->extents + (size_t)i * EXTENT_BYTES, sizeof pair);
    *ret_offset = le64toh(pair[0]);
    *ret_length = le64toh(pair[1]);
}

bool entry_xattr(const struct entry *e, size_t *at, struct str *ret_name, struct str *ret_value)
{
    uint16_t name;
    uint32_t value;
    size_t left = e->xattrs.len - *at;
    const char *p = e->xattrs.ptr + *at;
    if (*at > e->xattrs.len || left < XATTR_HEAD)
        return false;
    memcpy(&name, p, sizeof name);
    memcpy(&value, p + sizeof name, sizeof value);
    name = le16toh(name);
    value = le32toh(value);
    if (name > left - XATTR_HEAD || value > left - XATTR_HEAD - name)
        return false;
    *ret_name = (struct str){p + XATTR_HEAD, name};
    *ret_value = (struct str){p + XATTR_HEAD + name, value};
    *at += XATTR_HEAD + (size_t)name + value;
    return true;
}

bool entry_is_big(const struct entry *e)
{
    return e->data >= STREAM_BIG;
}

bool entry_path_ok(struct str path)
{
    if (memchr(path.ptr, '\0', path.len))
        return false;
    while (path.len) {
        const char *slash = memchr(path.ptr, '/', path.len);
        struct str part = {path.ptr, slash ? (size_t)(slash - path.ptr) : path.len};
        if (!part.len || part.len > 255 || str_is(part, ".") || str_is(part, ".."))
            return false;
        if (slash && part.len + 1 == path.len)
            return false; // a '/' at the end
        path.ptr += part.len + (slash ? 1 : 0);
        path.len -= part.len + (slash ? 1 : 0);
    }
    return true;
}

static int check_extents(struct entry *e, struct error **err)
{
    uint64_t end = 0, offset, length;
    if (e->head.n_extents && e->head.type != STREAM_FILE)
        return damaged(err, "content of what is not a file");
    if (e->head.size > INT64_MAX)
        return damaged(err, "a file larger than any file");
    for (uint32_t i = 0; i < e->head.n_extents; i++) {
        entry_extent(e, i, &offset, &length);
        if (offset < end || !length || length > e->head.size || offset > e->head.size - length)
            return damaged(err, "parts of a file that overlap or lie beyond its end");
        end = offset + length;
        e->data += length;
    }
    return 0;
}

static int check_xattrs(const struct entry *e, struct error **err)
{
    size_t at = 0;
    struct str name, value;
    while (entry_xattr(e, &at, &name, &value))
        if (!name.len || name.len > 255 || memchr(name.ptr, '\0', name.len))
            return damaged(err, "an extended attribute without a proper name");
    return at == e->xattrs.len ? 0 : damaged(err, "extended attributes");
}

// A single file sent as "" has its own name in `link`, which must then be one name.
static bool link_ok(const struct entry *e)
{
    if (memchr(e->link.ptr, '\0', e->link.len))
        return false;
    if (e->head.type == STREAM_SYMLINK)
        return e->link.len > 0;
    if (e->head.type == STREAM_HARDLINK)
        return entry_path_ok(e->link);
    return !e->link.len || (entry_path_ok(e->link) && !memchr(e->link.ptr, '/', e->link.len));
}

int entry_decode(const void *bytes, size_t n, struct entry *ret, struct error **err)
{
    const char *p = (const char *)bytes + sizeof ret->head;
    size_t want = n < sizeof ret->head ? 0 : entry_size(bytes, err);
    memset(ret, 0, sizeof *ret);
    if (!want || want > n)
        return want || n < sizeof ret->head ? damaged(err, "an entry that is cut off") : -1;
    decode_head(bytes, &ret->head);
    ret->path = (struct str){p, ret->head.path_len};
    p += ret->head.path_len;
    ret->link = (struct str){p, ret->head.link_len};
    p += ret->head.link_len;
    ret->xattrs = (struct str){p, ret->head.xattr_len};
    ret->extents = p + ret->head.xattr_len;
    if (ret->head.type == STREAM_ABORT || ret->head.type == STREAM_END)
        return 0;
    if (ret->head.type < STREAM_FILE || ret->head.type > STREAM_FIFO)
        return damaged(err, "an entry of an unknown type");
    if (!entry_path_ok(ret->path) || !link_ok(ret))
        return damaged(err, "a path that leads elsewhere");
    if (ret->head.mode > 07777 || ret->head.mtime_ns > 999999999)
        return damaged(err, "a mode or time that cannot be");
    return check_extents(ret, err) < 0 ? -1 : check_xattrs(ret, err);
}
