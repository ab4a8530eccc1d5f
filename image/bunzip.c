// SPDX-License-Identifier: MIT
//
// The calling thread scans for the marks of blocks and cuts the bits between two of them into jobs;
// workers decode them; the calling thread hands the results out in order. A job's bits are moved to
// a byte boundary and get a file header and an end mark, so libbz2 sees a file of one block and
// checks its CRC. The CRC over all blocks of a stream comes as a job of its own, to keep its place
// in the order. A mark that occurs by chance inside a block (once in 2^48 bits) cuts it in two:
// then neither half decodes, and the two are joined again.
#include "image/bunzip.h"

#include "base/alloc.h"

#include <bzlib.h>
#include <pthread.h>
#include <stdint.h>
#include <unistd.h>

#define BLOCK_MARK UINT64_C(0x314159265359)
#define END_MARK UINT64_C(0x177245385090)
#define MARK_MASK UINT64_C(0xffffffffffff)
enum {
    MARK_BITS = 48,
    THREADS_MAX = 8,
    HEADER_BYTES = 4,
    CODED_MAX = 2 << 20, // bytes of a coded block; the format can't make more than about 1.1 MB
    PIECE = 4 << 20,     // bytes that are decoded ahead; a block of zeros has up to 46 MB
};

enum job_state { JOB_FREE, JOB_WAITING, JOB_RUNNING, JOB_DONE };

struct job {
    enum job_state state;
    bool end;        /* of a stream: crc is what its end mark says */
    uint32_t crc;    /* else: of the block */
    char level;      /* '1' to '9': largest block of the stream */
    struct buf bits; /* the block from its mark on, at a byte boundary */
    size_t n_bits;
    struct buf file; /* what libbz2 sees */
    bz_stream z;
    struct buf out; /* at most PIECE bytes */
    bool failed;
    bool more; /* z goes on behind `out` */
};

struct pool {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct job job[2 * THREADS_MAX];
    size_t jobs, head, used; /* ring of jobs in order */
    pthread_t thread[THREADS_MAX];
    size_t threads;
    bool quit;
};

struct scan {
    struct buf data; /* input that is not in a job yet */
    size_t at;       /* first byte of data that was not looked at */
    uint64_t window; /* the last 48 bits */
    size_t start;    /* bit in data where the current block begins */
    char level;
    bool in_block;
    bunzip_input_fn *input;
    bunzip_output_fn *output;
    void *arg;
    uint32_t crc; /* over the blocks given out, of the current stream */
};

static unsigned get_bit(const struct buf *b, size_t bit)
{
    return (unsigned char)b->data[bit / 8] >> (7 - bit % 8) & 1;
}

static uint64_t get_bits(const struct buf *b, size_t bit, unsigned n)
{
    uint64_t v = 0;
    while (n--)
        v = v << 1 | get_bit(b, bit++);
    return v;
}

/* The next 8 bits, or as many as there are up to n, at the top of a byte. */
static unsigned next_byte(const struct buf *from, size_t at, size_t n)
{
    if (n < 8)
        return (unsigned)get_bits(from, at, (unsigned)n) << (8 - n);
    const unsigned char *p = (const unsigned char *)from->data + at / 8;
    unsigned k = at % 8;
    return k ? (p[0] << k | p[1] >> (8 - k)) & 0xff : p[0];
}

/* Appends n bits of `from` (starting at bit `at`) to *to, which has *to_bits bits. */
static void add_bits(struct buf *to, size_t *to_bits, const struct buf *from, size_t at, size_t n)
{
    unsigned shift = *to_bits % 8;
    *to_bits += n;
    while (n) {
        unsigned v = next_byte(from, at, n);
        size_t take = n < 8 ? n : 8;
        if (shift)
            to->data[to->len - 1] |= (char)(v >> shift);
        if (take > (8 - shift) % 8 || !shift)
            buf_addc(to, (char)(shift ? v << (8 - shift) : v));
        shift = (shift + take) % 8;
        at += take;
        n -= take;
    }
}

