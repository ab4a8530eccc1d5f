// SPDX-License-Identifier: MIT
#include "builder/agent/sys.h"

#include "base/file.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void sys_log(const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    dprintf(STDERR_FILENO, "agent: %s\n", line);
}

int64_t sys_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void sys_sleep_ms(unsigned ms)
{
    nanosleep(&(struct timespec){ms / 1000, (long)(ms % 1000) * 1000000}, NULL);
}

int sys_read(const char *path, char *text, size_t size)
{
    text[0] = '\0';
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
    if (n < 0)
        return -1;
    if (n && text[n - 1] == '\n')
        n--;
    text[n] = '\0';
    return 0;
}

uint64_t sys_read_num(const char *path, uint64_t absent)
{
    char text[32], *end;
    if (sys_read(path, text, sizeof text) < 0)
        return absent;
    uint64_t n = strtoull(text, &end, 10);
    return end == text ? absent : n;
}

int sys_write(const char *path, const char *text)
{
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    size_t n = strlen(text);
    return fd >= 0 && write(fd, text, n) == (ssize_t)n ? 0 : -1;
}

int sys_openat2(int dir, const char *path, int flags, mode_t mode, uint64_t resolve)
{
    struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC),
                           .mode = flags & (O_CREAT | O_TMPFILE) ? mode : 0,
                           .resolve = resolve};
    int fd;
    do // the kernel gives up on races with renames, which end
        fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
    while (fd < 0 && errno == EAGAIN);
    return fd;
}

int sys_open_in(int root, const char *path, int flags)
{
    return sys_openat2(root, path, flags, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

int sys_read_in(int root, const char *path, size_t limit, struct buf *ret)
{
    buf_reset(ret);
    // O_NONBLOCK: a FIFO in the image must not stop us
    AUTO_CLOSE int fd = sys_open_in(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return -1;
    if (!S_ISREG(st.st_mode) || st.st_size > (off_t)limit) {
        errno = S_ISREG(st.st_mode) ? EFBIG : EINVAL;
        return -1;
    }
    for (;;) {
        buf_reserve(ret, 4096);
        ssize_t n = read(fd, ret->data + ret->len, ret->alloc - ret->len - 1);
        if (n <= 0)
            return (int)n;
        ret->len += (size_t)n;
        ret->data[ret->len] = '\0';
        if (ret->len > limit) {
            errno = EFBIG;
            return -1;
        }
    }
}

void sys_set_direct(int fd, bool on)
{
    (void)fcntl(fd, F_SETFL, on ? O_DIRECT : 0);
}

int sys_write_direct(int fd, const void *bytes, size_t n, uint64_t at)
{
    sys_set_direct(fd, true);
    if (pwrite_all(fd, bytes, n, (off_t)at) == 0)
        return 0;
    if (errno != EINVAL)
        return -1;
    sys_set_direct(fd, false);
    return pwrite_all(fd, bytes, n, (off_t)at);
}

int sys_mount(const char *source, const char *target, const char *type, unsigned long flags,
              const char *data, struct error **err)
{
    if (mount(source, target, type, flags, data) == 0)
        return 0;
    return error_errno(err, "cannot mount %s '%s' at '%s'", type ? type : "folder", source, target);
}

int sys_parse_mode(struct str text, mode_t *ret)
{
    mode_t mode = 0;
    if (!text.len || text.len > 5)
        return -1;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '7')
            return -1;
        mode = mode * 8 + (mode_t)(text.ptr[i] - '0');
    }
    if (mode > 07777)
        return -1;
    *ret = mode;
    return 0;
}
