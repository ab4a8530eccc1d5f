// SPDX-License-Identifier: MIT
// What a VM is attached to: networks, ports and folders of the host, disks that outlive it.
#include "fleet/internal.h"

#include <arpa/inet.h>

static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

/* Linux's names of interfaces have at most 15 bytes. */
static void take_bridge(struct fleet_reader *r, const struct kdl_node *node,
                        const struct kdl_value *v)
{
    const char *name;
    if (!fleet_text_value(r, node, v, &name))
        return;
    size_t n = strlen(name);
    if (n > 15 || strspn(name, letters) != n)
        fleet_error(r, v->span, "'%.60s' can't be the name of a bridge", name);
    else
        r->vm->bridge = name;
}

static void read_bridge(struct fleet_reader *r, const struct kdl_node *node)
{
    if (fleet_plain(r, node, 1, 1, "\"NAME\""))
        take_bridge(r, node, &node->args[0]);
}

/* The bridge is a property or a node in braces: vmctl's program reads one and its manual writes the
 * other. */
static void read_tap(struct fleet_reader *r, const struct kdl_node *node)
{
    static const struct fleet_row rows[] = {{"bridge", false, read_bridge}, {0}};
    const struct kdl_value *v = kdl_prop(node, "bridge");
    unsigned seen;
    r->vm->user_network = r->user_named;
    r->vm->bridge = "br0";
    for (size_t i = 0; i < node->n_props; i++)
        if (!str_is(node->props[i].name, "bridge"))
            diag_help(fleet_error(r, node->props[i].span, "'network' has no property '%.40s'",
                                  node->props[i].name.ptr),
                      "write: network \"tap\" bridge=\"br0\"");
    fleet_read_body(r, node, "in 'network'", rows, &seen);
    if (v && seen)
        fleet_error(r, v->span, "the bridge is given twice");
    else if (v)
        take_bridge(r, node, v);
}

static void take_private(struct fleet_reader *r, const struct kdl_node *node, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < r->vm->n_networks; i++)
        if (!strcmp(r->vm->networks[i], name)) {
            fleet_error(r, node->args[0].span, "network '%s' appears twice here", name);
            return;
        }
    if (n > 32 || strspn(name, letters) != n)
        diag_help(
            fleet_error(r, node->args[0].span, "'%.60s' can't be the name of a network", name),
            "names are up to 32 letters, digits, '.', '_' and '-'");
    else if (r->vm->n_networks == 6)
        fleet_error(r, node->args[0].span, "a VM is in at most 6 networks");
    else
        fleet_push(r, r->vm->networks, r->vm->n_networks, name);
}

void fleet_read_network(struct fleet_reader *r, const struct kdl_node *node)
{
    const char *mode;
    if (node->n_args == 1 && node->args[0].type == KDL_STRING &&
        str_is(node->args[0].text, "tap")) {
        read_tap(r, node);
        return;
    }
    if (!fleet_text(r, node, "\"user\"|\"tap\"|\"none\"|\"NAME\"", &mode))
        return;
    if (!strcmp(mode, "none"))
        r->vm->user_network = false;
    else if (!strcmp(mode, "user"))
        r->vm->user_network = r->user_named = true;
    else if (!strcmp(mode, "vnic"))
        diag_help(fleet_error(r, node->args[0].span, "vnics exist only on illumos"),
                  "on Linux use \"user\", or \"tap\" with a bridge");
    else
        take_private(r, node, mode);
}

