// SPDX-License-Identifier: MIT
//
// kiln logs: what the guest wrote on its serial console since its start, which QEMU keeps in a file.
#include "base/alloc.h"
#include "base/file.h"
#include "cli/vm_live.h"
#include "cli/vm_log.h"

#include <unistd.h>

static const struct option_spec options[] = {
    {"follow", 'f', NULL, "Go on until the VM ends", NULL},
    {"lines", 'n', "K", "Only the last K lines", "tail"},
    {0},
};

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    long long lines = -1;
    if (args_num(a, "lines", 0, 1000000000, &lines, err) < 0 ||
        named_vm_open(s->vmstore, a->pos[0], &vm, err) < 0)
        return -1;
    return vm_log_show(s, &vm, lines, args_has(a, "follow"), err);
}

const struct command cmd_logs = {
    .name = "logs",
    .summary = "Show a VM's serial console",
    .usage = "[options] NAME",
    .detail =
        "What the guest wrote since its last start in the background. That of the start before "
        "lies in\n"
        "console.log.1 of the VM's folder.\n",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
