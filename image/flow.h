/* SPDX-License-Identifier: MIT
 *
 * A bounded queue of byte blocks from one thread to another: source → decoder → writer. It bounds
 * memory, and carries the end of the data or the error that ended it.
 *
 *     // given struct flow *f; size_t room; unsigned char *p; struct str block;
 *     while ((p = flow_space(f, &room)))                  // the producer: at most room bytes to p
 *         flow_put(f, n);
 *     flow_end(f, err);                                   // err NULL = end of data
 *
 *     while (flow_take(f, -1, &block, &err) > 0) {        // the consumer
 *         ...
 *         flow_done(f);                                   // block is used
 *     }
 *     flow_stop(f);                                       // if it gives up early
 */
#ifndef IMAGE_FLOW_H
#define IMAGE_FLOW_H

#include "base/buf.h"
#include "base/error.h"

#include <stddef.h>

struct flow;

struct flow *flow_new(size_t blocks, size_t block_size);
void flow_free(struct flow *f); /* both threads are done with it; NULL is fine */
DEFINE_CLEANUP(struct flow, flow_free);

/* Room for up to *ret_room bytes, waiting for it; NULL when the consumer has stopped. */
unsigned char *flow_space(struct flow *f, size_t *ret_room);
/* The first n bytes of that space are there (n = 0: nothing happens). */
void flow_put(struct flow *f, size_t n);
/* n bytes that are zero, without moving them (on its own, not into the space given). */
void flow_put_hole(struct flow *f, size_t n);
/* No more comes. Takes err (NULL: all is well). Only the first call counts. */
void flow_end(struct flow *f, struct error *err);

enum { FLOW_AGAIN = 2 };
/* The next block, which stays valid until flow_done (ptr NULL: a hole of len bytes): 1; 0 at the
 * end; -1 with the producer's error; FLOW_AGAIN after timeout_ms (-1: waits for ever). */
int flow_take(struct flow *f, int timeout_ms, struct str *ret, struct error **err);
void flow_done(struct flow *f);
void flow_stop(struct flow *f);          /* the producer's flow_space gives NULL from now on */
bool flow_stopped(const struct flow *f); /* for producers that wait elsewhere */

#endif
