// SPDX-License-Identifier: MIT
#include "builder/context/acl.h"

#include "base/cleanup.h"
#include "base/vector.h"
#include "builder/context/xattr.h"

#include <archive.h>
#include <archive_entry.h>
#include <endian.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>

/* In the CPU's byte order. */
struct ace {
    uint16_t tag, perm;
    uint32_t id;
};
DEFINE_VECTOR(aces, struct ace);

static uint16_t tag_of(int libarchive_tag)
{
    switch (libarchive_tag) {
    case ARCHIVE_ENTRY_ACL_USER_OBJ:
        return ACL_USER_OBJ;
    case ARCHIVE_ENTRY_ACL_USER:
        return ACL_USER;
    case ARCHIVE_ENTRY_ACL_GROUP_OBJ:
        return ACL_GROUP_OBJ;
    case ARCHIVE_ENTRY_ACL_GROUP:
        return ACL_GROUP;
    case ARCHIVE_ENTRY_ACL_MASK:
        return ACL_MASK;
    case ARCHIVE_ENTRY_ACL_OTHER:
        return ACL_OTHER;
    default:
        return 0;
    }
}

static int compare_aces(const void *pa, const void *pb)
{
    const struct ace *a = pa, *b = pb;
    if (a->tag != b->tag)
        return a->tag < b->tag ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

static void encode(const struct aces *list, const char *name, struct buf *xattrs)
{
    CLEANUP(buf_clear) struct buf value = BUF_INIT;
    uint32_t version = htole32(POSIX_ACL_XATTR_VERSION);
    buf_add(&value, &version, sizeof version);
    vec_foreach (const struct ace *, a, list) {
        uint16_t half[2] = {htole16(a->tag), htole16(a->perm)};
        uint32_t id = htole32(a->id);
        buf_add(&value, half, sizeof half);
        buf_add(&value, &id, sizeof id);
    }
    xattrs_add(xattrs, name, value.data, value.len);
}

static void add_kind(struct archive_entry *e, int kind, const char *name, struct buf *xattrs)
{
    if (archive_entry_acl_reset(e, kind) <= 0)
        return;
    CLEANUP(aces_clear) struct aces list = {0};
    int type, perm, tag, id;
    const char *who;
    while (archive_entry_acl_next(e, kind, &type, &perm, &tag, &id, &who) == ARCHIVE_OK) {
        bool named = tag == ARCHIVE_ENTRY_ACL_USER || tag == ARCHIVE_ENTRY_ACL_GROUP;
        if (type != kind || !tag_of(tag) || (named && id < 0))
            continue;
        struct ace *a = aces_push(&list);
        *a = (struct ace){tag_of(tag), (uint16_t)(perm & 7), (uint32_t)ACL_UNDEFINED_ID};
        if (named)
            a->id = (uint32_t)id;
    }
    if (!list.len || (kind == ARCHIVE_ENTRY_ACL_TYPE_ACCESS && list.len <= 3))
        return;
    qsort(list.ptr, list.len, sizeof *list.ptr, compare_aces);
    encode(&list, name, xattrs);
}

#define ACCESS "system.posix_acl_access"
#define DEFAULT "system.posix_acl_default"

bool acl_is_xattr(const char *name)
{
    return !strcmp(name, ACCESS) || !strcmp(name, DEFAULT);
}

void acl_add_xattrs(struct archive_entry *e, struct buf *xattrs)
{
    add_kind(e, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, ACCESS, xattrs);
    add_kind(e, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, DEFAULT, xattrs);
}
