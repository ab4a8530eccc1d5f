// SPDX-License-Identifier: MIT
//
// kiln ci reap: for runners that were killed, or whose host lost power in the middle.
#include "base/alloc.h"
#include "base/json.h"
#include "cli/ci_job.h"
#include "cli/command.h"
#include "cli/vm_store.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static const struct option_spec options[] = {
    {"max-age", 0, "TIME", "Also VMs of jobs that were prepared longer ago (12h, 7d)", NULL},
    {"dry-run", 'n', NULL, "Only say what would be removed", NULL},
    JSON_OPTION,
    {0},
};

/* As QEMU sees it: a runner of systemd's has a /tmp of its own (PrivateTmp). What we may not look at is
 * there. */
static bool tmp_is_gone(const struct named_vm *vm, const char *tmp)
{
    pid_t pid = named_vm_process(vm);
    AUTO_FREE char *path = pid > 0 ? xasprintf("/proc/%d/root%s", (int)pid, tmp) : xstrdup(tmp);
    return access(path, F_OK) < 0 && errno == ENOENT;
}

static bool is_lost(const struct session *s, const char *name, long long max_age)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    if (named_vm_open(s->vmstore, name, &vm, NULL) < 0)
        return false;
    const json_t *ci = json_object_get(vm.config, "ci");
    const char *tmp = json_str(ci, "tmp");
    long long age = (long long)time(NULL) - json_int(vm.config, "created", 0);
    return ci && ((tmp && tmp_is_gone(&vm, tmp)) || (max_age && age > max_age));
}

/* Prints it, or adds it to the result. */
static void tell(const struct args *a, json_t *removed, const char *name)
{
    (void)json_array_append_new(removed, json_string(name));
    if (!a->result)
        puts(name);
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(strv_clear) struct strv names = {0};
    CLEANUP(error_freep) struct error *last = NULL;
    long long max_age = 0;
    json_t *removed = a->result ? json_array() : NULL;
    if (removed)
        (void)json_object_set_new(a->result, "removed", removed);
    if (args_seconds(a, "max-age", &max_age, err) < 0)
        return -1;
    vm_store_sweep(s);
    if (named_vm_list(s->vmstore, &names, err) < 0)
        return -1;
    vec_foreach (char **, name, &names) {
        struct error *why = NULL;
        if (session_cancelled(s))
            return error_set(err, ERR_CANCELLED, "interrupted");
        if (!is_lost(s, *name, max_age))
            continue;
        if (args_has(a, "dry-run") || ci_vm_remove(s, *name, &why) == 0) {
            tell(a, removed, *name);
            continue;
        }
        if (last) // the others go all the same
            print_error(last);
        error_free(last);
        last = why;
    }
    return last ? error_propagate(err, STEAL(last)) : 0;
}

const struct command cmd_ci_reap = {
    .name = "ci reap",
    .summary = "Remove VMs whose CI job is gone",
    .usage = "[options]",
    .detail =
        "A job is gone when the runner has removed its temporary folder. Prints the names of the "
        "VMs.\n",
    .options = options,
    .flags = CMD_RESULT,
    .run = run,
};
