// SPDX-License-Identifier: MIT
#include "cli/fleet_network.h"

#include "base/alloc.h"
#include "base/digest.h"
#include "base/json.h"
#include "cli/fleet_steps.h"

#include <fcntl.h>
#include <string.h>

enum {
    FLEET_HOSTS = 65000, /* of a /16 */
    FLEET_SUBNETS = 64   /* 10.64.0.0/16 and on */
};

/* Numbers that follow from the file, a network and a VM ("" = none). */
static struct digest numbers(const struct fleet_file *f, const char *network, const char *vm)
{
    AUTO_FREE char *all = xasprintf("%s\n%s\n%s", f->path, network, vm);
    return digest_of(all, strlen(all));
}

static void add_mac(const struct fleet_file *f, const struct fleet_vm *vm, const char *network,
                    struct buf *out)
{
    struct digest d = numbers(f, network, vm->name);
    buf_addf(out, "52:54:00:%02x:%02x:%02x", d.byte[0], d.byte[1], d.byte[2]);
}

void fleet_network_spec(const struct session *s, const struct fleet_file *f,
                        const struct fleet_vm *vm, struct vm_spec *spec)
{
    for (size_t i = 0; i < vm->n_networks; i++) {
        CLEANUP(buf_clear) struct buf mac = BUF_INIT, group = BUF_INIT;
        struct digest d = numbers(f, vm->networks[i], s->vmstore);
        buf_addf(&group, "239.255.%u.%u:%u", d.byte[0], d.byte[1],
                 20000 + (d.byte[2] * 256U + d.byte[3]) % 20000);
        add_mac(f, vm, vm->networks[i], &mac);
        vm_spec_group(spec, group.data, mac.data);
    }
}

