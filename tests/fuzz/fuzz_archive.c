/* SPDX-License-Identifier: MIT
 *
 * Archives from arbitrary bytes: whatever they hold, what comes out keeps the promises of stream.h.
 */
#include "builder/context/archive.h"

#include <stdint.h>
#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ENTRIES_MAX = 1000, DATA_MAX = 8 << 20 };

static void check_path(struct str path)
{
    if (path.len > STREAM_PATH_MAX || (path.len && *path.ptr == '/'))
        abort();
    for (size_t at = 0; at < path.len;) {
        const char *slash = memchr(path.ptr + at, '/', path.len - at);
        size_t len = slash ? (size_t)(slash - path.ptr) - at : path.len - at;
        struct str part = {path.ptr + at, len};
        if (!len || str_is(part, ".") || str_is(part, ".."))
            abort();
        at += len + 1;
    }
}

static void check_item(const struct tar_item *item)
{
    check_path(item->path);
    if (item->head.type == STREAM_HARDLINK)
        check_path(item->link);
    if (item->link.len > STREAM_PATH_MAX || item->xattrs.len > STREAM_XATTR_MAX ||
        item->extents->len > STREAM_EXTENTS_MAX)
        abort();
    uint64_t end = 0;
    vec_foreach (const struct extent *, x, item->extents) {
        if (!x->length || x->offset < end || x->length > item->head.size ||
            x->offset > item->head.size - x->length)
            abort();
        end = x->offset + x->length;
    }
}

static void read_all_of(struct tar *t)
{
    static char bytes[65536];
    struct tar_item item;
    size_t total = 0;
    for (int i = 0; i < ENTRIES_MAX && tar_next(t, &item, NULL) > 0; i++) {
        check_item(&item);
        uint64_t announced = 0, got = 0;
        vec_foreach (const struct extent *, x, item.extents)
            announced += x->length;
        ssize_t n;
        while ((n = tar_data(t, bytes, sizeof bytes, NULL)) > 0) {
            got += (uint64_t)n;
            if ((total += (size_t)n) > DATA_MAX)
                return;
        }
        if (n < 0)
            return;
        if (got != announced)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    struct tar *t = NULL;
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    (void)lseek(fd, 0, SEEK_SET);
    (void)tar_open(NULL, fd, "fuzz.tar", &t, NULL);
    if (t)
        read_all_of(t);
    tar_free(t);
    return 0;
}
