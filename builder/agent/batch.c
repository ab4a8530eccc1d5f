// SPDX-License-Identifier: MIT
// A ring of groups of files. The caller fills group `given % GROUPS`, the worker empties group
// `done % GROUPS`; both counts only grow. The buffers of a group are kept from round to round.
#include "builder/agent/batch.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "builder/agent/feed.h"
#include "builder/agent/sys.h"

#include <pthread.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

enum { GROUPS = 8, FILES = 32 };

struct job {
    bool is_piece;
    struct batch_piece piece;
    struct batch_file file;
    struct buf path, bytes;
};

struct group {
    struct job jobs[FILES];
    size_t n;
};

struct batch {
    struct group groups[GROUPS];
    size_t size;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t given, done; /* under lock */
    bool stop;            /* under lock */
    struct error *failed; /* under lock: the first one */
    bool no_owner;        /* under lock */
};

static bool refused(bool *no_owner)
{
    if (errno != EPERM)
        return false;
    *no_owner = true;
    return true;
}

static const char *move(const struct batch_piece *p)
{
    int done = sys_write_direct(p->fd, p->bytes, p->n, p->at);
    int saved = errno;
    feed_release(p->feed, p->chunk);
    errno = saved;
    return done < 0 ? "write" : NULL;
}

// The order of stream.h: content, owner, mode, time.
static const char *finish(const struct batch_file *f, const struct buf *bytes, bool *no_owner)
{
    struct timespec times[2] = {{0, UTIME_OMIT}, f->mtime};
    if (f->at)
        sys_set_direct(f->fd, false);
    if (pwrite_all(f->fd, bytes->data, bytes->len, (off_t)f->at) < 0)
        return "write";
    if ((f->uid || f->gid) && fchown(f->fd, f->uid, f->gid) < 0 && !refused(no_owner))
        return "set the owner of";
    if ((f->mode & 07000) && fchmod(f->fd, f->mode) < 0 && !refused(no_owner))
        return "set the mode of";
    if (futimens(f->fd, times) < 0 && errno != EPERM)
        return "set the time of";
    return NULL;
}

static void run_group(struct batch *b, struct group *g)
{
    for (size_t i = 0; i < g->n; i++) {
        struct job *j = &g->jobs[i];
        bool no_owner = false;
        struct error *err = NULL;
        const char *what = j->is_piece ? move(&j->piece) : finish(&j->file, &j->bytes, &no_owner);
        if (what) {
            bool full = errno == ENOSPC;
            error_errno(&err, "cannot %s '%s' in the image", what, j->path.data);
            if (full)
                error_hint(&err, "the file system is full: make the DISK or PARTITION larger");
        }
        if (!j->is_piece)
            close(j->file.fd);
        if (!err && !no_owner)
            continue;
        pthread_mutex_lock(&b->lock);
        b->no_owner |= no_owner;
        if (!b->failed)
            b->failed = STEAL(err);
        pthread_mutex_unlock(&b->lock);
        error_free(err);
    }
    g->n = 0;
}

static void *worker(void *arg)
{
    struct batch *b = arg;
    pthread_mutex_lock(&b->lock);
    while (!b->stop || b->done < b->given) {
        if (b->done == b->given) {
            pthread_cond_wait(&b->changed, &b->lock);
            continue;
        }
        struct group *g = &b->groups[b->done % GROUPS];
        pthread_mutex_unlock(&b->lock);
        run_group(b, g);
        pthread_mutex_lock(&b->lock);
        b->done++;
        pthread_cond_broadcast(&b->changed);
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

struct batch *batch_new(size_t size)
{
    struct batch *b = xcalloc(1, sizeof *b);
    b->size = size < FILES ? size : FILES;
    for (size_t i = 0; i < GROUPS; i++)
        for (size_t k = 0; k < FILES; k++) {
            buf_init(&b->groups[i].jobs[k].path);
            buf_init(&b->groups[i].jobs[k].bytes);
        }
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, NULL);
    if (pthread_create(&b->thread, NULL, worker, b) != 0)
        alloc_failed();
    return b;
}

// Gives the group that is being filled to the worker and waits until the next one is free.
static int give(struct batch *b, bool wait_for_all, struct error **err)
{
    pthread_mutex_lock(&b->lock);
    if (b->groups[b->given % GROUPS].n) {
        b->given++;
        pthread_cond_broadcast(&b->changed);
    }
    while (b->given - b->done >= (wait_for_all ? 1 : GROUPS))
        pthread_cond_wait(&b->changed, &b->lock);
    struct error *failed = STEAL(b->failed);
    pthread_mutex_unlock(&b->lock);
    return failed ? error_propagate(err, failed) : 0;
}

void batch_free(struct batch *b)
{
    if (!b)
        return;
    give(b, true, NULL);
    pthread_mutex_lock(&b->lock);
    b->stop = true;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    pthread_join(b->thread, NULL);
    for (size_t i = 0; i < GROUPS; i++)
        for (size_t k = 0; k < FILES; k++) {
            buf_clear(&b->groups[i].jobs[k].path);
            buf_clear(&b->groups[i].jobs[k].bytes);
        }
    error_free(b->failed);
    free(b);
}

static struct job *next_job(struct batch *b, const char *path)
{
    struct group *g = &b->groups[b->given % GROUPS]; // only this thread changes `given`
    struct job *j = &g->jobs[g->n++];
    buf_reset(&j->path);
    buf_adds(&j->path, path);
    return j;
}

static int give_full(struct batch *b, struct error **err)
{
    return b->groups[b->given % GROUPS].n >= b->size ? give(b, false, err) : 0;
}

int batch_add(struct batch *b, const struct batch_file *f, struct error **err)
{
    struct job *j = next_job(b, f->path);
    j->is_piece = false;
    j->file = *f;
    buf_reset(&j->bytes);
    buf_add(&j->bytes, f->bytes, f->n);
    return give_full(b, err);
}

int batch_add_piece(struct batch *b, const struct batch_piece *p, struct error **err)
{
    struct job *j = next_job(b, p->path);
    j->is_piece = true;
    j->piece = *p;
    return give_full(b, err);
}

int batch_finish(struct batch *b, bool *ret_no_owner, struct error **err)
{
    int result = give(b, true, err);
    pthread_mutex_lock(&b->lock);
    *ret_no_owner |= b->no_owner;
    pthread_mutex_unlock(&b->lock);
    return result;
}
