/* SPDX-License-Identifier: MIT
 *
 * Decompression of a flow, told by the first bytes: gzip (RFC 1952), bzip2, xz (several threads),
 * zstd (RFC 8878), or none of these: then the bytes pass unchanged. Concatenated streams are one.
 */
#ifndef IMAGE_DECODE_H
#define IMAGE_DECODE_H

#include "image/flow.h"

enum compression {
    COMPRESSION_NONE,
    COMPRESSION_GZIP,
    COMPRESSION_BZIP2,
    COMPRESSION_XZ,
    COMPRESSION_ZSTD
};

/* By the first n bytes. */
enum compression compression_of(const void *bytes, size_t n);

/*
 * Moves all of `in` to `out` and ends `out`, with an error if the data is damaged, ends early or
 * needs more than 512 MiB of memory to decode. Runs until one of them ends; meant for its own
 * thread. *ret is set as soon as it is known (before any byte reaches out).
 */
void decode_flow(struct flow *in, struct flow *out, _Atomic enum compression *ret);

#endif
