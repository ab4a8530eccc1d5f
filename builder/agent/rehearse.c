// SPDX-License-Identifier: MIT
// The same code as EXEC's, with a port that leads nowhere. It ends where sysfs cannot be mounted
// twice: what follows was tried, and it then took more from the real work than it gave. The idle
// class keeps it from ever standing in the way of what was asked for.
#include "builder/agent/rehearse.h"

#include "builder/agent/agent.h"
#include "builder/agent/exec.h"
#include "builder/agent/sys.h"

#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
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
    strv_add(&s.argv, "true");
    (void)exec_sandbox(&a, &s, false, &status, &ignored);
}

void rehearse(void)
{
    static pid_t last;
    if (last > 0) {
        kill(last, SIGKILL);
        waitpid(last, NULL, 0);
    }
    last = fork();
    if (last != 0)
        return;
    (void)sched_setscheduler(0, SCHED_IDLE, &(struct sched_param){0});
    sys_sleep_ms(REHEARSAL_DELAY_MS);
    run();
    _exit(0);
}
