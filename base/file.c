// SPDX-License-Identifier: MIT
//
// A file that appears whole is written under its name with a random ending, opened with O_EXCL in
// the same folder, and renamed when its bytes are on disk; then the folder is synced too, as the
// rename is part of it.
#include "base/file.h"

#include "base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

int atomic_file_open(struct atomic_file *f, const char *path, mode_t mode, struct error **err)
{
    for (int tries = 0; tries < 100; tries++) {
        uint64_t salt;
        if (getrandom(&salt, sizeof salt, 0) != (ssize_t)sizeof salt)
            return error_errno(err, "cannot get random bytes");
        AUTO_FREE char *temp = xasprintf("%s.%016llx.tmp", path, (unsigned long long)salt);
        int fd = open(temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
        if (fd >= 0) {
            *f = (struct atomic_file){fd, xstrdup(path), STEAL(temp)};
            return 0;
        }
        if (errno != EEXIST)
            break;
    }
    return error_errno(err, "cannot create '%s'", path);
}

/* Under its name, whatever a crash leaves of it. */
static int commit_unsynced(struct atomic_file *f, struct error **err)
{
    int fd = f->fd;
    f->fd = -1;
    if (close(fd) < 0)
        return error_errno(err, "cannot write '%s'", f->path);
    if (rename(f->temp, f->path) < 0)
        return error_errno(err, "cannot rename '%s' to '%s'", f->temp, f->path);
    free(STEAL(f->temp));
    return 0;
}

int atomic_file_commit(struct atomic_file *f, struct error **err)
{
    if (fsync(f->fd) < 0)
        return error_errno(err, "cannot write '%s'", f->path);
    return commit_unsynced(f, err) < 0 ? -1 : fsync_parent(f->path, err);
}

void atomic_file_abandon(struct atomic_file *f)
{
    int saved = errno;
    if (f->fd >= 0)
        (void)close(f->fd);
    if (f->temp)
        (void)unlink(f->temp);
    free(f->temp);
    free(f->path);
    *f = (struct atomic_file)ATOMIC_FILE_INIT;
    errno = saved;
}

/* Opened and written, not committed. */
static int write_temp(struct atomic_file *f, const char *path, mode_t mode, const void *bytes,
                      size_t n, struct error **err)
{
    if (atomic_file_open(f, path, mode, err) < 0)
        return -1;
    return write_all(f->fd, bytes, n) < 0 ? error_errno(err, "cannot write '%s'", path) : 0;
}

int file_write_whole(const char *path, mode_t mode, const void *bytes, size_t n, struct error **err)
{
    CLEANUP(atomic_file_abandon) struct atomic_file f = ATOMIC_FILE_INIT;
    return write_temp(&f, path, mode, bytes, n, err) < 0 ? -1 : atomic_file_commit(&f, err);
}

int file_write_unsynced(const char *path, mode_t mode, const void *bytes, size_t n,
                        struct error **err)
{
    CLEANUP(atomic_file_abandon) struct atomic_file f = ATOMIC_FILE_INIT;
    return write_temp(&f, path, mode, bytes, n, err) < 0 ? -1 : commit_unsynced(&f, err);
}

int file_read(const char *path, size_t limit, struct buf *ret, struct error **err)
{
    buf_reset(ret);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return error_set(err, ERR_NOT_FOUND, "'%s' does not exist", path);
    if (fd < 0)
        return error_errno(err, "cannot open '%s'", path);
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_errno(err, "cannot read '%s'", path);
    size_t hint = st.st_size > 0 && (size_t)st.st_size <= limit ? (size_t)st.st_size : 0;
    for (;;) {
        buf_reserve(ret, ret->len < hint ? hint - ret->len + 1 : 64 * 1024);
        ssize_t n = read(fd, ret->data + ret->len, ret->alloc - 1 - ret->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, "cannot read '%s'", path);
        ret->data[ret->len += (size_t)n] = '\0';
        if (ret->len > limit)
            return error_set(err, ERR_USER, "'%s' is larger than %zu bytes", path, limit);
        if (n == 0)
            return 0;
    }
}

int write_all(int fd, const void *bytes, size_t n)
{
    const char *p = bytes;
    while (n) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -1;
        p += done;
        n -= (size_t)done;
    }
    return 0;
}

