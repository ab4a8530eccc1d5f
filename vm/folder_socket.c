// SPDX-License-Identifier: MIT
#include "vm/folder_socket.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 64 };

/* The folder, which must stay open while the address is used; -1. */
static int address(const char *dir, const char *name, struct sockaddr_un *ret)
{
    int folder = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    (void)snprintf(ret->sun_path, sizeof ret->sun_path, "/proc/self/fd/%d/%s", folder, name);
    return folder;
}

int folder_socket_connect(const char *dir, const char *name, struct error **err)
{
    struct sockaddr_un a;
    AUTO_CLOSE int folder = address(dir, name, &a);
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (folder < 0 || fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
        bool gone = errno == ENOENT || errno == ECONNREFUSED;
        error_errno(err, "cannot connect to '%s' in '%s'", name, dir);
        if (gone && err && *err)
            (*err)->kind = ERR_NOT_FOUND;
        return -1;
    }
    return STEAL_FD(fd);
}

int folder_socket_listen(const char *dir, const char *name, struct error **err)
{
    struct sockaddr_un a;
    AUTO_CLOSE int folder = address(dir, name, &a);
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (folder >= 0)
        (void)unlinkat(folder, name, 0);
    if (folder < 0 || fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0 ||
        listen(fd, BACKLOG) < 0)
        return error_errno(err, "cannot listen at '%s' in '%s'", name, dir);
    return STEAL_FD(fd);
}
