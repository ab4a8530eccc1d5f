// SPDX-License-Identifier: MIT
//
// manifest_diff reads both manifests into arrays of views, sorts them by path (a manifest is sorted
// only within each source) and walks the two at once.
#include "builder/context/manifest.h"

#include <stdlib.h>

DEFINE_VECTOR(entries, struct manifest_entry);

/* '/' sorts first, so that a folder's content follows it at once. */
static int compare_paths(struct str a, struct str b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    for (size_t i = 0; i < n; i++) {
        if (a.ptr[i] == b.ptr[i])
            continue;
        if (a.ptr[i] == '/' || b.ptr[i] == '/')
            return a.ptr[i] == '/' ? -1 : 1;
        return (unsigned char)a.ptr[i] < (unsigned char)b.ptr[i] ? -1 : 1;
    }
    return a.len < b.len ? -1 : a.len > b.len;
}

/* Equal paths (a file that two sources bring) stay in their order. */
static int compare_entries(const void *pa, const void *pb)
{
    const struct manifest_entry *a = pa, *b = pb;
    int c = compare_paths(a->path, b->path);
    if (c)
        return c;
    return a->path.ptr < b->path.ptr ? -1 : a->path.ptr > b->path.ptr;
}

static bool read_sorted(struct str bytes, struct entries *ret)
{
    size_t at = 0;
    struct manifest_entry e;
    while (manifest_next(bytes, &at, &e))
        *entries_push(ret) = e;
    if (!at || at != bytes.len)
        return false;
    if (ret->len)
        qsort(ret->ptr, ret->len, sizeof *ret->ptr, compare_entries);
    return true;
}

static void add_path(struct buf *b, struct str path)
{
    if (!path.len)
        buf_addc(b, '.');
    for (size_t i = 0; i < path.len; i++) {
        unsigned char c = (unsigned char)path.ptr[i];
        if (c < 0x20 || c == 0x7f)
            buf_addf(b, "\\%03o", c);
        else
            buf_addc(b, (char)c);
    }
}

/* The one phrase for two entries of one path; false when they are equal. */
static bool describe(const struct manifest_entry *a, const struct manifest_entry *b,
                     struct buf *phrase)
{
    if (a->type != b->type || a->has_content != b->has_content ||
        (a->has_content && !digest_eq(&a->content, &b->content)) ||
        a->has_device != b->has_device || a->major != b->major || a->minor != b->minor) {
        add_path(phrase, b->path);
        buf_adds(phrase, a->type == b->type ? " changed" : " is of another type");
    } else if (!str_eq(a->link, b->link)) {
        buf_adds(phrase, "link ");
        add_path(phrase, b->path);
        buf_adds(phrase, " changed");
    } else if (a->mode != b->mode) {
        buf_adds(phrase, "mode of ");
        add_path(phrase, b->path);
        buf_addf(phrase, " changed (%04o to %04o)", a->mode, b->mode);
    } else if (a->has_owner != b->has_owner || a->uid != b->uid || a->gid != b->gid) {
        buf_adds(phrase, "owner of ");
        add_path(phrase, b->path);
        buf_addf(phrase, " changed (%u:%u to %u:%u)", a->uid, a->gid, b->uid, b->gid);
    } else if (a->has_xattrs != b->has_xattrs ||
               (a->has_xattrs && !digest_eq(&a->xattrs, &b->xattrs))) {
        buf_adds(phrase, "attributes of ");
        add_path(phrase, b->path);
        buf_adds(phrase, " changed");
    } else
        return false;
    return true;
}

/* Both in order at once; fn hears of what `describe` tells apart. */
bool manifest_changes(struct str older, struct str newer, manifest_change_fn *fn, void *arg)
{
    CLEANUP(entries_clear) struct entries was = {0}, is = {0};
    if (!read_sorted(older, &was) || !read_sorted(newer, &is))
        return false;
    CLEANUP(buf_clear) struct buf phrase = BUF_INIT;
    for (size_t i = 0, j = 0; i < was.len || j < is.len;) {
        int c = i == was.len  ? 1
                : j == is.len ? -1
                              : compare_paths(was.ptr[i].path, is.ptr[j].path);
        buf_reset(&phrase);
        if (c || describe(&was.ptr[i], &is.ptr[j], &phrase))
            fn(arg, c <= 0 ? &was.ptr[i] : NULL, c >= 0 ? &is.ptr[j] : NULL, j);
        i += c <= 0;
        j += c >= 0;
    }
    return true;
}

struct report {
    struct strv *out;
    size_t max, count;
};

static void report(void *arg, const struct manifest_entry *was, const struct manifest_entry *is,
                   size_t place)
{
    struct report *r = arg;
    (void)place;
    if (r->count++ >= r->max)
        return;
    CLEANUP(buf_clear) struct buf phrase = BUF_INIT;
    if (was && is)
        (void)describe(was, is, &phrase);
    else {
        buf_adds(&phrase, was ? "removed " : "added ");
        add_path(&phrase, was ? was->path : is->path);
    }
    strv_add(r->out, phrase.data);
}

void manifest_diff(struct str older, struct str newer, size_t max, struct strv *ret)
{
    struct report r = {ret, max, 0};
    if (!manifest_changes(older, newer, report, &r)) {
        strv_add(ret, "what it was made from is not readable any more");
        return;
    }
    if (!r.count && !str_eq(older, newer))
        strv_add(ret, "the order of the sources changed");
    if (r.count > max)
        strv_addf(ret, "and %zu more", r.count - max);
}
