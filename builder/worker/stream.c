// SPDX-License-Identifier: MIT
//
// The thread reads a request, has the bytes produced into a ring, and answers from there. The
// guest reads in order, but several requests are under way at once and QEMU may pass them on in
// another order; so the ring keeps what the last RING bytes were. What is older is gone, and asking
// for it is an I/O error. The mutex is held while a request is answered: begin and end wait for it.
#include "builder/worker/stream.h"

#include "base/alloc.h"
#include "base/file.h"
#include "builder/agent/stream.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    RING = 12 << 20, /* bytes; more than STREAM_AHEAD */
    PRODUCE_AT_ONCE = 1 << 20,
    REQUEST_MAX = 4 << 20, /* what one request needs must stay in the ring meanwhile */
    OPTION_MAX = 64 * 1024,
};

/* proto.md "Values" */
#define NBD_MAGIC 0x4e42444d41474943ull
#define NBD_OPT_MAGIC 0x49484156454f5054ull
#define NBD_REP_MAGIC 0x3e889045565a9ull
#define NBD_REQUEST_MAGIC 0x25609513u
#define NBD_REPLY_MAGIC 0x67446698u
enum {
    NBD_FLAG_FIXED_NEWSTYLE = 1,
    NBD_FLAG_NO_ZEROES = 2,
    NBD_OPT_EXPORT_NAME = 1,
    NBD_OPT_ABORT = 2,
    NBD_OPT_INFO = 6,
    NBD_OPT_GO = 7,
    NBD_REP_ACK = 1,
    NBD_REP_INFO = 3,
    NBD_INFO_EXPORT = 0,
    NBD_INFO_BLOCK_SIZE = 3,
    NBD_TRANSMISSION = 1 | 2, /* HAS_FLAGS, READ_ONLY */
    NBD_CMD_READ = 0,
    NBD_CMD_WRITE = 1,
    NBD_CMD_DISC = 2,
    NBD_CMD_FLUSH = 3,
    NBD_EIO = 5,
    NBD_EINVAL = 22,
};
#define NBD_REP_ERR_UNSUP ((1u << 31) | 1)

struct request {
    uint32_t magic;
    uint16_t flags, type;
    uint64_t cookie, offset;
    uint32_t length;
} __attribute__((packed));

struct reply {
    uint32_t magic, error;
    uint64_t cookie;
} __attribute__((packed));

struct stream_server {
    int fd;
    bool no_zeroes; /* negotiated */
    pthread_t thread;
    pthread_mutex_t lock;       /* for all below */
    runner_produce_fn *produce; /* NULL: no stream */
    void *arg;
    uint64_t start;   /* where the stream begins on the disk */
    uint64_t made;    /* bytes of it produced so far */
    uint64_t highest; /* end of the highest read so far, on the disk */
    bool ended;       /* produce has told its end */
    char *ring;       /* byte n of the stream is at n % RING */
    char *zeros;      /* PRODUCE_AT_ONCE of them */
};

static int send_all(int fd, const void *bytes, size_t n)
{
    const char *p = bytes;
    while (n > 0) {
        ssize_t did = send(fd, p, n, MSG_NOSIGNAL);
        if (did < 0 && errno == EINTR)
            continue;
        if (did <= 0)
            return -1;
        p += did;
        n -= (size_t)did;
    }
    return 0;
}

static int receive(int fd, void *bytes, size_t n)
{
    return read_all(fd, bytes, n) == (ssize_t)n ? 0 : -1;
}

static int send_option_reply(int fd, uint32_t option, uint32_t type, const void *data, size_t n)
{
    struct {
        uint64_t magic;
        uint32_t option, type, length;
    } __attribute__((packed))
    head = {htobe64(NBD_REP_MAGIC), htobe32(option), htobe32(type), htobe32((uint32_t)n)};
    return send_all(fd, &head, sizeof head) < 0 || send_all(fd, data, n) < 0 ? -1 : 0;
}

/* Answer to OPT_INFO and OPT_GO. */
static int send_info(int fd, uint32_t option)
{
    struct {
        uint16_t type;
        uint64_t size;
        uint16_t flags;
    } __attribute__((packed)) export = {htobe16(NBD_INFO_EXPORT), htobe64(STREAM_DISK_SIZE),
                                        htobe16(NBD_TRANSMISSION)};
    struct {
        uint16_t type;
        uint32_t min, preferred, max;
    } __attribute__((packed)) block = {htobe16(NBD_INFO_BLOCK_SIZE), htobe32(512),
                                       htobe32(STREAM_ALIGN), htobe32(REQUEST_MAX)};
    if (send_option_reply(fd, option, NBD_REP_INFO, &export, sizeof export) < 0 ||
        send_option_reply(fd, option, NBD_REP_INFO, &block, sizeof block) < 0)
        return -1;
    return send_option_reply(fd, option, NBD_REP_ACK, NULL, 0);
}

