// SPDX-License-Identifier: MIT
#include "cli/vm_prepare.h"

#include "base/alloc.h"
#include "base/login_name.h"
#include "base/session.h"
#include "qcow2/head.h"
#include "qcow2/qcow2.h"
#include "vm/ssh_key.h"

#include <string.h>
#include <unistd.h>

enum growth { GROW_NO, GROW_TRY, GROW_MUST };

/* A CI job's VM has none. */
static bool has_seed(const struct args *a)
{
    return command_option(a->command, "cloud-init") && args_has(a, "cloud-init");
}

static bool injects(const struct args *a, const struct vm_copies *copies)
{
    return args_has(a, "inject") || (args_has(a, "hostname") && !has_seed(a)) ||
           (copies && copies->in.len && !copies->direct);
}

static enum growth growth_of(const struct args *a)
{
    return args_has(a, "grow")                                   ? GROW_MUST
           : args_has(a, "disk-size") && !args_has(a, "no-grow") ? GROW_TRY
                                                                 : GROW_NO;
}

int vm_prepare_check(const struct args *a, struct error **err)
{
    const char *name = args_get(a, "hostname");
    size_t most = has_seed(a) ? HOST_NAME_BYTES_FULL : HOST_NAME_BYTES;
    if (!name || is_host_name(name, most))
        return 0;
    error_set(err, ERR_USAGE, "argument --hostname: '%.60s' can't be the name of a host", name);
    return error_hint(err, HOST_NAME_RULE, most);
}

bool vm_prepare_wanted(const struct args *a, const struct vm_copies *copies)
{
    return injects(a, copies) || growth_of(a) != GROW_NO;
}

static int inject(struct offline *off, const struct args *a, struct vm_spec *spec, const char *dir,
                  struct error **err)
{
    struct offline_login login = {.hostname = has_seed(a) ? NULL : args_get(a, "hostname")};
    AUTO_FREE char *private = NULL, *line = NULL;
    if (args_has(a, "inject")) {
        private = vm_ssh_key_in(dir, err);
        line = private ? vm_ssh_key_public(private, err) : NULL;
        if (!line)
            return -1;
        if (!spec->ssh.user)
            vm_spec_set(&spec->ssh.user, "root");
        login.user = spec->ssh.user;
        login.public_key = line;
    }
    return login.user || login.hostname ? offline_inject(off, &login, err) : 0;
}

/* cloud-init does nothing without a seed. With one it grows the disk as its user-data says. */
static bool guest_grows(struct offline *off, const struct args *a)
{
    static const char *const argv[] = {"command -v growpart && command -v cloud-init", "sh", NULL};
    struct runner_wait w = {-1, NULL, NULL};
    int status;
    return has_seed(a) && offline_shell(off, argv, w, &status, NULL) == 0 && !status;
}

static struct offline *open_grown(const struct session *s, const struct args *a,
                                  const struct offline_options *disk, enum growth growth,
                                  struct error **err)
{
    CLEANUP(offline_freep) struct offline *off = offline_open(s, disk, err);
    bool grow = off && (growth == GROW_MUST || (growth == GROW_TRY && !guest_grows(off, a)));
    return !off || (grow && offline_grow(off, err) < 0) ? NULL : STEAL(off);
}

/* The disk as it was before it was tried to grow: nothing is in it yet. */
static int empty_disk(const struct offline_options *disk, struct error **err)
{
    const char *top = disk->files[disk->n_files - 1];
    AUTO_FREE char *below = realpath(disk->files[disk->n_files - 2], NULL);
    struct qcow2_overlay overlay = {.size = disk->size, .backing = below, .sync = true};
    if (!below || unlink(top) < 0)
        return error_errno(err, "cannot remove '%s'", top);
    return qcow2_create_overlay(top, &overlay, err);
}

/* The builder VM with the disk, grown if it should and can. *ret NULL: nothing else is to be done. */
static int begin(const struct session *s, const struct args *a, const struct vm_copies *copies,
                 const struct offline_options *disk, struct offline **ret, struct error **err)
{
    CLEANUP(error_freep) struct error *why = NULL;
    enum growth growth = growth_of(a);
    uint64_t below = 0;
    if (growth == GROW_TRY && qcow2_size(disk->files[disk->n_files - 2], &below, err) < 0)
        return -1;
    if (growth == GROW_TRY && below == disk->size)
        growth = GROW_NO;
    *ret = NULL;
    if (growth == GROW_NO && !injects(a, copies))
        return 0;
    if ((*ret = open_grown(s, a, disk, growth, &why)) != NULL)
        return 0;
    if (growth != GROW_TRY || why->kind == ERR_CANCELLED)
        return error_propagate(err, STEAL(why));
    session_notice(s, "the guest has to use the larger disk itself: %s", why->message);
    if (empty_disk(disk, err) < 0)
        return -1;
    return !injects(a, copies) || (*ret = offline_open(s, disk, err)) ? 0 : -1;
}

int vm_prepare(const struct session *s, const struct args *a, struct vm_spec *spec,
               const struct vm_copies *copies, const struct offline_options *disk,
               struct error **err)
{
    CLEANUP(offline_freep) struct offline *off = NULL;
    if (args_has(a, "inject") && spec->ssh.key)
        return error_set(err, ERR_USAGE, "--inject and --ssh-key do not go together");
    if (args_has(a, "grow") && args_has(a, "no-grow"))
        return error_set(err, ERR_USAGE, "--grow and --no-grow do not go together");
    if (begin(s, a, copies, disk, &off, err) < 0)
        return -1;
    if (!off)
        return 0;
    if (inject(off, a, spec, disk->scratch, err) < 0 ||
        (copies && !copies->direct && vm_copy_in_offline(off, copies, err) < 0))
        return -1;
    return offline_finish(off, err);
}
