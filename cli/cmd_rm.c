// SPDX-License-Identifier: MIT
#include "cli/vm_find.h"
#include "cli/vm_live.h"

#include <stdint.h>

static const struct option_spec options[] = {
    {"force", 'f', NULL, "Kill a VM that runs", NULL},
    QUIET_OPTION,
    JSON_OPTION,
    {0},
};

static int remove_one(const struct session *s, const struct args *a, const char *name,
                      struct error **err)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    bool force = args_has(a, "force");
    if ((!force || named_vm_open_any(s->vmstore, name, &vm, NULL) < 0) &&
        vm_find(s, name, &vm, err) < 0)
        return -1;
    if (force && vm_live_stop(s, &vm, true, 0, err) < 0)
        return -1;
    if (named_vm_remove(s->vmstore, &vm, err) < 0)
        return -1;
    args_say(a, "Removed VM '%s'", name);
    return 0;
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    return args_each(s, a, remove_one, err);
}

#define RM \
    .summary = "Remove VMs and their disks", .usage = "[--force] NAME...", \
    .detail = "The images they were made from stay.\n", .options = options, .min_args = 1, \
    .max_args = SIZE_MAX, .flags = CMD_RESULT, .run = run

const struct command cmd_rm = {.name = "rm", RM};
const struct command cmd_delete = {.name = "delete", RM};
