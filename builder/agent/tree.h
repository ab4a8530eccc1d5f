/* SPDX-License-Identifier: MIT
 *
 * The mounted tree of a slot: mounting, freezing, unmounting. What is mounted is kept in
 * struct slot, in order. Options are chosen for a builder whose disk is thrown away when anything
 * goes wrong: no barriers, no access times, freed blocks discarded at once.
 */
#ifndef BUILDER_AGENT_TREE_H
#define BUILDER_AGENT_TREE_H

#include "builder/agent/agent.h"
#include "builder/agent/disk.h"
#include "builder/agent/passwd.h"

struct tree_mount {
    const char *device; /* "/dev/vda1" */
    const char *fs;
    const char *path; /* in the builder VM; exists */
    const char *data; /* options of its own ("subvol=@"), or NULL */
    bool read_only;
};
/* Mounts and adds it to the slot. */
int tree_mount(struct slot *s, const struct tree_mount *m, struct error **err);
/* Unmounts all of a slot, thawed before; ends LVM's use of the disk. Nothing mounted is fine. */
int tree_umount(struct agent *a, struct slot *s, struct error **err);
/* The tree's root, opened with O_PATH; -1 and an error when nothing is mounted. */
int tree_open(struct agent *a, int slot, struct error **err);

/* Users of the tree's own passwd and group (passwd.h); files that are missing count as empty. */
int tree_who(struct agent *a, int slot, const char *spec, struct who *ret, struct error **err);
int tree_owner(struct agent *a, int slot, const char *spec, uid_t *ret_uid, gid_t *ret_gid,
               struct error **err);

/* root.c: finds root on a slot's disk and mounts the whole tree. `want` names root's device (see
 * AGENT_MOUNT) or is NULL. */
int root_mount(struct agent *a, struct slot *s, int number, const char *want, bool read_only,
               struct error **err);
/* lvm.c: the volumes of the volume groups whose physical volumes are in `list`, activated and added
 * to `list`. Nothing to do without physical volumes. */
int lvm_activate(struct agent *a, struct slot *s, struct volumes *list, struct error **err);
/* The physical volume takes the size of its device, the logical one (by its device mapper name,
 * "vg-root") all that is free then. */
int lvm_grow(struct agent *a, const char *device, const char *lv, struct error **err);
int lvm_deactivate(struct agent *a, struct slot *s, struct error **err);
/* Whether the device ("dm-3") is a logical volume on the slot's disk; it is then one of its
 * volumes. */
bool lvm_adopt(struct slot *s, const char *dm);

#endif
