// SPDX-License-Identifier: MIT
//
// Worker threads take files from a shared counter; each has its buffer. Results are put into the
// nodes and the index when all are done, by the calling thread, which meanwhile tells the progress.
// Few and small files are hashed by the calling thread alone.
#include "builder/context/hash.h"

#include "base/alloc.h"
#include "base/digest.h"
#include "base/session.h"
#include "builder/context/tree.h"
#include "builder/context/xattr.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>

enum {
    READ_CHUNK = 512 * 1024,
    HOLE_CHUNK = 16 << 20, // between two looks whether to go on
    THREADS_MAX = 8,
    ALONE_FILES = 16,              /* up to so many files ... */
    ALONE_BYTES = 4 * 1024 * 1024, /* ... and bytes no thread is started */
    TRIES = 3,
    PROGRESS_MS = 100,
};

struct result {
    struct file_id id;
    struct digest content, xattrs;
    int64_t before_ns;
    uint16_t mode;
    bool has_xattrs;
};

struct job {
    const struct session *session;
    struct tree *tree;
    struct node *const *files;
    struct result *results;
    size_t n_files;
    size_t next;          /* atomic */
    uint64_t done, total; /* bytes; done is atomic */
    bool stop;            /* atomic */
    pthread_mutex_t lock;
    pthread_cond_t ended;
    size_t running;      /* under lock */
    struct error *error; /* under lock: the first */
};

bool hash_zeros(const struct session *s, struct sha256 *h, uint64_t n)
{
    static const char zeros[64 * 1024];
    for (uint64_t done = 0, more; done < n; done += more) {
        if (done % HOLE_CHUNK == 0 && session_cancelled(s))
            return false;
        more = n - done < sizeof zeros ? n - done : sizeof zeros;
        sha256_add(h, zeros, (size_t)more);
    }
    return true;
}

static char *shown_path(const struct job *j, const struct node *n)
{
    struct buf b = BUF_INIT;
    buf_adds(&b, tree_dir(j->tree));
    buf_addc(&b, '/');
    node_add_path(&b, n, NULL);
    return buf_detach(&b, NULL);
}

/* Hashes [at, end) of the file; less if it ends before. */
static int hash_range(struct job *j, int fd, off_t at, off_t end, char *chunk, struct sha256 *h)
{
    while (at < end && !__atomic_load_n(&j->stop, __ATOMIC_RELAXED)) {
        off_t want = end - at < READ_CHUNK ? end - at : READ_CHUNK;
        ssize_t n = pread(fd, chunk, (size_t)want, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        sha256_add(h, chunk, (size_t)n);
        at += n;
        __atomic_add_fetch(&j->done, (uint64_t)n, __ATOMIC_RELAXED);
    }
    return 0;
}

/* Holes are not read. */
static int hash_sparse(struct job *j, int fd, off_t size, char *chunk, struct sha256 *h)
{
    for (off_t at = 0; at < size;) {
        off_t data = lseek(fd, at, SEEK_DATA);
        if (data < 0 && errno != ENXIO)
            return hash_range(j, fd, at, size, chunk, h);
        if (data < 0 || data > size)
            data = size;
        for (off_t more; at < data; at += more) {
            more = data - at < HOLE_CHUNK ? data - at : HOLE_CHUNK;
            if (!hash_zeros(j->session, h, (uint64_t)more))
                return 0; // as hash_range once j->stop is set
            __atomic_add_fetch(&j->done, (uint64_t)more, __ATOMIC_RELAXED);
        }
        off_t hole = data < size ? lseek(fd, data, SEEK_HOLE) : size;
        if (hole < 0 || hole > size)
            hole = size;
        if (hash_range(j, fd, data, hole, chunk, h) < 0)
            return -1;
        at = hole;
    }
    return 0;
}

static bool is_sparse(const struct stat *st)
{
    return st->st_size > st->st_blocks * 512;
}

/* One try. 1: it changed meanwhile. */
static int hash_once(struct job *j, const struct node *node, struct result *r, char *chunk,
                     struct buf *xattrs, struct error **err)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    r->before_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    AUTO_CLOSE int fd = tree_open(j->tree, node);
    AUTO_FREE char *path = NULL;
    struct stat st, after;
    if (fd < 0 || fstat(fd, &st) < 0) {
        path = shown_path(j, node);
        bool may_not = errno == EACCES;
        error_errno(err, "cannot read '%s'", path);
        return may_not ? error_hint(err, UNREADABLE_HINT) : -1;
    }
    if (!S_ISREG(st.st_mode)) {
        path = shown_path(j, node);
        return error_set(err, ERR_USER, "'%s' is no longer a regular file", path);
    }
    CLEANUP(sha256_freep) struct sha256 *h = sha256_new();
    int got = is_sparse(&st) ? hash_sparse(j, fd, st.st_size, chunk, h)
                             : hash_range(j, fd, 0, st.st_size, chunk, h);
    if (got < 0 || xattrs_read(fd, xattrs) < 0 || fstat(fd, &after) < 0) {
        path = shown_path(j, node);
        return error_errno(err, "cannot read '%s'", path);
    }
    r->content = sha256_finish(STEAL(h));
    r->id = file_id_of(&st);
    r->mode = (uint16_t)(st.st_mode & 07777);
    r->has_xattrs = xattrs->len > 0;
    if (r->has_xattrs)
        r->xattrs = digest_of(xattrs->data, xattrs->len);
    struct file_id id_after = file_id_of(&after);
    return !file_id_eq(&r->id, &id_after);
}

