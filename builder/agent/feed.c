// SPDX-License-Identifier: MIT
// One producer (the thread), one consumer. Chunk i of the stream lies in slot i % CHUNKS; `filled`,
// `passed` and `freed` count chunks. What is passed but held is not free yet. Chunk sizes: 64 KiB,
// 128 KiB, … up to STREAM_READ, then all of that size, so the place of every chunk is known to both
// sides without asking.
#include "builder/agent/feed.h"

#include "base/alloc.h"
#include "builder/agent/stream.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { CHUNKS = STREAM_AHEAD / STREAM_READ, FIRST = 64 * 1024, HUGE = 2 << 20 };

struct feed {
    int fd;
    unsigned char *ring; /* CHUNKS * STREAM_READ */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t filled, freed; /* under lock */
    unsigned held[CHUNKS];  /* under lock: by slot */
    int errnum;             /* under lock: the reader has given up */
    bool stop;              /* under lock */
    uint64_t offset;        /* of the disk: where the reader is */
    uint64_t passed;   /* changed by the consumer only, under lock: chunks it has gone through */
    size_t at;         /* consumer: within chunk `passed` */
    uint64_t position; /* consumer: in the stream */
};

static size_t chunk_size(uint64_t i)
{
    return i < 4 ? (size_t)FIRST << i : STREAM_READ;
}

static unsigned char *chunk(struct feed *f, uint64_t i)
{
    return f->ring + (i % CHUNKS) * STREAM_READ;
}

// How far the reader may be ahead: a little at first.
static bool may_read(const struct feed *f)
{
    return f->filled - f->freed < CHUNKS && f->filled < f->passed * 2 + 1;
}

static int read_chunk(struct feed *f, uint64_t i)
{
    size_t n = chunk_size(i), done = 0;
    while (done < n) {
        ssize_t got = pread(f->fd, chunk(f, i) + done, n - done, (off_t)(f->offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno;
        if (got == 0) { // the end of a file, in tests
            memset(chunk(f, i) + done, 0, n - done);
            break;
        }
        done += (size_t)got;
    }
    f->offset += n;
    return 0;
}

static void *reader(void *arg)
{
    struct feed *f = arg;
    pthread_mutex_lock(&f->lock);
    while (!f->stop && !f->errnum) {
        if (!may_read(f)) {
            pthread_cond_wait(&f->changed, &f->lock);
            continue;
        }
        uint64_t i = f->filled;
        pthread_mutex_unlock(&f->lock);
        int e = read_chunk(f, i);
        pthread_mutex_lock(&f->lock);
        f->errnum = e;
        f->filled += !e;
        pthread_cond_broadcast(&f->changed);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

struct feed *feed_new(const char *device, uint64_t offset, struct error **err)
{
    AUTO_CLOSE int fd = open(device, O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (fd < 0 && errno == EINVAL)
        fd = open(device, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        error_errno(err, "cannot open the stream disk '%s'", device);
        return NULL;
    }
    // huge pages: fewer of them to pin for each read and write
    size_t size = (size_t)CHUNKS * STREAM_READ;
    unsigned char *ring = mmap(NULL, size + HUGE, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ring == MAP_FAILED) {
        error_errno(err, "cannot get memory for the stream");
        return NULL;
    }
    struct feed *f = xcalloc(1, sizeof *f);
    size_t skew = (size_t)(-(uintptr_t)ring & (HUGE - 1));
    munmap(ring, skew);
    munmap(ring + skew + size, HUGE - skew);
    f->ring = ring + skew;
    madvise(f->ring, size, MADV_HUGEPAGE);
    f->fd = STEAL_FD(fd);
    f->offset = offset;
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    if (pthread_create(&f->thread, NULL, reader, f) != 0)
        alloc_failed();
    return f;
}

void feed_free(struct feed *f)
{
    if (!f)
        return;
    pthread_mutex_lock(&f->lock);
    f->stop = true;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
    pthread_join(f->thread, NULL);
    munmap(f->ring, (size_t)CHUNKS * STREAM_READ);
    close(f->fd);
    free(f);
}

// Waits for the chunk the consumer is in.
static int wait_for_chunk(struct feed *f, struct error **err)
{
    pthread_mutex_lock(&f->lock);
    while (f->filled == f->passed && !f->errnum)
        pthread_cond_wait(&f->changed, &f->lock);
    bool there = f->filled > f->passed;
    errno = f->errnum;
    pthread_mutex_unlock(&f->lock);
    return there ? 0 : error_errno(err, "cannot read the stream disk");
}

// Under lock: gives the reader what is neither in use nor held.
static void free_chunks(struct feed *f, uint64_t passed)
{
    while (f->freed < passed && !f->held[f->freed % CHUNKS])
        f->freed++;
    pthread_cond_broadcast(&f->changed);
}

static void pass_chunk(struct feed *f)
{
    pthread_mutex_lock(&f->lock);
    f->passed++;
    free_chunks(f, f->passed);
    pthread_mutex_unlock(&f->lock);
    f->at = 0;
}

uint64_t feed_hold(struct feed *f)
{
    pthread_mutex_lock(&f->lock);
    f->held[f->passed % CHUNKS]++;
    pthread_mutex_unlock(&f->lock);
    return f->passed;
}

void feed_release(struct feed *f, uint64_t chunk)
{
    pthread_mutex_lock(&f->lock);
    f->held[chunk % CHUNKS]--;
    free_chunks(f, f->passed);
    pthread_mutex_unlock(&f->lock);
}

const void *feed_piece(struct feed *f, size_t n, size_t *ret_n, struct error **err)
{
    if (f->at == chunk_size(f->passed))
        pass_chunk(f);
    if (wait_for_chunk(f, err) < 0)
        return NULL;
    size_t left = chunk_size(f->passed) - f->at;
    *ret_n = left < n ? left : n;
    return chunk(f, f->passed) + f->at;
}

int feed_skip(struct feed *f, size_t n, struct error **err)
{
    while (n) {
        size_t part;
        if (!feed_piece(f, n, &part, err))
            return -1;
        f->at += part;
        f->position += part;
        n -= part;
    }
    return 0;
}

int feed_align(struct feed *f, struct error **err)
{
    return feed_skip(f, (size_t)(-f->position & (STREAM_ALIGN - 1)), err);
}

int feed_read(struct feed *f, void *to, size_t n, struct error **err)
{
    for (char *out = to; n;) {
        size_t part;
        const void *piece = feed_piece(f, n, &part, err);
        if (!piece)
            return -1;
        memcpy(out, piece, part);
        f->at += part;
        f->position += part;
        out += part;
        n -= part;
    }
    return 0;
}
