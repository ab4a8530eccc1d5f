// SPDX-License-Identifier: MIT
//
// There is no way to wait for an OFD lock and for a descriptor at once, so lock_wait tries again
// every 20 ms and sleeps in a poll on cancel_fd. A blocking F_OFD_SETLKW would not see a signal
// that came just before it.
#include "base/lock.h"

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

/* Descriptor, -1 with *err, or -2: somebody else holds it. */
static int try_once(const char *path, enum lock_mode mode, struct error **err)
{
    for (;;) {
        AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (fd < 0 && (errno == EROFS || errno == EACCES) && mode == LOCK_SHARED)
            fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
            return error_errno(err, "cannot open lock '%s'", path);
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
