// SPDX-License-Identifier: MIT
//
// The calling thread scans for the marks of blocks and makes the bits between two of them jobs, each
// framed as a bzip2 stream of one block: header, block, end mark, CRC. Workers decode these with
// libbz2; the calling thread hands the results out in order. The CRC over all blocks of a stream
// comes as a job of its own, to keep its place in the order. A block mark that occurs by chance
// inside a block (once in 2^48 bits) cuts it in two: then neither half decodes, and the two are
// joined again. An end mark counts only if what follows its CRC can follow a stream.
#include "image/bunzip.h"

#include "base/alloc.h"
#include "image/bits.h"

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
    JOBS_MAX = 3 * THREADS_MAX + 1,
    HEADER_BYTES = 4,
    CRC_BITS = 32,
    TRAILER_BYTES = (MARK_BITS + CRC_BITS) / 8, // end mark and CRC of a stream
    CODED_MAX = 2 << 20, // bytes of a coded block; the format can't make more than about 1.1 MB
    PIECE = 4 << 20,     // bytes that are decoded ahead; a block of zeros has up to 46 MB
};

enum job_state { JOB_FREE, JOB_WAITING, JOB_RUNNING, JOB_DONE };

struct job {
    enum job_state state;
    bool end;           /* of a stream: crc is what its end mark says */
    uint32_t crc;       /* else: of the block */
    struct bits stream; /* of this one block */
    bz_stream bz;       /* reads `stream` while `more` */
    struct buf out;     /* at most PIECE bytes */
    bool failed;
    bool more; /* the block goes on behind `out` */
};

struct pool {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct job job[JOBS_MAX];
    size_t jobs, head, used; /* ring of jobs in order */
    pthread_t thread[THREADS_MAX];
    size_t threads;
    bool quit;
};

struct scan {
    struct buf data;             /* input that is not in a job yet */
    size_t at;                   /* first byte of data that was not looked at */
    uint64_t window;             /* the last 64 bits */
    unsigned char seen[1 << 13]; /* a bit for every two bytes that a mark has in it */
    size_t start;                /* bit in data where the current block begins */
    char level;                  /* '1' to '9': largest block of the stream */
    bool in_block;
    bool trailing; /* an end mark did not count: other bytes follow */
    bunzip_input_fn *input;
    bunzip_output_fn *output;
    void *arg;
    uint32_t crc; /* over the blocks given out, of the current stream */
};

/* Ends a stream of one block, whose CRC is then the block's. */
static void add_trailer(struct bits *b, uint32_t crc)
{
    uint64_t mark = htobe64(END_MARK << 16);
    unsigned char trailer[TRAILER_BYTES + 1] = {0};
    memcpy(trailer, &mark, MARK_BITS / 8);
    memcpy(trailer + MARK_BITS / 8, &(uint32_t){htobe32(crc)}, sizeof crc);
    bits_add(b, trailer, 0, MARK_BITS + CRC_BITS);
}

/* The next piece of a job into j->out; j->more or j->failed tells how it went. */
static void decode_piece(struct job *j)
{
    buf_reset(&j->out);
    buf_reserve(&j->out, PIECE);
    j->bz.next_out = j->out.data;
    j->bz.avail_out = PIECE;
    int rc = BZ2_bzDecompress(&j->bz);
    if (rc == BZ_MEM_ERROR)
        alloc_failed();
    j->out.len = PIECE - j->bz.avail_out;
    j->more = rc == BZ_OK && !j->bz.avail_out;
    j->failed = !j->more && (rc != BZ_STREAM_END || j->bz.avail_in);
    if (!j->more)
        BZ2_bzDecompressEnd(&j->bz);
}

static void decode(struct job *j)
{
    j->bz = (bz_stream){.next_in = j->stream.bytes.data, .avail_in = (unsigned)j->stream.bytes.len};
    if (BZ2_bzDecompressInit(&j->bz, 0, 0) != BZ_OK)
        alloc_failed();
    decode_piece(j);
}

/* The oldest job that waits, or NULL. */
static struct job *take_waiting(struct pool *p)
{
    for (size_t i = 0; i < p->used; i++) {
        struct job *j = &p->job[(p->head + i) % p->jobs];
        if (j->state != JOB_WAITING)
            continue;
        j->state = JOB_RUNNING;
        return j;
    }
    return NULL;
}

