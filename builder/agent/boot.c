// SPDX-License-Identifier: MIT
// The order matters: devtmpfs before anything opens a device, the modules before the network and
// the disks. The modules named in /lib/modules.list were chosen by the appliance.
#include "builder/agent/boot.h"

#include "base/buf.h"
#include "builder/agent/agent.h"
#include "builder/agent/disk.h"
#include "builder/agent/network.h"
#include "builder/agent/pulse.h"
#include "builder/agent/resolver.h"
#include "builder/agent/sandbox.h"
#include "builder/agent/sys.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void mount_own(void)
{
    static const struct {
        const char *path, *type, *data;
        unsigned long flags;
    } list[] = {
        {"/dev", "devtmpfs", "mode=0755", MS_NOSUID},
        {"/proc", "proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
        {"/sys", "sysfs", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
        {"/run", "tmpfs", "mode=0755", MS_NOSUID | MS_NODEV},
        {"/tmp", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV},
        {"/tree", "tmpfs", "mode=0755", MS_NOSUID | MS_NODEV},
        {"/dev/pts", "devpts", "mode=0620,gid=5,ptmxmode=0666", MS_NOSUID | MS_NOEXEC},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        mkdir(list[i].path, 0755);
        if (mount(list[i].type, list[i].path, list[i].type, list[i].flags, list[i].data) < 0)
            sys_log("cannot mount %s: %s", list[i].path, strerror(errno));
    }
    for (int i = 0; i < AGENT_DISKS; i++) {
        char path[sizeof AGENT_TREE + 16];
        snprintf(path, sizeof path, AGENT_TREE "%d", i);
        mkdir(path, 0755);
    }
}

// The kernel gives PID 1 the console; without one, /dev/console may have come only now.
static void open_console(void)
{
    int fd = open("/dev/console", O_RDWR);
    if (fd < 0)
        fd = open("/dev/null", O_RDWR);
    for (int i = 0; i < 3; i++)
        if (fd >= 0 && fd != i)
            dup2(fd, i);
    if (fd > 2)
        close(fd);
}

static void load_modules(void)
{
    FILE *f = fopen("/lib/modules.list", "re");
    char *line = NULL;
    size_t alloc = 0;
    for (ssize_t n; f && (n = getline(&line, &alloc, f)) > 0;) {
        if (line[n - 1] == '\n')
            line[--n] = '\0';
        if (!n || line[0] == '#')
            continue;
        AUTO_CLOSE int fd = open(line, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
            sys_log("module %s: %s", line, strerror(errno));
    }
    free(line);
    if (f)
        fclose(f);
}

// A command that starts processes without end is to fail, while there is room for ours. Half of what
// the kernel's memory allows, and no more than a system's service gets where nobody asks (systemd's
// TasksMax is 4915).
static void limit_processes(void)
{
    enum { MOST = 4096 };
    char text[32];
    uint64_t half = sys_read_num("/proc/sys/kernel/threads-max", 2 * (uint64_t)MOST) / 2;
    snprintf(text, sizeof text, "%llu", (unsigned long long)(half < MOST ? half : MOST));
    mkdir(SANDBOX_CGROUPS, 0755);
    if (mount("cgroup2", SANDBOX_CGROUPS, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 ||
        sys_write(SANDBOX_CGROUPS "/cgroup.subtree_control", "+pids") < 0 ||
        mkdir(SANDBOX_CGROUP, 0755) < 0 || sys_write(SANDBOX_CGROUP "/pids.max", text) < 0)
        sys_log("no limit of processes: %s", strerror(errno));
}

// Done once, for the template: a command costs nothing then.
static void direct_names(struct agent *a)
{
    CLEANUP(error_freep) struct error *err = NULL;
    if (resolver_use(RESOLVER_DEFAULT, &err) < 0)
        sys_log("%s", err->message);
    else
        snprintf(a->name_server, sizeof a->name_server, RESOLVER_DEFAULT);
}

void boot(struct agent *a)
{
    umask(0);
    mount_own();
    open_console();
    sys_write("/proc/sys/kernel/printk", "4");
    sys_write("/proc/self/oom_score_adj", "-1000");
    // freezing and unmounting wait for grace periods: some 10 ms each unless they are hurried
    sys_write("/sys/kernel/rcu_expedited", "1");
    sethostname("kiln", 4);
    setenv("PATH", "/sbin:/bin:/usr/sbin:/usr/bin", 1);
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){4096, 524288});
    load_modules();
    pulse_start();
    limit_processes();
    network_set_up();
    direct_names(a);
    changes_open(&a->changes);
    disk_find_slots(a);
}
