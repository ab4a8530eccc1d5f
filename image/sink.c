// SPDX-License-Identifier: MIT
//
// The first FORMAT_HEAD bytes are held back until the format is known. Zeros are looked for in
// steps of 4 KiB, and runs of other bytes are written at once. Writeback is started every 32 MiB,
// so that the fsync at the end finds little to do.
#include "image/sink.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/zero.h"
#include "qcow2/qcow2.h"
#include "qcow2/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { STEP = 4096, FLUSH = 32 << 20 };
#define DATA_FREE (UINT64_C(1) << 30)
#define ALL_FREE (UINT64_C(256) << 30)

struct sink {
    struct sink_options o;
    struct buf head; /* until the format is known */
    enum format format;
    struct qcow2_stream *raw;
    uint64_t size, data; /* bytes so far; of these not zero */
    uint64_t flushed;
    bool decided;
};

struct sink *sink_new(const struct sink_options *o)
{
    struct sink *k = xcalloc(1, sizeof *k);
    k->o = *o;
    buf_init(&k->head);
    return k;
}

void sink_free(struct sink *k)
{
    if (!k)
        return;
    buf_clear(&k->head);
    qcow2_stream_free(k->raw);
    free(k);
}

enum format sink_format(const struct sink *k)
{
    return k->format;
}

uint64_t sink_size(const struct sink *k)
{
    return k->size;
}

uint64_t sink_data_limit(uint64_t fetched)
{
    return DATA_FREE + 200 * fetched;
}

static int check_limits(const struct sink *k, uint64_t fetched, struct error **err)
{
    uint64_t max = k->o.max_size ? k->o.max_size : QCOW2_SIZE_MAX;
    if (k->size > max)
        return error_set(err, ERR_USER, "it exceeds the limit of %llu bytes",
                         (unsigned long long)max);
    if (k->o.max_size)
        return 0;
    if (k->data > sink_data_limit(fetched) || k->size > ALL_FREE + 2000 * fetched) {
        error_set(err, ERR_USER,
                  "%llu bytes expanded to %llu, which looks like a decompression bomb",
                  (unsigned long long)fetched, (unsigned long long)k->size);
        return error_hint(err, "raise the limit with --max-size");
    }
    return 0;
}

/* Passes rc on; says what to do about a full disk. */
static int with_hint(int rc, struct error **err)
{
    if (rc < 0 && err && *err && (*err)->errnum == ENOSPC)
        error_hint(err, "free some space, or choose another backend with --image-backend");
    return rc;
}

static int failed(struct error **err)
{
    return with_hint(error_errno(err, "cannot write the image"), err);
}

/* Bytes [at, at + n) of the file. */
static int write_run(struct sink *k, const char *p, size_t n, uint64_t at, struct error **err)
{
    if (at < k->o.kept) {
        uint64_t skip = k->o.kept - at < n ? k->o.kept - at : n;
        p += skip;
        n -= (size_t)skip;
        at += skip;
    }
    if (pwrite_all(k->o.fd, p, n, (off_t)at) < 0)
        return failed(err);
    if (at + n > k->flushed + FLUSH) {
        (void)sync_file_range(k->o.fd, (off_t)k->flushed, (off_t)(at + n - k->flushed),
                              SYNC_FILE_RANGE_WRITE);
        k->flushed = at + n;
    }
    return 0;
}

/* Length of the run of steps at p that are all zero, or all not. */
static size_t run_length(const char *p, size_t n, bool zero)
{
    size_t at = 0;
    while (at < n) {
        size_t step = n - at < STEP ? n - at : STEP;
        if (is_zero(p + at, step) != zero)
            break;
        at += step;
    }
    return at;
}

static int add_data(struct sink *k, const char *p, uint64_t n, struct error **err)
{
    if (!p) {
        k->size += n;
        return k->raw ? qcow2_stream_add(k->raw, NULL, n, err) : 0;
    }
    if (k->raw) {
        k->size += n;
        int rc = qcow2_stream_add(k->raw, p, n, err);
        k->data = qcow2_stream_written(k->raw);
        return rc;
    }
    for (bool zero = false; n; zero = !zero) {
        size_t run = run_length(p, (size_t)n, zero);
        if (!zero && run && write_run(k, p, run, k->size, err) < 0)
            return -1;
        k->data += zero ? 0 : run;
        k->size += run;
        p += run;
        n -= run;
    }
    return 0;
}

static int decide(struct sink *k, struct error **err)
{
    k->decided = true;
    k->format = format_of(k->head.data, k->head.len);
    if (k->format == FORMAT_UNKNOWN && k->o.raw && k->head.len)
        k->format = FORMAT_RAW;
    if (k->format == FORMAT_UNKNOWN)
        return format_refuse(k->head.data, k->head.len, err);
    if (k->format == FORMAT_QCOW2) {
        // refused before more of it comes; tables are judged when it is complete
        CLEANUP(qcow2_info_clear) struct qcow2_info info = {0};
        if (qcow2_parse(k->head.data, k->head.len, INT64_MAX, k->o.overlay ? QCOW2_OWN : 0, &info,
                        err) < 0)
            return -1;
    }
    if (k->format == FORMAT_RAW)
        k->raw = qcow2_stream_new(k->o.fd);
    return add_data(k, k->head.data, k->head.len, err);
}

int sink_add(struct sink *k, const void *bytes, uint64_t n, uint64_t fetched, struct error **err)
{
    const char *p = bytes;
    if (!k->decided) {
        size_t want = FORMAT_HEAD - k->head.len, take = n < want ? (size_t)n : want;
        if (p) {
            buf_add(&k->head, p, take);
            p += take;
        } else {
            buf_reserve(&k->head, take);
            memset(k->head.data + k->head.len, 0, take);
            k->head.len += take;
        }
        n -= take;
        if (k->head.len == FORMAT_HEAD && decide(k, err) < 0)
            return with_hint(-1, err);
    }
    if (n && add_data(k, p, n, err) < 0)
        return with_hint(-1, err);
    return check_limits(k, fetched, err);
}

int sink_end(struct sink *k, enum format *ret, struct error **err)
{
    if (!k->decided && decide(k, err) < 0)
        return -1;
    if (k->raw && qcow2_stream_finish(STEAL(k->raw), err) < 0)
        return with_hint(-1, err);
    if (k->format != FORMAT_RAW && ftruncate(k->o.fd, (off_t)k->size) < 0)
        return failed(err);
    *ret = k->format;
    return 0;
}
