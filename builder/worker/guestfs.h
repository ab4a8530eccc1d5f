/* SPDX-License-Identifier: MIT
 *
 * libguestfs as a runner: the builder VM, whose target is found and mounted by libguestfs. For disks
 * that the builder VM's own kernel and agent can make nothing of: NTFS, for example.
 *
 *     // given struct runner_options options;
 *     struct runner *r;
 *     guestfs_runner.start(session, &options, &r, &err);
 *     runner_mount(r, RUNNER_TARGET, false, NULL, &err);     // as libguestfs's inspection says
 *
 * libguestfs's daemon runs in the builder VM, in a chroot of its appliance (guestfs_disk.h); its
 * library is in a program of its own (builder/guestfs/job.h), which this drives. What it has mounted
 * is a tree for the agent like any other, so all requests, results and layers are the builder VM's.
 * A command is refused where the guest is no Linux of this architecture, and where a file system is
 * served by a program (NTFS), which a command's end would end, too.
 */
#ifndef BUILDER_WORKER_GUESTFS_H
#define BUILDER_WORKER_GUESTFS_H

#include "builder/runner/runner.h"

extern const struct runner_ops guestfs_runner;

/* Of such a runner: what libguestfs's inspection knows of its target, which is not mounted, as "inspect"
 * of builder/guestfs/job.h. New reference. */
json_t *guestfs_inspect(struct runner *r, struct error **err);

#endif
