/* SPDX-License-Identifier: MIT
 *
 * The LZ4 container of Apple's Compression framework (COMPRESSION_LZ4), as tart compresses disks; not
 * the LZ4 frame format. Numbers are little endian:
 *
 *   "bv41" u32 size | u32 packed size | an LZ4 block, which may refer to the 64 KiB before it
 *   "bv4-" u32 size | as many bytes
 *   "bv4$"          the end
 *
 *     // given int in, out; uint64_t limit;
 *     if (apple_lz4_unpack(in, out, limit, &err) < 0) ...
 */
#ifndef BUILDER_TRANSFER_APPLE_LZ4_H
#define BUILDER_TRANSFER_APPLE_LZ4_H

#include "base/error.h"

#include <stdint.h>

/* Unpacks what `in` has from its start behind what `out` has; both are files. Blocks of zeros become holes;
 * `limit`: most bytes that are not in one. ERR_USER: damaged, cut short, or more than that. */
int apple_lz4_unpack(int in, int out, uint64_t limit, struct error **err);

#endif
