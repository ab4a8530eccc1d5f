// SPDX-License-Identifier: MIT
#include "builder/xz.h"

#include "base/alloc.h"

#include <lzma.h>
#include <string.h>
#include <unistd.h>

/* Above the first, liblzma decodes with one thread; above the second it gives up. Bytes. */
#define THREADED_MEMORY (96ull << 20)
#define MEMORY_MAX (1ull << 30)
enum { THREADS_MAX = 4 };

struct xz {
    lzma_stream stream;
    xz_source_fn *source;
    void *arg;
    bool source_ended, ended;
    const char *problem;
};

bool xz_is(const void *bytes, size_t n)
{
    static const unsigned char magic[6] = {0xfd, '7', 'z', 'X', 'Z', 0};
    return n >= sizeof magic && !memcmp(bytes, magic, sizeof magic);
}

struct xz *xz_new(xz_source_fn *source, void *arg)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    lzma_mt options = {.flags = LZMA_CONCATENATED,
                       .threads = cpus < 1             ? 1
                                  : cpus > THREADS_MAX ? THREADS_MAX
                                                       : (uint32_t)cpus,
                       .memlimit_threading = THREADED_MEMORY,
                       .memlimit_stop = MEMORY_MAX};
    struct xz *x = xcalloc(1, sizeof *x);
    x->stream = (lzma_stream)LZMA_STREAM_INIT;
    x->source = source;
    x->arg = arg;
    if (lzma_stream_decoder_mt(&x->stream, &options) != LZMA_OK)
        alloc_failed();
    return x;
}

void xz_free(struct xz *x)
{
    if (!x)
        return;
    lzma_end(&x->stream);
    free(x);
}

static const char *describe(lzma_ret code)
{
    if (code == LZMA_FORMAT_ERROR)
        return "the xz data has a wrong header";
    if (code == LZMA_OPTIONS_ERROR)
        return "the xz data needs a filter that is not supported";
    if (code == LZMA_MEMLIMIT_ERROR || code == LZMA_MEM_ERROR)
        return "the xz data needs more than 1 GiB of memory";
    if (code == LZMA_BUF_ERROR)
        return "the xz data ends too early";
    return "the xz data is damaged";
}

/* False when the source fails. */
static bool feed(struct xz *x)
{
    const void *bytes;
    ssize_t got = x->source(x->arg, &bytes);
    if (got < 0)
        return false;
    x->source_ended = got == 0;
    x->stream.next_in = bytes;
    x->stream.avail_in = (size_t)got;
    return true;
}

ssize_t xz_read(struct xz *x, void *bytes, size_t n, const char **ret_problem)
{
    *ret_problem = x->problem;
    if (x->problem)
        return -1;
    x->stream.next_out = bytes;
    x->stream.avail_out = n;
    while (x->stream.avail_out == n && n && !x->ended) {
        if (!x->stream.avail_in && !x->source_ended && !feed(x))
            return -1;
        lzma_ret code = lzma_code(&x->stream, x->source_ended ? LZMA_FINISH : LZMA_RUN);
        if (code == LZMA_STREAM_END)
            x->ended = true;
        else if (code != LZMA_OK) {
            *ret_problem = x->problem = describe(code);
            // What came out before the damage is good; the problem is told at the next call.
            return x->stream.avail_out < n ? (ssize_t)(n - x->stream.avail_out) : -1;
        }
    }
    return (ssize_t)(n - x->stream.avail_out);
}
