// SPDX-License-Identifier: MIT
// Entries of a stream, one after the other as RECEIVE takes them.
#include "builder/agent/entry.h"

#include <assert.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    while (size >= sizeof(struct stream_entry)) {
        struct entry e;
        struct str name, value;
        size_t n = entry_size(data, NULL), at = 0;
        if (!n || n > size || entry_decode(data, n, &e, NULL) < 0)
            return 0;
        if (e.head.type >= STREAM_END) // nothing of it but the path is used, as a message
            return 0;
        assert(entry_path_ok(e.path));
        while (entry_xattr(&e, &at, &name, &value))
            assert(name.len && name.len < 256);
        for (uint32_t i = 0; i < e.head.n_extents; i++) {
            uint64_t offset, length;
            entry_extent(&e, i, &offset, &length);
            assert(offset + length <= e.head.size);
        }
        data += n;
        size -= n;
        if (e.data > size)
            return 0;
        data += e.data;
        size -= e.data;
    }
    return 0;
}
