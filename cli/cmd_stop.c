// SPDX-License-Identifier: MIT
//
// kiln stop, restart. An attached VM is ended by a signal to its kiln, which asks the guest to power
// off and ends QEMU after its --shutdown-timeout; a detached one is asked over QMP. Should that take
// longer than it may, it is killed.
#include "cli/vm_find.h"
#include "cli/vm_live.h"
#include "cli/vm_store.h"
#include "vm/state.h"

#include <stdint.h>
#include <stdio.h>

static const struct option_spec stop_options[] = {
    STOP_TIMEOUT_OPTION,
    {"kill", 'k', NULL, "End the VM at once, as if its power was cut", NULL},
    JSON_OPTION,
    {0},
};
static const struct option_spec restart_options[] = {STOP_TIMEOUT_OPTION, JSON_OPTION, {0}};

/* Of a VM that is suspended to disk; a temporary one goes with it. */
static int drop_state(const struct session *s, const char *name, struct error **err)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    if (named_vm_open(s->vmstore, name, &vm, err) < 0 || named_vm_lock(&vm, err) < 0 ||
        vm_state_drop(vm.dir, err) < 0)
        return -1;
    named_vm_clear(&vm);
    return vm_store_drop_temporary(s, name, err);
}

static int stop_one(const struct session *s, const struct args *a, const char *name,
                    struct error **err)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    int timeout_ms = 0;
    if (vm_live_stop_timeout(a, &timeout_ms, err) < 0 || vm_find(s, name, &vm, err) < 0)
        return -1;
    int rc = vm_live_stop(s, &vm, args_has(a, "kill"), timeout_ms, err);
    if (rc == 2) {
        json_auto_t *state = vm_state_read(vm.dir);
        if (state && args_has(a, "kill"))
            return drop_state(s, name, err);
        return vm_state_refuse(&vm, err) < 0
                   ? -1
                   : error_set(err, ERR_NOT_FOUND, "VM '%s' is not running", name);
    }
    return rc < 0 ? -1 : vm_store_drop_temporary(s, name, err);
}

static int restart_one(const struct session *s, const struct args *a, const char *name,
                       struct error **err)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    int timeout_ms = 0;
    if (vm_live_stop_timeout(a, &timeout_ms, err) < 0 || vm_find(s, name, &vm, err) < 0 ||
        vm_live_stop(s, &vm, false, timeout_ms, err) < 0)
        return -1;
    return vm_store_start(s, a, name, true, NULL, err);
}

/* A wrong timeout is reported once. */
static int each(struct session *s, const struct args *a, args_each_fn *fn, struct error **err)
{
    int timeout_ms = 0;
    return vm_live_stop_timeout(a, &timeout_ms, err) < 0 ? -1 : args_each(s, a, fn, err);
}

static int run_stop(struct session *s, const struct args *a, struct error **err)
{
    return each(s, a, stop_one, err);
}

static int run_restart(struct session *s, const struct args *a, struct error **err)
{
    return each(s, a, restart_one, err);
}

const struct command cmd_stop = {
    .name = "stop",
    .summary = "Power off VMs that run",
    .usage = "[options] NAME...",
    .detail = "The guest is asked to power off; what does not end in time is killed.\n",
    .options = stop_options,
    .min_args = 1,
    .max_args = SIZE_MAX,
    .flags = CMD_RESULT,
    .run = run_stop,
};

const struct command cmd_restart = {
    .name = "restart",
    .summary = "Power off VMs and start them in the background",
    .usage = "[options] NAME...",
    .detail = "As 'kiln stop' and 'kiln start -d'; a VM that does not run is started.\n",
    .options = restart_options,
    .min_args = 1,
    .max_args = SIZE_MAX,
    .flags = CMD_RESULT,
    .run = run_restart,
};