void fleet_network_bridge(const struct fleet_file *f, const struct fleet_vm *vm,
                          struct vm_spec *spec)
{
    CLEANUP(buf_clear) struct buf mac = BUF_INIT;
    if (!vm->bridge)
        return;
    add_mac(f, vm, "", &mac);
    vm_spec_bridge(spec, vm->bridge, mac.data);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Of two networks that would have the same number the later one by name takes the next that is free. */
static void number_networks(struct fleet_file *f)
{
    struct fleet_subnets *s = &f->subnets;
    bool taken[FLEET_SUBNETS] = {false};
    size_t all = 0;
    for (size_t i = 0; i < f->fleet->n_vms; i++)
        all += f->fleet->vms[i].n_networks;
    s->names = xcalloc(all + 1, sizeof *s->names);
    s->numbers = xcalloc(all + 1, sizeof *s->numbers);
    for (size_t i = 0, at = 0; i < f->fleet->n_vms; i++)
        for (size_t k = 0; k < f->fleet->vms[i].n_networks; k++)
            s->names[at++] = f->fleet->vms[i].networks[k];
    qsort(s->names, all, sizeof *s->names, compare_names);
    for (size_t i = 0; i < all; i++)
        if (!i || strcmp(s->names[s->n - 1], s->names[i]) != 0)
            s->names[s->n++] = s->names[i];
    for (size_t i = 0; i < s->n; i++) {
        unsigned number = numbers(f, s->names[i], "").byte[0] % FLEET_SUBNETS;
        while (i < FLEET_SUBNETS && taken[number])
            number = (number + 1) % FLEET_SUBNETS;
        taken[number] = true;
        s->numbers[i] = number;
    }
}

void fleet_network_number(struct fleet_file *f)
{
    size_t n = f->fleet->n_vms;
    AUTO_FREE bool *taken = xcalloc(FLEET_HOSTS, sizeof *taken);
    f->hosts = xcalloc(n, sizeof *f->hosts);
    for (size_t i = 0; i < n; i++) {
        struct digest d = numbers(f, "", f->fleet->vms[i].name);
        unsigned host = (d.byte[0] << 8 | d.byte[1]) % FLEET_HOSTS;
        while (i < FLEET_HOSTS && taken[host])
            host = (host + 1) % FLEET_HOSTS;
        taken[host] = true;
        f->hosts[i] = host + 1;
    }
    number_networks(f);
}

static unsigned number_of(const struct fleet_file *f, const char *network)
{
    const struct fleet_subnets *s = &f->subnets;
    const char **at = bsearch(&network, s->names, s->n, sizeof *s->names, compare_names);
    return at ? s->numbers[at - s->names] : 0;
}

void fleet_network_address(const struct fleet_file *f, const struct fleet_vm *vm,
                           const char *network, struct buf *out)
{
    unsigned host = f->hosts[vm - f->fleet->vms];
    buf_addf(out, "10.%u.%u.%u", 64 + number_of(f, network), host / 256, host % 256);
}

static bool is_member(const struct fleet_vm *vm, const char *network)
{
    for (size_t i = 0; i < vm->n_networks; i++)
        if (!strcmp(vm->networks[i], network))
            return true;
    return false;
}

/* A line of /etc/hosts for each member of a network. */
static void add_hosts(const struct fleet_file *f, const char *network, struct buf *out)
{
    for (size_t i = 0; i < f->fleet->n_vms; i++) {
        const struct fleet_vm *vm = &f->fleet->vms[i];
        if (!is_member(vm, network))
            continue;
        fleet_network_address(f, vm, network, out);
        buf_addf(out, " %s", vm->name);
        if (vm->hostname && strcmp(vm->hostname, vm->name) != 0)
            buf_addf(out, " %s", vm->hostname);
        buf_adds(out, " # kiln\n");
    }
}

/* What sets the addresses, for sh of any guest, busybox's too. At boot a card may come late. */
static void add_script(const struct fleet_file *f, const struct fleet_vm *vm, struct buf *out)
{
    CLEANUP(buf_clear) struct buf hosts = BUF_INIT;
    buf_adds(out,
             "# Made by kiln up: the addresses of this VM in the networks of its VMFile.\n"
             "set -e; PATH=$PATH:/usr/sbin:/sbin\n"
             "join() {\n"
             "  for try in 1 2 3 4 5 6 7 8 9 10; do\n"
             "    for d in /sys/class/net/*; do\n"
             "      [ \"$(cat \"$d/address\")\" = \"$1\" ] || continue\n"
             "      ip link set \"${d##*/}\" up\n"
             "      ip addr show dev \"${d##*/}\" | grep -q \"inet $2\" || ip addr add \"$2\" dev "
             "\"${d##*/}\"\n"
             "      return\n"
             "    done\n"
             "    sleep 1\n"
             "  done\n"
             "  echo \"no network card $1\" >&2; return 1\n"
             "}\n");
    for (size_t i = 0; i < vm->n_networks; i++) {
        buf_adds(out, "join ");
        add_mac(f, vm, vm->networks[i], out);
        buf_addc(out, ' ');
        fleet_network_address(f, vm, vm->networks[i], out);
        buf_adds(out, "/16\n");
        add_hosts(f, vm->networks[i], &hosts);
    }
    buf_addf(out,
             "h=$(mktemp); { grep -v ' # kiln$' /etc/hosts || true; cat <<'END'\n%sEND\n} >\"$h\"\n"
             "cat \"$h\" >/etc/hosts; rm \"$h\"\n",
             hosts.data);
}

/* Runs $1 now, and at each boot that systemd, OpenRC or busybox's init makes. A root file system
 * that cannot be written to is the guest's matter. */
static const char keep_script[] =
    "set -e; PATH=$PATH:/usr/sbin:/sbin; file=/etc/kiln-networks\n"
    "sh -c \"$1\"\n"
    "if ! { echo \"$1\" >$file; } 2>/dev/null; then exit 0; fi\n"
    "if [ -d /run/systemd/system ]; then\n"
    "  unit=/etc/systemd/system/kiln-networks.service\n"
    "  cat >$unit <<'END'\n"
    "[Unit]\n"
    "Description=Networks of the VMFile\n"
    "[Service]\n"
    "Type=oneshot\n"
    "RemainAfterExit=yes\n"
    "ExecStart=/bin/sh /etc/kiln-networks\n"
    "[Install]\n"
    "WantedBy=multi-user.target\n"
    "END\n"
    "  mkdir -p /etc/systemd/system/multi-user.target.wants\n"
    "  ln -sf $unit /etc/systemd/system/multi-user.target.wants/\n"
    "elif [ -d /etc/local.d ]; then\n"
    "  echo 'sh /etc/kiln-networks' >/etc/local.d/kiln-networks.start\n"
    "  chmod +x /etc/local.d/kiln-networks.start\n"
    "  rc-update add local default >/dev/null\n"
    "elif grep -q '^::sysinit:' /etc/inittab 2>/dev/null && ! grep -q $file /etc/inittab; then\n"
    "  echo \"::once:/bin/sh $file\" >>/etc/inittab\n"
    "fi\n";

static int set_addresses(struct vm_ssh *ssh, const struct fleet_file *f, const struct fleet_vm *vm,
                         struct error **err)
{
    CLEANUP(buf_clear) struct buf script = BUF_INIT, command = BUF_INIT;
    AUTO_CLOSE int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int fds[3] = {null, null, STDERR_FILENO}, status = 0;
    add_script(f, vm, &script);
    buf_adds(&command, "if [ \"$(id -u)\" = 0 ]; then r=; else r='sudo -n'; fi; $r sh -c ");
    buf_add_shell_word(&command, keep_script);
    buf_adds(&command, " sh ");
    buf_add_shell_word(&command, script.data);
    if (vm_ssh_run_on(ssh, command.data, fds, &status, err) < 0)
        return -1;
    if (!status)
        return 0;
    error_set(err, ERR_GUEST, "VM '%s' cannot set its addresses in its networks", vm->name);
    return error_hint(err,
                      "the user of its ssh block needs to be root, or sudo without a password");
}

bool fleet_network_joined(const struct fleet_vm *vm, const json_t *record)
{
    return !vm->n_networks || !(vm->user_network || vm->bridge) || json_flag(record, "joined");
}

int fleet_network_join(const struct session *s, const struct fleet_file *f,
                       const struct fleet_vm *vm, struct error **err)
{
    CLEANUP(vm_live_clear) struct vm_live live = VM_LIVE_INIT;
    if (fleet_network_joined(vm, NULL))
        return 0;
    if (vm_live_open(s, vm->name, &live, err) < 0)
        return -1;
    if (fleet_network_joined(vm, live.record))
        return 0;
    CLEANUP(vm_ssh_freep) struct vm_ssh *ssh = fleet_login(s, f, vm, &live, err);
    if (!ssh || set_addresses(ssh, f, vm, err) < 0)
        return -1;
    json_auto_t *now = named_vm_running(&live.vm);
    if (now && json_object_set_new(now, "joined", json_true()) == 0)
        (void)named_vm_note(&live.vm, now, NULL);
    return 0;
}
