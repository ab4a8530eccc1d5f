// SPDX-License-Identifier: MIT
//
// kiln cp: cli/cp_copy.h with a VM that runs.
#include "base/alloc.h"
#include "cli/cp_copy.h"
#include "cli/vm_live.h"

#include <stdio.h>
#include <string.h>

/* One of the two arguments. */
struct place {
    char *vm;         /* owned; NULL: on the host */
    const char *path; /* "-": a tar stream, on the host */
};

static void place_clear(struct place *p)
{
    free(p->vm);
}

static struct place place_parse(const char *arg)
{
    const char *colon = strchr(arg, ':');
    if (!colon || colon == arg || *arg == '/' || *arg == '.')
        return (struct place){NULL, arg};
    return (struct place){xasprintf("%.*s", (int)(colon - arg), arg), colon[1] ? colon + 1 : "."};
}

static bool is_stream(const struct place *p)
{
    return !p->vm && !strcmp(p->path, "-");
}

static int check(const struct place *from, const struct place *to, struct error **err)
{
    if (from->vm && to->vm) {
        error_set(err, ERR_USAGE, "cannot copy from one VM to another");
        return error_hint(err, "kiln cp %s:%s - | kiln cp - %s:%s", from->vm, from->path, to->vm,
                          to->path);
    }
    if (!from->vm && !to->vm) {
        error_set(err, ERR_USAGE, "neither of the two names a VM");
        return error_hint(err, "kiln cp %s NAME:%s", from->path, to->path);
    }
    if (is_stream(to) && isatty(STDOUT_FILENO))
        return error_set(err, ERR_USAGE, "a tar stream does not go to a terminal");
    return 0;
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(place_clear) struct place from = place_parse(a->pos[0]);
    CLEANUP(place_clear) struct place to = place_parse(a->pos[1]);
    CLEANUP(vm_live_clear) struct vm_live live = VM_LIVE_INIT;
    bool follow = args_has(a, "follow-link");
    if (check(&from, &to, err) < 0 || vm_live_open(s, from.vm ? from.vm : to.vm, &live, err) < 0)
        return -1;
    CLEANUP(vm_ssh_freep) struct vm_ssh *ssh = vm_live_login(s, a, &live, err);
    if (!ssh)
        return -1;
    struct cp_guest guest = cp_guest_ssh(ssh, live.vm.name);
    if (from.vm)
        return cp_copy_out(&guest, from.path, to.path, follow, err);
    return is_stream(&from) ? cp_copy_stream_in(&guest, to.path, err)
                            : cp_copy_in(&guest, from.path, to.path, follow, err);
}

static const struct option_spec options[] = {
    LOGIN_OPTIONS, {"follow-link", 'L', NULL, "Copy what a symbolic link leads to", NULL}, {0}};

const struct command cmd_cp = {
    .name = "cp",
    .summary = "Copy files between the host and a VM that runs",
    .usage = "[options] NAME:PATH PATH|-\n       kiln cp [options] PATH|- NAME:PATH",
    .detail =
        "Files and folders, with their modes. - is a tar stream on stdin or stdout. A PATH of the\n"
        "host with ':' in it begins with / or ./.\n",
    .options = options,
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
