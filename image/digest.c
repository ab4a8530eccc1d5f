// SPDX-License-Identifier: MIT
//
// One small file an image or source: <cache>/digests/<device>-<inode>, holding what the file looked like when
// it was read and the digest. If anything about the file differs, it is read again.
#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/session.h"
#include "image/backend.h"
#include "image/content.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

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
    if (make_dirs(dir, 0700, NULL) == 0)
        (void)file_write_whole(note, 0644, text, strlen(text), NULL);
}

static char *note_path(const char *cache_dir, const char *kind, const struct stat *st)
{
    return xasprintf("%s/digests/%s%llx-%llx", cache_dir, kind, (unsigned long long)st->st_dev,
                     (unsigned long long)st->st_ino);
}

typedef int digest_fn(const struct session *s, int fd, off_t size, struct digest *ret,
                      struct error **err);

/* What `compute` makes of the file, or made of it when it was last read. */
static int digest_once(const struct session *s, const char *kind, digest_fn *compute,
                       const char *path, struct digest *ret, struct error **err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat before, after;
    if (fd < 0 && errno == ENOENT)
        return error_set(err, ERR_NOT_FOUND, "'%s' does not exist", path);
    if (fd < 0 || fstat(fd, &before) < 0)
        return error_errno(err, "cannot open '%s'", path);
    if (!S_ISREG(before.st_mode))
        return error_set(err, ERR_USER, "'%s' is not a regular file", path);
    bool steady = settled(&before);
    AUTO_FREE char *note = note_path(s->cache, kind, &before), *looks = look(&before);
    if (remembered(note, looks, ret))
        return 0;
    struct digest d;
    if (compute(s, fd, before.st_size, &d, err) < 0)
        return error_wrap(err, "cannot read '%s'", path);
    if (fstat(fd, &after) < 0)
        return error_errno(err, "cannot read '%s'", path);
    AUTO_FREE char *looks_now = look(&after);
    if (steady && !strcmp(looks, looks_now))
        remember(note, looks, &d);
    *ret = d;
    return 0;
}

static int whole(const struct session *s, int fd, off_t size, struct digest *ret,
                 struct error **err)
{
    (void)s, (void)size;
    return digest_of_fd(fd, ret, err);
}

int backend_digest(const struct session *s, const char *path, struct digest *ret,
                   struct error **err)
{
    return digest_once(s, "", whole, path, ret, err);
}

/* Holes are not read. */
static int sparse(const struct session *s, int fd, off_t size, struct digest *ret,
                  struct error **err)
{
    enum { CHUNK = 1 << 20 };
    CLEANUP(content_hash_freep) struct content_hash *h = content_hash_new();
    AUTO_FREE char *chunk = xmalloc(CHUNK);
    for (off_t at = 0; at < size;) {
        if (session_cancelled(s))
            return error_set(err, ERR_CANCELLED, "interrupted");
        off_t data = lseek(fd, at, SEEK_DATA);
        if (data < 0)
            data = errno == ENXIO ? size : at;
        if (data > size)
            data = size;
        content_hash_add(h, NULL, (uint64_t)(data - at));
        ssize_t n = pread_all(fd, chunk, CHUNK, data);
        if (n < 0)
            return error_errno(err, "cannot read");
        if (n == 0 && data < size)
            return error_set(err, ERR_SYSTEM, "it shrank while it was being read");
        content_hash_add(h, chunk, (uint64_t)n);
        at = data + n;
    }
    *ret = content_hash_finish(STEAL(h));
    return 0;
}

int content_digest(const struct session *s, const char *path, struct digest *ret,
                   struct error **err)
{
    return digest_once(s, "content-", sparse, path, ret, err);
}

void content_remember(const char *cache_dir, const char *path, const struct stat *before,
                      const struct digest *d)
{
    struct stat now;
    if (!settled(before) || stat(path, &now) < 0 || now.st_dev != before->st_dev ||
        now.st_ino != before->st_ino)
        return;
    AUTO_FREE char *looks = look(before), *looks_now = look(&now);
    AUTO_FREE char *note = note_path(cache_dir, "content-", before);
    if (!strcmp(looks, looks_now))
        remember(note, looks, d);
}
