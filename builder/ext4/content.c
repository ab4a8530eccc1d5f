// SPDX-License-Identifier: MIT
// Blocks are taken in runs as long as there are, and written in large pieces past libext2fs.
#include "builder/ext4/content.h"

#include "base/alloc.h"

#include <string.h>

enum { PIECE = 1 << 20 };

static void add_run(struct runs *to, struct run r)
{
    struct run *last = to->len ? &to->ptr[to->len - 1] : NULL;
    if (last && last->logical + last->n == r.logical && last->block + last->n == r.block)
        last->n += r.n;
    else
        *runs_push(to) = r;
}

// n bytes of the tap into the blocks from `block` on; the rest of the last one is zero.
static int fill(struct volume *v, struct tap *tap, char *piece, blk64_t block, uint64_t n,
                struct error **err)
{
    while (n) {
        size_t part = n < PIECE ? (size_t)n : PIECE;
        size_t whole = (part + v->block - 1) / v->block * v->block;
        if (tap_read(tap, piece, part, err) < 0)
            return -1;
        memset(piece + part, 0, whole - part);
        if (volume_write(v, block, piece, whole, err) < 0)
            return -1;
        block += whole / v->block;
        n -= part;
    }
    return 0;
}

static int write_extent(struct volume *v, struct tap *tap, char *piece, uint64_t at, uint64_t n,
                        struct runs *ret, struct error **err)
{
    if (at % v->block || at / v->block > UINT32_MAX || n / v->block > UINT32_MAX)
        return error_set(err, ERR_USER, "a file's parts are not made of blocks");
    while (n) {
        struct run r = {.logical = at / v->block};
        if (volume_take(v, (n + v->block - 1) / v->block, &r.block, &r.n, err) < 0)
            return -1;
        uint64_t part = r.n * v->block < n ? r.n * v->block : n;
        if (fill(v, tap, piece, r.block, part, err) < 0)
            return -1;
        add_run(ret, r);
        at += part;
        n -= part;
    }
    return 0;
}

int content_write(struct volume *v, struct tap *tap, const struct entry *e, char **piece,
                  struct runs *ret, struct error **err)
{
    uint64_t next = 0; // block after the last extent
    if (!*piece)
        *piece = xmalloc(PIECE);
    for (uint32_t i = 0; i < e->head.n_extents; i++) {
        uint64_t at, n;
        entry_extent(e, i, &at, &n);
        if (at / v->block < next)
            return error_set(err, ERR_USER, "a file's parts are not made of blocks");
        if ((entry_is_big(e) && tap_align(tap, err) < 0) ||
            write_extent(v, tap, *piece, at, n, ret, err) < 0)
            return -1;
        next = (at + n + v->block - 1) / v->block;
    }
    return 0;
}

int content_bytes(struct volume *v, struct str bytes, struct runs *ret, struct error **err)
{
    struct run r = {0};
    AUTO_FREE char *block = xcalloc(1, v->block);
    memcpy(block, bytes.ptr, bytes.len);
    if (volume_take(v, 1, &r.block, &r.n, err) < 0)
        return -1;
    *runs_push(ret) = r;
    return volume_write(v, r.block, block, v->block, err);
}
