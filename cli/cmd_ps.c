// SPDX-License-Identifier: MIT
//
// kiln ps: what runs, from each VM's lock and the record beside it; no QEMU is asked, and no lock is looked
// at twice. Temporary VMs that have ended go, as by vm_store_sweep.
#include "base/json.h"
#include "cli/fleet_file.h"
#include "cli/fleet_status.h"
#include "cli/list.h"
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
    LIST_FORMAT_OPTION("{{.Name}}\\t{{.State}}"),
    {"pid", 0, NULL, "Accepted for transient's users: the process is shown anyway", NULL},
    {"ssh", 0, NULL, "Accepted for transient's users: the port is shown anyway", NULL},
    {"no-trunc", 0, NULL, "Accepted for docker's users: nothing is shortened", NULL},
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
            vm.dir, vm.word);
    return v;
}

static void add_memory(struct buf *b, const json_t *item, const char *key)
{
    if (json_int(item, key, 0))
        buf_addf(b, "%lldM", (long long)json_int(item, key, 0));
}

/* "127.0.0.1:40123->80/tcp, …"; the one of SSH has a column of its own. */
static void add_ports(struct buf *b, const json_t *item, const char *key)
{
    size_t i;
    json_t *f;
    json_array_foreach (json_object_get(item, key), i, f) {
        int64_t port = json_int(f, "host_port", 0);
        if (port == json_int(item, "ssh_port", 0))
            continue;
        buf_addf(b, "%s%s:%d->%d/%s", b->len ? ", " : "", json_str(f, "address"), (int)port,
                 (int)json_int(f, "guest_port", 0), json_flag(f, "udp") ? "udp" : "tcp");
    }
}

static const struct list_column columns[] = {
    {.field = "Name", .alias = "Names,ID", .head = "NAME", .key = "name"},
    {.field = "Image", .head = "IMAGE", .key = "image", .add = vm_disks_add_images, .least = 5},
    {.field = "State", .alias = "Status", .head = "STATE", .key = "state", .least = 9},
    {.field = "PID", .head = "PID", .key = "pid", .least = 7, .right = true},
    {.field = "Memory",
     .head = "MEM",
     .key = "memory_mb",
     .add = add_memory,
     .least = 6,
     .right = true},
    {.field = "SSH", .head = "SSH", .key = "ssh_port", .least = 5, .right = true},
    {LIST_AGE("started"), .alias = "RunningFor", .head = "AGE", .least = 4},
    {.field = "Ports", .head = "PORTS", .key = "ports", .add = add_ports},
    {.field = "Address", .key = "address"},
    {.field = "Started", .alias = "CreatedAt", .key = "started", .add = list_add_time},
    {0},
};

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(strv_clear) struct strv names = {0};
    json_auto_t *list = json_array();
    if (list_check(a, columns, err) < 0 || named_vm_list(s->vmstore, &names, err) < 0)
        return -1;
    vec_foreach (char **, name, &names) {
        json_t *v = describe(s, *name, args_has(a, "all"));
        if (v)
            (void)json_array_append_new(list, v);
    }
    return list_print(a, columns, list, err);
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
    .detail =
        "SSH is the port of 127.0.0.1 that leads to the guest's SSH server.\n"
        "Fields of --format are .Name, .Image, .State, .PID, .Memory, .SSH, .Age, .Ports, "
        ".Address,\n"
        ".Started.\n",
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
