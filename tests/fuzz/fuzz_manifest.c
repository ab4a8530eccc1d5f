/* SPDX-License-Identifier: MIT
 *
 * Two manifests from arbitrary bytes and their difference.
 */
#include "builder/context/manifest.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was read and is written again must be the same bytes. */
static void round_trip(struct str bytes)
{
    CLEANUP(buf_clear) struct buf again = BUF_INIT;
    struct manifest_entry e;
    size_t at = 0;
    manifest_begin(&again);
    while (manifest_next(bytes, &at, &e)) {
        // An empty link with its field present is sound but not what the writer makes.
        manifest_add(&again, &e);
        if (again.len > at)
            abort();
    }
    if (at > bytes.len)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(buf_clear) struct buf a = BUF_INIT, b = BUF_INIT;
    manifest_begin(&a);
    manifest_begin(&b);
    buf_add(&a, data, size / 2);
    buf_add(&b, data + size / 2, size - size / 2);
    CLEANUP(strv_clear) struct strv lines = {0};
    manifest_diff(buf_str(&a), buf_str(&b), 5, &lines);
    if (lines.len > 6)
        abort();
    round_trip(buf_str(&a));
    round_trip((struct str){(const char *)data, size});
    return 0;
}
