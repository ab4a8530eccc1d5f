/* SPDX-License-Identifier: MIT
 *
 * A fork of kiln that goes on when kiln has ended: nothing of whoever started it stays with it.
 *
 *     // given int listener;
 *     pid_t pid = fork();
 *     if (pid == 0) {
 *         leave_caller("kiln-ssh", (const int[]){listener}, 1);
 *         for (;;)
 *             ...
 *     }
 */
#ifndef BASE_LEAVE_H
#define BASE_LEAVE_H

#include <stddef.h>

/* In the fork: a session of its own, signals as at the start of a program, "/" as its working
 * directory, /dev/null as its standard streams, and no descriptor but those of `kept`, at most 8, all
 * above 2. name: what ps(1) calls it, at most 15 bytes. */
void leave_caller(const char *name, const int *kept, size_t n);

#endif
