/* SPDX-License-Identifier: MIT
 *
 * How libguestfs reaches its daemon in a VM that it did not start. It wants to start a QEMU, whose
 * virtio port then connects to a socket of its own; so it is given this program for a QEMU, which
 * connects to that socket, starts nothing, and passes on to another one of its kind what comes.
 *
 *     // given int port; const char *folder;
 *     if (!channel_is_qemu())                     // else libguestfs has started us: channel_qemu
 *         (void)channel_start(port, folder);      // before guestfs_launch
 */
#ifndef BUILDER_GUESTFS_CHANNEL_H
#define BUILDER_GUESTFS_CHANNEL_H

#include <stdbool.h>

/* port: a descriptor of the VM's port, which ends with the program. The socket lies in folder.
 * -1 with errno. */
int channel_start(int port, const char *folder);

bool channel_is_qemu(void);
/* Passes bytes until an end closes; a question about its features goes to the real QEMU. The exit
 * status. */
int channel_qemu(char **argv);

#endif
