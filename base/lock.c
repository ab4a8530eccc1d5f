// SPDX-License-Identifier: MIT
//
// There is no way to wait for an OFD lock and for a descriptor at once, so lock_wait tries again
// every 20 ms and sleeps in a poll on cancel_fd. A blocking F_OFD_SETLKW would not see a signal
// that came just before it.
#include "base/lock.h"

#include "base/alloc.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

static int set_lock(int fd, enum lock_mode mode)
{
    struct flock l = {.l_type = mode == LOCK_SHARED ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_SETLK, &l);
}

int lock_change(int fd, enum lock_mode mode, struct error **err)
{
    if (set_lock(fd, mode) == 0)
        return 0;
    if (errno == EAGAIN || errno == EACCES)
        return error_set(err, ERR_BUSY, "the lock is held by another process");
    return error_errno(err, "cannot lock");
}

/* What was made by an older kiln is mended, too; where the file is another's, it stays. */
static void restrict_file(const char *path, int fd)
{
    struct stat st, folder;
    AUTO_FREE char *above = path_parent(path);
    mode_t want = stat(above, &folder) == 0 && folder.st_mode & S_IWGRP ? 0660 : 0600;
    if (fstat(fd, &st) == 0 && (st.st_mode & 0777) != want)
        (void)fchmod(fd, want);
}

/* Descriptor, -1 with *err, or -2: somebody else holds it. */
static int try_once(const char *path, enum lock_mode mode, struct error **err)
{
    for (;;) {
        AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0 && (errno == EROFS || errno == EACCES) && mode == LOCK_SHARED)
            fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
            return error_errno(err, "cannot open lock '%s'", path);
        restrict_file(path, fd);
        if (set_lock(fd, mode) < 0) {
            if (errno == EAGAIN || errno == EACCES)
                return -2;
            return error_errno(err, "cannot lock '%s'", path);
        }
        struct stat mine, there;
        if (fstat(fd, &mine) < 0)
            return error_errno(err, "cannot lock '%s'", path);
        if (stat(path, &there) == 0 && mine.st_ino == there.st_ino && mine.st_dev == there.st_dev)
            return STEAL_FD(fd);
    }
}

int lock_try(const char *path, enum lock_mode mode, struct error **err)
{
    int fd = try_once(path, mode, err);
    if (fd == -2)
        return error_set(err, ERR_BUSY, "'%s' is locked by another process", path);
    return fd;
}

int lock_wait(const char *path, enum lock_mode mode, int cancel_fd, struct error **err)
{
    for (;;) {
        int fd = try_once(path, mode, err);
        if (fd != -2)
            return fd;
        struct pollfd p = {.fd = cancel_fd, .events = POLLIN};
        if (poll(&p, 1, 20) > 0)
            return error_set(err, ERR_CANCELLED, "interrupted");
    }
}
