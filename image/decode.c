// SPDX-License-Identifier: MIT
//
// Each decoder is a loop over one struct pump, which hides the blocks: pump_fill gives input when
// there is none left, pump_room gives space for output. A decoder returns 0 at the end of the
// input, -1 with *err, or -1 without when the consumer has gone.
#include "image/decode.h"

#include "base/alloc.h"
#include "image/bunzip.h"

#include <isa-l/igzip_lib.h>
#include <lzma.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>
#include <zstd_errors.h>

#define DECODER_MEMORY_MAX (UINT64_C(512) << 20)

enum compression compression_of(const void *bytes, size_t n)
{
    static const struct {
        const char *magic;
        size_t n;
        enum compression is;
    } known[] = {
        {"\x1f\x8b\x08", 3, COMPRESSION_GZIP},
        {"BZh", 3, COMPRESSION_BZIP2},
        {"\xfd"
         "7zXZ\0",
         6, COMPRESSION_XZ},
        {"\x28\xb5\x2f\xfd", 4, COMPRESSION_ZSTD},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (n >= known[i].n && !memcmp(bytes, known[i].magic, known[i].n))
            return known[i].is;
    // a zstd file may begin with a skippable frame, as pzstd makes it
    const unsigned char *p = bytes;
    if (n >= 4 && (p[0] & 0xf0) == 0x50 && !memcmp(p + 1, "\x2a\x4d\x18", 3))
        return COMPRESSION_ZSTD;
    return COMPRESSION_NONE;
}

struct pump {
    struct flow *in, *out;
    struct str block; /* what is left of the input block */
    bool taken;       /* a block is ours until flow_done */
    unsigned char *space;
    size_t room, used; /* of the output block */
};

/* 1: p->block has bytes; 0: end of the input; -1: *err. */
static int pump_fill(struct pump *p, struct error **err)
{
    if (p->block.len)
        return 1;
    if (p->taken)
        flow_done(p->in);
    p->taken = false;
    int rc = flow_take(p->in, -1, &p->block, err);
    p->taken = rc > 0;
    return rc;
}

static void pump_ate(struct pump *p, size_t n)
{
    if (!n)
        return;
    p->block.ptr += n;
    p->block.len -= n;
}

/* Space for output; false when nobody wants it any more. */
static bool pump_room(struct pump *p)
{
    if (p->space && p->used == p->room) {
        flow_put(p->out, p->used);
        p->space = NULL;
    }
    if (!p->space) {
        p->space = flow_space(p->out, &p->room);
        p->used = 0;
    }
    return p->space != NULL;
}

static int ends_early(struct error **err)
{
    return error_set(err, ERR_USER, "the compressed data is truncated");
}

static int damaged(struct error **err, const char *why)
{
    return error_set(err, ERR_USER, "the compressed data is damaged%s%s", why ? ": " : "",
                     why ? why : "");
}

static int too_much_memory(struct error **err)
{
    return error_set(err, ERR_USER, "the data needs more than %u MiB of memory to decompress",
                     (unsigned)(DECODER_MEMORY_MAX >> 20));
}

static int copy_through(struct pump *p, struct error **err)
{
    int rc;
    while ((rc = pump_fill(p, err)) > 0) {
        if (!p->block.ptr) {
            if (p->space)
                flow_put(p->out, p->used);
            p->space = NULL;
            flow_put_hole(p->out, p->block.len);
            p->block.len = 0;
            continue;
        }
        if (!pump_room(p))
            return -1;
        size_t n = p->room - p->used < p->block.len ? p->room - p->used : p->block.len;
        memcpy(p->space + p->used, p->block.ptr, n);
        p->used += n;
        pump_ate(p, n);
        if (!p->block.len) { // on at once: it may take long until more comes
            flow_put(p->out, p->used);
            p->space = NULL;
        }
    }
    return rc;
}

/* Behind a gzip or bzip2 stream there may be another one, zeros (tapes are padded with them), or
 * nothing: 1 = another stream, 0 = the end. */
static int next_stream(struct pump *p, char first, struct error **err)
{
    int rc;
    bool zeros = false;
    while ((rc = pump_fill(p, err)) > 0) {
        if (*p->block.ptr == first && !zeros)
            return 1;
        if (*p->block.ptr)
            return error_set(err, ERR_USER, "trailing bytes after the compressed data");
        zeros = true;
        pump_ate(p, 1);
    }
    return rc;
}

static int gzip_failed(int rc, struct error **err)
{
    return damaged(err, rc == ISAL_INCORRECT_CHECKSUM ? "incorrect checksum" : NULL);
}

/* A member's header, which may come in parts: isal_inflate alone would forget between two of them
 * what is in it. */
static int gunzip_header(struct pump *p, struct inflate_state *z, struct error **err)
{
    struct isal_gzip_header header;
    int rc = 0, z_rc = ISAL_END_INPUT;
    isal_gzip_header_init(&header);
    isal_inflate_reset(z);
    z->crc_flag = ISAL_GZIP_NO_HDR_VER;
    while (z_rc == ISAL_END_INPUT && (rc = pump_fill(p, err)) > 0) {
        z->next_in = (unsigned char *)p->block.ptr;
        z->avail_in = (uint32_t)p->block.len;
        z_rc = isal_read_gzip_header(z, &header);
        pump_ate(p, p->block.len - z->avail_in);
    }
    if (z_rc == ISAL_END_INPUT)
        return rc < 0 ? -1 : ends_early(err);
    return z_rc ? gzip_failed(z_rc, err) : 0;
}

/* A member behind its header. */
static int gunzip_member(struct pump *p, struct inflate_state *z, struct error **err)
{
    while (z->block_state != ISAL_BLOCK_FINISH) {
        int rc = pump_fill(p, err);
        if (rc < 0 || !pump_room(p))
            return -1;
        z->next_in = (unsigned char *)p->block.ptr;
        z->avail_in = (uint32_t)p->block.len;
        z->next_out = p->space + p->used;
        z->avail_out = (uint32_t)(p->room - p->used);
        size_t before = p->used;
        int z_rc = isal_inflate(z);
        pump_ate(p, p->block.len - z->avail_in);
        p->used = p->room - z->avail_out;
        if (z_rc < 0)
            return gzip_failed(z_rc, err);
        if (rc == 0 && p->used == before && z->block_state != ISAL_BLOCK_FINISH)
            return ends_early(err);
    }
    return 0;
}

/* ISA-L's inflate is two to three times as fast as zlib's, and checks lengths and CRCs itself. */
static int decode_gzip(struct pump *p, struct error **err)
{
    struct inflate_state *z = xmalloc(sizeof *z);
    int rc;
    isal_inflate_init(z);
    do {
        rc = gunzip_header(p, z, err);
        if (rc == 0)
            rc = gunzip_member(p, z, err);
        if (rc == 0)
            rc = next_stream(p, '\x1f', err);
    } while (rc > 0);
    free(z);
    return rc;
}

static int xz_failed(lzma_ret rc, struct error **err)
{
    if (rc == LZMA_MEMLIMIT_ERROR || rc == LZMA_MEM_ERROR)
        return too_much_memory(err);
    return rc == LZMA_BUF_ERROR ? ends_early(err) : damaged(err, NULL);
}

static int unxz(struct pump *p, lzma_stream *x, struct error **err)
{
    lzma_action action = LZMA_RUN;
    for (;;) {
        if (action == LZMA_RUN) {
            int rc = pump_fill(p, err);
            if (rc < 0)
                return -1;
            if (rc == 0)
                action = LZMA_FINISH;
        }
        if (!pump_room(p))
            return -1;
        x->next_in = (const unsigned char *)p->block.ptr;
        x->avail_in = p->block.len;
        x->next_out = p->space + p->used;
        x->avail_out = p->room - p->used;
        lzma_ret rc = lzma_code(x, action);
        pump_ate(p, p->block.len - x->avail_in);
        p->used = p->room - x->avail_out;
        if (rc == LZMA_STREAM_END)
            return 0;
        if (rc != LZMA_OK && (rc != LZMA_BUF_ERROR || action == LZMA_FINISH))
            return xz_failed(rc, err);
    }
}

static int decode_xz(struct pump *p, struct error **err)
{
    lzma_stream x = LZMA_STREAM_INIT;
    uint32_t cpus = lzma_cputhreads();
    lzma_mt options = {
        .flags = LZMA_CONCATENATED,
        .threads = cpus ? cpus : 1,
        .memlimit_threading = DECODER_MEMORY_MAX / 2,
        .memlimit_stop = DECODER_MEMORY_MAX,
    };
    if (lzma_stream_decoder_mt(&x, &options) != LZMA_OK)
        alloc_failed();
    int rc = unxz(p, &x, err);
    lzma_end(&x);
    return rc;
}

static int unzstd(struct pump *p, ZSTD_DCtx *d, struct error **err)
{
    size_t left = 0;
    int rc;
    for (;;) {
        rc = pump_fill(p, err);
        if (rc < 0)
            return -1;
        if (rc == 0 && left == 0)
            return 0;
        if (!pump_room(p))
            return -1;
        ZSTD_inBuffer in = {p->block.ptr, p->block.len, 0};
        ZSTD_outBuffer out = {p->space, p->room, p->used};
        size_t before = out.pos;
        left = ZSTD_decompressStream(d, &out, &in);
        if (ZSTD_isError(left))
            return ZSTD_getErrorCode(left) == ZSTD_error_frameParameter_windowTooLarge
                       ? too_much_memory(err)
                       : damaged(err, ZSTD_getErrorName(left));
        pump_ate(p, in.pos);
        p->used = out.pos;
        if (rc == 0 && left && out.pos == before)
            return ends_early(err);
    }
}

static int decode_zstd(struct pump *p, struct error **err)
{
    ZSTD_DCtx *d = ZSTD_createDCtx();
    if (!d)
        alloc_failed();
    ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax, 29);
    int rc = unzstd(p, d, err);
    ZSTD_freeDCtx(d);
    return rc;
}

