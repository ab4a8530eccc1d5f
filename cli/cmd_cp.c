// SPDX-License-Identifier: MIT
//
// kiln cp: cli/cp_copy.h with a VM that runs, cli/vm_copy.h with one that does not.
#include "base/alloc.h"
#include "base/buf.h"
#include "cli/cp_copy.h"
#include "cli/vm_copy.h"
#include "cli/vm_live.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* One of the two arguments. */
struct place {
    char *vm;         /* owned; NULL: on the host */
    const char *path; /* "-": a tar stream, on the host */
};

static void place_clear(struct place *p)
{
    free(p->vm);
}

/* The colon behind the name of a VM that is there, as names may hold some; else the first; NULL. */
static const char *name_end(const char *vmstore, const char *arg)
{
    for (const char *p = arg; (p = strchr(p, ':')); p++) {
        CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
        AUTO_FREE char *name = xstrndup(arg, (size_t)(p - arg));
        if (named_vm_open(vmstore, name, &vm, NULL) == 0)
            return p;
    }
    return strchr(arg, ':');
}

static struct place place_parse(const char *vmstore, const char *arg)
{
    bool on_host = *arg == '/' || *arg == '.' || *arg == ':';
    const char *colon = on_host ? NULL : name_end(vmstore, arg);
    if (!colon)
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
        AUTO_FREE char *source = xasprintf("%s:%s", from->vm, from->path);
        AUTO_FREE char *target = xasprintf("%s:%s", to->vm, to->path);
        AUTO_FREE char *source_word = shell_word(source), *target_word = shell_word(target);
        return error_hint(err, "kiln cp %s - | kiln cp - %s", source_word, target_word);
    }
    if (!from->vm && !to->vm) {
        error_set(err, ERR_USAGE, "neither of the two names a VM");
        AUTO_FREE char *target = xasprintf("NAME:%s", to->path);
        AUTO_FREE char *source_word = shell_word(from->path), *target_word = shell_word(target);
        return error_hint(err, "kiln cp %s %s", source_word, target_word);
    }
    if (is_stream(to) && isatty(STDOUT_FILENO))
        return error_set(err, ERR_USAGE, "a tar stream does not go to a terminal");
    return 0;
}

static bool is_off(const struct session *s, const char *name)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    return named_vm_open(s->vmstore, name, &vm, NULL) == 0 && !named_vm_runs(&vm);
}

/* In the builder VM, on the disk of a VM that does not run. */
static int copy_offline(const struct session *s, const char *vm, const struct place *from,
                        const struct place *to, bool follow, struct error **err)
{
    const char *there = from->vm ? from->path : to->path;
    CLEANUP(vm_copies_clear) struct vm_copies copies = {.timeout_ms = -1, .links = !follow};
    if (*there != '/') {
        error_set(err, ERR_USER, "VM '%s' does not run: '%s' must be an absolute path", vm, there);
        return error_hint(err, "a login's folder is known while it runs: 'kiln start -d'");
    }
    if (from->vm)
        return vm_copy_from(s, vm, from->path, to->path, follow, err);
    if (is_stream(from)) {
        error_set(err, ERR_USER, "VM '%s' does not run, and a tar stream needs its tar", vm);
        return error_hint(err, "'kiln start -d' starts it");
    }
    if (access(from->path, F_OK) < 0)
        return error_errno(err, "cannot copy '%s'", from->path);
    strv_add(&copies.in, from->path);
    strv_add(&copies.in, to->path);
    return vm_copy_in(s, vm, &copies, err);
}

/* One source. */
static int copy(struct session *s, const struct args *a, const struct place *from,
                const struct place *to, struct error **err)
{
    CLEANUP(vm_live_clear) struct vm_live live = VM_LIVE_INIT;
    bool follow = args_has(a, "follow-link");
    const char *vm = from->vm ? from->vm : to->vm;
    if (!args_has(a, "wait") && is_off(s, vm))
        return copy_offline(s, vm, from, to, follow, err);
    if (vm_live_await(s, a, vm, &live, err) < 0)
        return -1;
    CLEANUP(vm_ssh_freep) struct vm_ssh *ssh = vm_live_login(s, a, &live, err);
    if (!ssh)
        return -1;
    struct cp_guest guest = cp_guest_ssh(ssh, live.vm.name);
    if (from->vm)
        return cp_copy_out(&guest, from->path, to->path, follow, err);
    return is_stream(from) ? cp_copy_stream_in(&guest, to->path, err)
                           : cp_copy_in(&guest, from->path, to->path, follow, err);
}

/* What several are copied to is a folder. */
static int check_folder(const struct place *from, const struct place *to, struct error **err)
{
    struct stat st;
    if (is_stream(from) || is_stream(to))
        return error_set(err, ERR_USAGE, "a tar stream stands for one source alone");
    if (to->vm || (stat(to->path, &st) == 0 && S_ISDIR(st.st_mode)))
        return 0;
    return error_set(err, ERR_USER, "several sources are copied into a folder, and '%s' is not one",
                     to->path);
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    size_t n = a->n_pos - 1;
    if (args_user(a, "user", NULL, err) < 0)
        return -1;
    CLEANUP(place_clear) struct place to = place_parse(s->vmstore, a->pos[n]);
    AUTO_FREE char *folder = n > 1 && to.vm ? xasprintf("%s/.", to.path) : NULL;
    for (size_t i = 0; i < n; i++) {
        CLEANUP(place_clear) struct place from = place_parse(s->vmstore, a->pos[i]);
        if (check(&from, &to, err) < 0 || (n > 1 && check_folder(&from, &to, err) < 0))
            return -1;
    }
    if (folder)
        to.path = folder;
    for (size_t i = 0; i < n; i++) {
        CLEANUP(place_clear) struct place from = place_parse(s->vmstore, a->pos[i]);
        if (copy(s, a, &from, &to, err) < 0)
            return -1;
    }
    return 0;
}

static const struct option_spec options[] = {
    LOGIN_OPTIONS, {"follow-link", 'L', NULL, "Copy what a symbolic link leads to", NULL}, {0}};

const struct command cmd_cp = {
    .name = "cp",
    .summary = "Copy files between the host and a VM",
    .usage = "[options] NAME:PATH... PATH|-\n       kiln cp [options] PATH...|- NAME:PATH",
    .detail =
        "Files and folders, with their modes. - is a tar stream on stdin or stdout. A PATH of the\n"
        "host with ':' in it begins with / or ./. Several are copied into a folder.\n",
    .options = options,
    .min_args = 2,
    .max_args = SIZE_MAX,
    .run = run,
};
