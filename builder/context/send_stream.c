// SPDX-License-Identifier: MIT
#include "builder/context/sender.h"

#include <endian.h>

void sender_close_source(struct sender *snd)
{
    if (snd->fd >= 0)
        (void)close(snd->fd);
    snd->fd = -1;
    sha256_free(STEAL(snd->hash));
    tar_free(STEAL(snd->tar));
    snd->items = NULL;
}

void sender_add_done(struct sender *snd, uint64_t n)
{
    __atomic_add_fetch(&snd->done, n, __ATOMIC_RELAXED);
}

const struct part *sender_part(const struct sender *snd)
{
    return &snd->sel->parts.ptr[snd->pick->part];
}

void sender_put_head(struct sender *snd, struct stream_entry h, struct str path, struct str link,
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

void sender_align(struct sender *snd)
{
    if (!snd->aligned)
        return;
    uint64_t at = snd->offset + (snd->out.len - snd->out_at);
    snd->padding = -at & (STREAM_ALIGN - 1);
}

void sender_end(struct sender *snd, uint8_t type, const char *message)
{
    sender_close_source(snd);
    struct str text = str_of(message);
    if (text.len > STREAM_PATH_MAX)
        text.len = STREAM_PATH_MAX;
    sender_put_head(snd, (struct stream_entry){.type = type}, text, STR(""), STR(""), NULL);
    snd->state = ENDED;
}

void sender_abort(struct sender *snd)
{
    sender_close_source(snd);
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

void sender_shown_path(struct sender *snd)
{
    buf_reset(&snd->path);
    picked_add_shown(&snd->path, sender_part(snd), snd->pick->node);
    if (!snd->path.len)
        buf_adds(&snd->path, snd->sel->ctx->dir);
}

int sender_changed(struct sender *snd)
{
    sender_shown_path(snd);
    error_set(&snd->error, ERR_USER, "'%s' changed while it was copied", snd->path.data);
    return error_hint(&snd->error, "build again when nothing writes to it");
}

void sender_advance(struct sender *snd, size_t n)
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

size_t sender_in_extent(const struct sender *snd, size_t n)
{
    uint64_t left = snd->extents.ptr[snd->extent].length - snd->extent_done;
    return left < n ? (size_t)left : n;
}
