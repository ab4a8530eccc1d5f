// SPDX-License-Identifier: MIT
//
// First come folders, links, devices: the tree has all of them. Then the layers are read again, and a
// file that is left goes out when its content comes by: under the first of its names, the others as hard
// links behind it. So every path is where it belongs, and none goes through a link of the image.
#include "builder/container/private.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/session.h"
#include "builder/container/blobs.h"

#include <fcntl.h>
#include <stdio.h>

int container_reopen(const struct container_layer *l, struct error **err)
{
    AUTO_FREE char *path = xasprintf("/proc/self/fd/%d", l->fd);
    int fd = open(path, O_RDONLY | O_CLOEXEC); // a dup would share the offset
    return fd < 0 ? error_errno(err, "cannot open a layer") : fd;
}

static struct tar *open_layer(const struct container *c, size_t i, struct error **err)
{
    const struct container_layer *l = &c->layers.ptr[i];
    struct tar *tar = NULL;
    AUTO_FREE char *name = *l->hex ? xasprintf("sha256:%.12s…", l->hex)
                                   : xasprintf("layer %zu of %zu", i + 1, c->layers.len);
    int fd = container_reopen(l, err);
    return fd < 0 || tar_open_sure(c->session, fd, name, &tar, err) < 0 ? NULL : tar;
}

/* Are the file's bytes those of its digest? */
static int check_digest(const struct container *c, const struct container_layer *l,
                        const struct digest *is, struct error **err)
{
    struct digest want;
    if (!*l->hex || (digest_parse(l->hex, &want) && digest_eq(is, &want)))
        return 0;
    if (c->kind == CONTAINER_REGISTRY)
        blob_forget(c->session, l->hex);
    error_set(err, ERR_USER, "layer sha256:%.12s… has other content than its digest says", l->hex);
    return c->kind == CONTAINER_REGISTRY ? error_hint(err, "build again: it is fetched anew") : -1;
}

/* After the last entry. */
static int check_layer(const struct container *c, const struct container_layer *l, struct tar *tar,
                       struct error **err)
{
    struct digest is;
    return tar_finish(tar, &is, err) < 0 ? -1 : check_digest(c, l, &is, err);
}

static int read_entries(struct container *c, struct tar *tar, struct error **err)
{
    struct tar_item item;
    int got;
    while ((got = tar_next(tar, &item, err)) > 0) {
        if (session_cancelled(c->session))
            return error_set(err, ERR_CANCELLED, "interrupted");
        if (rootfs_add(c->rootfs, &item, err) < 0)
            return -1;
    }
    return got;
}

static int read_layer(struct container *c, size_t i, struct error **err)
{
    const struct container_layer *l = &c->layers.ptr[i];
    CLEANUP(error_freep) struct error *why = NULL;
    CLEANUP(tar_freep) struct tar *tar = open_layer(c, i, &why);
    struct digest is;
    rootfs_begin_layer(c->rootfs);
    if (tar && read_entries(c, tar, &why) == 0)
        return check_layer(c, l, tar, err);
    // bytes that are not what they should be explain what was found in them
    if (why->kind != ERR_CANCELLED && digest_of_fd(l->fd, &is, NULL) == 0 &&
        check_digest(c, l, &is, err) < 0)
        return -1;
    return error_propagate(err, STEAL(why));
}

/* Back to the first item. */
static void rewind_reader(struct container_reader *r)
{
    tar_free(r->tar);
    r->tar = NULL;
    r->plain = r->layer = r->entry = 0;
    r->link = NULL;
    r->before = 0;
}

int container_prepare(struct container *c, struct error **err)
{
    long long start = now_us();
    rewind_reader(&c->reader);
    rootfs_free(c->rootfs);
    c->rootfs = rootfs_new();
    for (size_t i = 0; i < c->layers.len; i++)
        if (read_layer(c, i, err) < 0)
            return error_wrap(err, "'%s': layer %zu", c->text, i + 1);
    rootfs_finish(c->rootfs);
    session_timing(c->session, "layers", now_us() - start);
    return 0;
}

