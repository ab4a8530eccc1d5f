// SPDX-License-Identifier: MIT
//
// Each block is unpacked behind the last one in a buffer, so that what it refers to lies right before it; when the
// buffer is full, the last 64 KiB move to its start.
#include "builder/transfer/apple_lz4.h"

#include "base/alloc.h"
#include "base/endian.h"
#include "base/file.h"
#include "base/zero.h"

#include <lz4.h>
#include <stdbool.h>
#include <string.h>

/* The framework's own blocks have at most 64 KiB. */
enum { WINDOW = 64 << 10, BLOCK_MAX = 1 << 20, ROOM = WINDOW + 4 * BLOCK_MAX };

struct unpacking {
    int in, out;
    off_t at, end;  /* in `in`, in `out` */
    uint64_t limit; /* bytes that may still be written */
    char *room, *packed;
    size_t filled; /* bytes of room */
};

static void unpacking_clear(struct unpacking *u)
{
    free(u->room);
    free(u->packed);
}

static int damaged(struct error **err)
{
    return error_set(err, ERR_USER, "its LZ4 data is damaged or cut short");
}

static int take(struct unpacking *u, void *bytes, size_t n, struct error **err)
{
    ssize_t got = pread_all(u->in, bytes, n, u->at);
    if (got < 0)
        return error_errno(err, "cannot read a piece of the disk");
    u->at += got;
    return (size_t)got == n ? 0 : damaged(err);
}

static int put(struct unpacking *u, size_t n, struct error **err)
{
    const char *bytes = u->room + u->filled;
    bool zero = is_zero(bytes, n);
    if (!zero && n > u->limit)
        return error_set(err, ERR_USER, "its LZ4 data looks like a decompression bomb");
    if (!zero && pwrite_all(u->out, bytes, n, u->end) < 0)
        return error_errno(err, "cannot write the disk");
    u->limit -= zero ? 0 : n;
    u->end += (off_t)n;
    u->filled += n;
    if (u->filled > ROOM - BLOCK_MAX) {
        memmove(u->room, u->room + u->filled - WINDOW, WINDOW);
        u->filled = WINDOW;
    }
    return 0;
}

static int take_packed(struct unpacking *u, uint32_t size, struct error **err)
{
    unsigned char number[4];
    if (take(u, number, sizeof number, err) < 0)
        return -1;
    uint32_t packed = le32_at(number);
    if (packed > (uint32_t)LZ4_COMPRESSBOUND(BLOCK_MAX))
        return damaged(err);
    if (take(u, u->packed, packed, err) < 0)
        return -1;
    size_t before = u->filled < WINDOW ? u->filled : WINDOW;
    int n = LZ4_decompress_safe_usingDict(u->packed, u->room + u->filled, (int)packed, (int)size,
                                          u->room + u->filled - before, (int)before);
    return n == (int)size ? put(u, size, err) : damaged(err);
}

/* 1: a block; 0: the end; -1. */
static int take_block(struct unpacking *u, struct error **err)
{
    char magic[4];
    unsigned char number[4];
    if (take(u, magic, sizeof magic, err) < 0)
        return -1;
    if (!memcmp(magic, "bv4$", 4))
        return 0;
    bool packed = !memcmp(magic, "bv41", 4);
    if (!packed && memcmp(magic, "bv4-", 4) != 0)
        return damaged(err);
    if (take(u, number, sizeof number, err) < 0)
        return -1;
    uint32_t size = le32_at(number);
    if (size > BLOCK_MAX)
        return damaged(err);
    if (packed)
        return take_packed(u, size, err) < 0 ? -1 : 1;
    return take(u, u->room + u->filled, size, err) < 0 || put(u, size, err) < 0 ? -1 : 1;
}

int apple_lz4_unpack(int in, int out, uint64_t limit, struct error **err)
{
    CLEANUP(unpacking_clear)
    struct unpacking u = {.in = in,
                          .out = out,
                          .end = lseek(out, 0, SEEK_END),
                          .limit = limit,
                          .room = xmalloc(ROOM),
                          .packed = xmalloc(LZ4_COMPRESSBOUND(BLOCK_MAX))};
    int more;
    char beyond;
    while ((more = take_block(&u, err)) > 0)
        ;
    if (more < 0)
        return -1;
    if (pread_all(in, &beyond, 1, u.at) != 0)
        return damaged(err);
    return ftruncate(out, u.end) < 0 ? error_errno(err, "cannot write the disk") : 0;
}
