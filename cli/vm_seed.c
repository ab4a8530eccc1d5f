// SPDX-License-Identifier: MIT
#include "cli/vm_seed.h"

#include "base/alloc.h"
#include "base/file.h"
#include "vm/seed.h"
#include "vm/ssh_key.h"

#include <string.h>

enum { PART_MAX = 16 << 20 };

/* The file that an option names. */
static int read_file(const struct args *a, const char *option, struct buf *ret, struct error **err)
{
    if (file_read(args_get(a, option), PART_MAX, ret, err) < 0)
        return error_wrap(err, "argument --%s", option);
    return 0;
}

/* The keys for the guest: those of a file, or the VM's own. */
static int take_keys(const struct args *a, const struct vm_spec *spec, const char *dir,
                     struct buf *ret, struct error **err)
{
    const char *file = args_get(a, "public-key");
    if (file)
        return read_file(a, "public-key", ret, err);
    AUTO_FREE char *private =
        spec->ssh.key ? vm_ssh_key_read(spec->ssh.key, err) : vm_ssh_key_in(dir, err);
    AUTO_FREE char *line = private ? vm_ssh_key_public(private, err) : NULL;
    if (!line)
        return -1;
    buf_adds(ret, line);
    return 0;
}

int vm_seed_make(const struct args *a, const char *name, struct vm_spec *spec, const char *dir,
                 struct error **err)
{
    const char *file = args_get(a, "cloud-init"), *network = args_get(a, "network-config");
    bool raw = file && strcmp(file, "-") != 0;
    CLEANUP(buf_clear) struct buf keys = BUF_INIT, user_data = BUF_INIT, config = BUF_INIT;
    if (!file && (network || args_get(a, "public-key")))
        return error_set(err, ERR_USAGE, "argument --%s: needs --cloud-init",
                         network ? "network-config" : "public-key");
    if (!file)
        return 0;
    if (raw && args_get(a, "public-key"))
        return error_set(err, ERR_USAGE, "argument --public-key: write the key into the user-data");
    if (!raw && !spec->ssh.user)
        vm_spec_set(&spec->ssh.user, "vm");
    if ((raw ? read_file(a, "cloud-init", &user_data, err) : take_keys(a, spec, dir, &keys, err)) <
            0 ||
        (network && read_file(a, "network-config", &config, err) < 0))
        return -1;
    AUTO_FREE char *path = path_join(dir, VM_SEED);
    struct vm_seed seed = {.name = name,
                           .hostname = args_get(a, "hostname"),
                           .user = spec->ssh.user,
                           .public_keys = keys.data};
    if (raw)
        seed.user_data = buf_str(&user_data);
    if (network)
        seed.network_config = buf_str(&config);
    return vm_seed_write(path, &seed, err);
}
