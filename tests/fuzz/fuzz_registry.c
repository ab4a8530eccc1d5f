// SPDX-License-Identifier: MIT
//
// What a registry's image claims to be, a manifest and a config with a NUL between them, the same as a
// description of a VM, and
// references as users write them.
#include "base/alloc.h"
#include "builder/transfer/foreign.h"
#include "builder/transfer/plan.h"
#include "registry/reference.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_reference(const char *text)
{
    CLEANUP(reference_clear) struct reference ref = {0}, again = {0};
    if (reference_parse(text, &ref, NULL) < 0)
        return;
    AUTO_FREE char *written = reference_text(&ref);
    assert(reference_is(written) && reference_parse(written, &again, NULL) == 0);
    assert(!ref.layout == !again.layout && !ref.host == !again.host);
    assert(ref.layout ? !strcmp(ref.layout, again.layout)
                      : !strcmp(ref.host, again.host) && !strcmp(ref.repo, again.repo));
    assert(!strcmp(reference_version(&ref), reference_version(&again)));
}

static void try_foreign(struct str manifest)
{
    CLEANUP(foreign_clear) struct foreign f = {0};
    if (foreign_parse(manifest, &f, NULL) <= 0)
        return;
    assert(f.blobs.len && f.disks && f.blobs.ptr[0].disk == 0);
    for (size_t i = 1; i < f.blobs.len; i++)
        assert(f.blobs.ptr[i].disk - f.blobs.ptr[i - 1].disk <= 1);
    assert(f.blobs.ptr[f.blobs.len - 1].disk + 1 == f.disks);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(plan_clear) struct plan plan = {0};
    AUTO_FREE char *text = xcalloc(1, size + 1);
    memcpy(text, data, size);
    size_t n = strlen(text);
    try_reference(text);
    struct str config = n < size ? (struct str){text + n + 1, size - n - 1} : (struct str){"", 0};
    try_foreign((struct str){text, n});
    free(foreign_metadata(config));
    free(foreign_metadata((struct str){text, n}));
    if (plan_parse((struct str){text, n}, config, &plan, NULL) < 0)
        return 0;
    assert(plan.layers.len && plan.virtual_size);
    for (size_t i = 0, next = 0; i < plan.layers.len; i++) {
        assert(plan.layers.ptr[i].first == next);
        next += plan.layers.ptr[i].n;
        assert(next <= plan.pieces.len);
    }
    return 0;
}
