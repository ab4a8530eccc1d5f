/* SPDX-License-Identifier: MIT
 *
 * Block devices that a command has set up and left: they would keep files of the image open, and
 * the next command, which may come from the cache's layers in another VM, must not see them.
 */
#ifndef BUILDER_AGENT_LEFTOVER_H
#define BUILDER_AGENT_LEFTOVER_H

#include "builder/agent/agent.h"

/* Detaches loop devices and removes device mapper's. Logical volumes on the target's own disk stay
 * active and become its volumes: they would be when the disk is mounted the next time. To be called
 * when no process of the command is left. What cannot be removed is a console line. */
void leftovers_remove(struct agent *a);

#endif
