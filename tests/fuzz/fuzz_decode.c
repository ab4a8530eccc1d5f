// SPDX-License-Identifier: MIT
//
// Compressed data through the decoders (Apple's LZ4, too) and the sink, in blocks of odd sizes, with little memory.
#include "base/file.h"
#include "builder/transfer/apple_lz4.h"
#include "image/bunzip.h"
#include "image/sink.h"

#include <assert.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct feed {
    const char *ptr;
    size_t len, out;
};

static int input(void *arg, struct str *ret, struct error **err)
{
    struct feed *f = arg;
    size_t n = f->len < 37 ? f->len : 37;
    (void)err;
    *ret = (struct str){f->ptr, n};
    f->ptr += n;
    f->len -= n;
    return n > 0;
}

static bool output(void *arg, const void *bytes, size_t n)
{
    struct feed *f = arg;
    (void)bytes;
    f->out += n;
    return f->out < 64 << 20;
}

static void sink(const uint8_t *data, size_t size)
{
    AUTO_CLOSE int fd = memfd_create("fuzz", MFD_CLOEXEC);
    CLEANUP(sink_freep) struct sink *k = NULL;
    struct sink_options o = {.fd = fd, .raw = true, .max_size = 1 << 20};
    enum format f;
    k = sink_new(&o);
    int rc = 0;
    for (size_t at = 0; at < size && rc == 0; at += 1000)
        rc = sink_add(k, data + at, size - at < 1000 ? size - at : 1000, at, NULL);
    if (rc == 0 && sink_end(k, &f, NULL) == 0)
        assert(f != FORMAT_UNKNOWN);
}

static void lz4(const uint8_t *data, size_t size)
{
    enum { LIMIT = 1 << 20 };
    AUTO_CLOSE int in = memfd_create("packed", MFD_CLOEXEC), out = memfd_create("raw", MFD_CLOEXEC);
    struct error *err = NULL;
    assert(pwrite_all(in, data, size, 0) == 0);
    assert(apple_lz4_unpack(in, out, LIMIT, &err) == 0 || err);
    error_free(err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct feed f = {(const char *)data, size, 0};
    struct error *err = NULL;
    int rc = bunzip((struct str){"", 0}, input, output, &f, &err);
    assert(rc == 0 || err || f.out >= 64 << 20);
    error_free(err);
    sink(data, size);
    lz4(data, size);
    return 0;
}
