/* SPDX-License-Identifier: MIT
 *
 * The sign of life of the builder VM: a process of its own that sends back every byte it gets on
 * AGENT_PULSE_PORT, whatever the agent is busy with and however many processes a command has
 * started. A host that gets none back knows that the VM, not the command, is stuck.
 */
#ifndef BUILDER_AGENT_PULSE_H
#define BUILDER_AGENT_PULSE_H

/* Starts it; again after it has been killed with what a command left. Without it the host waits as
 * long as the command takes. */
void pulse_start(void);

#endif
