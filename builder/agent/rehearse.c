// SPDX-License-Identifier: MIT
// The same code as EXEC's, with a port that leads nowhere. The idle class keeps it from ever
// standing in the way of what was asked for.
#include "builder/agent/rehearse.h"

#include "builder/agent/agent.h"
#include "builder/agent/exec.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

static void run(void)
{
    CLEANUP(error_freep) struct error *ignored = NULL;
    CLEANUP(sandbox_clear) struct sandbox s = {.tree = "/", .cwd = "/", .hostname = "kiln"};
    struct agent a = {.port = PORT_INIT};
    int ends[2], status;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return;
    port_use(&a.port, ends[0]);
    strv_add(&s.argv, "blkid"); // any program with libraries
    strv_add(&s.argv, "-V");
    (void)exec_sandbox(&a, &s, false, &status, &ignored);
}

static int start_fd = -1;

void rehearse_prepare(void)
{
    eventfd_t go;
    start_fd = eventfd(0, EFD_CLOEXEC);
    if (start_fd < 0 || fork() != 0)
        return;
    (void)sched_setscheduler(0, SCHED_IDLE, &(struct sched_param){0});
    if (eventfd_read(start_fd, &go) == 0)
        run();
    _exit(0);
}

void rehearse(void)
{
    if (start_fd < 0)
        return;
    (void)eventfd_write(start_fd, 1);
    close(start_fd);
    start_fd = -1;
}
