// SPDX-License-Identifier: MIT
// The ignore file and globs: the bytes up to the first NUL are patterns, the rest is a path. What
// must hold: a pruned folder hides all below it, and a plain pattern says what a comparison says.
#include "base/alloc.h"
#include "imagefile/glob.h"
#include "imagefile/ignore.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_FREE char *text = xcalloc(size + 1, 1);
    memcpy(text, data, size);
    size_t n = strlen(text);
    const char *path = n < size ? text + n + 1 : "a/b";
    CLEANUP(ignore_freep) struct ignore *ig = ignore_new();
    CLEANUP(error_freep) struct error *err = NULL;
    int rc = ignore_parse(ig, "i", text, n, &err);
    assert((rc < 0) == (err != NULL));
    AUTO_FREE char *below = xasprintf("%s/x", path);
    if (ignore_hides(ig, path))
        assert(ignore_decider(ig, path));
    if (*path && ignore_prunes(ig, path))
        assert(ignore_hides(ig, path) && ignore_hides(ig, below));
    if (glob_match(text, path))
        assert(glob_valid(text) && (glob_magic(text) || !strcmp(text, path)));
    return 0;
}
