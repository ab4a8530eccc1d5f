// SPDX-License-Identifier: MIT
//
// One small file an image: <cache>/digests/<device>-<inode>, holding what the file looked like when
// it was read and the digest. If anything about the file differs, it is read again.
#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "image/backend.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { SETTLE_SECONDS = 2 };

/* What must be equal for the digest to be believed. */
static char *look(const struct stat *st)
{
    return xasprintf("%llu %lld.%09ld %lld.%09ld ", (unsigned long long)st->st_size,
                     (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec,
                     (long long)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
}

static bool settled(const struct stat *st)
{
    time_t now = time(NULL), last = st->st_mtim.tv_sec;
    if (st->st_ctim.tv_sec > last)
        last = st->st_ctim.tv_sec;
    return last < now - SETTLE_SECONDS;
}

static bool remembered(const char *note, const char *looks, struct digest *ret)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    size_t n = strlen(looks);
    if (file_read(note, 4096, &b, NULL) < 0 || b.len != n + DIGEST_HEX + 1 ||
        strncmp(b.data, looks, n) || b.data[b.len - 1] != '\n')
        return false;
    b.data[b.len - 1] = '\0';
    (void)utimensat(AT_FDCWD, note, NULL, AT_SYMLINK_NOFOLLOW); // its last use, for pruning
    return digest_parse(b.data + n, ret);
}

static void remember(const char *note, const char *looks, const struct digest *d)
{
    char hex[DIGEST_HEX + 1];
    digest_hex(d, hex);
    AUTO_FREE char *text = xasprintf("%s%s\n", looks, hex), *dir = path_parent(note);
    // only a cache: without it the file is read again
    if (make_dirs(dir, 0755, NULL) == 0)
        (void)file_write_whole(note, 0644, text, strlen(text), NULL);
}

int backend_digest(const char *cache_dir, const char *path, struct digest *ret, struct error **err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat before, after;
    if (fd < 0 || fstat(fd, &before) < 0)
        return error_errno(err, "cannot open '%s'", path);
    bool steady = settled(&before);
    AUTO_FREE char *note =
        xasprintf("%s/digests/%llx-%llx", cache_dir, (unsigned long long)before.st_dev,
                  (unsigned long long)before.st_ino);
    AUTO_FREE char *looks = look(&before);
    if (remembered(note, looks, ret))
        return 0;
    struct digest d;
    if (digest_of_fd(fd, &d, err) < 0)
        return error_wrap(err, "cannot read '%s'", path);
    if (fstat(fd, &after) < 0)
        return error_errno(err, "cannot read '%s'", path);
    AUTO_FREE char *looks_now = look(&after);
    if (steady && !strcmp(looks, looks_now))
        remember(note, looks, &d);
    *ret = d;
    return 0;
}
