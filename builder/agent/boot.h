/* SPDX-License-Identifier: MIT
 *
 * What happens once, before the agent listens (and so before the template is saved): file systems
 * of the builder VM itself, modules, network, finding the disks.
 */
#ifndef BUILDER_AGENT_BOOT_H
#define BUILDER_AGENT_BOOT_H

struct agent;

/* Failures are console lines: what does not work is reported by the request that needs it. */
void boot(struct agent *a);

#endif
