// SPDX-License-Identifier: MIT
// Records are built and read in place.
#include "builder/agent/manifest.h"

#include <endian.h>
#include <sys/stat.h>

enum {
    HAS_CONTENT = 1,
    HAS_LINK = 2,
    HAS_XATTRS = 4,
    HAS_DEVICE = 8,
    HAS_OWNER = 16,
    HAS_ALL = 31
};
enum { RECORD_HEAD = 6 };

static void put16(struct buf *b, size_t v)
{
    uint16_t le = htole16((uint16_t)v);
    buf_add(b, &le, sizeof le);
}

static void put32(struct buf *b, uint32_t v)
{
    v = htole32(v);
    buf_add(b, &v, sizeof v);
}

enum manifest_type manifest_type_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return MANIFEST_FILE;
    case S_IFDIR:
        return MANIFEST_DIR;
    case S_IFLNK:
        return MANIFEST_SYMLINK;
    case S_IFCHR:
        return MANIFEST_CHAR;
    case S_IFBLK:
        return MANIFEST_BLOCK;
    case S_IFIFO:
        return MANIFEST_FIFO;
    default:
        return MANIFEST_NONE;
    }
}

void manifest_begin(struct buf *b)
{
    buf_reset(b);
    buf_adds(b, MANIFEST_MAGIC);
}

void manifest_add(struct buf *b, const struct manifest_entry *e)
{
    buf_reserve(b, RECORD_HEAD + e->path.len + e->link.len + 80);
    buf_addc(b, (char)e->type);
    buf_addc(b, (char)((e->has_content ? HAS_CONTENT : 0) | (e->link.len ? HAS_LINK : 0) |
                       (e->has_xattrs ? HAS_XATTRS : 0) | (e->has_device ? HAS_DEVICE : 0) |
                       (e->has_owner ? HAS_OWNER : 0)));
    put16(b, e->mode);
    put16(b, e->path.len);
    buf_add_str(b, e->path);
    if (e->has_content)
        buf_add(b, e->content.byte, sizeof e->content.byte);
    if (e->link.len) {
        put16(b, e->link.len);
        buf_add_str(b, e->link);
    }
    if (e->has_xattrs)
        buf_add(b, e->xattrs.byte, sizeof e->xattrs.byte);
    if (e->has_device) {
        put32(b, e->major);
        put32(b, e->minor);
    }
    if (e->has_owner) {
        put32(b, e->uid);
        put32(b, e->gid);
    }
}

/* Takes n bytes from the front of *s; false if there are fewer. */
static bool take(struct str *s, void *out, size_t n)
{
    if (s->len < n)
        return false;
    memcpy(out, s->ptr, n);
    *s = (struct str){s->ptr + n, s->len - n};
    return true;
}

static bool take16(struct str *s, uint16_t *out)
{
    if (!take(s, out, sizeof *out))
        return false;
    *out = le16toh(*out);
    return true;
}

static bool take32(struct str *s, uint32_t *out)
{
    if (!take(s, out, sizeof *out))
        return false;
    *out = le32toh(*out);
    return true;
}

/* A length and then that many bytes, as a view. */
static bool take_str(struct str *s, struct str *out)
{
    uint16_t n;
    if (!take16(s, &n) || s->len < n)
        return false;
    *out = (struct str){s->ptr, n};
    *s = (struct str){s->ptr + n, s->len - n};
    return true;
}

static bool take_record(struct str *s, struct manifest_entry *e)
{
    unsigned char type, fields;
    *e = (struct manifest_entry){0};
    if (!take(s, &type, 1) || !take(s, &fields, 1) || fields > HAS_ALL || !take16(s, &e->mode) ||
        !take_str(s, &e->path))
        return false;
    e->type = (enum manifest_type)type;
    e->has_content = fields & HAS_CONTENT;
    e->has_xattrs = fields & HAS_XATTRS;
    e->has_device = fields & HAS_DEVICE;
    e->has_owner = fields & HAS_OWNER;
    return (!e->has_content || take(s, e->content.byte, sizeof e->content.byte)) &&
           (!(fields & HAS_LINK) || take_str(s, &e->link)) &&
           (!e->has_xattrs || take(s, e->xattrs.byte, sizeof e->xattrs.byte)) &&
           (!e->has_device || (take32(s, &e->major) && take32(s, &e->minor))) &&
           (!e->has_owner || (take32(s, &e->uid) && take32(s, &e->gid)));
}

bool manifest_next(struct str bytes, size_t *at, struct manifest_entry *ret)
{
    if (!*at) {
        if (!str_starts(bytes, MANIFEST_MAGIC))
            return false;
        *at = strlen(MANIFEST_MAGIC);
    }
    struct str rest = {bytes.ptr + *at, bytes.len - *at};
    struct manifest_entry e;
    if (!rest.len || !take_record(&rest, &e))
        return false;
    *ret = e;
    *at = bytes.len - rest.len;
    return true;
}