/* Answer to OPT_EXPORT_NAME: size, flags and, unless agreed otherwise, 124 zeros. */
static int send_export(struct stream_server *s)
{
    struct {
        uint64_t size;
        uint16_t flags;
        char zeros[124];
    } __attribute__((packed)) export = {htobe64(STREAM_DISK_SIZE), htobe16(NBD_TRANSMISSION), ""};
    return send_all(s->fd, &export, s->no_zeroes ? 10 : sizeof export);
}

/* One option: 1 = transmission starts, 0 = go on, -1 = it is over. */
static int serve_option(struct stream_server *s)
{
    struct {
        uint64_t magic;
        uint32_t option, length;
    } __attribute__((packed)) head;
    char data[4096];
    if (receive(s->fd, &head, sizeof head) < 0 || be64toh(head.magic) != NBD_OPT_MAGIC)
        return -1;
    uint32_t option = be32toh(head.option), left = be32toh(head.length);
    if (left > OPTION_MAX)
        return -1;
    while (left > 0) { // the export's name: there is only one export
        size_t n = left < sizeof data ? left : sizeof data;
        if (receive(s->fd, data, n) < 0)
            return -1;
        left -= (uint32_t)n;
    }
    switch (option) {
    case NBD_OPT_EXPORT_NAME:
        return send_export(s) < 0 ? -1 : 1;
    case NBD_OPT_GO:
        return send_info(s->fd, option) < 0 ? -1 : 1;
    case NBD_OPT_INFO:
        return send_info(s->fd, option);
    case NBD_OPT_ABORT:
        (void)send_option_reply(s->fd, option, NBD_REP_ACK, NULL, 0);
        return -1;
    default:
        return send_option_reply(s->fd, option, NBD_REP_ERR_UNSUP, NULL, 0);
    }
}

static int negotiate(struct stream_server *s)
{
    struct {
        uint64_t magic, option_magic;
        uint16_t flags;
    } __attribute__((packed)) hello = {htobe64(NBD_MAGIC), htobe64(NBD_OPT_MAGIC),
                                       htobe16(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)};
    uint32_t flags;
    if (send_all(s->fd, &hello, sizeof hello) < 0 || receive(s->fd, &flags, sizeof flags) < 0)
        return -1;
    s->no_zeroes = be32toh(flags) & NBD_FLAG_NO_ZEROES;
    int rc;
    while ((rc = serve_option(s)) == 0)
        ;
    return rc;
}

/* Produces until `until` bytes of the stream are made, or its end. */
static void produce_to(struct stream_server *s, uint64_t until)
{
    while (!s->ended && s->made < until) {
        size_t at = s->made % RING, n = RING - at;
        if (n > PRODUCE_AT_ONCE)
            n = PRODUCE_AT_ONCE;
        ssize_t got = s->produce(s->arg, s->ring + at, n);
        if (got <= 0)
            s->ended = true;
        else
            s->made += (uint64_t)got;
    }
}

/* The longest piece from `at` (a place on the disk) that lies together in memory; false when it
 * is no longer in the ring. */
static bool next_piece(struct stream_server *s, uint64_t at, uint64_t left, struct iovec *ret)
{
    uint64_t n = left < PRODUCE_AT_ONCE ? left : PRODUCE_AT_ONCE;
    *ret = (struct iovec){s->zeros, n};
    if (!s->produce || at >= s->start + s->made)
        return true;
    if (at < s->start) {
        ret->iov_len = s->start - at < n ? s->start - at : n;
        return true;
    }
    uint64_t in = at - s->start;
    if (s->made > RING && in < s->made - RING)
        return false;
    if (n > s->made - in)
        n = s->made - in;
    if (n > RING - in % RING)
        n = RING - in % RING;
    *ret = (struct iovec){s->ring + in % RING, n};
    return true;
}

static int send_reply(struct stream_server *s, const struct request *r, uint32_t error)
{
    struct reply reply = {htobe32(NBD_REPLY_MAGIC), htobe32(error), r->cookie};
    return send_all(s->fd, &reply, sizeof reply);
}

