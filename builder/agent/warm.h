/* SPDX-License-Identifier: MIT
 *
 * Runs the image's shell once on nothing, while its first RUN is being prepared.
 *
 * Under TCG the first run of a program costs its translation and its reading from the disk, each
 * some tens of milliseconds for a shell with its libraries. What a second processor has gone
 * through meanwhile is there when the command starts: what is translated is found by physical and
 * virtual address, and both are the same for both processes (norandmaps).
 */
#ifndef BUILDER_AGENT_WARM_H
#define BUILDER_AGENT_WARM_H

#include "builder/agent/agent.h"

/* Starts `shell -c :` in the tree of a slot, which it can only read, in namespaces of its own; its
 * pid, or 0: a failure is nobody's. */
pid_t warm_start(const struct slot *s, const char *shell);
/* Ends and reaps it; 0 is fine. */
void warm_end(pid_t pid);

#endif