static int hash_file(struct job *j, size_t i, char *chunk, struct buf *xattrs, struct error **err)
{
    for (int tries = 0; tries < TRIES; tries++) {
        int got = hash_once(j, j->files[i], &j->results[i], chunk, xattrs, err);
        if (got <= 0)
            return got;
    }
    AUTO_FREE char *path = shown_path(j, j->files[i]);
    error_set(err, ERR_USER, "'%s' keeps changing while it is read", path);
    return error_hint(err, "stop what writes it, or name it in the ignore file");
}

static void *work(void *arg)
{
    struct job *j = arg;
    AUTO_FREE char *chunk = xmalloc(READ_CHUNK);
    CLEANUP(buf_clear) struct buf xattrs = BUF_INIT;
    struct error *error = NULL;
    while (!error && !__atomic_load_n(&j->stop, __ATOMIC_RELAXED)) {
        size_t i = __atomic_fetch_add(&j->next, 1, __ATOMIC_RELAXED);
        if (i >= j->n_files)
            break;
        (void)hash_file(j, i, chunk, &xattrs, &error);
        if (session_cancelled(j->session))
            __atomic_store_n(&j->stop, true, __ATOMIC_RELAXED);
    }
    if (error)
        __atomic_store_n(&j->stop, true, __ATOMIC_RELAXED);
    (void)pthread_mutex_lock(&j->lock);
    if (!j->error)
        j->error = error;
    else
        error_free(error);
    j->running--;
    (void)pthread_cond_signal(&j->ended);
    (void)pthread_mutex_unlock(&j->lock);
    return NULL;
}

static size_t thread_count(const struct job *j)
{
    if (j->n_files <= 1 || (j->n_files <= ALONE_FILES && j->total <= ALONE_BYTES))
        return 1;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    size_t n = cpus < 1 ? 1 : cpus > THREADS_MAX ? THREADS_MAX : (size_t)cpus;
    return n < j->n_files ? n : j->n_files;
}

static void wait_and_tell(const struct session *s, struct job *j)
{
    bool told = false;
    (void)pthread_mutex_lock(&j->lock);
    while (j->running) {
        struct timespec until;
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += PROGRESS_MS * 1000000L;
        if (until.tv_nsec >= 1000000000L) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000L;
        }
        if (pthread_cond_timedwait(&j->ended, &j->lock, &until) == 0)
            continue;
        (void)pthread_mutex_unlock(&j->lock);
        session_progress(s, "hashing", __atomic_load_n(&j->done, __ATOMIC_RELAXED), j->total,
                         false);
        told = true;
        if (session_cancelled(j->session))
            __atomic_store_n(&j->stop, true, __ATOMIC_RELAXED);
        (void)pthread_mutex_lock(&j->lock);
    }
    (void)pthread_mutex_unlock(&j->lock);
    if (told)
        session_progress(s, "hashing", j->total, j->total, true);
}

static void run(const struct session *s, struct job *j)
{
    pthread_t threads[THREADS_MAX];
    size_t want = thread_count(j), started = 0;
    bool small = j->total <= ALONE_BYTES && want == 1;
    while (!small && started < want) {
        (void)pthread_mutex_lock(&j->lock);
        j->running++;
        (void)pthread_mutex_unlock(&j->lock);
        if (pthread_create(&threads[started], NULL, work, j)) {
            (void)pthread_mutex_lock(&j->lock);
            j->running--;
            (void)pthread_mutex_unlock(&j->lock);
            break;
        }
        started++;
    }
    if (!started) {
        j->running = 1;
        (void)work(j);
    }
    wait_and_tell(s, j);
    for (size_t i = 0; i < started; i++)
        (void)pthread_join(threads[i], NULL);
}

/* Into the nodes, with memory of the tree, and into the index. */
static void keep_results(struct job *j, struct index *index)
{
    struct digest *d = tree_alloc(j->tree, 2 * j->n_files * sizeof *d);
    for (size_t i = 0; i < j->n_files; i++) {
        const struct result *r = &j->results[i];
        struct node *n = j->files[i];
        n->id = r->id;
        n->mode = r->mode;
        d[2 * i] = r->content;
        d[2 * i + 1] = r->xattrs;
        n->content = &d[2 * i];
        n->xattrs = r->has_xattrs ? &d[2 * i + 1] : NULL;
        if (index)
            index_add(index, &r->id, &r->content, n->xattrs, r->before_ns);
    }
}

int hash_files(const struct session *s, struct tree *t, struct index *index,
               struct node *const *files, size_t n_files, struct error **err)
{
    if (!n_files)
        return 0;
    AUTO_FREE struct result *results = xcalloc(n_files, sizeof *results);
    struct job j = {.session = s,
                    .tree = t,
                    .files = files,
                    .results = results,
                    .n_files = n_files,
                    .lock = PTHREAD_MUTEX_INITIALIZER,
                    .ended = PTHREAD_COND_INITIALIZER};
    for (size_t i = 0; i < n_files; i++)
        j.total += files[i]->id.size;
    run(s, &j);
    if (j.error)
        return error_propagate(err, j.error);
    if (j.stop)
        return error_set(err, ERR_CANCELLED, "interrupted");
    keep_results(&j, index);
    return 0;
}
