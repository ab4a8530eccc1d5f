/* SPDX-License-Identifier: MIT
 *
 * What a command may not do although it is root: its traces would be in the builder VM, not in the
 * image. See imagefile(5), --security.
 */
#ifndef BUILDER_AGENT_PRIVILEGES_H
#define BUILDER_AGENT_PRIVILEGES_H

/* Takes capabilities from the calling process and all it will start. -1 with errno. */
int privileges_drop(void);

#endif