static void *work(void *arg)
{
    struct pool *p = arg;
    pthread_mutex_lock(&p->mutex);
    for (;;) {
        struct job *j = take_waiting(p);
        if (j) {
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
    p->jobs = 3 * want + 1;
    for (size_t i = 0; i < p->jobs; i++) {
        buf_init(&p->job[i].stream.bytes);
        buf_init(&p->job[i].out);
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
        buf_clear(&p->job[i].stream.bytes);
        buf_clear(&p->job[i].out);
        if (p->job[i].more)
            BZ2_bzDecompressEnd(&p->job[i].bz);
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
    if (!b->failed || a->stream.bytes.len + b->stream.bytes.len > CODED_MAX)
        return damaged(err);
    size_t frame = HEADER_BYTES * 8 + MARK_BITS + CRC_BITS;
    bits_cut(&a->stream, a->stream.n - MARK_BITS - CRC_BITS);
    bits_add(&a->stream, b->stream.bytes.data, HEADER_BYTES * 8, b->stream.n - frame);
    add_trailer(&a->stream, a->crc);
    struct bits joined = a->stream;
    a->stream = b->stream;
    b->stream = joined;
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
    j->end = j->failed = j->more = false;
    j->crc = (uint32_t)bits_get(s->data.data, s->start + MARK_BITS, CRC_BITS);
    bits_cut(&j->stream, 0);
    bits_add(&j->stream, (const char[]){'B', 'Z', 'h', s->level, 0}, 0, HEADER_BYTES * 8);
    bits_add(&j->stream, s->data.data, s->start, end - s->start);
    add_trailer(&j->stream, j->crc);
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
    return error_set(err, ERR_USER, "the compressed data is truncated");
}

static int others_follow(struct error **err)
{
    return error_set(err, ERR_USER, "trailing bytes after the compressed data");
}

static bool is_header(const char *h)
{
    return !memcmp(h, "BZh", 3) && h[3] >= '1' && h[3] <= '9';
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
    if (rc == 0 || zeros || !is_header(s->data.data + s->at))
        return others_follow(err);
    s->level = s->data.data[s->at + 3];
    s->at += HEADER_BYTES;
    s->start = s->at * 8;
    forget(s, s->at);
    s->window = 0;
    s->in_block = s->trailing = false;
    return 1;
}

/* Whether the stream can end with the end mark at bit `mark`: then comes another one, or only
 * zeros, as tapes are padded. 1, 0, -1. */
static int may_end(struct scan *s, size_t mark, struct error **err)
{
    size_t end = (mark + MARK_BITS + CRC_BITS + 7) / 8;
    if (need(s, end + HEADER_BYTES, err) < 0)
        return -1;
    if (s->data.len < end)
        return 1; // cut off: its end will tell
    size_t n = s->data.len - end;
    const char *next = s->data.data + end;
    return n < HEADER_BYTES ? !memcmp(next, "\0\0\0", n)
                            : is_header(next) || !memcmp(next, "\0\0\0", 4);
}

/* The end mark is at bit `mark`: its CRC becomes a job, s->at the first byte behind the stream. */
static int end_stream(struct scan *s, struct pool *p, size_t mark, struct error **err)
{
    size_t end = mark + MARK_BITS + CRC_BITS;
    int rc = need(s, (end + 7) / 8, err);
    if (rc <= 0)
        return rc < 0 ? -1 : ends_early(err);
    struct job *j = new_job(s, p, err);
    if (!j)
        return -1;
    j->end = true;
    j->failed = j->more = false;
    j->crc = (uint32_t)bits_get(s->data.data, mark + MARK_BITS, CRC_BITS);
    submit(p, j, JOB_DONE);
    s->at = (end + 7) / 8;
    return 0;
}

/* A mark ends at bit `end` of data: 1 = the stream goes on, 0 = it ended, -1. Too near to the mark
 * before it for a block, one of them is none: then this one may be, as joining mends the other. */
static int at_mark(struct scan *s, struct pool *p, uint64_t which, size_t end, struct error **err)
{
    size_t mark = end - MARK_BITS;
    if (s->in_block && mark - s->start < MARK_BITS + CRC_BITS)
        return 1;
    int rc = which == END_MARK && s->in_block ? may_end(s, mark, err) : 1;
    if (rc <= 0) {
        s->trailing = true;
        return rc < 0 ? -1 : 1;
    }
    if (s->in_block ? cut(s, p, mark, err) < 0 : mark != s->start)
        return s->in_block ? -1 : damaged(err);
    if (which == END_MARK)
        return end_stream(s, p, mark, err) < 0 ? -1 : 0;
    s->in_block = true;
    s->start = mark;
    return 1;
}

/* Wherever a mark ends in the last byte, bytes three and four from the end are all its own: only
 * where these fit is it looked for bit by bit. */
static void note_marks(struct scan *s)
{
    static const uint64_t marks[] = {BLOCK_MARK, END_MARK};
    for (unsigned i = 0; i < 16; i++) {
        unsigned two = (unsigned)(marks[i / 8] << i % 8 >> 16) & 0xffff;
        s->seen[two / 8] |= (unsigned char)(1 << two % 8);
    }
}

static bool may_be_mark(const struct scan *s)
{
    unsigned two = (unsigned)(s->window >> 16) & 0xffff;
    return s->seen[two / 8] >> two % 8 & 1;
}

/* The byte before s->at is in the window: looks for marks that end in it. As at_mark. */
static int look(struct scan *s, struct pool *p, struct error **err)
{
    for (unsigned i = 8; i-- > 0;) {
        uint64_t last = s->window >> i & MARK_MASK;
        if (last != BLOCK_MARK && last != END_MARK)
            continue;
        int rc = at_mark(s, p, last, s->at * 8 - i, err);
        if (rc <= 0)
            return rc;
    }
    return 1;
}

/* One stream from behind its header to its end. */
static int scan_stream(struct scan *s, struct pool *p, struct error **err)
{
    for (;;) {
        int rc = s->at < s->data.len ? 1 : need(s, s->at + 1, err);
        if (rc <= 0)
            return rc < 0 ? -1 : s->trailing ? others_follow(err) : ends_early(err);
        s->window = s->window << 8 | (unsigned char)s->data.data[s->at++];
        if (may_be_mark(s) && (rc = look(s, p, err)) <= 0)
            return rc;
        if (s->at * 8 - s->start > (size_t)CODED_MAX * 8 ||
            (!s->in_block && s->at * 8 - s->start > MARK_BITS))
            return s->trailing ? others_follow(err) : damaged(err);
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
    note_marks(&s);
    struct pool *p = xcalloc(1, sizeof *p);
    pool_start(p);
    buf_add_str(&s.data, first);
    int rc = run(&s, p, err);
    pool_stop(p);
    free(p);
    buf_clear(&s.data);
    return rc;
}