ssize_t read_all(int fd, void *bytes, size_t n)
{
    size_t have = 0;
    while (have < n) {
        ssize_t got = read(fd, (char *)bytes + have, n - have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        have += (size_t)got;
    }
    return (ssize_t)have;
}

int pwrite_all(int fd, const void *bytes, size_t n, off_t at)
{
    const char *p = bytes;
    while (n) {
        ssize_t done = pwrite(fd, p, n, at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -1;
        p += done;
        at += done;
        n -= (size_t)done;
    }
    return 0;
}

void fd_drain(int fd)
{
    char rest[4096];
    ssize_t n;
    do
        n = read(fd, rest, sizeof rest);
    while (n > 0 || (n < 0 && errno == EINTR));
}

ssize_t pread_all(int fd, void *bytes, size_t n, off_t at)
{
    size_t have = 0;
    while (have < n) {
        ssize_t got = pread(fd, (char *)bytes + have, n - have, at + (off_t)have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        have += (size_t)got;
    }
    return (ssize_t)have;
}

int rename_new(const char *from, const char *to)
{
    struct stat st;
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    if (lstat(to, &st) == 0)
        return errno = EEXIST, -1;
    return errno == ENOENT ? rename(from, to) : -1;
}

/* As copy_file_range, which not every pair of file systems can do. */
static ssize_t copy_some(int from, int to, off_t at, size_t n)
{
    enum { CHUNK = 1 << 20 };
    off_t in = at, out = at;
    ssize_t done = copy_file_range(from, &in, to, &out, n, 0);
    if (done >= 0 || (errno != EXDEV && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS))
        return done;
    AUTO_FREE char *chunk = xmalloc(CHUNK);
    done = pread_all(from, chunk, n < CHUNK ? n : CHUNK, at);
    return done > 0 && pwrite_all(to, chunk, (size_t)done, at) < 0 ? -1 : done;
}

/* The bytes from `at` to `end`. */
static int copy_part(int from, int to, off_t at, off_t end, struct error **err)
{
    while (at < end) {
        ssize_t n = copy_some(from, to, at, (size_t)(end - at));
        if (n < 0)
            return error_errno(err, "cannot copy");
        if (n == 0)
            return error_set(err, ERR_SYSTEM, "the file shrank while it was being copied");
        at += n;
    }
    return 0;
}

int file_copy(int from, int to, struct error **err)
{
    struct stat st;
    if (ioctl(to, FICLONE, from) == 0)
        return 0;
    if (fstat(from, &st) < 0 || ftruncate(to, st.st_size) < 0)
        return error_errno(err, "cannot copy");
    for (off_t at = 0; at < st.st_size;) {
        off_t data = lseek(from, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            break;
        off_t end = data < 0 ? -1 : lseek(from, data, SEEK_HOLE);
        if (end < 0)
            return error_errno(err, "cannot copy");
        if (copy_part(from, to, data, end, err) < 0)
            return -1;
        at = end;
    }
    return 0;
}

int make_dirs(const char *path, mode_t mode, struct error **err)
{
    AUTO_FREE char *p = xstrdup(path);
    for (char *s = p + (*p == '/');; s++) {
        if (*s && *s != '/')
            continue;
        char end = *s;
        *s = '\0';
        if (*p && mkdir(p, mode) < 0 && errno != EEXIST)
            return error_errno(err, "cannot create folder '%s'", p);
        if (!end)
            break;
        *s = end;
    }
    struct stat st;
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return error_set(err, ERR_SYSTEM, "'%s' is not a folder", path);
    return 0;
}

int make_dirs_inside(const char *path, struct error **err)
{
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return 0;
    AUTO_FREE char *above = path_parent(path);
    if (make_dirs(above, 0700, err) < 0)
        return -1;
    if (mkdir(path, 0700) < 0)
        return errno == EEXIST ? make_dirs(path, 0700, err)
                               : error_errno(err, "cannot create folder '%s'", path);
    // the umask is for files of the user's own; setgid keeps a group's folder the group's
    if (stat(above, &st) == 0)
        (void)chmod(path, st.st_mode & 03777);
    return 0;
}

int remove_tree(const char *path, struct error **err)
{
    char *const roots[] = {(char *)path, NULL};
    FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
    if (!fts)
        return error_errno(err, "cannot remove '%s'", path);
    int failed = 0;
    for (FTSENT *e; !failed && (e = fts_read(fts));) {
        if (e->fts_info == FTS_D)
            continue;
        if ((e->fts_info == FTS_DNR || e->fts_info == FTS_ERR || e->fts_info == FTS_NS) &&
            e->fts_errno != ENOENT) {
            errno = e->fts_errno;
            failed = 1;
        } else if (remove(e->fts_accpath) < 0 && errno != ENOENT) {
            failed = 1;
        }
    }
    if (failed)
        error_errno(err, "cannot remove '%s'", path);
    fts_close(fts);
    return failed ? -1 : 0;
}

int fsync_dir(const char *path, struct error **err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return error_errno(err, "cannot sync folder '%s'", path);
    return 0;
}

int fsync_parent(const char *path, struct error **err)
{
    AUTO_FREE char *dir = path_parent(path);
    return fsync_dir(dir, err);
}

char *path_join(const char *dir, const char *name)
{
    if (*name == '/' || !*dir)
        return xstrdup(name);
    return xasprintf("%s%s%s", dir, dir[strlen(dir) - 1] == '/' ? "" : "/", name);
}

char *path_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return xstrdup(".");
    return xstrndup(path, slash == path ? 1 : (size_t)(slash - path));
}

uint64_t free_bytes(const char *path)
{
    struct statvfs v;
    return statvfs(path, &v) < 0 ? 0 : (uint64_t)v.f_bavail * v.f_frsize;
}
