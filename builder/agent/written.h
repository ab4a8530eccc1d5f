/* SPDX-License-Identifier: MIT
 *
 * What a command writes to kernel parameters, by whatever mount of /proc and /sys, and to the
 * target's disk past its file systems: the other half of changes.h, for the process that has the
 * command's namespaces.
 */
#ifndef BUILDER_AGENT_WRITTEN_H
#define BUILDER_AGENT_WRITTEN_H

#include "builder/agent/disk.h"

struct written {
    int parameters, disks; /* descriptors; -1 = cannot be watched */
};
#define WRITTEN_INIT \
    { \
        -1, -1 \
    }

/* `tree` is the command's root, where /proc, /sys and /dev are mounted. */
void written_watch(struct written *w, const char *tree, const struct volumes *volumes);
/* The first file that was written to, owned; NULL: none. Ends the watch. */
char *written_seen(struct written *w, const char *tree);

#endif
