/* SPDX-License-Identifier: MIT
 *
 * The builder VM's disks: found by serial, watched for their size, and what lies on them.
 */
#ifndef BUILDER_AGENT_DISK_H
#define BUILDER_AGENT_DISK_H

#include "builder/agent/agent.h"
#include "builder/agent/probe.h"

/* A block device of a slot that may hold a file system. */
struct volume {
    char name[64];            /* below /dev: "vda1", "vda", "dm-0" */
    char lv[128];             /* of a logical volume: its device mapper name, "vg-root"; else "" */
    int number;               /* of the partition; 0 = the whole disk, or a logical volume */
    uint64_t size;            /* bytes */
    struct table_entry entry; /* all zero when it is not a partition of a readable table */
    struct probed fs;
};
DEFINE_VECTOR(volumes, struct volume);

/* Fills in the disk of every slot of the agent. */
void disk_find_slots(struct agent *a);
uint64_t disk_size(const char *disk); /* bytes */

/* The partitions of a disk, or the disk itself if it has no partition table, with what is on them.
 * ret_table is "gpt", "mbr" or "none". Volumes of LVM are not among them. */
int disk_volumes(const char *disk, struct volumes *ret, const char **ret_table, struct error **err);
/* Looks what is on /dev/<v->name> and fills in size and fs. */
int disk_probe(struct volume *v, struct error **err);
/* The partition nodes appear again after the table has changed. */
int disk_reread(const char *disk, struct error **err);

/* "vda1 (ext4, 2.00 GiB), vda2 (nothing known, 1 MiB)": for messages; owned. */
char *disk_describe(const struct volumes *v);

#endif