static void add_number(struct buf *to, size_t *to_bits, uint64_t v, unsigned n)
{
    char bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)(v >> (56 - 8 * i));
    struct buf b = {bytes, sizeof bytes, 0};
    add_bits(to, to_bits, &b, 64 - n, n);
}

/* A whole file of one block from the job's bits. */
static void make_file(const struct job *j, struct buf *file)
{
    buf_reset(file);
    buf_adds(file, "BZh");
    buf_addc(file, j->level);
    buf_add(file, j->bits.data, j->bits.len);
    size_t n = HEADER_BYTES * 8 + j->n_bits;
    add_number(file, &n, END_MARK, MARK_BITS);
    add_number(file, &n, j->crc, 32);
}

/* The next piece of a job into j->out; j->more or j->failed tells how it went. */
static void decode_piece(struct job *j)
{
    buf_reset(&j->out);
    buf_reserve(&j->out, PIECE);
    j->z.next_out = j->out.data;
    j->z.avail_out = PIECE;
    int rc = BZ2_bzDecompress(&j->z);
    j->out.len = PIECE - j->z.avail_out;
    j->more = rc == BZ_OK && !j->z.avail_out;
    j->failed = rc != BZ_STREAM_END && !j->more;
    if (!j->more)
        BZ2_bzDecompressEnd(&j->z);
}

static void decode(struct job *j)
{
    make_file(j, &j->file);
    j->z = (bz_stream){.next_in = j->file.data, .avail_in = (unsigned)j->file.len};
    if (BZ2_bzDecompressInit(&j->z, 0, 0) != BZ_OK)
        alloc_failed();
    decode_piece(j);
}

static struct job *next_waiting(struct pool *p)
{
    for (size_t i = 0; i < p->used; i++) {
        struct job *j = &p->job[(p->head + i) % p->jobs];
        if (j->state == JOB_WAITING)
            return j;
    }
    return NULL;
}

static void *work(void *arg)
{
    struct pool *p = arg;
    pthread_mutex_lock(&p->mutex);
    for (;;) {
        struct job *j = next_waiting(p);
        if (j) {
            j->state = JOB_RUNNING;
            pthread_mutex_unlock(&p->mutex);
            decode(j);
            pthread_mutex_lock(&p->mutex);
            j->state = JOB_DONE;
            pthread_cond_broadcast(&p->changed);
        } else if (p->quit) {
            break;
        } else {
            pthread_cond_wait(&p->changed, &p->mutex);
        }
    }
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

static void pool_start(struct pool *p)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    size_t want = cpus < 1 ? 1 : cpus > THREADS_MAX ? THREADS_MAX : (size_t)cpus;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->changed, NULL);
    p->jobs = want + 1;
    for (size_t i = 0; i < p->jobs; i++) {
        buf_init(&p->job[i].bits);
        buf_init(&p->job[i].out);
        buf_init(&p->job[i].file);
    }
    while (p->threads < want && pthread_create(&p->thread[p->threads], NULL, work, p) == 0)
        p->threads++;
}

static void pool_stop(struct pool *p)
{
    pthread_mutex_lock(&p->mutex);
    p->quit = true;
    for (size_t i = 0; i < p->jobs; i++) // nobody waits for these any more
        if (p->job[i].state == JOB_WAITING)
            p->job[i].state = JOB_DONE;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
    for (size_t i = 0; i < p->threads; i++)
        pthread_join(p->thread[i], NULL);
    for (size_t i = 0; i < p->jobs; i++) {
        buf_clear(&p->job[i].bits);
        buf_clear(&p->job[i].out);
        buf_clear(&p->job[i].file);
        if (p->job[i].more)
            BZ2_bzDecompressEnd(&p->job[i].z);
    }
    pthread_mutex_destroy(&p->mutex);
    pthread_cond_destroy(&p->changed);
}

