// SPDX-License-Identifier: MIT
// The order matters: devtmpfs before anything opens a device, the modules before the network and
// the disks. The modules named in /lib/modules.list were chosen by the appliance.
#include "builder/agent/boot.h"

#include "base/buf.h"
#include "builder/agent/agent.h"
#include "builder/agent/disk.h"
#include "builder/agent/sys.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// QEMU's user network: the addresses are fixed, nothing has to be asked for.
#define ADDRESS "10.0.2.15"
#define NETMASK "255.255.255.0"
#define GATEWAY "10.0.2.2"

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

static void set_address(struct sockaddr *to, const char *text)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    inet_pton(AF_INET, text, &in.sin_addr);
    memcpy(to, &in, sizeof in);
}

static int interface_up(int s, const char *name)
{
    struct ifreq r = {0};
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
    if (ioctl(s, SIOCGIFFLAGS, &r) < 0)
        return -1;
    r.ifr_flags |= IFF_UP;
    return ioctl(s, SIOCSIFFLAGS, &r);
}

static int set_up_eth0(int s)
{
    struct ifreq r = {.ifr_name = "eth0"};
    set_address(&r.ifr_addr, ADDRESS);
    if (ioctl(s, SIOCSIFADDR, &r) < 0)
        return -1;
    set_address(&r.ifr_netmask, NETMASK);
    if (ioctl(s, SIOCSIFNETMASK, &r) < 0 || interface_up(s, "eth0") < 0)
        return -1;
    struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};
    set_address(&route.rt_dst, "0.0.0.0");
    set_address(&route.rt_genmask, "0.0.0.0");
    set_address(&route.rt_gateway, GATEWAY);
    return ioctl(s, SIOCADDRT, &route);
}

static void set_up_network(void)
{
    AUTO_CLOSE int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (s < 0 || interface_up(s, "lo") < 0)
        sys_log("network lo: %s", strerror(errno));
    if (s >= 0 && access("/sys/class/net/eth0", F_OK) == 0 && set_up_eth0(s) < 0)
        sys_log("network eth0: %s", strerror(errno));
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
    set_up_network();
    disk_find_slots(a);
}
