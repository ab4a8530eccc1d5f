/* SPDX-License-Identifier: MIT
 *
 * A file in memory for what a program writes, that takes so many bytes and no more.
 *
 *     AUTO_CLOSE int fd = capture_open(4096, &err);
 *     // a program has it as its standard output
 *     CLEANUP(buf_clear) struct buf said = BUF_INIT;
 *     capture_read(fd, &said);
 */
#ifndef BASE_CAPTURE_H
#define BASE_CAPTURE_H

#include "base/buf.h"
#include "base/error.h"

#include <stddef.h>

/* A descriptor, or -1. Whoever writes more than most bytes to it gets EPERM. */
int capture_open(size_t most, struct error **err);
/* Adds what it took up to the first NUL byte, without the last newline. */
void capture_read(int fd, struct buf *ret);

#endif
