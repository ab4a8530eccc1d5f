/* SPDX-License-Identifier: MIT
 *
 * File systems through which a command would change the VM itself: a /proc of its own has kernel
 * parameters that can be written to, control groups outlive who made them. Such a mount is allowed
 * (chroot scripts do it), and remembered: see changes.h.
 */
#ifndef BUILDER_AGENT_MOUNTING_H
#define BUILDER_AGENT_MOUNTING_H

/* From now on, new mounts by the calling process and all it starts wait until mounting_answer lets
 * them go on. A descriptor to poll for POLLIN, -1 with errno. The caller itself may only remount,
 * bind and move. */
int mounting_watch(void);
/* Lets one go on. The type of the file system, owned, if it counts; else NULL. */
char *mounting_answer(int fd);

#endif
