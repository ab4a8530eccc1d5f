// SPDX-License-Identifier: MIT
#include "base/json.h"
#include "base/session.h"
#include "cli/command.h"
#include "cli/store.h"
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
        return json_pack("{s:s, s:s, s:s}", "name", name, "state", "broken", "broken",
                         err ? err->message : "its disk is missing");
    json_t *v =
        json_pack("{s:s, s:s, s:s?, s:s?, s:I, s:I, s:I, s:s?, s:O*}", "name", name, "state",
                  runs    ? vm_live_halted(&vm) ? "paused" : "running"
                  : state ? "suspended"
                          : "stopped",
                  "image", json_str(vm.config, "image"), "layer", json_str(vm.config, "layer"),
                  "virtual_size", (json_int_t)size, "real_size", (json_int_t)used, "created",
                  (json_int_t)json_int(vm.config, "created", 0), "disk", elsewhere ? NULL : vm.disk,
                  "spec", json_object_get(vm.config, "spec"));
    vm_disks_add_names(vm.config, v);
    return v;
}

static void print_table(json_t *list)
{
    vm_disks_join_names(list);
    int name = cli_width(list, "name", 4), image = cli_width(list, "image", 5);
    size_t i;
    json_t *vm;
    printf(" %-*s  %-*s  STATE     VIRT SIZE   REAL SIZE\n", name, "NAME", image, "IMAGE");
    json_array_foreach ((json_t *)list, i, vm) {
        const char *broken = json_str(vm, "broken"), *from = json_str(vm, "image");
        printf(" %-*s  %-*s  %-7s", name, json_str(vm, "name"), image, from ? from : "-",
               json_str(vm, "state"));
        if (broken) {
            fputs("  (", stdout);
            cli_print_text(broken, 0);
            puts(")");
            continue;
        }
        cli_print_size((unsigned long long)json_int(vm, "virtual_size", 0), 12);
        cli_print_size((unsigned long long)json_int(vm, "real_size", 0), 12);
        putchar('\n');
    }
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(strv_clear) struct strv names = {0};
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
    if (args_has(a, "json"))
        cli_print_json(list);
    else
        print_table(list);
    return 0;
}

const struct command cmd_ls = {
    .name = "ls",
    .summary = "List the VMs",
    .usage = "[--quiet | --json]",
    .detail = "REAL SIZE is what a VM's own disk takes, without the layers it stands on.\n",
    .options = options,
    .run = run,
};
