/* SPDX-License-Identifier: MIT */
#ifndef BUILDER_AGENT_EXEC_H
#define BUILDER_AGENT_EXEC_H

#include "builder/agent/agent.h"
#include "builder/agent/sandbox.h"

/* Carries out what `s` says: its output goes to a's port as OUTPUT of the current request, frames
 * for that request are taken meanwhile. *ret_status is a wait status. Error: the command could not
 * be started, or its first process was killed. */
int exec_sandbox(struct agent *a, struct sandbox *s, bool with_stdin, int *ret_status,
                 struct error **err);

#endif
