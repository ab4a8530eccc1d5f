/* SPDX-License-Identifier: MIT
 *
 * The index of digests from arbitrary bytes. Its checksum is put right first, or nothing behind it
 * would ever be reached.
 */
#include "builder/context/index.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEADER = 40, CHECKSUM_AT = 32 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t *bytes = malloc(size + 8); // aligned, and its end is guarded
    if (!bytes)
        return 0;
    memcpy(bytes, data, size);
    if (size >= HEADER) {
        bytes[CHECKSUM_AT / 8] = 0;
        uint64_t seed = XXH3_64bits(bytes, HEADER);
        bytes[CHECKSUM_AT / 8] = XXH3_64bits_withSeed((char *)bytes + HEADER, size - HEADER, seed);
    }
    struct index *ix = index_of_bytes(bytes, size);
    struct file_id id = {0};
    for (uint64_t i = 0; i < 16; i++) {
        id.ino = i;
        const struct index_entry *e = index_find(ix, &id);
        if (e && !file_id_eq(&e->id, &id))
            abort();
    }
    struct digest d = {{0}};
    index_add(ix, &id, &d, NULL, INT64_MAX);
    index_free(ix);
    free(bytes);
    return 0;
}
