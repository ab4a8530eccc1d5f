// SPDX-License-Identifier: MIT
//
// A ring of `blocks` buffers of equal size: `filled` of them, from `head` on, wait for the
// consumer.
#include "image/flow.h"

#include "base/alloc.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

struct flow {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned char **block;
    size_t *len;
    bool *hole;
    size_t blocks, block_size, head, filled;
    bool ended;
    atomic_bool stopped;
    struct error *error; /* owned until the consumer has it */
};

struct flow *flow_new(size_t blocks, size_t block_size)
{
    struct flow *f = xcalloc(1, sizeof *f);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&f->mutex, NULL);
    pthread_cond_init(&f->changed, &attr);
    pthread_condattr_destroy(&attr);
    f->blocks = blocks;
    f->block_size = block_size;
    f->block = xcalloc(blocks, sizeof *f->block);
    f->len = xcalloc(blocks, sizeof *f->len);
    f->hole = xcalloc(blocks, sizeof *f->hole);
    for (size_t i = 0; i < blocks; i++)
        f->block[i] = xmalloc(block_size);
    return f;
}

void flow_free(struct flow *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->blocks; i++)
        free(f->block[i]);
    free(f->block);
    free(f->len);
    free(f->hole);
    error_free(f->error);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->mutex);
    free(f);
}

unsigned char *flow_space(struct flow *f, size_t *ret_room)
{
    pthread_mutex_lock(&f->mutex);
    while (f->filled == f->blocks && !f->stopped)
        pthread_cond_wait(&f->changed, &f->mutex);
    unsigned char *p = f->stopped ? NULL : f->block[(f->head + f->filled) % f->blocks];
    pthread_mutex_unlock(&f->mutex);
    *ret_room = f->block_size;
    return p;
}

static void put(struct flow *f, size_t n, bool hole)
{
    pthread_mutex_lock(&f->mutex);
    size_t i = (f->head + f->filled) % f->blocks;
    f->len[i] = n;
    f->hole[i] = hole;
    f->filled++;
    pthread_cond_signal(&f->changed);
    pthread_mutex_unlock(&f->mutex);
}

void flow_put(struct flow *f, size_t n)
{
    if (n)
        put(f, n, false);
}

void flow_put_hole(struct flow *f, size_t n)
{
    size_t room;
    if (n && flow_space(f, &room))
        put(f, n, true);
}

void flow_end(struct flow *f, struct error *err)
{
    pthread_mutex_lock(&f->mutex);
    if (!f->ended)
        f->error = STEAL(err);
    f->ended = true;
    pthread_cond_signal(&f->changed);
    pthread_mutex_unlock(&f->mutex);
    error_free(err);
}

int flow_take(struct flow *f, int timeout_ms, struct str *ret, struct error **err)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += timeout_ms % 1000 * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    int rc = 1, timed_out = 0;
    pthread_mutex_lock(&f->mutex);
    while (!f->filled && !f->ended && !timed_out)
        timed_out = timeout_ms < 0 ? pthread_cond_wait(&f->changed, &f->mutex)
                                   : pthread_cond_timedwait(&f->changed, &f->mutex, &until);
    if (f->filled)
        *ret = (struct str){f->hole[f->head] ? NULL : (char *)f->block[f->head], f->len[f->head]};
    else if (!f->ended)
        rc = FLOW_AGAIN;
    else
        rc = f->error ? error_propagate(err, STEAL(f->error)) : 0;
    pthread_mutex_unlock(&f->mutex);
    return rc;
}

void flow_done(struct flow *f)
{
    pthread_mutex_lock(&f->mutex);
    f->head = (f->head + 1) % f->blocks;
    f->filled--;
    pthread_cond_signal(&f->changed);
    pthread_mutex_unlock(&f->mutex);
}

void flow_stop(struct flow *f)
{
    pthread_mutex_lock(&f->mutex);
    f->stopped = true;
    pthread_cond_signal(&f->changed);
    pthread_mutex_unlock(&f->mutex);
}

bool flow_stopped(const struct flow *f)
{
    return f->stopped;
}
