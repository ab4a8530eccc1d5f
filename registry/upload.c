// SPDX-License-Identifier: MIT
//
// A blob's way to the registry (OCI distribution spec 1.1, "Pushing blobs"): one POST and one PUT of the
// whole. If that breaks, the session says how much came, and the rest follows in chunks; a session that
// is gone is begun again, after a look whether the blob came all the same (or another client sent it).
// Answer 413 to the whole means chunks, too; 413 and 416 to a chunk mean smaller ones.
#include "base/alloc.h"
#include "base/file.h"
#include "base/session.h"
#include "registry/layout.h"
#include "registry/private.h"

#include <string.h>
#include <sys/mman.h>

enum {
    REPLY_MAX = 64 << 10,
    CHUNK = 16 << 20,
    CHUNK_SMALL = 4 << 20, // GHCR takes no larger ones
};

struct upload {
    struct registry *r;
    const char *hex;
    uint64_t size, sent; /* sent: taken by the session */
    int fd;
    _Atomic uint64_t *moved;
    char *session;     /* its address; NULL = none is open */
    uint64_t chunk;    /* 0 = the whole at once */
    uint64_t at_least; /* what the registry wants of a chunk */
    bool no_chunks;    /* the registry does not know them */
};

enum outcome { FAILED = -1, DONE, AGAIN /* counts as a failure */, AT_ONCE };

static void set_sent(struct upload *u, uint64_t sent)
{
    if (u->moved)
        *u->moved += sent - u->sent;
    u->sent = sent;
}

static void forget_session(struct upload *u)
{
    free(STEAL(u->session));
    set_sent(u, 0);
}

/* asked: the address that was answered so. */
static void take_location(struct upload *u, const char *asked, const struct answer *a)
{
    if (!a->location)
        return;
    char *session = url_resolve(asked, a->location);
    free(u->session);
    u->session = session;
}

static enum outcome open_session(struct upload *u, struct error **err)
{
    CLEANUP(answer_clear) struct answer a = {0};
    CLEANUP(buf_clear) struct buf reply = BUF_INIT;
    AUTO_FREE char *url = xasprintf("%s/v2/%s/blobs/uploads/", u->r->base, u->r->ref.repo);
    struct request q = {REQUEST_INIT, .method = "POST", .url = url, .reply = &reply,
                        .reply_max = REPLY_MAX};
    if (registry_request(u->r, &q, &a, err) < 0)
        return FAILED;
    if (a.status != 202 || !a.location)
        return registry_refused(u->r, "the upload of a blob", &a, &reply, err);
    forget_session(u);
    take_location(u, url, &a);
    u->at_least = a.chunk_min;
    return DONE;
}

static char *final_url(const struct upload *u)
{
    return xasprintf("%s%cdigest=sha256:%s", u->session, strchr(u->session, '?') ? '&' : '?',
                     u->hex);
}

static void use_chunks(struct upload *u, uint64_t size)
{
    u->chunk = size > u->at_least ? size : u->at_least;
}

/* Asks the session how much it has; one that does not say is given up. */
static void look_where(struct upload *u)
{
    CLEANUP(answer_clear) struct answer a = {0};
    CLEANUP(error_freep) struct error *why = NULL;
    struct request q = {REQUEST_INIT, .method = "GET", .url = u->session};
    if (registry_request(u->r, &q, &a, &why) < 0 || a.status != 204 || !a.has_range ||
        a.range_end >= u->size) {
        forget_session(u);
        return;
    }
    take_location(u, u->session, &a);
    set_sent(u, a.range_end ? a.range_end + 1 : 0); // 0-0 stands for nothing, too
}

static enum outcome broke(struct upload *u, struct error *why, struct error **err)
{
    error_propagate(err, why);
    if (why->kind == ERR_CANCELLED)
        return FAILED;
    if (u->no_chunks)
        forget_session(u);
    else
        look_where(u);
    if (!u->no_chunks && (u->sent || u->size > CHUNK_SMALL))
        use_chunks(u, CHUNK); // so that the next break costs less
    return AGAIN;
}

static enum outcome refused(struct upload *u, const struct answer *a, const struct buf *reply,
                            struct error **err)
{
    registry_refused(u->r, "a blob", a, reply, err);
    forget_session(u);
    return a->status == 400 || a->status == 404 || a->status == 409 ? AGAIN : FAILED;
}

static enum outcome send_whole(struct upload *u, struct error **err)
{
    CLEANUP(answer_clear) struct answer a = {0};
    CLEANUP(buf_clear) struct buf reply = BUF_INIT;
    AUTO_FREE char *url = final_url(u);
    struct error *why = NULL;
    struct request q = {REQUEST_INIT,         .method = "PUT", .url = url,
                        .body_size = u->size, .reply = &reply, .reply_max = REPLY_MAX,
                        .moved = u->moved,    .no_retry = true};
    q.body_fd = u->fd;
    if (registry_request(u->r, &q, &a, &why) < 0)
        return broke(u, why, err);
    if (a.status == 201 || a.status == 204)
        return DONE;
    if (a.status != 413 || u->no_chunks)
        return refused(u, &a, &reply, err);
    forget_session(u);
    use_chunks(u, u->size > CHUNK ? CHUNK : CHUNK_SMALL);
    return AT_ONCE;
}

