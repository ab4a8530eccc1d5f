// SPDX-License-Identifier: MIT
#include "cli/vm_prepare.h"

#include "base/alloc.h"
#include "vm/ssh_key.h"

bool vm_prepare_wanted(const struct args *a, const struct vm_copies *copies)
{
    return args_has(a, "inject") || (args_has(a, "hostname") && !args_has(a, "cloud-init")) ||
           (copies && copies->in.len && !copies->direct);
}

static int inject(struct offline *off, const struct args *a, struct vm_spec *spec, const char *dir,
                  struct error **err)
{
    struct offline_login login = {.hostname =
                                      args_has(a, "cloud-init") ? NULL : args_get(a, "hostname")};
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

int vm_prepare(const struct session *s, const struct args *a, struct vm_spec *spec,
               const struct vm_copies *copies, const struct offline_options *disk,
               struct error **err)
{
    if (args_has(a, "inject") && spec->ssh.key)
        return error_set(err, ERR_USAGE, "--inject and --ssh-key do not go together");
    CLEANUP(offline_freep) struct offline *off = offline_open(s, disk, err);
    if (!off || inject(off, a, spec, disk->scratch, err) < 0 ||
        (copies && !copies->direct && vm_copy_in_offline(off, copies, err) < 0))
        return -1;
    return offline_finish(off, err);
}
