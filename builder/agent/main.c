// SPDX-License-Identifier: MIT
// PID 1 of the builder VM. It listens on the virtio port and does what kiln asks until it is told
// to shut down. When PID 1 ends, the kernel panics: so a crash is reported on the console, and the
// machine powers off.
#include "base/alloc.h"
#include "builder/agent/agent.h"
#include "builder/agent/boot.h"
#include "builder/agent/sys.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

static void power_off(void)
{
    reboot(RB_POWER_OFF);
    for (;;)
        pause();
}

static void crashed(int number)
{
    static const char text[] = "agent: crashed, powering off\n";
    (void)number;
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
        _exit(1);
    if (getpid() == 1)
        power_off();
    _exit(126);
}

static void watch_for_crashes(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &(struct sigaction){.sa_handler = crashed, .sa_flags = SA_RESETHAND},
                  NULL);
    signal(SIGPIPE, SIG_IGN);
}

void alloc_failed(void)
{
    (void)!write(STDERR_FILENO, "agent: out of memory\n", 21);
    abort();
}

int main(void)
{
    struct agent a = {.port = PORT_INIT};
    if (getpid() != 1) {
        sys_log("this program is the first process of kiln's builder VM");
        return 1;
    }
    watch_for_crashes();
    boot(&a);
    if (port_open(&a.port, AGENT_PORT, 20000) < 0)
        sys_log("virtio port %s not found", AGENT_PORT);
    else
        agent_serve(&a);
    power_off();
}
