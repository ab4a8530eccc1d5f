// SPDX-License-Identifier: MIT
//
// The rules of bridge.conf are those of QEMU's qemu-bridge-helper.c: some "allow" has to match and no
// "deny" may; "all" matches every bridge, "include" reads another file.
#include "vm/bridge.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"

#include <glob.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RULES "/etc/qemu/bridge.conf"

enum { FILE_MAX = 4 << 20 };

struct rules {
    bool allowed, denied;
    bool unknown; /* some could not be read */
};

static void read_rules(const char *path, const char *bridge, int depth, struct rules *ret)
{
    enum { DEPTH_MAX = 8 };
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    if (depth > DEPTH_MAX || file_read(path, FILE_MAX, &text, NULL) < 0) {
        ret->unknown = true;
        return;
    }
    buf_adds(&text, "");
    char *rest = text.data;
    for (char *line; (line = strsep(&rest, "\n"));) {
        char word[16], value[256];
        if (sscanf(line, " %15[^# \t] %255[^# \t\r]", word, value) != 2)
            continue;
        bool meant = !strcmp(value, "all") || !strcmp(value, bridge);
        ret->allowed |= meant && !strcmp(word, "allow");
        ret->denied |= meant && !strcmp(word, "deny");
        if (!strcmp(word, "include"))
            read_rules(value, bridge, depth + 1, ret);
    }
}

static int check_rules(const char *name, struct error **err)
{
    struct rules rules = {0};
    if (access(RULES, F_OK) < 0) {
        error_set(err, ERR_USER, "QEMU may not use the bridge '%s': '" RULES "' does not exist",
                  name);
        return error_hint(err, "write the line 'allow %s' into it, as root", name);
    }
    read_rules(RULES, name, 0, &rules);
    if (rules.denied) {
        error_set(err, ERR_USER, "QEMU may not use the bridge '%s': '" RULES "' denies it", name);
        return error_hint(err, "remove the 'deny' that matches it, as root");
    }
    if (rules.allowed || rules.unknown)
        return 0;
    error_set(err, ERR_USER, "QEMU may not use the bridge '%s': '" RULES "' does not allow it",
              name);
    return error_hint(err, "add the line 'allow %s', as root", name);
}

int bridge_check(const char *name, struct error **err)
{
    static const char helper[] = "/usr/lib/qemu/qemu-bridge-helper";
    AUTO_FREE char *is_bridge = xasprintf("/sys/class/net/%s/bridge", name);
    struct stat st;
    if (!if_nametoindex(name)) {
        error_set(err, ERR_NOT_FOUND, "no bridge '%s' on this host", name);
        return error_hint(err, "ip link add %s type bridge && ip link set %s up, as root", name,
                          name);
    }
    // a /sys of another network namespace does not know it
    AUTO_FREE char *known = xasprintf("/sys/class/net/%s", name);
    if (access(known, F_OK) == 0 && access(is_bridge, F_OK) < 0) {
        error_set(err, ERR_USER, "'%s' is a network interface, not a bridge", name);
        return error_hint(err, "'ip link show type bridge' lists the bridges");
    }
    if (check_rules(name, err) < 0)
        return -1;
    if (geteuid() == 0 || stat(helper, &st) < 0 || st.st_mode & S_ISUID)
        return 0;
    error_set(err, ERR_USER, "QEMU may not use the bridge '%s': '%s' is not setuid root", name,
              helper);
    return error_hint(err, "chmod u+s %s, as root", helper);
}

/* What is known so far of an address; the newest counts. */
struct found {
    char *address;
    long long expires;
};

static void take(struct found *f, const char *address, long long expires)
{
    if (!expires) // forever
        expires = INT64_MAX;
    if (strchr(address, ':') || expires < (long long)time(NULL) ||
        (f->address && expires < f->expires))
        return;
    free(f->address);
    *f = (struct found){xstrdup(address), expires};
}

/* dnsmasq(8): "expiry mac address name client-id", a line each. */
static void read_leases(const char *path, const char *mac, struct found *f)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    if (file_read(path, FILE_MAX, &text, NULL) < 0)
        return;
    buf_adds(&text, "");
    char *rest = text.data;
    for (char *line; (line = strsep(&rest, "\n"));) {
        long long expires;
        char hardware[32], address[64];
        if (sscanf(line, "%lld %31s %63s", &expires, hardware, address) == 3 &&
            !strcasecmp(hardware, mac))
            take(f, address, expires);
    }
}

/* libvirt's dnsmasq writes none, but calls a program that writes JSON. */
static void read_libvirt(const char *path, const char *mac, struct found *f)
{
    json_auto_t *list = json_read_file(path, NULL);
    size_t i;
    json_t *v;
    json_array_foreach (list, i, v) {
        const char *hardware = json_str(v, "mac-address"), *address = json_str(v, "ip-address");
        if (hardware && address && !strcasecmp(hardware, mac))
            take(f, address, json_int(v, "expiry-time", 0));
    }
}

static void read_files(const char *pattern, const char *mac, struct found *f,
                       void (*read)(const char *path, const char *mac, struct found *f))
{
    glob_t g;
    if (glob(pattern, 0, NULL, &g) != 0)
        return;
    for (size_t i = 0; i < g.gl_pathc; i++)
        read(g.gl_pathv[i], mac, f);
    globfree(&g);
}

/* proc(5): "address type flags mac mask device"; flag 2: it has answered. */
static char *neighbour(const char *mac)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    if (file_read("/proc/net/arp", FILE_MAX, &text, NULL) < 0)
        return NULL;
    buf_adds(&text, "");
    char *rest = text.data;
    for (char *line; (line = strsep(&rest, "\n"));) {
        char address[64], hardware[32];
        unsigned flags;
        if (sscanf(line, "%63s %*s %x %31s", address, &flags, hardware) == 3 && flags & 2 &&
            !strcasecmp(hardware, mac))
            return xstrdup(address);
    }
    return NULL;
}

char *bridge_address(const char *mac)
{
    static const char *const leases[] = {"/var/lib/misc/dnsmasq*.leases",
                                         "/var/lib/dnsmasq/*.leases",
                                         "/var/lib/NetworkManager/dnsmasq-*.leases"};
    struct found f = {0};
    for (size_t i = 0; i < sizeof leases / sizeof *leases; i++)
        read_files(leases[i], mac, &f, read_leases);
    read_files("/var/lib/libvirt/dnsmasq/*.status", mac, &f, read_libvirt);
    return f.address ? f.address : neighbour(mac);
}

char *bridge_new_mac(void)
{
    unsigned char b[3];
    if (getrandom(b, sizeof b, 0) != sizeof b)
        b[0] = (unsigned char)getpid();
    return xasprintf("52:54:00:%02x:%02x:%02x", b[0], b[1], b[2]);
}
