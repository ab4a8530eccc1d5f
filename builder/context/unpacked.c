// SPDX-License-Identifier: MIT
//
// reader thread (read, hash) → flow → decoder thread → flow → caller. What is not compressed goes
// from the reader to the caller, without a decoder between them.
#include "builder/context/unpacked.h"

#include "base/alloc.h"
#include "base/session.h"
#include "image/decode.h"
#include "image/flow.h"

#include <fcntl.h>
#include <pthread.h>

enum { BLOCKS = 4, BLOCK_SIZE = 256 * 1024 };

struct unpacked {
    const struct session *session;
    int fd;
    struct flow *stored, *decoded; /* decoded NULL: not compressed */
    pthread_t reader, decoder;
    struct sha256 *hash;
    struct digest digest; /* the reader's, at its end */
    uint64_t consumed;    /* atomic */
    bool holds_block;     /* of the caller's flow */
    bool ended;
};

static struct flow *last_flow(const struct unpacked *u)
{
    return u->decoded ? u->decoded : u->stored;
}

static void *read_stored(void *arg)
{
    struct unpacked *u = arg;
    struct error *err = NULL;
    unsigned char *space;
    size_t room;
    while ((space = flow_space(u->stored, &room))) {
        ssize_t n = read(u->fd, space, room);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            (void)error_errno(&err, "it can't be read");
        if (n <= 0)
            break;
        sha256_add(u->hash, space, (size_t)n);
        __atomic_add_fetch(&u->consumed, (uint64_t)n, __ATOMIC_RELAXED);
        flow_put(u->stored, (size_t)n);
    }
    u->digest = sha256_finish(STEAL(u->hash));
    flow_end(u->stored, err);
    return NULL;
}

static void *decode(void *arg)
{
    struct unpacked *u = arg;
    _Atomic enum compression which = COMPRESSION_NONE;
    decode_flow(u->stored, u->decoded, &which);
    return NULL;
}

static bool is_compressed(int fd)
{
    char first[8];
    ssize_t n = pread(fd, first, sizeof first, 0);
    return n > 0 && compression_of(first, (size_t)n) != COMPRESSION_NONE;
}

struct unpacked *unpacked_open(const struct session *s, int fd)
{
    struct unpacked *u = xcalloc(1, sizeof *u);
    u->session = s;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    u->fd = fd;
    u->hash = sha256_new();
    u->stored = flow_new(BLOCKS, BLOCK_SIZE);
    if (is_compressed(fd))
        u->decoded = flow_new(BLOCKS, BLOCK_SIZE);
    if (pthread_create(&u->reader, NULL, read_stored, u) ||
        (u->decoded && pthread_create(&u->decoder, NULL, decode, u)))
        alloc_failed();
    return u;
}

void unpacked_free(struct unpacked *u)
{
    if (!u)
        return;
    flow_stop(last_flow(u)); // which makes the decoder stop, and that the reader
    if (u->decoded)
        (void)pthread_join(u->decoder, NULL);
    (void)pthread_join(u->reader, NULL);
    flow_free(u->decoded);
    flow_free(u->stored);
    sha256_free(u->hash);
    (void)close(u->fd);
    free(u);
}

ssize_t unpacked_next(struct unpacked *u, const void **ret_bytes, struct error **err)
{
    if (u->holds_block)
        flow_done(last_flow(u));
    u->holds_block = false;
    if (u->ended)
        return 0;
    if (u->session && session_cancelled(u->session))
        return error_set(err, ERR_CANCELLED, "interrupted");
    struct str block;
    int got = flow_take(last_flow(u), -1, &block, err);
    u->ended = got <= 0;
    u->holds_block = got > 0;
    if (got <= 0)
        return got;
    *ret_bytes = block.ptr;
    return (ssize_t)block.len;
}

int unpacked_digest(struct unpacked *u, struct digest *ret, struct error **err)
{
    const void *bytes;
    ssize_t n;
    while ((n = unpacked_next(u, &bytes, err)) > 0)
        ;
    if (n < 0)
        return -1;
    // The reader ends its flow after it has set the digest, and we have seen that end.
    *ret = u->digest;
    return 0;
}

uint64_t unpacked_consumed(const struct unpacked *u)
{
    return __atomic_load_n(&u->consumed, __ATOMIC_RELAXED);
}
