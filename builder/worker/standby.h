/* SPDX-License-Identifier: MIT
 *
 * A builder VM that is started while another one works, for the next stage: each chain of layers
 * has VMs of its own, and so a restore (0.1 s) and the first use of a disk (0.1 s under TCG) are
 * done on a processor that has nothing else to do. Nothing has run or was mounted in it.
 *
 *     // given struct runner_options options; struct runner_disk disk;
 *     struct standby *next = standby_start(session, &options);
 *     // a step runs in another VM meanwhile
 *     struct builder_vm *vm = standby_take(STEAL(next), &disk);
 */
#ifndef BUILDER_WORKER_STANDBY_H
#define BUILDER_WORKER_STANDBY_H

#include "builder/worker/vm.h"

struct standby;

/* Begins in a thread; options->target is ignored. NULL if there is no thread to be had. The session
 * is borrowed until the VM's end, memory and the rest of the options during the call; accel and cwd
 * until standby_take. */
struct standby *standby_start(const struct session *s, const struct runner_options *o);
/* Waits until it is up, and gives it its target. Frees sb. NULL: it did not come up; the log at
 * verbosity 1 says why, and another start will say it again. */
struct builder_vm *standby_take(struct standby *sb, const struct runner_disk *target);
/* Ends it, at once if it is not up yet. NULL is fine. */
void standby_free(struct standby *sb);

#endif
