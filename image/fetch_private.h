/* SPDX-License-Identifier: MIT
 *
 * Shared by fetch.c (thread, files) and http.c; nobody else includes it. Fields without a note
 * belong to the fetch's thread once it runs.
 */
#ifndef IMAGE_FETCH_PRIVATE_H
#define IMAGE_FETCH_PRIVATE_H

#include "image/content.h"
#include "image/fetch.h"

#include <pthread.h>
#include <stdatomic.h>

#define FETCH_OVERLAP (16 * 1024)

struct part {
    char *path;
    uint64_t bytes, total;
    char *etag, *modified;
};

struct fetch {
    const struct session *session;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards etag and modified */
    char *url, *shown, *path;
    struct part part; /* path NULL = none */
    struct flow *out;
    struct sha256 *hash;          /* NULL = not asked for */
    struct sha512 *hash512;       /* the same; only with hash */
    struct content_hash *content; /* NULL = not asked for */
    unsigned char *space;
    size_t room, used;
    long long flushed; /* now_ms() */
    int spool;
    struct error *error;
    _Atomic bool failed;   /* it was given to the flow */
    char *etag, *modified; /* of what the bytes so far belong to */
    unsigned char
        tail[FETCH_OVERLAP]; /* the last bytes so far: asked for again when it is resumed */
    size_t tail_len;
    bool complete;
    atomic_ullong done, total, resumed;
    atomic_bool changed;
};

/* n more bytes of the source; false when nobody wants them any more. */
bool fetch_push(struct fetch *f, const void *bytes, size_t n);
/* Bytes [from, to) of a file as bytes of the source; false also with f->error. */
bool fetch_push_file(struct fetch *f, int fd, const char *path, off_t from, off_t to);
/* All of f->url into the flow, or f->error. */
void fetch_http(struct fetch *f);

#endif
