// SPDX-License-Identifier: MIT
#include "builder/guestfs/channel.h"

#include "base/alloc.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_VARIABLE "KILN_GUESTFS_SOCKET"

struct channel {
    int listener, daemon; /* daemon: the VM's end */
};

/* What has come; -1 at the end. */
static int pass(int from, int to)
{
    char bytes[64 * 1024];
    ssize_t n = read(from, bytes, sizeof bytes);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    for (ssize_t at = 0; at < n;) {
        ssize_t did = write(to, bytes + at, (size_t)(n - at));
        if (did < 0 && errno == EAGAIN)
            (void)poll(&(struct pollfd){.fd = to, .events = POLLOUT}, 1, -1);
        else if (did < 0 && errno != EINTR)
            return -1;
        else if (did > 0)
            at += did;
    }
    return n > 0 ? 0 : -1;
}

static void pass_both(int a, int b)
{
    struct pollfd p[] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
    while (poll(p, 2, -1) >= 0 || errno == EINTR)
        if ((p[0].revents && pass(a, b) < 0) || (p[1].revents && pass(b, a) < 0))
            return;
}

static void *serve(void *arg)
{
    struct channel *c = arg;
    int client = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC);
    if (client >= 0)
        pass_both(client, c->daemon);
    (void)shutdown(client, SHUT_RDWR);
    return NULL;
}

static struct sockaddr_un address(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path, sizeof name.sun_path, "%s", path);
    return name;
}

int channel_start(int port, const char *folder)
{
    struct channel *c = xcalloc(1, sizeof *c); // the thread's, to the program's end
    char *path = xasprintf("%s/guestfs.sock", folder);
    struct sockaddr_un name = address(path);
    pthread_t thread;
    (void)setenv(SOCKET_VARIABLE, path, 1);
    free(path);
    c->daemon = port;
    c->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->listener < 0 || bind(c->listener, (struct sockaddr *)&name, sizeof name) < 0 ||
        listen(c->listener, 1) < 0)
        return -1;
    errno = pthread_create(&thread, NULL, serve, c);
    return errno ? -1 : 0;
}

bool channel_is_qemu(void)
{
    return getenv(SOCKET_VARIABLE) != NULL;
}

/* The socket that a QEMU would connect to, owned; NULL: this is only a question. */
static char *wanted_socket(char **argv)
{
    static const char begin[] = "socket,path=", end[] = ",id=channel0";
    for (size_t i = 1; argv[i]; i++) {
        const char *stop = strstr(argv[i], end);
        if (!strcmp(argv[i - 1], "-chardev") && !strncmp(argv[i], begin, sizeof begin - 1) && stop)
            return xstrndup(argv[i] + sizeof begin - 1,
                            (size_t)(stop - argv[i]) - (sizeof begin - 1));
    }
    return NULL;
}

static int connect_to(const char *path)
{
    struct sockaddr_un name = address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && connect(fd, (struct sockaddr *)&name, sizeof name) == 0 ? fd : -1;
}

int channel_qemu(char **argv)
{
    char *path = wanted_socket(argv);
    if (!path) {
        execvp("qemu-system-x86_64", argv);
        return 127;
    }
    int library = connect_to(path), daemon = connect_to(getenv(SOCKET_VARIABLE));
    free(path);
    if (library < 0 || daemon < 0)
        return 1;
    pass_both(library, daemon);
    return 0;
}
