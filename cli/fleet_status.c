// SPDX-License-Identifier: MIT
#include "cli/fleet_status.h"

#include "base/alloc.h"
#include "base/json.h"
#include "cli/fleet_up.h"
#include "cli/store.h"
#include "cli/vm_live.h"

#include <stdio.h>
#include <string.h>

/* New reference. */
static json_t *describe(const struct session *s, const struct fleet_file *f,
                        const struct fleet_vm *def, struct error **err)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    CLEANUP(fleet_state_clear) struct fleet_state st = {0};
    if (fleet_look(s, f, def, &vm, &st, err) < 0)
        return NULL;
    static const char *const applied[] = {[FLEET_SAME] = NULL,
                                          [FLEET_PROVISION] = "provision",
                                          [FLEET_RESTART] = "restart",
                                          [FLEET_RELOAD] = "reload"};
    json_auto_t *record = vm.dir ? named_vm_running(&vm) : NULL;
    json_t *v = json_pack("{s:s, s:s, s:s, s:b, s:s, s:s?}", "name", def->name, "state", st.state,
                          "image", def->image, "provisioned", fleet_is_finished(&st), "changes",
                          st.changes.data, "applied_by", applied[st.change]);
    AUTO_FREE char *address = record ? vm_live_address(record) : NULL;
    if (v && address)
        (void)json_object_set_new(v, "address", json_string(address));
    if (v && record)
        (void)json_object_update_missing(v, record);
    if (!v)
        error_set(err, ERR_USER, "VM '%s': text that is not UTF-8", def->name);
    return v;
}

static void print_row(const json_t *v, int width)
{
    char ssh[40] = "-";
    const char *address = json_str(v, "address");
    const char *state = json_str(v, "state"), *changes = json_str(v, "changes");
    bool there = strcmp(state, "absent") != 0;
    int port = (int)json_int(v, "ssh_port", 0);
    if (address)
        (void)snprintf(ssh, sizeof ssh, port ? "%s:%d" : "%s", address, port);
    printf("%-*s  %-9s  %-11s  %-15s  %s\n", width, json_str(v, "name"), state,
           !there                        ? "-"
           : json_flag(v, "provisioned") ? "yes"
                                         : "no",
           ssh, changes && *changes ? changes : "-");
}

int fleet_status(struct session *s, const struct args *a, struct error **err)
{
    enum { STOPPED = 3 };
    CLEANUP(fleet_file_clear) struct fleet_file file = {0};
    json_auto_t *list = json_array();
    int status = 0;
    if (fleet_file_open(s, a, &file, err) < 0)
        return -1;
    for (size_t i = 0; i < file.fleet->n_vms; i++) {
        json_t *v = file.chosen[i] ? describe(s, &file, &file.fleet->vms[i], err) : NULL;
        if (file.chosen[i] && !v)
            return -1;
        if (v && strcmp(json_str(v, "state"), "running") != 0)
            status = STOPPED;
        if (v)
            (void)json_array_append_new(list, v);
    }
    if (args_has(a, "json")) {
        cli_print_json(list);
        return status;
    }
    int width = cli_width(list, "name", 4);
    size_t i;
    json_t *v;
    printf("%-*s  %-9s  %-11s  %-15s  %s\n", width, "NAME", "STATE", "PROVISIONED", "SSH",
           "CHANGED");
    json_array_foreach (list, i, v)
        print_row(v, width);
    return status;
}
