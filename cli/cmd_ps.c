// SPDX-License-Identifier: MIT
//
// kiln ps: what runs, from each VM's lock and the record beside it; no QEMU is asked, and no lock is looked
// at twice. Temporary VMs that have ended go, as by vm_store_sweep.
#include "base/json.h"
#include "cli/fleet_file.h"
#include "cli/fleet_status.h"
#include "cli/store.h"
#include "cli/vm_disks.h"
#include "cli/vm_find.h"
#include "cli/vm_live.h"
#include "cli/vm_store.h"
#include "vm/state.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct option_spec options[] = {
    {"all", 'a', NULL, "Also VMs that do not run", NULL},
    {"quiet", 'q', NULL, "Names only", NULL},
    {"json", 0, NULL, "Print the list as JSON", NULL},
    {0},
};

/* New reference; NULL: it is not to be listed. */
static json_t *describe(const struct session *s, const char *name, bool all)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    if (named_vm_open(s->vmstore, name, &vm, NULL) < 0)
        return NULL;
    pid_t pid = named_vm_process(&vm);
    if (!pid && vm_store_is_temporary(&vm) && vm_store_drop_temporary(s, name, NULL) == 0 &&
        access(vm.dir, F_OK) < 0)
        return NULL;
    if (!pid && !all)
        return NULL;
    json_auto_t *record = pid ? vm_live_record(s, &vm) : NULL;
    json_auto_t *state = pid ? NULL : vm_state_read(vm.dir);
    const char *halted = pid ? vm_live_halted(&vm) : NULL;
    json_t *v = json_pack("{s:s, s:s?, s:s, s:s*, s:b}", "name", name, "image",
                          json_str(vm.config, "image"), "state",
                          halted  ? "paused"
                          : pid   ? "running"
                          : state ? "suspended"
                                  : "stopped",
                          "reason", halted, "temporary", vm_store_is_temporary(&vm));
    vm_disks_add_names(vm.config, v);
    AUTO_FREE char *address = record ? vm_live_address(record) : NULL;
    if (address)
        (void)json_object_set_new(v, "address", json_string(address));
    if (record)
        (void)json_object_update_missing(v, record);
    if (pid > 0 && !json_object_get(v, "pid"))
        (void)json_object_set_new(v, "pid", json_integer(pid));
    if (halted && !strcmp(halted, "no-space"))
        session_notice(
            s, "VM '%s' is paused: no space is left in '%s'; 'kiln resume %s' lets it go on", name,
            vm.dir, name);
    return v;
}

static void add_age(char *to, size_t n, long long seconds)
{
    static const struct {
        long long unit;
        char name;
    } units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
    size_t i = 0;
    while (i < 3 && seconds < 2 * units[i].unit)
        i++;
    (void)snprintf(to, n, "%lld%c", seconds < 0 ? 0 : seconds / units[i].unit, units[i].name);
}

/* " 127.0.0.1:40123->80/tcp …"; the one of SSH has a column of its own. */
static void print_ports(const json_t *v)
{
    size_t i;
    json_t *f;
    bool first = true;
    json_array_foreach (json_object_get(v, "ports"), i, f) {
        int64_t port = json_int(f, "host_port", 0);
        if (port == json_int(v, "ssh_port", 0))
            continue;
        printf("%s%s:%d->%d/%s", first ? "  " : ", ", json_str(f, "address"), (int)port,
               (int)json_int(f, "guest_port", 0), json_flag(f, "udp") ? "udp" : "tcp");
        first = false;
    }
    putchar('\n');
}

static void print_row(const json_t *v, int name, int image)
{
    char pid[24] = "-", memory[24] = "-", ssh[24] = "-", age[24] = "-";
    if (json_int(v, "pid", 0))
        (void)snprintf(pid, sizeof pid, "%lld", (long long)json_int(v, "pid", 0));
    if (json_int(v, "memory_mb", 0))
        (void)snprintf(memory, sizeof memory, "%lldM", (long long)json_int(v, "memory_mb", 0));
    if (json_int(v, "ssh_port", 0))
        (void)snprintf(ssh, sizeof ssh, "%lld", (long long)json_int(v, "ssh_port", 0));
    if (json_int(v, "started", 0))
        add_age(age, sizeof age, (long long)time(NULL) - json_int(v, "started", 0));
    const char *from = json_str(v, "image");
    printf("%-*s  %-*s  %-9s  %7s  %6s  %5s  %-4s", name, json_str(v, "name"), image,
           from ? from : "-", json_str(v, "state"), pid, memory, ssh, age);
    print_ports(v);
}

static void print_table(json_t *list, bool quiet)
{
    vm_disks_join_names(list);
    int name = cli_width(list, "name", 4), image = cli_width(list, "image", 5);
    size_t i;
    json_t *v;
    if (!quiet)
        printf("%-*s  %-*s  %-9s  %7s  %6s  %5s  %-4s  %s\n", name, "NAME", image, "IMAGE", "STATE",
               "PID", "MEM", "SSH", "AGE", "PORTS");
    json_array_foreach ((json_t *)list, i, v) {
        if (quiet)
            puts(json_str(v, "name"));
        else
            print_row(v, name, image);
    }
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(strv_clear) struct strv names = {0};
    json_auto_t *list = json_array();
    if (named_vm_list(s->vmstore, &names, err) < 0)
        return -1;
    vec_foreach (char **, name, &names) {
        json_t *v = describe(s, *name, args_has(a, "all"));
        if (v)
            (void)json_array_append_new(list, v);
    }
    if (args_has(a, "json"))
        cli_print_json(list);
    else
        print_table(list, args_has(a, "quiet"));
    return 0;
}

/* kiln status: one VM, as people and scripts ask for it; without a name, those of a VMFile. */
static int run_status(struct session *s, const struct args *a, struct error **err)
{
    enum { STOPPED = 3 }; // systemctl's status
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    if (!a->n_pos || a->n_pos > 1 || args_has(a, "file") || args_has(a, "name"))
        return fleet_status(s, a, err);
    if (vm_find(s, a->pos[0], &vm, err) < 0)
        return -1;
    json_auto_t *v = describe(s, a->pos[0], true);
    bool runs = named_vm_runs(&vm);
    if (args_has(a, "json"))
        cli_print_json(v);
    else
        puts(v ? json_str(v, "state") : "stopped");
    return runs ? 0 : STOPPED;
}

static const struct option_spec status_options[] = {
    FLEET_OPTIONS,
    {"json", 0, NULL, "Print what is known of it as JSON", NULL},
    {0},
};

const struct command cmd_ps = {
    .name = "ps",
    .summary = "List the VMs that run",
    .usage = "[options]",
    .detail = "SSH is the port of 127.0.0.1 that leads to the guest's SSH server.\n",
    .options = options,
    .run = run,
};

const struct command cmd_status = {
    .name = "status",
    .summary = "Tell whether a VM runs, or the VMs of a VMFile",
    .usage = "[--json] NAME | [--file FILE] [NAME...]",
    .detail =
        "Without a name, or with --file: what 'kiln up' would find of the VMs of a VMFile.\n"
        "Exit status: 0 running (all of them), 3 stopped or suspended to disk, 1 no such VM.\n",
    .options = status_options,
    .max_args = SIZE_MAX,
    .run = run_status,
};
