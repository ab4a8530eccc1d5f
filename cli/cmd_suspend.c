// SPDX-License-Identifier: MIT
//
// kiln suspend, resume: QEMU's stop and cont, or vm/state.h. kiln wait; kiln rename.
#include "base/alloc.h"
#include "base/json.h"
#include "cli/vm_find.h"
#include "cli/vm_live.h"
#include "cli/vm_store.h"
#include "vm/detached.h"
#include "vm/qmp.h"
#include "vm/state.h"

#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static const struct option_spec done_options[] = {JSON_OPTION, {0}};
static const struct option_spec suspend_options[] = {
    {"to-disk", 0, NULL, "Write the memory to the VM's folder and end QEMU", NULL},
    JSON_OPTION,
    {0},
};

enum { ANSWER_MS = 10000 };

/* A VM that runs in the background. */
static int open_live(const struct session *s, const char *name, struct vm_live *live,
                     struct error **err)
{
    if (vm_live_open(s, name, live, err) < 0)
        return -1;
    if (vm_is_detached(live->vm.dir))
        return 0;
    error_set(err, ERR_USER, "VM '%s' does not run in the background", name);
    return error_hint(err, "only a VM of 'kiln start -d' or 'kiln run -d' can be suspended");
}

static int tell(const struct session *s, const char *name, const char *command, struct error **err)
{
    CLEANUP(vm_live_clear) struct vm_live live = VM_LIVE_INIT;
    if (open_live(s, name, &live, err) < 0)
        return -1;
    CLEANUP(qmp_freep) struct qmp *q = vm_detached_qmp(s, live.vm.dir, err);
    if (q && !strcmp(command,
                     "cont")) // a kiln that was killed while it saved the VM has left that going
        (void)qmp_command(q, "migrate_cancel", NULL, ANSWER_MS, NULL, NULL);
    return q ? qmp_command(q, command, NULL, ANSWER_MS, NULL, err) : -1;
}

static int suspend_one(const struct session *s, const struct args *a, const char *name,
                       struct error **err)
{
    CLEANUP(vm_live_clear) struct vm_live live = VM_LIVE_INIT;
    if (!args_has(a, "to-disk"))
        return tell(s, name, "stop", err);
    return open_live(s, name, &live, err) < 0 ? -1 : vm_state_save(s, &live.vm, err);
}

/* Of one that ended while it was suspended in memory: with the host, or QEMU killed. */
static int check_lost(const struct named_vm *vm, struct error **err)
{
    AUTO_FREE char *last = named_vm_runs(vm) ? NULL : vm_detached_state(vm->dir);
    if (!last || strcmp(last, "paused") != 0)
        return 0;
    error_set(err, ERR_NOT_FOUND,
              "VM '%s' is not running: it ended while it was suspended, and its memory is lost",
              vm->name);
    return error_hint(err, "'kiln start -d %s' boots it; 'suspend --to-disk' keeps the memory",
                      vm->word);
}

static int resume_one(const struct session *s, const struct args *a, const char *name,
                      struct error **err)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    if (vm_find(s, name, &vm, err) < 0)
        return -1;
    json_auto_t *state = named_vm_runs(&vm) ? NULL : vm_state_read(vm.dir);
    if (state)
        return vm_store_start(s, a, name, true, NULL, err);
    return check_lost(&vm, err) < 0 ? -1 : tell(s, name, "cont", err);
}

static int wait_one(const struct session *s, const struct args *a, const char *name,
                    struct error **err)
{
    enum { LOOK_MS = 100 };
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    (void)a;
    if (vm_find(s, name, &vm, err) < 0)
        return -1;
    while (named_vm_runs(&vm)) {
        struct pollfd p = {.fd = s->cancel_fd, .events = POLLIN};
        if (poll(&p, 1, LOOK_MS) > 0)
            return error_set(err, ERR_CANCELLED, "interrupted");
    }
    return vm_store_drop_temporary(s, name, err);
}

static int run_suspend(struct session *s, const struct args *a, struct error **err)
{
    return args_each(s, a, suspend_one, err);
}

static int run_resume(struct session *s, const struct args *a, struct error **err)
{
    return args_each(s, a, resume_one, err);
}

static int run_wait(struct session *s, const struct args *a, struct error **err)
{
    return args_each(s, a, wait_one, err);
}

static int run_rename(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    if (vm_find(s, a->pos[0], &vm, err) < 0 || named_vm_lock(&vm, err) < 0)
        return -1;
    (void)json_object_set_new(a->result, "name", json_string(a->pos[1]));
    return named_vm_rename(s->vmstore, &vm, a->pos[1], err);
}

const struct command cmd_suspend = {
    .name = "suspend",
    .summary = "Suspend VMs in the background; their memory is kept",
    .usage = "[--to-disk] NAME...",
    .options = suspend_options,
    .min_args = 1,
    .max_args = SIZE_MAX,
    .flags = CMD_RESULT,
    .run = run_suspend,
};

const struct command cmd_resume = {
    .name = "resume",
    .summary = "Resume suspended VMs",
    .usage = "NAME...",
    .options = done_options,
    .min_args = 1,
    .max_args = SIZE_MAX,
    .flags = CMD_RESULT,
    .run = run_resume,
};

const struct command cmd_wait = {
    .name = "wait",
    .summary = "Wait until VMs have ended",
    .usage = "NAME...",
    .options = done_options,
    .min_args = 1,
    .max_args = SIZE_MAX,
    .flags = CMD_RESULT,
    .run = run_wait,
};

const struct command cmd_rename = {
    .name = "rename",
    .summary = "Give a VM that does not run another name",
    .usage = "NAME NEW-NAME",
    .options = done_options,
    .min_args = 2,
    .max_args = 2,
    .flags = CMD_RESULT,
    .run = run_rename,
};