/* Adapters for the bzip2 decoder, which has threads of its own. */
static int bunzip_input(void *arg, struct str *ret, struct error **err)
{
    struct pump *p = arg;
    pump_ate(p, p->block.len);
    int rc = pump_fill(p, err);
    *ret = p->block;
    return rc;
}

static bool bunzip_output(void *arg, const void *bytes, size_t n)
{
    struct pump *p = arg;
    for (const unsigned char *from = bytes; n;) {
        if (!pump_room(p))
            return false;
        size_t some = p->room - p->used < n ? p->room - p->used : n;
        memcpy(p->space + p->used, from, some);
        p->used += some;
        from += some;
        n -= some;
    }
    return true;
}

static int decode_bzip2(struct pump *p, struct error **err)
{
    if (pump_fill(p, err) < 0)
        return -1;
    return bunzip(p->block, bunzip_input, bunzip_output, p, err);
}

void decode_flow(struct flow *in, struct flow *out, _Atomic enum compression *ret)
{
    struct pump p = {.in = in, .out = out};
    struct error *err = NULL;
    int rc = pump_fill(&p, &err);
    if (rc > 0) {
        enum compression which = COMPRESSION_NONE;
        if (p.block.ptr) // not a hole
            which = compression_of(p.block.ptr, p.block.len);
        *ret = which;
        switch (which) { // clang 14 does not take the atomic
        case COMPRESSION_NONE:
            rc = copy_through(&p, &err);
            break;
        case COMPRESSION_GZIP:
            rc = decode_gzip(&p, &err);
            break;
        case COMPRESSION_BZIP2:
            rc = decode_bzip2(&p, &err);
            break;
        case COMPRESSION_XZ:
            rc = decode_xz(&p, &err);
            break;
        case COMPRESSION_ZSTD:
            rc = decode_zstd(&p, &err);
            break;
        }
    }
    if (p.taken)
        flow_done(in);
    if (rc == 0 && p.space)
        flow_put(out, p.used);
    flow_stop(in);
    flow_end(out, err);
}
