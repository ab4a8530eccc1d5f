// SPDX-License-Identifier: MIT
#include "cli/build_guard.h"

#include "base/cleanup.h"
#include "base/session.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>

static void *watch(void *arg)
{
    const struct build_guard *g = arg;
    struct pollfd p[2] = {{.fd = g->session->cancel_fd, .events = POLLIN},
                          {.fd = g->stop[0], .events = POLLIN}};
    while (poll(p, 2, -1) < 0)
        ;
    if (p[0].revents)
        process_kill(g->process, SIGTERM);
    return NULL;
}

void build_guard_begin(struct build_guard *g, const struct session *s, struct process *p)
{
    *g = (struct build_guard){.session = s, .process = p, .stop = {-1, -1}};
    g->runs = pipe2(g->stop, O_CLOEXEC) == 0 && pthread_create(&g->thread, NULL, watch, g) == 0;
}

void build_guard_end(struct build_guard *g)
{
    auto_closep(&g->stop[1]);
    if (g->runs)
        pthread_join(g->thread, NULL);
    auto_closep(&g->stop[0]);
}
