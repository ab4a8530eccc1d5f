/* SPDX-License-Identifier: MIT
 *
 * Runs one of the builder VM's own programs (mkfs, sfdisk, lvm).
 */
#ifndef BUILDER_AGENT_PROGRAM_H
#define BUILDER_AGENT_PROGRAM_H

#include "base/buf.h"
#include "builder/agent/agent.h"

/*
 * argv[0] is found in the builder VM's PATH. `input` (may be empty) is its stdin. What it writes is
 * shown to nobody; anything but exit status 0 is an error that quotes the line which says why.
 * Answers PING meanwhile.
 */
int program_run(struct agent *a, char *const argv[], struct str input, struct error **err);

#endif
