// SPDX-License-Identifier: MIT
//
// kiln start: the options of `create` first, then those given now.
#include "cli/vm_copy.h"
#include "cli/vm_options.h"
#include "cli/vm_store.h"
#include "cli/vm_warm.h"

static const struct option_spec options[] = {
    DETACH_OPTION,
    {"attach", 0, NULL, "Accepted for docker's users: the default", NULL},
    {"interactive", 'i', NULL, "Accepted for docker's users: standard input reaches the guest",
     NULL},
    COPY_OPTIONS,
    WARM_OPTIONS,
    VM_OPTIONS,
    JSON_OPTION,
    {0},
};

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(vm_copies_clear) struct vm_copies copies = {0};
    const char *name = a->pos[0];
    if (vm_options_check_detach(a, err) < 0 || vm_copies_take(a, true, &copies, err) < 0 ||
        vm_copy_in(s, name, &copies, err) < 0)
        return -1;
    (void)json_object_set_new(a->result, "name", json_string(name));
    int status = vm_store_start(s, a, name, args_has(a, "detach"), &copies, err);
    return status < 0 ? -1 : vm_copy_out_status(s, name, &copies, status, err);
}

const struct command cmd_start = {
    .name = "start",
    .summary = "Boot a VM that 'kiln create' made",
    .usage = "NAME [options] [-- QEMU-ARGUMENT...]",
    .detail =
        "As 'kiln run', with the options the VM was created with and those given now. When you\n"
        "leave, the guest powers off; its disk stays. With -d it runs on in the background: see "
        "ps, ssh,\n"
        "logs, console and stop.\n",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .flags = CMD_REST | CMD_RESULT,
    .run = run,
};
