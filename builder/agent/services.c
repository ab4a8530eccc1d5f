// SPDX-License-Identifier: MIT
//
// The kernel asks about every execution in the folder, and the program waits for our answer
// (FAN_CLASS_CONTENT); the first one of invoke-rc.d writes the policy and ends the watch, which lets
// all that waits go on. Where fanotify is not to be had the policy is written at the start, if there
// is an invoke-rc.d at all.
#include "builder/agent/services.h"

#include "builder/agent/sys.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/fanotify.h>
#include <unistd.h>

#define FOLDER "/usr/sbin"
#define POLICY FOLDER "/policy-rc.d"

static void put_policy(struct services *s)
{
    AUTO_CLOSE int own = sys_open_in(s->root, POLICY, O_PATH | O_NOFOLLOW);
    if (own < 0 &&
        scaffold_write(s->scaffolds, s->root, POLICY, 0755, "#!/bin/sh\nexit 101\n", NULL) < 0)
        sys_log("cannot write %s: services of the image could start", POLICY);
}

void services_forbid(struct services *s, int root, struct scaffolds *scaffolds)
{
    *s = (struct services){.watch = -1, .root = root, .scaffolds = scaffolds};
    AUTO_CLOSE int folder = sys_open_in(root, FOLDER, O_RDONLY | O_DIRECTORY);
    if (folder < 0)
        return;
    s->watch = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC | FAN_NONBLOCK, O_RDONLY | O_CLOEXEC);
    if (s->watch >= 0 && fanotify_mark(s->watch, FAN_MARK_ADD,
                                       FAN_OPEN_EXEC_PERM | FAN_EVENT_ON_CHILD, folder, NULL) == 0)
        return;
    services_end(s);
    AUTO_CLOSE int asks = sys_open_in(root, FOLDER "/invoke-rc.d", O_PATH);
    if (asks >= 0)
        put_policy(s);
}

static bool asks_policy(int fd)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n < 0 ? 0 : n] = '\0';
    const char *name = strrchr(path, '/');
    return name && strcmp(name, "/invoke-rc.d") == 0;
}

void services_answer(struct services *s)
{
    struct fanotify_event_metadata events[16], *e = events;
    ssize_t n = read(s->watch, events, sizeof events);
    for (; n > 0 && FAN_EVENT_OK(e, n); e = FAN_EVENT_NEXT(e, n)) {
        AUTO_CLOSE int fd = e->fd;
        if (s->watch < 0 || fd < 0)
            continue;
        if (asks_policy(fd)) {
            put_policy(s);
            services_end(s); // which also answers whatever else waits
            continue;
        }
        struct fanotify_response r = {.fd = fd, .response = FAN_ALLOW};
        if (write(s->watch, &r, sizeof r) < 0)
            sys_log("fanotify: %s", strerror(errno));
    }
}

void services_wait(struct services *s, int fd)
{
    for (;;) {
        struct pollfd f[] = {{fd, POLLIN, 0}, {s->watch, POLLIN, 0}};
        if (poll(f, 2, -1) < 0)
            continue;
        if (f[1].revents)
            services_answer(s);
        if (f[0].revents)
            return;
    }
}

void services_end(struct services *s)
{
    if (s->watch >= 0)
        close(STEAL_FD(s->watch));
}
