/* SPDX-License-Identifier: MIT
 *
 * The bytes of a stream, read ahead by a thread of its own from the stream disk with O_DIRECT into
 * a ring of large aligned chunks, and handed out in order where they lie.
 *
 * The first reads are small and the distance to the reader grows, so that a stream of one small
 * file costs one small read.
 */
#ifndef BUILDER_AGENT_FEED_H
#define BUILDER_AGENT_FEED_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct feed;

/* `device` is a block device (or, in tests, a file); offset is a multiple of STREAM_ALIGN. */
struct feed *feed_new(const char *device, uint64_t offset, struct error **err);
/* Ends the reader; waits for the read that is under way. NULL is fine. */
void feed_free(struct feed *f);
DEFINE_CLEANUP(struct feed, feed_free);

/* Consumes n bytes into `to`. -1 and an error when the disk cannot be read. */
int feed_read(struct feed *f, void *to, size_t n, struct error **err);
/* The longest piece of at most n bytes that lies in one place; ret_n says how long, at least 1. Its
 * address is aligned as its place in the stream is. Valid until the next call; not consumed. */
const void *feed_piece(struct feed *f, size_t n, size_t *ret_n, struct error **err);
/* Keeps the chunk in which the last piece lies, which stays where it is until it is released, by
 * any thread; then the reader may fill it again. There are STREAM_AHEAD / STREAM_READ chunks. */
uint64_t feed_hold(struct feed *f);
void feed_release(struct feed *f, uint64_t chunk);
/* Consumes n bytes. */
int feed_skip(struct feed *f, size_t n, struct error **err);
/* Consumes what is left of a block of STREAM_ALIGN bytes. */
int feed_align(struct feed *f, struct error **err);

#endif