/* forward 8080 80 address="0.0.0.0" protocol="udp" */
void fleet_read_forward(struct fleet_reader *r, const struct kdl_node *node)
{
    struct fleet_forward f = {.address = "127.0.0.1"};
    struct in_addr ignored;
    const char *protocol = "tcp";
    bool good = true;
    for (size_t i = 0; i < node->n_props; i++) {
        const struct kdl_prop *p = &node->props[i];
        bool address = str_is(p->name, "address"), known = address || str_is(p->name, "protocol");
        if (!known)
            diag_help(fleet_error(r, p->span, "'forward' has no property '%.40s'", p->name.ptr),
                      "its properties are address=\"IP\" and protocol=\"udp\"");
        good &= known && fleet_text_value(r, node, &p->value, address ? &f.address : &protocol);
    }
    struct kdl_node bare = *node;
    bare.n_props = 0;
    if (!good || !fleet_plain(r, &bare, 2, 2, "PORT GUEST-PORT") ||
        !fleet_number_value(r, node, &node->args[0], 1, 65535, &f.host) ||
        !fleet_number_value(r, node, &node->args[1], 1, 65535, &f.guest))
        return;
    f.udp = !strcmp(protocol, "udp");
    f.span = node->args[0].span;
    if (inet_pton(AF_INET, f.address, &ignored) != 1)
        fleet_error(r, kdl_prop(node, "address")->span, "'%.60s' is not an IPv4 address",
                    f.address);
    else if (!f.udp && strcmp(protocol, "tcp") != 0)
        fleet_error(r, kdl_prop(node, "protocol")->span, "a protocol is \"tcp\" or \"udp\"");
    else
        fleet_push(r, r->vm->forwards, r->vm->n_forwards, f);
}

/* Two paths but for slashes at their end. */
static bool same_place(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    while (n > 1 && a[n - 1] == '/')
        n--;
    while (m > 1 && b[m - 1] == '/')
        m--;
    return n == m && !memcmp(a, b, n);
}

/* share "./src" "/src" read-only=true */
void fleet_read_share(struct fleet_reader *r, const struct kdl_node *node)
{
    struct fleet_share share = {0};
    for (size_t i = 0; i < node->n_props; i++) {
        const struct kdl_prop *p = &node->props[i];
        if (str_is(p->name, "read-only") && p->value.type == KDL_BOOL)
            share.read_only = p->value.truth;
        else
            diag_help(fleet_error(r, p->span, "'share' has no such property"),
                      "its property is read-only=#true");
    }
    struct kdl_node bare = *node;
    bare.n_props = 0;
    if (!fleet_plain(r, &bare, 2, 2, "\"FOLDER\" \"/GUEST\"") ||
        !fleet_path_value(r, node, &node->args[0], "folder", &share.host) ||
        !fleet_text_value(r, node, &node->args[1], &share.guest))
        return;
    for (size_t i = 0; i < r->vm->n_shares; i++)
        if (same_place(r->vm->shares[i].guest, share.guest)) {
            diag_help(fleet_error(r, node->args[1].span, "two folders at '%.60s'", share.guest),
                      "each needs a place of its own in the guest");
            return;
        }
    if (*share.guest != '/')
        diag_help(
            fleet_error(r, node->args[1].span, "'%.60s' is not an absolute path", share.guest),
            "paths in the guest begin with '/'");
    else
        fleet_push(r, r->vm->shares, r->vm->n_shares, share);
}

/* The name is also the disk's serial number, which has at most 20 bytes. */
void fleet_read_volume(struct fleet_reader *r, const struct kdl_node *node)
{
    struct fleet_volume v = {0};
    if (!fleet_plain(r, node, 2, 2, "\"NAME\" GIGABYTES") ||
        !fleet_text_value(r, node, &node->args[0], &v.name) ||
        !fleet_number_value(r, node, &node->args[1], 1, DISK_GB_MAX, &v.gigabytes))
        return;
    size_t n = strlen(v.name);
    for (size_t i = 0; i < r->vm->n_volumes; i++)
        if (!strcmp(r->vm->volumes[i].name, v.name)) {
            fleet_error(r, node->args[0].span, "volume '%s' appears twice here", v.name);
            return;
        }
    if (n > 20 || strspn(v.name, letters) != n || *v.name == '.' || *v.name == '-')
        diag_help(
            fleet_error(r, node->args[0].span, "'%.60s' can't be the name of a volume", v.name),
            "names are up to 20 letters, digits, '.', '_' and '-'");
    else if (r->vm->n_volumes == 8)
        fleet_error(r, node->args[0].span, "a VM has at most 8 volumes");
    else
        fleet_push(r, r->vm->volumes, r->vm->n_volumes, v);
}
