/* SPDX-License-Identifier: MIT
 *
 * Requests and tokens; for the files of registry/ only.
 */
#ifndef REGISTRY_PRIVATE_H
#define REGISTRY_PRIVATE_H

#include "registry/certs.h"
#include "registry/client.h"
#include "registry/credentials.h"
#include "registry/layout.h"

#include <pthread.h>

enum { REGISTRY_IDLE = 16, REGISTRY_TRIES = 5 };

struct registry {
    const struct session *session;
    struct reference ref;
    struct registry_options options;
    struct layout *layout;  /* in place of all that follows; NULL = a registry */
    bool http;              /* plain */
    char *base;             /* "https://host" */
    struct certs certs;     /* for that address; the authorities also for where it gives tokens */
    struct certs_known far; /* for the hosts that it leads to */
    struct credentials credentials;
    int have_credentials;  /* -1 = not looked yet */
    pthread_mutex_t mutex; /* of what follows and the credentials */
    char *authorization;   /* header value; NULL = none yet */
    unsigned generation;   /* of it */
    pthread_mutex_t idle_mutex;
    void *idle[REGISTRY_IDLE]; /* libcurl's handles between two requests, with connections */
    unsigned n_idle;
};

struct request {
    const char *method, *url; /* url: absolute */
    const char *type;         /* Content-Type; NULL = none */
    const char *accept;       /* NULL = anything */
    const struct buf *body;   /* or: */
    int body_fd;              /* sent from body_at on if body is NULL and body_size not 0 */
    uint64_t body_at, body_size;
    bool body_chunk;   /* says where it belongs: Content-Range */
    struct buf *reply; /* at most reply_max bytes; NULL = dropped */
    size_t reply_max;
    int reply_fd; /* -1, or written from reply_at on */
    uint64_t reply_at, reply_end;
    struct sha256 *reply_sha; /* is given what is written; may be NULL */
    bool no_retry;            /* the caller begins again after a broken connection */
    bool for_token;           /* the address is the one where the registry gives tokens */
    _Atomic uint64_t *moved;
};
#define REQUEST_INIT .body_fd = -1, .reply_fd = -1

struct answer {
    long status;
    char *location, *challenge; /* owned; challenge: the first Bearer one, or else any */
    char *next;                 /* owned: the Link to the next page; NULL = none */
    char *from;                 /* owned: who answered, for messages */
    bool from_elsewhere;        /* not the registry itself */
    uint64_t written;           /* bytes put into reply_fd */
    bool has_range;     /* it says up to which byte (range_end) an upload has come; 0 may mean */
    uint64_t range_end; /* that it has none */
    uint64_t chunk_min; /* OCI-Chunk-Min-Length; 0 = not said */
    bool no_tls;        /* the server does not speak it */
};
void answer_clear(struct answer *a);
/* origin.c: parts of absolute addresses; the strings are owned. */
char *url_host(const char *url);  /* an IPv6 one with its brackets; NULL = none */
char *url_place(const char *url); /* HOST[:PORT], for messages */
char *url_without_user(const char *url);
/* Where a Location that answers `base` leads (RFC 9110, 10.2.2), without user, password and fragment. */
char *url_resolve(const char *base, const char *location);
/* Protocol, host and port. */
bool url_same_origin(const char *a, const char *b);
/* Whether the address is of the registry itself. */
bool registry_owns(const struct registry *r, const char *url);

/* One request with all that the client does by itself. An answer of any status below 500 is a
 * success here. */
int registry_request(struct registry *r, const struct request *q, struct answer *ret,
                     struct error **err);
/* A status that was not expected, in words, with what `body` (may be NULL) says. */
int registry_refused(const struct registry *r, const char *what, const struct answer *a,
                     const struct buf *body, struct error **err);
/* Before attempt `failures` + 2, or as long as the registry asked for (ms). -1: interrupted. */
int registry_pause(const struct registry *r, unsigned failures, long asked, struct error **err);
/* One attempt, with this Authorization (may be NULL). 0; 1: it may go better next time, with the
 * reason in *err; -1. */
int http_once(struct registry *r, const struct request *q, const char *authorization,
              long *ret_pause_ms, struct answer *ret, struct error **err);
/* Ends the connections that are kept for further requests. */
void http_end(struct registry *r);
/* The header value for a challenge; asks the token server. Owned. */
char *registry_authorize(struct registry *r, const char *challenge, struct error **err);

#endif
