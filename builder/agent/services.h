/* SPDX-License-Identifier: MIT
 *
 * No service of the image starts while a RUN installs packages.
 *
 * Debian's invoke-rc.d asks the script /usr/sbin/policy-rc.d, and does nothing when that exits with
 * 101. An image that has such a script keeps it. Where there is none, one is put there only when
 * invoke-rc.d is about to be executed: the kernel asks us first (fanotify(7), FAN_OPEN_EXEC_PERM on
 * the folder's files, so that an invoke-rc.d which was replaced meanwhile counts too). A RUN that
 * installs nothing then changes nothing.
 */
#ifndef BUILDER_AGENT_SERVICES_H
#define BUILDER_AGENT_SERVICES_H

#include "builder/agent/scaffold.h"

struct services {
    int watch; /* the fanotify group; -1 = nothing left to watch for */
    int root;  /* O_PATH of the tree; borrowed */
    struct scaffolds *scaffolds;
};

/* Begins to watch the tree; a kernel without fanotify gets the script at once. On a disk that is
 * full or read-only there is none, which is better than no command. */
void services_forbid(struct services *s, int root, struct scaffolds *scaffolds);
/* To be called when `watch` is readable: whoever executes something there waits for it. */
void services_answer(struct services *s);
/* Waits until fd is readable or closed, answering meanwhile. */
void services_wait(struct services *s, int fd);
/* Lets everything go on. It must be called before what waits can be killed and reaped. */
void services_end(struct services *s);

#endif
