// SPDX-License-Identifier: MIT
//
// The memory of a saved boot as a file: with holes where it is zero, to be mapped by every copy; or
// packed, as one zstd stream of runs of pages, each behind its place and length, which every copy gets
// in memory of its own.
#include "vm/warm_memory.h"

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/file.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

enum { PAGE = 4096, CHUNK = 64 * PAGE, LEVEL = 3 };

struct run {
    uint64_t at, n; /* bytes, of whole pages; n is at most CHUNK */
};

/* What takes the runs of pages that are not zero. */
typedef int put_fn(void *arg, uint64_t at, const char *bytes, size_t n, struct error **err);

static int each_run(int from, put_fn *put, void *arg, struct error **err)
{
    AUTO_FREE char *chunk = xmalloc(CHUNK), *zeros = xcalloc(1, PAGE);
    ssize_t n;
    for (off_t at = 0; (at = lseek(from, at, SEEK_DATA)) >= 0; at += n) {
        n = pread_all(from, chunk, CHUNK, at);
        if (n <= 0)
            return error_errno(err, "cannot read the VM's memory");
        for (ssize_t i = 0, end; i < n; i = end) {
            for (; i < n && !memcmp(chunk + i, zeros, PAGE); i += PAGE) {
            }
            for (end = i; end < n && memcmp(chunk + end, zeros, PAGE) != 0; end += PAGE) {
            }
            if (end > i && put(arg, (uint64_t)(at + i), chunk + i, (size_t)(end - i), err) < 0)
                return -1;
        }
    }
    return 0;
}

static int put_plain(void *arg, uint64_t at, const char *bytes, size_t n, struct error **err)
{
    return pwrite_all(*(int *)arg, bytes, n, (off_t)at) < 0
               ? error_errno(err, "cannot write the saved memory")
               : 0;
}

int warm_memory_copy(int from, const char *path, struct error **err)
{
    AUTO_CLOSE int to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    off_t size = lseek(from, 0, SEEK_END);
    if (to < 0 || ftruncate(to, size) < 0)
        return error_errno(err, "cannot make '%s'", path);
    return each_run(from, put_plain, &to, err);
}

/* --- packed --- */

static void free_packer(ZSTD_CCtx **c)
{
    (void)ZSTD_freeCCtx(*c);
}

static void free_unpacker(ZSTD_DCtx **d)
{
    (void)ZSTD_freeDCtx(*d);
}

struct packer {
    ZSTD_CCtx *zstd;
    int to;
};

static int pack(struct packer *p, const void *bytes, size_t n, ZSTD_EndDirective end,
                struct error **err)
{
    char out[1 << 15];
    ZSTD_inBuffer in = {bytes, n, 0};
    for (size_t left = 1; left;) {
        ZSTD_outBuffer to = {out, sizeof out, 0};
        left = ZSTD_compressStream2(p->zstd, &to, &in, end);
        if (ZSTD_isError(left))
            return error_set(err, ERR_SYSTEM, "cannot compress the memory: %s",
                             ZSTD_getErrorName(left));
        if (write_all(p->to, out, to.pos) < 0)
            return error_errno(err, "cannot write the saved memory");
        if (end == ZSTD_e_continue)
            left = in.pos < in.size;
    }
    return 0;
}

static int put_packed(void *arg, uint64_t at, const char *bytes, size_t n, struct error **err)
{
    const struct run r = {at, n};
    return pack(arg, &r, sizeof r, ZSTD_e_continue, err) < 0
               ? -1
               : pack(arg, bytes, n, ZSTD_e_continue, err);
}

int warm_memory_pack(int from, const char *path, struct error **err)
{
    CLEANUP(free_packer) ZSTD_CCtx *zstd = ZSTD_createCCtx();
    AUTO_CLOSE int to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    struct packer p = {zstd, to};
    if (to < 0)
        return error_errno(err, "cannot make '%s'", path);
    (void)ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, LEVEL);
    return each_run(from, put_packed, &p, err) < 0 ? -1 : pack(&p, "", 0, ZSTD_e_end, err);
}

struct unpacker {
    ZSTD_DCtx *zstd;
    int from;
    ZSTD_inBuffer in;
    char *bytes;
    size_t room;
};

/* n bytes: 1; 0: the stream ends here; -1. */
static int unpack(struct unpacker *u, void *to, size_t n, struct error **err)
{
    ZSTD_outBuffer out = {to, n, 0};
    while (out.pos < n) {
        if (u->in.pos == u->in.size) {
            ssize_t got = read(u->from, u->bytes, u->room);
            if (got < 0)
                return error_errno(err, "cannot read the saved memory");
            u->in = (ZSTD_inBuffer){u->bytes, (size_t)got, 0};
        }
        size_t before = out.pos, rc = ZSTD_decompressStream(u->zstd, &out, &u->in);
        if (ZSTD_isError(rc))
            return error_set(err, ERR_SYSTEM, "cannot unpack the saved memory: %s",
                             ZSTD_getErrorName(rc));
        if (out.pos == before && !u->in.size)
            return out.pos ? error_set(err, ERR_SYSTEM, "the saved memory is cut off") : 0;
    }
    return 1;
}

static int unpack_runs(struct unpacker *u, char *memory, uint64_t size, struct error **err)
{
    struct run r = {0, 0};
    int rc;
    while ((rc = unpack(u, &r, sizeof r, err)) > 0) {
        if (r.at > size || r.n > size - r.at)
            return error_set(err, ERR_SYSTEM, "the saved memory is of another size");
        if ((rc = unpack(u, memory + r.at, r.n, err)) <= 0)
            return rc < 0 ? -1 : error_set(err, ERR_SYSTEM, "the saved memory is cut off");
    }
    return rc;
}

int warm_memory_unpack(const char *path, uint64_t size, struct error **err)
{
    CLEANUP(free_unpacker) ZSTD_DCtx *zstd = ZSTD_createDCtx();
    AUTO_CLOSE int from = open(path, O_RDONLY | O_CLOEXEC);
    AUTO_CLOSE int memory = memfd_create("kiln-guest", MFD_CLOEXEC);
    AUTO_FREE char *bytes = xmalloc(CHUNK);
    struct unpacker u = {.zstd = zstd, .from = from, .bytes = bytes, .room = CHUNK};
    if (from < 0)
        return error_errno(err, "cannot read '%s'", path);
    if (memory < 0 || ftruncate(memory, (off_t)size) < 0)
        return error_errno(err, "cannot make the VM's memory");
    char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (at == MAP_FAILED)
        return error_errno(err, "cannot map the VM's memory");
    int rc = unpack_runs(&u, at, size, err);
    (void)munmap(at, size);
    return rc < 0 ? -1 : STEAL_FD(memory);
}
