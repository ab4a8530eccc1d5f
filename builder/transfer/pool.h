/* SPDX-License-Identifier: MIT
 *
 * Pieces of work, done by a few threads in order; the first error ends it.
 *
 *     // given pool_fn *work; void *arg; struct session *session;
 *     struct pool p = {.work = work, .arg = arg, .n = 3, .session = session};
 *     pool_start(&p, 4);
 *     pool_wait(&p, 0);           // until item 0 is done; false: there was an error
 *     pool_end(&p, &err);         // waits for all
 *
 * An item may tell how far it is, so that the thread that waits can follow it, and wait for its turn
 * before a part of its work that is better done in order.
 */
#ifndef BUILDER_TRANSFER_POOL_H
#define BUILDER_TRANSFER_POOL_H

#include "base/error.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct session;

typedef int pool_fn(void *arg, size_t item, struct error **err);

struct pool {
    pool_fn *work;
    void *arg;
    size_t n;     /* items */
    size_t ahead; /* most items begun that pool_wait was not asked for; 0 = any number */
    const struct session
        *session;           /* told of the progress, from the thread that waits; may be NULL */
    _Atomic uint64_t moved; /* bytes, by the workers */
    _Atomic uint64_t total; /* 0 = not known; may change */
    /* the pool's own */
    pthread_t threads[16];
    unsigned n_threads;
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* for the workers */
    pthread_cond_t news;    /* for the thread that waits */
    size_t next, released;
    size_t first; /* the first item that is not done */
    bool *done, stop;
    uint64_t *part; /* of each item, what pool_tell was given */
    struct error *error;
};

void pool_start(struct pool *p, unsigned threads); /* at most 16 */
bool pool_wait(struct pool *p, size_t item);
/* Of the thread that waits: until more than `have` of the item is done, with *ret set, or all of it, as
 * pool_wait. */
bool pool_wait_part(struct pool *p, size_t item, uint64_t have, uint64_t *ret);

/* Of a worker: so much of its item is done. */
void pool_tell(struct pool *p, size_t item, uint64_t part);
/* Of a worker: until fewer than `width` of the items before its own are not done. false: the pool is
 * to stop. */
bool pool_turn(struct pool *p, size_t item, size_t width);

/* No further item is begun. */
void pool_stop(struct pool *p);
/* Waits for every thread. -1 with the first error of an item. */
int pool_end(struct pool *p, struct error **err);

#endif
