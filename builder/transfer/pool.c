// SPDX-License-Identifier: MIT
#include "builder/transfer/pool.h"

#include "base/alloc.h"
#include "base/session.h"

#include <time.h>

/* The next item, or n when there is none to begin. */
static size_t take(struct pool *p)
{
    pthread_mutex_lock(&p->mutex);
    while (!p->stop && p->next < p->n && p->ahead && p->next >= p->released + p->ahead)
        pthread_cond_wait(&p->changed, &p->mutex);
    size_t item = p->stop || p->next >= p->n ? p->n : p->next++;
    pthread_mutex_unlock(&p->mutex);
    return item;
}

static void *worker(void *arg)
{
    struct pool *p = arg;
    for (size_t item; (item = take(p)) < p->n;) {
        struct error *why = NULL;
        int rc = p->work(p->arg, item, &why);
        pthread_mutex_lock(&p->mutex);
        p->done[item] = rc == 0;
        while (p->first < p->n && p->done[p->first])
            p->first++;
        p->stop = p->stop || rc < 0;
        if (rc < 0 && !p->error)
            p->error = STEAL(why);
        pthread_cond_broadcast(&p->changed);
        pthread_cond_signal(&p->news);
        pthread_mutex_unlock(&p->mutex);
        error_free(why);
    }
    return NULL;
}

void pool_start(struct pool *p, unsigned threads)
{
    enum { MAX = sizeof p->threads / sizeof *p->threads };
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->changed, NULL);
    pthread_cond_init(&p->news, NULL);
    p->done = xcalloc(p->n + 1, sizeof *p->done);
    p->part = xcalloc(p->n + 1, sizeof *p->part);
    while (p->n_threads < threads && p->n_threads < MAX &&
           pthread_create(&p->threads[p->n_threads], NULL, worker, p) == 0)
        p->n_threads++;
    if (p->n_threads)
        return;
    p->ahead = 0; // nobody would release what is ahead
    (void)worker(p);
}

static void show(struct pool *p, bool end)
{
    if (p->session)
        session_progress(p->session, "layers", p->moved, p->total, end);
}

/* The mutex is held. */
static void wait_a_moment(struct pool *p)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 100 * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&p->news, &p->mutex, &until);
}

bool pool_wait_part(struct pool *p, size_t item, uint64_t have, uint64_t *ret)
{
    pthread_mutex_lock(&p->mutex);
    p->released = item + 1 > p->released ? item + 1 : p->released;
    pthread_cond_broadcast(&p->changed);
    while (!p->done[item] && p->part[item] <= have && !p->stop) {
        wait_a_moment(p);
        show(p, false);
    }
    *ret = p->part[item];
    bool more = p->done[item] || *ret > have;
    pthread_mutex_unlock(&p->mutex);
    return more;
}

bool pool_wait(struct pool *p, size_t item)
{
    uint64_t part;
    return pool_wait_part(p, item, UINT64_MAX, &part);
}

void pool_tell(struct pool *p, size_t item, uint64_t part)
{
    pthread_mutex_lock(&p->mutex);
    p->part[item] = part;
    pthread_cond_signal(&p->news);
    pthread_mutex_unlock(&p->mutex);
}

bool pool_turn(struct pool *p, size_t item, size_t width)
{
    pthread_mutex_lock(&p->mutex);
    while (!p->stop && item >= p->first + width)
        pthread_cond_wait(&p->changed, &p->mutex);
    bool go_on = !p->stop;
    pthread_mutex_unlock(&p->mutex);
    return go_on;
}

void pool_stop(struct pool *p)
{
    pthread_mutex_lock(&p->mutex);
    p->stop = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
}

int pool_end(struct pool *p, struct error **err)
{
    for (unsigned i = 0; i < p->n_threads; i++)
        pthread_join(p->threads[i], NULL);
    if (p->moved)
        show(p, true);
    free(p->done);
    free(p->part);
    pthread_mutex_destroy(&p->mutex);
    pthread_cond_destroy(&p->changed);
    pthread_cond_destroy(&p->news);
    if (!p->error)
        return 0;
    return error_propagate(err, STEAL(p->error));
}
