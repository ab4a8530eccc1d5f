// SPDX-License-Identifier: MIT
// libarchive's "raw" format: one entry, any compression.
#include "builder/appliance/unpack.h"

#include <archive.h>
#include <archive_entry.h>

enum { UNPACKED_MAX = 64 << 20 };

static void archive_freep(struct archive **a)
{
    archive_read_free(*a);
}

int unpack_file(const char *path, struct buf *ret, struct error **err)
{
    CLEANUP(archive_freep) struct archive *a = archive_read_new();
    struct archive_entry *entry;
    char chunk[64 * 1024];
    buf_reset(ret);
    archive_read_support_filter_all(a);
    archive_read_support_format_raw(a);
    if (archive_read_open_filename(a, path, sizeof chunk) != ARCHIVE_OK ||
        archive_read_next_header(a, &entry) != ARCHIVE_OK)
        return error_set(err, ERR_SYSTEM, "cannot unpack '%s': %s", path, archive_error_string(a));
    for (;;) {
        la_ssize_t n = archive_read_data(a, chunk, sizeof chunk);
        if (n < 0)
            return error_set(err, ERR_SYSTEM, "cannot unpack '%s': %s", path,
                             archive_error_string(a));
        if (n == 0)
            return 0;
        buf_add(ret, chunk, (size_t)n);
        if (ret->len > UNPACKED_MAX)
            return error_set(err, ERR_USER, "'%s' unpacks to more than 64 MiB", path);
    }
}
