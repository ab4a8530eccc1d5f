/* SPDX-License-Identifier: MIT
 *
 * Kernel modules as distributions compress them (.ko.xz, .ko.zst, .ko.gz), unpacked on the host:
 * not every kernel can do it itself.
 */
#ifndef BUILDER_APPLIANCE_UNPACK_H
#define BUILDER_APPLIANCE_UNPACK_H

#include "base/buf.h"
#include "base/error.h"

/* The whole file, told by its content, into *ret (emptied first); at most 64 MiB. */
int unpack_file(const char *path, struct buf *ret, struct error **err);

#endif
