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
        p->stop = p->stop || rc < 0;
        if (rc < 0 && !p->error)
            p->error = STEAL(why);
        pthread_cond_broadcast(&p->changed);
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
    p->done = xcalloc(p->n + 1, sizeof *p->done);
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
    pthread_cond_timedwait(&p->changed, &p->mutex, &until);
}

bool pool_wait(struct pool *p, size_t item)
{
    pthread_mutex_lock(&p->mutex);
    p->released = item + 1 > p->released ? item + 1 : p->released;
    pthread_cond_broadcast(&p->changed);
    while (!p->done[item] && !p->stop) {
        wait_a_moment(p);
        show(p, false);
    }
    bool done = p->done[item];
    pthread_mutex_unlock(&p->mutex);
    return done;
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
    pthread_mutex_destroy(&p->mutex);
    pthread_cond_destroy(&p->changed);
    if (!p->error)
        return 0;
    return error_propagate(err, STEAL(p->error));
}