static int serve_read(struct stream_server *s, const struct request *r)
{
    uint64_t at = be64toh(r->offset), n = be32toh(r->length);
    if (n > REQUEST_MAX || at > STREAM_DISK_SIZE || n > STREAM_DISK_SIZE - at)
        return send_reply(s, r, NBD_EINVAL);
    // what programs look for at a disk's end does not use it up
    if (at < STREAM_DISK_SIZE / 2 && s->highest < at + n)
        s->highest = at + n;
    if (s->produce && at + n > s->start)
        produce_to(s, at + n - s->start);
    struct iovec piece;
    if (!next_piece(s, at, n, &piece))
        return send_reply(s, r, NBD_EIO);
    if (send_reply(s, r, 0) < 0)
        return -1;
    while (n > 0) {
        if (!next_piece(s, at, n, &piece) || send_all(s->fd, piece.iov_base, piece.iov_len) < 0)
            return -1;
        at += piece.iov_len;
        n -= piece.iov_len;
    }
    return 0;
}

/* 0, or -1 when the connection is over. */
static int serve_request(struct stream_server *s)
{
    struct request r;
    if (receive(s->fd, &r, sizeof r) < 0 || be32toh(r.magic) != NBD_REQUEST_MAGIC)
        return -1;
    int rc;
    switch (be16toh(r.type)) {
    case NBD_CMD_READ:
        pthread_mutex_lock(&s->lock);
        rc = serve_read(s, &r);
        pthread_mutex_unlock(&s->lock);
        return rc;
    case NBD_CMD_FLUSH:
        return send_reply(s, &r, 0);
    case NBD_CMD_WRITE: // its data follows the header: there is no going on
    case NBD_CMD_DISC:
        return -1;
    default:
        return send_reply(s, &r, NBD_EINVAL);
    }
}

static void *serve(void *arg)
{
    struct stream_server *s = arg;
    if (negotiate(s) == 1)
        while (serve_request(s) == 0)
            ;
    (void)shutdown(s->fd, SHUT_RDWR);
    return NULL;
}

static void *map_memory(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

struct stream_server *stream_server_new_take(int fd, struct error **err)
{
    struct stream_server *s = xcalloc(1, sizeof *s);
    s->fd = fd;
    s->ring = map_memory(RING); // pages are taken as they are used
    s->zeros = map_memory(PRODUCE_AT_ONCE);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){1 << 20}, sizeof(int));
    pthread_mutex_init(&s->lock, NULL);
    errno = s->ring && s->zeros ? pthread_create(&s->thread, NULL, serve, s) : ENOMEM;
    if (errno == 0)
        return s;
    error_errno(err, "cannot start the thread of the stream disk");
    s->thread = pthread_self();
    stream_server_free(s);
    return NULL;
}

void stream_server_free(struct stream_server *s)
{
    if (!s)
        return;
    (void)shutdown(s->fd, SHUT_RDWR);
    if (!pthread_equal(s->thread, pthread_self()))
        pthread_join(s->thread, NULL);
    pthread_mutex_destroy(&s->lock);
    if (s->ring)
        munmap(s->ring, RING);
    if (s->zeros)
        munmap(s->zeros, PRODUCE_AT_ONCE);
    close(s->fd);
    free(s);
}

int stream_server_begin(struct stream_server *s, runner_produce_fn *produce, void *arg,
                        uint64_t *ret_offset, struct error **err)
{
    pthread_mutex_lock(&s->lock);
    uint64_t end = s->start + s->made > s->highest ? s->start + s->made : s->highest;
    uint64_t start = (end + STREAM_ALIGN - 1) / STREAM_ALIGN * STREAM_ALIGN;
    bool full = start > STREAM_DISK_SIZE / 2;
    if (!full) {
        s->start = start;
        s->made = 0;
        s->ended = false;
        s->produce = produce;
        s->arg = arg;
    }
    pthread_mutex_unlock(&s->lock);
    if (full)
        return error_set(err, ERR_SYSTEM, "the stream disk is used up");
    *ret_offset = start;
    return 0;
}

uint64_t stream_server_end(struct stream_server *s)
{
    pthread_mutex_lock(&s->lock);
    uint64_t made = s->made;
    s->produce = NULL;
    pthread_mutex_unlock(&s->lock);
    return made;
}
