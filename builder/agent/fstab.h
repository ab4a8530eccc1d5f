/* SPDX-License-Identifier: MIT
 *
 * An image's /etc/fstab and /etc/os-release as text. Pure. fstab(5), os-release(5).
 */
#ifndef BUILDER_AGENT_FSTAB_H
#define BUILDER_AGENT_FSTAB_H

#include "base/buf.h"
#include "base/vector.h"

#include <stdbool.h>

struct fstab_entry {
    char *spec; /* "UUID=…", "/dev/vda1", "tmpfs"; escapes and quotes are resolved */
    char *file; /* mount point: absolute, without a '/' at its end (but "/" itself) */
    char *type;
    char *options;
};
DEFINE_VECTOR(fstab, struct fstab_entry);

/* Adds the entries in the order in which they must be mounted: by depth, else as they stand.
 * Lines that are no entries (fewer than two fields, a relative mount point) are left out. */
void fstab_parse(struct str text, struct fstab *ret);
void fstab_free(struct fstab *f); /* with what the entries own */

/* Whether the options hold `name` as a whole word ("nofail"). */
bool fstab_has_option(const struct fstab_entry *e, const char *name);
/* The value of "name=value" among the options; owned, NULL when absent. */
char *fstab_option(const struct fstab_entry *e, const char *name);
/* Whether kiln mounts it: a file system on a local block device, not swap, not noauto, not /. */
bool fstab_is_local(const struct fstab_entry *e);

/* The value of NAME="value" in a file of shell assignments (os-release); owned, NULL if absent. */
char *os_release_get(struct str text, const char *name);

#endif