/* A chunk was answered otherwise than with success. */
static enum outcome chunk_refused(struct upload *u, const struct answer *a, const struct buf *reply,
                                  struct error **err)
{
    bool too_large = a->status == 413 || a->status == 416;
    uint64_t before = u->sent;
    if (too_large)
        look_where(u);
    if (u->session && u->sent != before) { // or libcurl sent it twice, on a new connection
        registry_refused(u->r, "a chunk", a, reply, err);
        return AGAIN;
    }
    if (too_large && u->chunk > CHUNK_SMALL && u->chunk > u->at_least) {
        use_chunks(u, CHUNK_SMALL);
        return AT_ONCE;
    }
    if (too_large || u->sent || a->status == 401 || a->status == 403)
        return refused(u, a, reply, err);
    forget_session(u);
    u->no_chunks = true; // 404, 405, 501…
    u->chunk = 0;
    return AT_ONCE;
}

static enum outcome send_chunk(struct upload *u, struct error **err)
{
    CLEANUP(answer_clear) struct answer a = {0};
    CLEANUP(buf_clear) struct buf reply = BUF_INIT;
    uint64_t n = u->size - u->sent < u->chunk ? u->size - u->sent : u->chunk;
    struct error *why = NULL;
    struct request q = {REQUEST_INIT,       .method = "PATCH",      .url = u->session,
                        .body_at = u->sent, .body_size = n,         .body_chunk = true,
                        .reply = &reply,    .reply_max = REPLY_MAX, .moved = u->moved,
                        .no_retry = true};
    q.body_fd = u->fd;
    if (registry_request(u->r, &q, &a, &why) < 0)
        return broke(u, why, err);
    if (a.status < 200 || a.status > 204)
        return chunk_refused(u, &a, &reply, err);
    take_location(u, u->session, &a);
    u->sent += n;
    if (!a.has_range || a.range_end == u->sent - 1)
        return DONE;
    forget_session(u); // it has something else than what was sent
    error_set(err, ERR_SYSTEM, "%s lost a part of a blob", a.from);
    return AGAIN;
}

static enum outcome send_chunks(struct upload *u, struct error **err)
{
    CLEANUP(answer_clear) struct answer a = {0};
    CLEANUP(buf_clear) struct buf reply = BUF_INIT;
    while (u->sent < u->size) {
        enum outcome o = send_chunk(u, err);
        if (o != DONE)
            return o;
    }
    AUTO_FREE char *url = final_url(u);
    struct request q = {REQUEST_INIT, .method = "PUT", .url = url, .reply = &reply,
                        .reply_max = REPLY_MAX};
    if (registry_request(u->r, &q, &a, err) < 0)
        return FAILED;
    return a.status == 201 || a.status == 204 ? DONE : refused(u, &a, &reply, err);
}

static enum outcome send_once(struct upload *u, struct error **err)
{
    if (!u->session && open_session(u, err) != DONE)
        return FAILED;
    return u->chunk ? send_chunks(u, err) : send_whole(u, err);
}

/* 1: it is there by now. */
static int pause_and_look(struct upload *u, unsigned failures, struct error **err)
{
    if (registry_pause(u->r, failures - 1, 0, err) < 0)
        return -1;
    return u->session ? 0 : registry_has_blob(u->r, u->hex, u->size, err);
}

int registry_put_blob(struct registry *r, const char *hex, uint64_t size, int fd,
                      _Atomic uint64_t *moved, struct error **err)
{
    if (r->layout)
        return layout_put_blob(r->layout, hex, size, fd, moved, err);
    struct upload u = {.r = r, .hex = hex, .size = size, .fd = fd, .moved = moved};
    uint64_t most = 0;
    int there = 0;
    enum outcome o = AT_ONCE;
    for (unsigned failures = 0; o > DONE && !there;) {
        CLEANUP(error_freep) struct error *why = NULL;
        o = send_once(&u, &why);
        failures = u.sent > most ? 0 : failures;
        most = u.sent > most ? u.sent : most;
        if (o == FAILED || (o == AGAIN && ++failures == REGISTRY_TRIES)) {
            error_propagate(err, STEAL(why));
            o = FAILED;
        } else if (o == AGAIN) {
            there = pause_and_look(&u, failures, err);
        }
    }
    free(u.session);
    return o == FAILED || there < 0 ? -1 : 0;
}

int registry_put_bytes(struct registry *r, const void *bytes, size_t n, char hex[DIGEST_HEX + 1],
                       struct error **err)
{
    struct digest d = digest_of(bytes, n);
    digest_hex(&d, hex);
    int there = registry_has_blob(r, hex, n, err);
    if (there)
        return there < 0 ? -1 : 0;
    AUTO_CLOSE int fd = memfd_create("blob", MFD_CLOEXEC);
    if (fd < 0 || write_all(fd, bytes, n) < 0)
        return error_errno(err, "cannot keep a blob in memory");
    return registry_put_blob(r, hex, n, fd, NULL, err);
}

int registry_mount_blob(struct registry *r, const char *hex, const char *from, struct error **err)
{
    if (r->layout)
        return 0;
    CLEANUP(answer_clear) struct answer a = {0}, ended = {0};
    CLEANUP(buf_clear) struct buf reply = BUF_INIT;
    AUTO_FREE char *url = xasprintf("%s/v2/%s/blobs/uploads/?mount=sha256:%s&from=%s", r->base,
                                    r->ref.repo, hex, from);
    struct request q = {REQUEST_INIT, .method = "POST", .url = url, .reply = &reply,
                        .reply_max = REPLY_MAX};
    if (registry_request(r, &q, &a, err) < 0)
        return -1;
    if (a.status != 202 || !a.location)
        return a.status == 201;
    // an upload was begun in its place: not wanted
    AUTO_FREE char *session = url_resolve(url, a.location);
    struct request end = {REQUEST_INIT, .method = "DELETE", .url = session};
    CLEANUP(error_freep) struct error *why = NULL;
    (void)registry_request(r, &end, &ended, &why);
    return 0;
}
