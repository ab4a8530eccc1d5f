// SPDX-License-Identifier: MIT
#include "base/json.h"
#include "base/session.h"
#include "cli/command.h"
#include "cli/list.h"
#include "cli/vm_disks.h"
#include "cli/vm_live.h"
#include "cli/vm_store.h"
#include "qcow2/head.h"
#include "vm/named.h"
#include "vm/qemu.h"
#include "vm/state.h"

#include <string.h>

static const struct option_spec options[] = {
    {"all", 'a', NULL, "Accepted for docker's users: those that do not run are listed anyway",
     NULL},
    {"quiet", 'q', NULL, "Names only", NULL},
    {"json", 0, NULL, "Print the list as JSON", NULL},
    LIST_FORMAT_OPTION("{{.Name}}\\t{{.State}}"),
    {0},
};

/* What is known of one VM; new reference. */
static json_t *describe(const struct session *s, const char *name)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    CLEANUP(error_freep) struct error *err = NULL;
    uint64_t size = 0;
    int64_t used = 0;
    bool found = named_vm_open(s->vmstore, name, &vm, &err) == 0;
    int64_t elsewhere = found ? json_int(vm.config, "virtual_size", 0) : 0;
    json_auto_t *state = found ? vm_state_read(vm.dir) : NULL;
    bool runs = found && named_vm_runs(&vm);
    if (elsewhere)
        size = (uint64_t)elsewhere; // of a nameless run: it is a file without a name
    else if (!found || qcow2_size(vm.disk, &size, &err) < 0 || (used = vm_disks_usage(&vm)) < 0)
        return json_pack("{s:s, s:s, s:o}", "name", name, "state", "broken", "broken",
                         json_path(err ? err->message : "its disk is missing"));
    json_t *v = json_pack(
        "{s:s, s:s, s:s?, s:s?, s:I, s:I, s:I, s:o*, s:O*}", "name", name, "state",
        runs    ? vm_live_halted(&vm) ? "paused" : "running"
        : state ? "suspended"
                : "stopped",
        "image", json_str(vm.config, "image"), "layer", json_str(vm.config, "layer"),
        "virtual_size", (json_int_t)size, "real_size", (json_int_t)used, "created",
        (json_int_t)json_int(vm.config, "created", 0), "disk",
        json_path(elsewhere ? NULL : vm.disk), "spec", json_object_get(vm.config, "spec"));
    vm_disks_add_names(vm.config, v);
    return v;
}

static const struct list_column columns[] = {
    {.field = "Name", .alias = "Names,ID", .head = "NAME", .key = "name", .blank = true},
    {.field = "Image", .head = "IMAGE", .key = "image", .add = vm_disks_add_images, .least = 5},
    {.field = "State", .alias = "Status", .head = "STATE", .key = "state", .least = 7},
    LIST_SIZE_COLUMNS(10),
    {.field = "Created", .alias = "CreatedAt", .key = "created", .add = list_add_time},
    {LIST_AGE("created"), .alias = "CreatedSince,RunningFor"},
    {.field = "Disk", .key = "disk"},
    {.field = "Layer", .key = "layer"},
    {0},
};

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(strv_clear) struct strv names = {0};
    if (list_check(a, columns, err) < 0)
        return -1;
    vm_store_sweep(s);
    if (named_vm_list(s->vmstore, &names, err) < 0)
        return -1;
    json_auto_t *list = json_array();
    vec_foreach (char **, name, &names)
        if (args_has(a, "quiet"))
            puts(*name);
    if (args_has(a, "quiet"))
        return 0;
    vec_foreach (char **, name, &names)
        json_array_append_new(list, describe(s, *name));
    return list_print(a, columns, list, err);
}

const struct command cmd_ls = {
    .name = "ls",
    .summary = "List the VMs",
    .usage = "[--quiet | --json | --format TEMPLATE]",
    .detail =
        "REAL SIZE is what a VM's own disk takes, without the layers it stands on.\n"
        "Fields of --format are .Name, .Image, .State, .VirtSize, .RealSize, .Created, .Age, "
        ".Disk, .Layer.\n",
    .options = options,
    .run = run,
};
