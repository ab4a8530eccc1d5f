/* SPDX-License-Identifier: MIT
 *
 * Where a disk image of any format goes as it arrives: told by its first 64 KiB, limited, written
 * to a file that is or can become a qcow2.
 *
 *     // given struct sink_options options; uint64_t fetched; enum format format;
 *     struct sink *k = sink_new(&options);
 *     while (sink_add(k, bytes, n, fetched, &err) == 0) ...   // in order
 *     sink_end(k, &format, &err);                             // then the file is complete
 *     sink_free(k);
 *
 * raw is written as qcow2 at once (qcow2/stream.h), everything else as it is, with zeros as
 * holes; what is not qcow2 then still has to be converted (image/convert.h).
 *
 * Limits: `max_size` bytes in all; of bytes that are not zero 1 GiB and 200 times, of all bytes
 * 256 GiB and 2000 times what was fetched (bombs).
 */
#ifndef IMAGE_SINK_H
#define IMAGE_SINK_H

#include "base/cleanup.h"
#include "base/error.h"
#include "image/format.h"

#include <stdint.h>

/* Bytes that are not zero that may become of so many: 1 GiB and 200 times. */
uint64_t sink_data_limit(uint64_t fetched);

struct sink_options {
    int fd;            /* of the file to write; borrowed */
    bool overlay;      /* a qcow2 may name a backing file */
    bool raw;          /* content of no known format is a raw disk */
    uint64_t max_size; /* 0 = 8 TiB; other than 0 also lifts the limits by ratio */
    uint64_t kept;     /* this many bytes at the start are in the file already (not for raw) */
};

struct sink;

struct sink *sink_new(const struct sink_options *o);
/* n more bytes (NULL: zeros); `fetched` = bytes that came from the source so far. */
int sink_add(struct sink *k, const void *bytes, uint64_t n, uint64_t fetched, struct error **err);
int sink_end(struct sink *k, enum format *ret, struct error **err);
/* FORMAT_UNKNOWN as long as too little has come to tell. */
enum format sink_format(const struct sink *k);
uint64_t sink_size(const struct sink *k); /* bytes that came; all are in the file unless raw */
void sink_free(struct sink *k);           /* NULL is fine */
DEFINE_CLEANUP(struct sink, sink_free);

#endif
