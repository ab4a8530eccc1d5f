// SPDX-License-Identifier: MIT
//
// While it is fetched a blob is <hex>.tmp, which is locked; it stays when that is interrupted, and is
// pruned as any other file once nobody has written to it for an hour.
#include "builder/container/blobs.h"

#include "base/alloc.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/session.h"
#include "registry/client.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static char *blob_path(const struct session *s, const char *hex)
{
    return xasprintf("%s/remote/%s", s->cache, hex);
}

int blob_open(const struct session *s, const char *hex, uint64_t size)
{
    AUTO_FREE char *path = blob_path(s, hex);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != size)
        return -1;
    (void)utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW); // for pruning
    return STEAL_FD(fd);
}

void blob_forget(const struct session *s, const char *hex)
{
    AUTO_FREE char *path = blob_path(s, hex);
    (void)unlink(path);
}

static bool is_here(const struct session *s, const char *hex, uint64_t size)
{
    AUTO_CLOSE int fd = blob_open(s, hex, size);
    return fd >= 0;
}

int blob_fetch(const struct session *s, struct registry *r, const char *hex, uint64_t size,
               _Atomic uint64_t *moved, struct error **err)
{
    AUTO_FREE char *path = blob_path(s, hex), *temp = xasprintf("%s.tmp", path);
    AUTO_FREE char *dir = path_parent(path);
    if (make_dirs(dir, 0700, err) < 0)
        return -1;
    AUTO_CLOSE int fd = lock_wait(temp, LOCK_EXCLUSIVE, s->cancel_fd, err);
    if (fd < 0)
        return -1;
    if (is_here(s, hex, size)) { // by another, or from before
        (void)unlink(temp);
        if (moved)
            *moved += size;
        return 0;
    }
    if (registry_blob_to(r, hex, size, fd, moved, err) < 0)
        return -1;
    if (fsync(fd) < 0 || rename(temp, path) < 0)
        return error_errno(err, "cannot keep '%s'", path);
    return 0;
}

int blob_read(const struct session *s, const char *hex, size_t limit, struct buf *ret)
{
    AUTO_FREE char *path = blob_path(s, hex);
    struct digest want, is;
    if (!digest_parse(hex, &want) || file_read(path, limit, ret, NULL) < 0)
        return 0;
    is = digest_of(ret->data, ret->len);
    if (!digest_eq(&is, &want)) {
        (void)unlink(path);
        return 0;
    }
    (void)utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW);
    return 1;
}

void blob_keep(const struct session *s, const char *hex, const struct buf *text)
{
    AUTO_FREE char *path = blob_path(s, hex), *dir = path_parent(path);
    CLEANUP(error_freep) struct error *ignored = NULL;
    if (make_dirs(dir, 0700, &ignored) == 0)
        (void)file_write_whole(path, 0644, text->data, text->len, &ignored);
}
