// SPDX-License-Identifier: MIT
// Expansion of one word. The first byte chooses the mode and which variables are set, then comes
// the word; what a variable holds is the rest after a NUL byte.
#include "base/alloc.h"
#include "imagefile/imagefile.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct values {
    unsigned set;
    const char *value;
};

static const char *get(void *ctx, struct str name)
{
    const struct values *v = ctx;
    assert(name.len);
    return v->set >> (name.ptr[0] & 7) & 1 ? v->value : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = "FROM x\n";
    if (size < 2)
        return 0;
    CLEANUP(imagefile_freep) struct imagefile *f = imagefile_parse("I", text, sizeof text - 1);
    AUTO_FREE char *bytes = xcalloc(size, 1);
    memcpy(bytes, data + 1, size - 1);
    size_t n = strlen(bytes);
    struct values values = {data[0] >> 2, n + 1 < size ? bytes + n + 1 : ""};
    struct imagefile_vars vars = {get, &values, NULL};
    struct word w = {.raw = {bytes, n}, .mode = data[0] % 3};
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    CLEANUP(error_freep) struct error *err = NULL;
    int rc = imagefile_expand(f, &w, &vars, &out, &err);
    assert((rc < 0) == (err != NULL));
    assert(out.len <= IMAGEFILE_VALUE_MAX);
    CLEANUP(error_freep) struct error *again = NULL;
    buf_reset(&out);
    struct heredoc h = {.body = w.raw};
    imagefile_expand_heredoc(f, &h, &vars, &out, &again);
    return 0;
}