static const struct extents no_data;

/* An item of a node without content, or a further name of a file. */
static void plain_item(struct container *c, const struct rootfs_node *n, struct tar_item *ret)
{
    struct container_reader *r = &c->reader;
    const struct rootfs_file *f = n->file;
    rootfs_path(n, &r->path);
    *ret = (struct tar_item){.head = f->head, .path = buf_str(&r->path), .extents = &no_data};
    if (f->names != n) {
        rootfs_path(f->names, &r->target);
        ret->head.type = STREAM_HARDLINK;
        ret->head.flags = STREAM_ARCHIVE;
        ret->link = buf_str(&r->target);
        return;
    }
    ret->xattrs = buf_str(&f->xattrs);
    if (f->link)
        ret->link = str_of(f->link);
}

static int changed(const struct container *c, struct error **err)
{
    return error_set(err, ERR_USER, "'%s' changed while it was read", c->text);
}

static bool has_files(const struct rootfs_layer *l)
{
    vec_foreach (struct rootfs_file *const *, f, &l->entries)
        if (*f && (*f)->names)
            return true;
    return false;
}

/* 1, 0 after the last layer, -1. */
static int next_layer(struct container *c, struct error **err)
{
    struct container_reader *r = &c->reader;
    for (; r->layer < c->layers.len; r->layer++) {
        if (has_files(&c->rootfs->layers.ptr[r->layer])) {
            r->entry = 0;
            return (r->tar = open_layer(c, r->layer, err)) ? 1 : -1;
        }
        r->before += c->layers.ptr[r->layer].size;
    }
    return 0;
}

static int end_layer(struct container *c, struct error **err)
{
    struct container_reader *r = &c->reader;
    const struct container_layer *l = &c->layers.ptr[r->layer++];
    CLEANUP(tar_freep) struct tar *tar = STEAL(r->tar);
    if (r->entry != c->rootfs->layers.ptr[r->layer - 1].entries.len)
        return changed(c, err);
    r->before += l->size;
    return check_layer(c, l, tar, err);
}

/* The next file of the layer that is left. 1, 0 at its end, -1. */
static int next_file(struct container *c, struct tar_item *ret, struct error **err)
{
    struct container_reader *r = &c->reader;
    const struct rootfs_files *entries = &c->rootfs->layers.ptr[r->layer].entries;
    int got;
    while ((got = tar_next(r->tar, ret, err)) > 0) {
        if (r->entry == entries->len)
            return changed(c, err);
        const struct rootfs_file *f = entries->ptr[r->entry++];
        if (!f || !f->names)
            continue;
        if (ret->head.type != STREAM_FILE)
            return changed(c, err);
        rootfs_path(f->names, &r->path);
        ret->path = buf_str(&r->path);
        r->link = f->names->next_name;
        return 1;
    }
    return got;
}

static int next(void *arg, struct tar_item *ret, struct error **err)
{
    struct container *c = arg;
    struct container_reader *r = &c->reader;
    if (r->plain < c->rootfs->plain.len) {
        plain_item(c, c->rootfs->plain.ptr[r->plain++], ret);
        return 1;
    }
    if (r->link) {
        plain_item(c, r->link, ret);
        r->link = r->link->next_name;
        return 1;
    }
    for (;;) {
        int got = r->tar ? 1 : next_layer(c, err);
        if (got <= 0)
            return got;
        got = next_file(c, ret, err);
        if (got)
            return got;
        if (end_layer(c, err) < 0)
            return -1;
    }
}

static ssize_t data(void *arg, void *bytes, size_t n, struct error **err)
{
    const struct container *c = arg;
    return tar_data(c->reader.tar, bytes, n, err);
}

static uint64_t consumed(void *arg)
{
    const struct container *c = arg;
    uint64_t n = c->reader.before + (c->reader.tar ? tar_consumed(c->reader.tar) : 0);
    return n < c->bytes ? n : c->bytes;
}

const struct item_source *container_items(struct container *c)
{
    c->reader.source = (struct item_source){c, next, data, consumed};
    return &c->reader.source;
}
