// SPDX-License-Identifier: MIT
//
// kiln logs: what the guest wrote on its serial console since its start, which QEMU keeps in a file.
#include "base/alloc.h"
#include "base/file.h"
#include "cli/fleet_steps.h"
#include "cli/vm_find.h"
#include "cli/vm_live.h"
#include "cli/vm_log.h"

#include <string.h>
#include <unistd.h>

static const struct option_spec options[] = {
    {"follow", 'f', NULL, "Go on until the VM ends", NULL},
    {"lines", 'n', "K|all", "Only the last K lines [default: all]", "tail"},
    {"console", 0, NULL, "Only the serial console", NULL},
    {"provision", 0, NULL, "Only what the provisions of 'kiln up' printed", NULL},
    {0},
};

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    long long lines = -1;
    const char *given = args_get(a, "lines");
    bool some = given && strcmp(given, "all") != 0;
    if ((some && args_num(a, "lines", 0, 1000000000, &lines, err) < 0) ||
        vm_find(s, a->pos[0], &vm, err) < 0)
        return -1;
    bool console = args_has(a, "console"), provision = args_has(a, "provision");
    bool follow = args_has(a, "follow");
    AUTO_FREE char *log = path_join(vm.dir, FLEET_LOG);
    if ((provision || (!console && !follow && access(log, F_OK) == 0)) &&
        vm_log_show(s, &vm, FLEET_LOG, lines, follow && !console, err) < 0)
        return -1;
    return provision && !console ? 0 : vm_log_show(s, &vm, VM_CONSOLE_LOG, lines, follow, err);
}

const struct command cmd_logs = {
    .name = "logs",
    .summary = "Show a VM's serial console, and what its provisions printed",
    .usage = "[options] NAME",
    .detail =
        "What the provisions of 'kiln up' printed, if there were any, and what the guest wrote\n"
        "since its last start in the background. The console of the start before that is in\n"
        "console.log.1 of the VM's folder.\n",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
