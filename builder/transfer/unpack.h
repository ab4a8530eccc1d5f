/* SPDX-License-Identifier: MIT
 *
 * A piece of a layer (RFC 8878 zstd frames) into its place in the layer's file. Any number of threads
 * may unpack pieces of one file at once. At most 4 MiB of memory for a frame's window.
 *
 *     // given int blob, layer; uint64_t layer_size;
 *     struct unpack_piece piece = {.name = "5d20c808ce19", .at = 0, .raw = 1 << 20};
 *     ftruncate(layer, (off_t)layer_size);     // blocks of zeros are not written
 *     unpack_piece(&piece, blob, layer, &err);
 */
#ifndef BUILDER_TRANSFER_UNPACK_H
#define BUILDER_TRANSFER_UNPACK_H

#include "base/error.h"

#include <stdint.h>

struct unpack_piece {
    const char *name; /* of the blob, for messages */
    uint64_t at, raw; /* where it belongs, and how many bytes it must become */
    void (*wrote)(void *arg, uint64_t done); /* the first bytes of it are there; may be NULL */
    void *arg;
};

/* blob is read with pread from its start. ERR_USER: it is not exactly what the piece says. */
int unpack_piece(const struct unpack_piece *piece, int blob, int layer, struct error **err);

#endif