static struct job *oldest(struct pool *p)
{
    struct job *j = &p->job[p->head];
    pthread_mutex_lock(&p->mutex);
    if (!p->threads && j->state == JOB_WAITING) {
        decode(j); // no thread could be started
        j->state = JOB_DONE;
    }
    while (j->state != JOB_DONE)
        pthread_cond_wait(&p->changed, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
    return j;
}

static void retire(struct pool *p)
{
    pthread_mutex_lock(&p->mutex);
    p->job[p->head].state = JOB_FREE;
    p->head = (p->head + 1) % p->jobs;
    p->used--;
    pthread_mutex_unlock(&p->mutex);
}

static int damaged(struct error **err)
{
    return error_set(err, ERR_USER, "the compressed data is damaged");
}

/* The oldest job is a block that did not decode: joins it with the one after it. */
static int join(struct pool *p, struct error **err)
{
    if (p->used < 2 || p->job[(p->head + 1) % p->jobs].end)
        return damaged(err);
    struct job *a = oldest(p);
    retire(p);
    struct job *b = oldest(p);
    if (!b->failed || a->n_bits + b->n_bits > (size_t)CODED_MAX * 8)
        return damaged(err);
    struct buf joined = a->bits;
    buf_init(&a->bits);
    size_t n = a->n_bits;
    add_bits(&joined, &n, &b->bits, 0, b->n_bits);
    buf_clear(&b->bits);
    b->bits = joined;
    b->n_bits = n;
    b->crc = a->crc;
    decode(b);
    return 0;
}

static int emit_block(struct scan *s, struct pool *p, struct job *j, struct error **err)
{
    for (;;) {
        if (!s->output(s->arg, j->out.data, j->out.len))
            return -1;
        if (!j->more)
            break;
        decode_piece(j);
        if (j->failed)
            return damaged(err);
    }
    retire(p);
    return 0;
}

/* Gives out the oldest job. */
static int emit(struct scan *s, struct pool *p, struct error **err)
{
    struct job *j = oldest(p);
    if (j->end) {
        if (j->crc != s->crc)
            return damaged(err);
        s->crc = 0;
    } else if (j->failed) {
        return join(p, err); // stays in the queue, to be looked at again
    } else {
        s->crc = (s->crc << 1 | s->crc >> 31) ^ j->crc;
        return emit_block(s, p, j, err);
    }
    retire(p);
    return 0;
}

/* A free job at the end of the queue; two stay queued, so that a failed one can be joined. */
static struct job *new_job(struct scan *s, struct pool *p, struct error **err)
{
    while (p->used == p->jobs)
        if (emit(s, p, err) < 0)
            return NULL;
    return &p->job[(p->head + p->used) % p->jobs];
}

static void submit(struct pool *p, struct job *j, enum job_state state)
{
    pthread_mutex_lock(&p->mutex);
    j->state = state;
    p->used++;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
}

/* The block from s->start up to bit `end` becomes a job. */
static int cut(struct scan *s, struct pool *p, size_t end, struct error **err)
{
    struct job *j = new_job(s, p, err);
    if (!j)
        return -1;
    if (end - s->start < MARK_BITS + 32)
        return damaged(err);
    j->end = j->failed = false;
    j->level = s->level;
    j->crc = (uint32_t)get_bits(&s->data, s->start + MARK_BITS, 32);
    j->n_bits = 0;
    buf_reset(&j->bits);
    buf_reserve(&j->bits, (end - s->start) / 8 + 16);
    add_bits(&j->bits, &j->n_bits, &s->data, s->start, end - s->start);
    submit(p, j, JOB_WAITING);
    return 0;
}

/* Makes sure that data has n bytes: 1; 0 = the input ends before; -1. */
static int need(struct scan *s, size_t n, struct error **err)
{
    while (s->data.len < n) {
        struct str more;
        int rc = s->input(s->arg, &more, err);
        if (rc <= 0)
            return rc;
        buf_add_str(&s->data, more);
    }
    return 1;
}

static int ends_early(struct error **err)
{
    return error_set(err, ERR_USER, "the compressed data ends early");
}

static void forget(struct scan *s, size_t bytes)
{
    buf_consume(&s->data, bytes);
    s->at -= bytes;
    s->start -= bytes * 8;
}

/* Between streams: 1 = a stream begins and its header is behind us, 0 = the end, -1. */
static int begin_stream(struct scan *s, bool first, struct error **err)
{
    int rc;
    bool zeros = false;
    while ((rc = need(s, s->at + 1, err)) > 0 && !s->data.data[s->at] && !first) {
        zeros = true;
        s->at++;
        if (s->at > 1 << 16)
            forget(s, s->at);
    }
    if (rc <= 0)
        return rc;
    if ((rc = need(s, s->at + HEADER_BYTES, err)) < 0)
        return -1;
    const char *h = s->data.data + s->at;
    if (rc == 0 || zeros || memcmp(h, "BZh", 3) || h[3] < '1' || h[3] > '9')
        return error_set(err, ERR_USER, "other bytes follow the compressed data");
    s->level = h[3];
    s->at += HEADER_BYTES;
    s->start = s->at * 8;
    forget(s, s->at);
    s->window = 0;
    s->in_block = false;
    return 1;
}

/* The end mark is at bit `mark`: its CRC becomes a job, s->at the first byte behind the stream. */
static int end_stream(struct scan *s, struct pool *p, size_t mark, struct error **err)
{
    size_t end = mark + MARK_BITS + 32;
    int rc = need(s, (end + 7) / 8, err);
    if (rc <= 0)
        return rc < 0 ? -1 : ends_early(err);
    struct job *j = new_job(s, p, err);
    if (!j)
        return -1;
    j->end = true;
    j->failed = false;
    j->crc = (uint32_t)get_bits(&s->data, mark + MARK_BITS, 32);
    submit(p, j, JOB_DONE);
    s->at = (end + 7) / 8;
    return 0;
}

/* A mark ends at bit `end` of data: 1 = the stream goes on, 0 = it ended, -1. */
static int at_mark(struct scan *s, struct pool *p, size_t end, struct error **err)
{
    size_t mark = end - MARK_BITS;
    if (s->in_block ? cut(s, p, mark, err) < 0 : mark != s->start)
        return s->in_block ? -1 : damaged(err);
    if (s->window == END_MARK)
        return end_stream(s, p, mark, err) < 0 ? -1 : 0;
    s->in_block = true;
    s->start = mark;
    return 1;
}

/* One stream from behind its header to its end. */
static int scan_stream(struct scan *s, struct pool *p, struct error **err)
{
    for (;;) {
        int rc = need(s, s->at + 1, err);
        if (rc <= 0)
            return rc < 0 ? -1 : ends_early(err);
        unsigned byte = (unsigned char)s->data.data[s->at];
        for (unsigned i = 0; i < 8; i++) {
            s->window = (s->window << 1 | (byte >> (7 - i) & 1)) & MARK_MASK;
            if (s->window != BLOCK_MARK && s->window != END_MARK)
                continue;
            rc = at_mark(s, p, s->at * 8 + i + 1, err);
            if (rc <= 0)
                return rc;
        }
        s->at++;
        if (s->at * 8 - s->start > (size_t)CODED_MAX * 8 ||
            (!s->in_block && s->at * 8 - s->start > MARK_BITS))
            return damaged(err);
        if (s->start > 8 << 20)
            forget(s, s->start / 8);
    }
}

static int run(struct scan *s, struct pool *p, struct error **err)
{
    int rc;
    bool first = true;
    while ((rc = begin_stream(s, first, err)) > 0) {
        if (scan_stream(s, p, err) < 0)
            return -1;
        first = false;
    }
    while (rc == 0 && p->used)
        rc = emit(s, p, err);
    return rc;
}

int bunzip(struct str first, bunzip_input_fn *input, bunzip_output_fn *output, void *arg,
           struct error **err)
{
    struct scan s = {.input = input, .output = output, .arg = arg, .data = BUF_INIT};
    struct pool *p = xcalloc(1, sizeof *p);
    pool_start(p);
    buf_add_str(&s.data, first);
    int rc = run(&s, p, err);
    pool_stop(p);
    free(p);
    buf_clear(&s.data);
    return rc;
}
