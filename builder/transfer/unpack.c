// SPDX-License-Identifier: MIT
#include "builder/transfer/unpack.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/zero.h"

#include <stdbool.h>
#include <zstd.h>

/* BLOCK: as small as holes are in most file systems. */
enum { CHUNK = 256 << 10, BLOCK = 4096, WINDOW_LOG_MAX = 22 };

static int bad_piece(const struct unpack_piece *p, struct error **err)
{
    return error_set(err, ERR_USER, "blob sha256:%.12s… does not unpack to %llu bytes", p->name,
                     (unsigned long long)p->raw);
}

static bool zero_block(const char *bytes, size_t n, size_t at)
{
    return is_zero(bytes + at, n - at < BLOCK ? n - at : BLOCK);
}

/* All but the blocks of zeros, which a new file has. */
static int write_data(int fd, const char *bytes, size_t n, uint64_t at)
{
    for (size_t begin = 0, end; begin < n; begin = end) {
        bool zero = zero_block(bytes, n, begin);
        for (end = begin + BLOCK; end < n && zero_block(bytes, n, end) == zero; end += BLOCK)
            ;
        end = end < n ? end : n;
        if (!zero && pwrite_all(fd, bytes + begin, end - begin, (off_t)(at + begin)) < 0)
            return -1;
    }
    return 0;
}

static int unpack_stream(const struct unpack_piece *p, ZSTD_DCtx *zstd, int blob, int layer,
                         char *in, char *out, struct error **err)
{
    uint64_t done = 0;
    size_t rc = 1;
    ssize_t n;
    for (off_t at = 0; (n = pread_all(blob, in, CHUNK, at)) > 0; at += n) {
        ZSTD_inBuffer i = {in, (size_t)n, 0};
        for (bool more = true; more;) {
            ZSTD_outBuffer o = {out, CHUNK, 0};
            rc = ZSTD_decompressStream(zstd, &o, &i);
            if (ZSTD_isError(rc) || o.pos > p->raw - done)
                return bad_piece(p, err);
            if (write_data(layer, out, o.pos, p->at + done) < 0)
                return error_errno(err, "cannot write a layer");
            done += o.pos;
            if (p->wrote && o.pos)
                p->wrote(p->arg, done);
            more = i.pos < i.size || (rc && o.pos == o.size); // rc 0: the frame is over
        }
    }
    return n < 0 || rc != 0 || done != p->raw ? bad_piece(p, err) : 0;
}

int unpack_piece(const struct unpack_piece *p, int blob, int layer, struct error **err)
{
    AUTO_FREE char *in = xmalloc(CHUNK), *out = xmalloc(CHUNK);
    ZSTD_DCtx *zstd = ZSTD_createDCtx();
    if (!zstd)
        alloc_failed();
    ZSTD_DCtx_setParameter(zstd, ZSTD_d_windowLogMax, WINDOW_LOG_MAX);
    int rc = unpack_stream(p, zstd, blob, layer, in, out, err);
    ZSTD_freeDCtx(zstd);
    return rc;
}
