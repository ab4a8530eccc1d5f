/* SPDX-License-Identifier: MIT
 *
 * Seeds for cloud-init: an ISO 9660 image with the label "cidata", which its data source NoCloud reads
 * at the guest's first boot.
 *
 *     struct vm_seed seed = {.name = "web", .hostname = "web", .user = "debian"};
 *     seed.public_keys = "ssh-ed25519 AAAA… me";
 *     vm_seed_write("/srv/web/seed.iso", &seed, &err);
 *
 * The instance-id is made of the name and of what is in the seed, so that cloud-init takes a changed one
 * for a new machine and runs again.
 */
#ifndef VM_SEED_H
#define VM_SEED_H

#include "base/buf.h"
#include "base/error.h"

/* In a VM's folder; vm_run_options.seed is its path. */
#define VM_SEED "seed.iso"

/* Everything is borrowed. */
struct vm_seed {
    const char *name;     /* of the VM */
    const char *hostname; /* NULL = the name */
    /* Who is made, with sudo for anything and no password, and let in by lines of authorized_keys. Not
     * used with user_data; user NULL = nobody. */
    const char *user, *public_keys;
    struct str user_data;      /* taken as it is; ptr NULL = as above */
    struct str network_config; /* ptr NULL = none */
};

/* ERR_EXISTS, ERR_SYSTEM; ERR_USER: a name that is not UTF-8. */
int vm_seed_write(const char *path, const struct vm_seed *seed, struct error **err);

#endif
