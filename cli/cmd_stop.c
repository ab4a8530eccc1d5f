// SPDX-License-Identifier: MIT
//
// kiln stop: a signal to the kiln that runs the VM, which then asks the guest to power off and ends
// QEMU after its --shutdown-timeout. Should that take longer than it may, both are ended.
#include "base/session.h"
#include "cli/command.h"
#include "vm/named.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>

static const struct option_spec options[] = {
    {"timeout", 0, "SECONDS", "How long it may take until the VM is killed [default: 40]", NULL},
    {"kill", 'k', NULL, "End the VM at once, as if its power was cut", NULL},
    {0},
};

static int take_timeout(const struct args *a, int *ret_ms, struct error **err)
{
    long long seconds = 40;
    if (args_seconds(a, "timeout", &seconds, err) < 0)
        return -1;
    if (seconds > 86400)
        return error_set(err, ERR_USAGE, "argument --timeout: at most a day");
    *ret_ms = (int)seconds * 1000;
    return 0;
}

static int stop_one(const struct session *s, const struct args *a, const char *name,
                    struct error **err)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    bool kill = args_has(a, "kill");
    int timeout_ms = 0;
    if (take_timeout(a, &timeout_ms, err) < 0)
        return -1;
    if (named_vm_open(s->vmstore, name, &vm, err) < 0)
        return -1;
    int rc = kill ? 0 : named_vm_stop(s, &vm, SIGTERM, timeout_ms, err);
    if (rc == 0 && !kill)
        fprintf(stderr, "VM '%s' did not end in time and is killed\n", name);
    if (rc == 0)
        rc = named_vm_kill(s, &vm, err);
    if (rc == 2)
        return error_set(err, ERR_NOT_FOUND, "VM '%s' is not running", name);
    return rc < 0 ? -1 : 0;
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    int timeout_ms = 0; // a wrong one is told once
    return take_timeout(a, &timeout_ms, err) < 0 ? -1 : args_each(s, a, stop_one, err);
}

const struct command cmd_stop = {
    .name = "stop",
    .summary = "Power off VMs that run",
    .usage = "[options] NAME...",
    .detail = "The guest is asked to power off; what does not end in time is killed.\n",
    .options = options,
    .min_args = 1,
    .max_args = SIZE_MAX,
    .run = run,
};
