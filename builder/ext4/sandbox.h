/* SPDX-License-Identifier: MIT
 *
 * The wall between a file system of unknown origin and the host. libext2fs trusts metadata more than
 * a stranger's image deserves, and a RUN may have written anything to its disk. So what reads it is a
 * program of its own that holds nothing but open files: the layers (read-only), the overlay it
 * writes, a stream. Once inside it can make no system call but reads and writes of those, memory, and
 * its end: no path, no socket, no other process. What it leaves in the overlay is what a RUN in the
 * builder VM might have left there, and is judged like it.
 */
#ifndef BUILDER_EXT4_SANDBOX_H
#define BUILDER_EXT4_SANDBOX_H

#include "base/error.h"

/* For the rest of the process, which another call kills. -1: the kernel has no seccomp. */
int sandbox_enter(struct error **err);

#endif
