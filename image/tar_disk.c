// SPDX-License-Identifier: MIT
//
// libarchive reads the tar from a callback; the disk is passed on as it comes, and nothing is unpacked
// to a file system.
#include "image/tar_disk.h"

#include "base/alloc.h"
#include "base/buf.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdbool.h>
#include <string.h>

enum { SEEN_MAX = 200 };

struct extraction {
    enum tar_disk which;
    const struct tar_disk_io *io;
    struct error *error;
    struct buf seen; /* names of files, for the error */
    char *found;     /* name of the disk; NULL = none yet */
};

static la_ssize_t on_read(struct archive *a, void *arg, const void **ret)
{
    struct extraction *x = arg;
    size_t n = 0;
    int rc = x->io->read(x->io->arg, ret, &n, &x->error);
    if (rc >= 0)
        return (la_ssize_t)n;
    archive_set_error(a, -1, "cannot read");
    return -1;
}

static const char *label(const struct extraction *x)
{
    return x->which == TAR_DISK_BOX ? "box" : "layer";
}

static int fail(struct extraction *x, struct archive *a, struct error **err)
{
    if (x->error)
        return error_propagate(err, STEAL(x->error));
    const char *why = archive_error_string(a);
    return error_set(err, ERR_USER, "the %s is not a valid tar archive: %s", label(x),
                     why ? why : "it is damaged");
}

static int copy_entry(struct extraction *x, struct archive *a, int64_t size, struct error **err)
{
    const void *bytes;
    size_t n;
    la_int64_t at, done = 0;
    int rc;
    while ((rc = archive_read_data_block(a, &bytes, &n, &at)) == ARCHIVE_OK) {
        if (at > done && x->io->write(x->io->arg, NULL, (uint64_t)(at - done), err) < 0)
            return -1;
        if (n && x->io->write(x->io->arg, bytes, n, err) < 0)
            return -1;
        done = at + (la_int64_t)n;
    }
    if (rc != ARCHIVE_EOF)
        return fail(x, a, err);
    return size > done ? x->io->write(x->io->arg, NULL, (uint64_t)(size - done), err) : 0;
}

static bool is_disk(const struct extraction *x, const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    if (x->which == TAR_DISK_BOX)
        return !strcmp(name, "box.img") || !strcmp(name, "box_0.img");
    while (*path == '/' || !strncmp(path, "./", 2))
        path++;
    // ".wh.x" takes away x of a lower layer
    return !strncmp(path, "disk/", 5) && path + 5 == name && *name && strncmp(name, ".wh.", 4) != 0;
}

/* A box is read no further than its disk. */
static int take_entry(struct extraction *x, struct archive *a, struct archive_entry *e,
                      struct error **err)
{
    const char *path = archive_entry_pathname(e);
    bool file = archive_entry_filetype(e) == AE_IFREG && !archive_entry_hardlink(e);
    if (!path)
        return 0;
    if (file && is_disk(x, path)) {
        if (x->found)
            return error_set(err, ERR_USER, "it has several disks: '%s' and '%s'", x->found, path);
        x->found = xstrdup(path);
        return copy_entry(x, a, archive_entry_size(e), err);
    }
    if (x->seen.len < SEEN_MAX)
        buf_addf(&x->seen, "%s%s", x->seen.len ? ", " : "", path);
    return 0;
}

static int find_disk(struct extraction *x, struct archive *a, struct error **err)
{
    struct archive_entry *e;
    int rc;
    while ((rc = archive_read_next_header(a, &e)) == ARCHIVE_OK || rc == ARCHIVE_WARN) {
        if (take_entry(x, a, e, err) < 0)
            return -1;
        if (x->found && x->which == TAR_DISK_BOX)
            return 0;
    }
    if (rc != ARCHIVE_EOF)
        return fail(x, a, err);
    if (x->found)
        return 0;
    bool box = x->which == TAR_DISK_BOX;
    return error_set(err, box ? ERR_USER : ERR_NOT_FOUND, "the %s has no %s; it has %s", label(x),
                     box ? "box.img" : "file in disk/", x->seen.len ? x->seen.data : "no files");
}

int tar_disk_extract(enum tar_disk which, const struct tar_disk_io *io, struct error **err)
{
    struct extraction x = {.which = which, .io = io, .seen = BUF_INIT};
    struct archive *a = archive_read_new();
    if (!a)
        alloc_failed();
    archive_read_support_format_tar(a);
    int rc = archive_read_open(a, &x, NULL, on_read, NULL) != ARCHIVE_OK ? fail(&x, a, err)
                                                                         : find_disk(&x, a, err);
    archive_read_free(a);
    error_free(x.error);
    buf_clear(&x.seen);
    free(x.found);
    return rc;
}
