// SPDX-License-Identifier: MIT
// The sockets and files are opened before the template is made, so a command costs a few
// calls that find nothing. What the kernel does by itself (IPv6 autoconfiguration, neighbours it
// has learnt) is not a change.
#include "builder/agent/changes.h"

#include "base/alloc.h"
#include "builder/agent/sys.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ROUTE_GROUPS = RTMGRP_LINK | RTMGRP_NEIGH | RTMGRP_TC | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE |
                   RTMGRP_IPV4_RULE | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE |
                   1 << (RTNLGRP_IPV6_RULE - 1),
    DEVICE_GROUP = 1
};

static int open_socket(int protocol, unsigned groups)
{
    struct sockaddr_nl to = {.nl_family = AF_NETLINK, .nl_groups = groups};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
    if (fd < 0 || bind(fd, (struct sockaddr *)&to, sizeof to) < 0)
        sys_log("netlink %d: %s", protocol, strerror(errno));
    return fd;
}

static void read_again(int fd, char *text, size_t size)
{
    ssize_t n = pread(fd, text, size - 1, 0);
    text[n < 0 ? 0 : n] = '\0';
}

// Of each user how many keys there are: how often they are in use at the moment does not count.
static void read_keys(int fd, char *text, size_t size)
{
    char all[512], *rest = all;
    size_t used = 0;
    read_again(fd, all, sizeof all);
    text[0] = '\0';
    for (char *line; (line = strsep(&rest, "\n")) && used < size;) {
        unsigned user, keys;
        if (sscanf(line, "%u: %*u %u/", &user, &keys) == 2)
            used += (size_t)snprintf(text + used, size - used, "%u:%u ", user, keys);
    }
}

void changes_open(struct changes *c)
{
    c->route = open_socket(NETLINK_ROUTE, ROUTE_GROUPS);
    c->devices = open_socket(NETLINK_KOBJECT_UEVENT, DEVICE_GROUP);
    c->swaps = open("/proc/swaps", O_RDONLY | O_CLOEXEC);
    c->keys = open("/proc/key-users", O_RDONLY | O_CLOEXEC);
    read_keys(c->keys, c->keys_text, sizeof c->keys_text);
}

static bool address_counts(const struct nlmsghdr *m)
{
    const struct ifaddrmsg *a = NLMSG_DATA(m);
    return a->ifa_family != AF_INET6 ||
           (a->ifa_flags & IFA_F_PERMANENT && a->ifa_scope != RT_SCOPE_LINK);
}

static bool route_counts(const struct nlmsghdr *m)
{
    const struct rtmsg *r = NLMSG_DATA(m);
    return r->rtm_protocol != RTPROT_KERNEL && r->rtm_protocol != RTPROT_RA &&
           r->rtm_protocol != RTPROT_REDIRECT && !(r->rtm_flags & RTM_F_CLONED);
}

static bool neighbour_counts(const struct nlmsghdr *m)
{
    const struct ndmsg *n = NLMSG_DATA(m);
    return n->ndm_state & NUD_PERMANENT;
}

static bool message_counts(const struct nlmsghdr *m)
{
    switch (m->nlmsg_type) {
    case RTM_NEWADDR:
    case RTM_DELADDR:
        return address_counts(m);
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
        return route_counts(m);
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
        return neighbour_counts(m);
    default:
        return true;
    }
}

/* NLMSG_OK, which compares numbers of different signs. */
static bool is_whole(const struct nlmsghdr *m, int left)
{
    return left >= (int)sizeof *m && m->nlmsg_len >= sizeof *m && m->nlmsg_len <= (unsigned)left;
}

static bool network_changed(int fd)
{
    char bytes[16 * 1024] __attribute__((aligned(NLMSG_ALIGNTO)));
    bool changed = false;
    for (ssize_t n; !changed && ((n = recv(fd, bytes, sizeof bytes, 0)) > 0 || errno == ENOBUFS);) {
        int left = (int)n;
        changed = n < 0; // more than the socket holds
        for (struct nlmsghdr *m = (struct nlmsghdr *)bytes; n > 0 && is_whole(m, left);
             m = NLMSG_NEXT(m, left))
            changed |= message_counts(m);
    }
    return changed;
}

static const char *event_value(const char *bytes, size_t n, const char *name)
{
    for (const char *p = bytes; p < bytes + n; p += strlen(p) + 1)
        if (strncmp(p, name, strlen(name)) == 0)
            return p + strlen(name);
    return "";
}

// Block devices that came and stayed (or went), and modules.
static bool devices_changed(int fd)
{
    char bytes[8192];
    int devices = 0, modules = 0;
    for (ssize_t n; (n = recv(fd, bytes, sizeof bytes - 1, 0)) > 0 || errno == ENOBUFS;) {
        if (n < 0)
            return true;
        bytes[n] = '\0';
        const char *kind = event_value(bytes, (size_t)n, "SUBSYSTEM=");
        const char *action = event_value(bytes, (size_t)n, "ACTION=");
        int step = strcmp(action, "add") == 0 ? 1 : strcmp(action, "remove") == 0 ? -1 : 0;
        devices += strcmp(kind, "block") == 0 ? step : 0;
        modules += strcmp(kind, "module") == 0 ? step : 0;
    }
    return devices || modules;
}

static void drain(int fd)
{
    char bytes[4096];
    while (recv(fd, bytes, sizeof bytes, 0) > 0 || errno == ENOBUFS)
        ;
}

static bool swaps_changed(struct changes *c)
{
    struct pollfd f = {c->swaps, POLLPRI, 0};
    char line[256], *rest = line;
    if (poll(&f, 1, 0) <= 0)
        return false;
    read_again(c->swaps, line, sizeof line);
    (void)strsep(&rest, "\n"); // the headings
    return rest && *rest;
}

static bool keys_changed(struct changes *c)
{
    char text[sizeof c->keys_text];
    read_keys(c->keys, text, sizeof text);
    return strcmp(text, c->keys_text) != 0;
}

void changes_forget(struct changes *c)
{
    drain(c->route);
    drain(c->devices);
}

char *changes_seen(struct changes *c)
{
    const char *what = network_changed(c->route)     ? "the network"
                       : devices_changed(c->devices) ? "devices or modules"
                       : swaps_changed(c)            ? "swap space"
                       : keys_changed(c)             ? "keys"
                                                     : NULL;
    return what ? xstrdup(what) : NULL;
}
