// SPDX-License-Identifier: MIT
#include "cli/vm_log.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

/* Where the last n lines begin; a line without an end counts. */
static off_t last_lines(int fd, long long n)
{
    char chunk[64 * 1024];
    off_t end = lseek(fd, 0, SEEK_END), at = end;
    long long seen = 0;
    while (n >= 0 && at > 0) {
        size_t size = at < (off_t)sizeof chunk ? (size_t)at : sizeof chunk;
        if (pread_all(fd, chunk, size, at - (off_t)size) != (ssize_t)size)
            return 0;
        for (size_t i = size; i-- > 0;)
            if (chunk[i] == '\n' && at - (off_t)(size - i) + 1 < end && seen++ == n - 1)
                return at - (off_t)(size - i) + 1;
        at -= (off_t)size;
    }
    return n == 0 ? end : 0;
}

static int copy(int fd, struct error **err)
{
    char chunk[64 * 1024];
    for (ssize_t n; (n = read(fd, chunk, sizeof chunk)) != 0;) {
        if (n < 0)
            return error_errno(err, "cannot read the console log");
        if (write_all(STDOUT_FILENO, chunk, (size_t)n) < 0)
            return error_errno(err, "cannot write to standard output");
    }
    return 0;
}

static int follow_log(const struct session *s, const struct named_vm *vm, int fd, const char *path,
                      struct error **err)
{
    enum { LOOK_MS = 500 };
    AUTO_CLOSE int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (watch < 0 || inotify_add_watch(watch, path, IN_MODIFY) < 0)
        return error_errno(err, "cannot watch '%s'", path);
    for (;;) {
        bool runs = named_vm_runs(vm); // before the last look
        if (copy(fd, err) < 0)
            return -1;
        if (!runs)
            return 0;
        char events[4096];
        struct pollfd p[] = {{.fd = watch, .events = POLLIN},
                             {.fd = s->cancel_fd, .events = POLLIN},
                             {.fd = STDOUT_FILENO}}; // POLLERR: its reader has gone
        (void)poll(p, 3, LOOK_MS);
        if (p[2].revents & POLLERR)
            session_interrupt(s, SIGPIPE);
        if (p[1].revents || p[2].revents & POLLERR)
            return error_set(err, ERR_CANCELLED, "interrupted");
        while (read(watch, events, sizeof events) > 0)
            ;
    }
}

int vm_log_show(const struct session *s, const struct named_vm *vm, const char *name,
                long long lines, bool follow, struct error **err)
{
    AUTO_FREE char *path = path_join(vm->dir, name);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && strcmp(name, VM_CONSOLE_LOG) != 0) {
        error_set(err, ERR_NOT_FOUND, "VM '%s' has no '%s'", vm->name, name);
        return error_hint(err, "'kiln up' keeps one where the VMFile has provisions");
    }
    if (fd < 0 && errno == ENOENT) {
        error_set(err, ERR_NOT_FOUND, "VM '%s' has no console log", vm->name);
        return error_hint(err, "one is kept when it runs in the background: kiln start -d %s",
                          vm->word);
    }
    if (fd < 0 || lseek(fd, last_lines(fd, lines), SEEK_SET) < 0)
        return error_errno(err, "cannot read '%s'", path);
    return follow ? follow_log(s, vm, fd, path, err) : copy(fd, err);
}
