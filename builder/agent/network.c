// SPDX-License-Identifier: MIT
// Addresses and routes by ioctl: three calls and no netlink. A next hop is asked for on its link
// and not looked up again, so a route that rejects the gateway itself, once it is in use, harms
// nobody who goes through it.
#include "builder/agent/network.h"

#include "base/cleanup.h"
#include "builder/agent/sys.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define ADDRESS "10.0.2.15"
#define NETMASK "255.255.255.0"
#define GATEWAY "10.0.2.2"

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

static int change_host(int s, unsigned long how)
{
    struct rtentry route = {.rt_flags = RTF_UP | RTF_HOST | RTF_REJECT};
    set_address(&route.rt_dst, GATEWAY);
    set_address(&route.rt_genmask, "255.255.255.255");
    return ioctl(s, how, &route);
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
    if (ioctl(s, SIOCADDRT, &route) < 0)
        return -1;
    return change_host(s, SIOCADDRT);
}

void network_set_up(void)
{
    AUTO_CLOSE int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (s < 0 || interface_up(s, "lo") < 0)
        sys_log("network lo: %s", strerror(errno));
    if (s >= 0 && access("/sys/class/net/eth0", F_OK) == 0 && set_up_eth0(s) < 0)
        sys_log("network eth0: %s", strerror(errno));
}

bool network_proxy_on_host(const struct strv *env)
{
    for (size_t i = 0; i < env->len; i++) {
        const char *value = strchr(env->ptr[i], '=');
        size_t name = value ? (size_t)(value - env->ptr[i]) : 0;
        bool proxy = name > 6 && !strncasecmp(value - 6, "_proxy", 6) &&
                     strncasecmp(env->ptr[i], "no_proxy", 8) != 0;
        const char *at = proxy ? strstr(value, GATEWAY) : NULL;
        char after = at ? at[strlen(GATEWAY)] : '0';
        if (after != '.' && !(after >= '0' && after <= '9'))
            return true;
    }
    return false;
}

void network_reach_host(bool reach)
{
    AUTO_CLOSE int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (s < 0 || change_host(s, reach ? SIOCDELRT : SIOCADDRT) < 0)
        sys_log("network: the host is not %s: %s", reach ? "reached" : "left", strerror(errno));
}
