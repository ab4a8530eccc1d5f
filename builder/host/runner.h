/* SPDX-License-Identifier: MIT
 *
 * The host itself as a runner, for steps that only write files: COPY and ADD of what is not in
 * another image, WORKDIR, and new disks with ext4. No VM is started; kiln-ext4 (builder/ext4/job.h),
 * a program in a sandbox, changes the file system in the overlay.
 *
 *     // given struct runner_options options; struct runner_wait wait;
 *     struct runner *r;
 *     host_runner.start(session, &options, &r, &err);
 *     if (runner_mkdir(r, "/srv", NULL, wait, &err) < 0 && runner_worth_retry(r)) ...  // another runner
 *
 * The result is the same tree as the builder VM's. Whatever is unusual, and whatever fails but for an
 * interruption and a deadline, it declines: runner_worth_retry is then true, the target's top file is
 * of no use, and the step is to be run in the VM, whose errors say more. So it is with all that it
 * cannot do at all, such as commands.
 */
#ifndef BUILDER_HOST_RUNNER_H
#define BUILDER_HOST_RUNNER_H

#include "builder/runner/runner.h"

extern const struct runner_ops host_runner;

#endif
