// SPDX-License-Identifier: MIT
//
// Every request goes through registry_request: token, attempts, pauses.
#include "registry/client.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/http.h"
#include "base/json.h"
#include "base/printable.h"
#include "base/session.h"
#include "registry/private.h"

#include <openssl/crypto.h>
#include <poll.h>
#include <strings.h>
#include <unistd.h>

enum { PAUSE_MS = 300, MANIFEST_MAX = 4 << 20, REPLY_MAX = 64 << 10 };

#define ACCEPT \
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, " \
    "application/vnd.docker.distribution.manifest.v2+json, " \
    "application/vnd.docker.distribution.manifest.list.v2+json"

int registry_pause(const struct registry *r, unsigned failures, long asked, struct error **err)
{
    long ms = http_number(r->session, "KILN_HTTP_RETRY_MS", PAUSE_MS, 0) << failures;
    long long end = now_ms() + (asked > ms ? asked : ms);
    while (now_ms() < end) {
        if (r->session && session_cancelled(r->session))
            return error_set(err, ERR_CANCELLED, "interrupted");
        (void)poll(NULL, 0, 20);
    }
    return 0;
}

/* A token for the challenge, unless another thread got a newer one than `seen` meanwhile. */
static int renew(struct registry *r, const char *challenge, unsigned seen, struct error **err)
{
    int rc = 0;
    pthread_mutex_lock(&r->mutex);
    if (r->generation == seen) {
        char *fresh = registry_authorize(r, challenge, err);
        if (fresh) {
            free(r->authorization);
            r->authorization = fresh;
            r->generation++;
        }
        rc = fresh ? 0 : -1;
    }
    pthread_mutex_unlock(&r->mutex);
    return rc;
}

static char *authorization_for(struct registry *r, const char *url, unsigned *generation)
{
    pthread_mutex_lock(&r->mutex);
    char *copy = r->authorization && registry_owns(r, url) ? xstrdup(r->authorization) : NULL;
    *generation = r->generation;
    pthread_mutex_unlock(&r->mutex);
    return copy;
}

int registry_request(struct registry *r, const struct request *q, struct answer *ret,
                     struct error **err)
{
    bool renewed = false;
    for (unsigned failures = 0;;) {
        struct error *why = NULL;
        unsigned generation;
        long asked = 0;
        AUTO_FREE char *authorization = authorization_for(r, q->url, &generation);
        int rc = http_once(r, q, authorization, &asked, ret, &why);
        if (rc == 0 && ret->status == 401 && ret->challenge && !renewed &&
            registry_owns(r, q->url)) {
            renewed = true;
            if (renew(r, ret->challenge, generation, err) < 0)
                return -1;
            continue;
        }
        if (rc == 0)
            return 0;
        bool refused = ret->status == 429 || ret->status == 503; // nothing was taken
        if (rc < 0 || (q->no_retry && !refused) || ++failures == REGISTRY_TRIES ||
            (q->reply_fd >= 0 && ret->written))
            return error_propagate(err, why);
        error_free(why);
        if (registry_pause(r, failures - 1, asked, err) < 0)
            return -1;
    }
}

int registry_refused(const struct registry *r, const char *what, const struct answer *a,
                     const struct buf *body, struct error **err)
{
    json_auto_t *answer = body ? json_loadb(body->data, body->len, 0, NULL) : NULL;
    const json_t *first = json_array_get(json_object_get(answer, "errors"), 0);
    const char *message = json_str(first, "message"), *code = json_str(first, "code");
    AUTO_FREE char *said = printable_line(message ? message : code ? code : "");
    error_set(err, a->status == 404 ? ERR_NOT_FOUND : ERR_USER, "%s answers %ld to %s%s%.300s",
              a->from, a->status, what, *said ? ": " : "", said);
    if ((a->status == 401 || a->status == 403) && !a->from_elsewhere)
        error_hint(err, "'kiln login %s' logs in as a user who may do that", r->ref.host);
    return -1;
}

/* Whether a loopback host, to which plain HTTP may be spoken, speaks TLS. */
static bool speaks_tls(struct registry *r)
{
    CLEANUP(error_freep) struct error *why = NULL;
    CLEANUP(answer_clear) struct answer a = {0};
    AUTO_FREE char *url = xasprintf("https://%s/v2/", r->ref.host);
    struct request q = {REQUEST_INIT, .method = "GET", .url = url};
    long pause;
    // any other error, as of a certificate that is not trusted, is not a reason to do without TLS
    (void)http_once(r, &q, NULL, &pause, &a, &why);
    return !a.no_tls;
}

/* Certificates are for HTTPS: what is wrong with them is no error where that is not spoken. */
static int choose_protocol(struct registry *r, struct error **err)
{
    CLEANUP(error_freep) struct error *why = NULL;
    bool plain = r->options.plain_http;
    r->base = xasprintf("https://%s", r->ref.host);
    if (!plain)
        (void)certs_find(r->session, r->ref.host, &r->certs, &why);
    r->http = plain || (host_is_loopback(r->ref.host) && !speaks_tls(r));
    if (!r->http && r->certs.warnings.len)
        session_warning(r->session, r->certs.warnings.data);
    if (!r->http)
        return why ? error_propagate(err, STEAL(why)) : 0;
    free(r->base);
    r->base = xasprintf("http://%s", r->ref.host);
    return 0;
}

static int open_layout(struct registry *r, struct registry **ret, struct error **err)
{
    if (layout_open(r->session, r->ref.layout, r->options.push, &r->layout, err) < 0) {
        registry_free(r);
        return -1;
    }
    *ret = r;
    return 0;
}

int registry_open(const struct session *s, const struct reference *ref,
                  const struct registry_options *o, struct registry **ret, struct error **err)
{
    struct registry *r = xcalloc(1, sizeof *r);
    r->session = s;
    r->ref.host = ref->host ? xstrdup(ref->host) : NULL;
    r->ref.repo = ref->repo ? xstrdup(ref->repo) : NULL;
    r->ref.layout = ref->layout ? xstrdup(ref->layout) : NULL;
    r->ref.tag = ref->tag ? xstrdup(ref->tag) : NULL;
    r->ref.digest = ref->digest ? xstrdup(ref->digest) : NULL;
    r->options = *o;
    r->have_credentials = -1;
    pthread_mutex_init(&r->mutex, NULL);
    pthread_mutex_init(&r->idle_mutex, NULL);
    certs_known_init(&r->far);
    if (o->user) {
        r->have_credentials = 1;
        r->credentials.user = xstrdup(o->user);
        r->credentials.password = xstrdup(o->password);
    }
    r->options.user = r->options.password = NULL;
    if (ref->layout)
        return open_layout(r, ret, err);
    if (choose_protocol(r, err) < 0) {
        registry_free(r);
        return -1;
    }
    if (s && session_cancelled(s)) {
        registry_free(r);
        return error_set(err, ERR_CANCELLED, "interrupted");
    }
    *ret = r;
    return 0;
}

void registry_free(struct registry *r)
{
    if (!r)
        return;
    if (r->authorization)
        OPENSSL_cleanse(r->authorization, strlen(r->authorization));
    free(r->authorization);
    credentials_clear(&r->credentials);
    reference_clear(&r->ref);
    free(r->base);
    certs_clear(&r->certs);
    certs_known_clear(&r->far);
    layout_free(r->layout);
    http_end(r);
    pthread_mutex_destroy(&r->mutex);
    pthread_mutex_destroy(&r->idle_mutex);
    free(r);
}

const struct reference *registry_reference(const struct registry *r)
{
    return &r->ref;
}

int registry_ping(struct registry *r, struct error **err)
{
    CLEANUP(answer_clear) struct answer a = {0};
    CLEANUP(buf_clear) struct buf reply = BUF_INIT;
    AUTO_FREE char *url = xasprintf("%s/v2/", r->base);
    struct request q = {REQUEST_INIT, .method = "GET", .url = url, .reply = &reply,
                        .reply_max = REPLY_MAX};
    if (registry_request(r, &q, &a, err) < 0)
        return -1;
    return a.status == 200 ? 0 : registry_refused(r, "the login", &a, &reply, err);
}

static int get_manifest(struct registry *r, const char *version, struct buf *ret,
                        struct error **err)
{
    if (r->layout)
        return layout_manifest(r->layout, version, MANIFEST_MAX, ret, err);
    CLEANUP(answer_clear) struct answer a = {0};
    AUTO_FREE char *url = xasprintf("%s/v2/%s/manifests/%s", r->base, r->ref.repo, version);
    struct request q = {REQUEST_INIT,     .method = "GET", .url = url,
                        .accept = ACCEPT, .reply = ret,    .reply_max = MANIFEST_MAX};
    if (registry_request(r, &q, &a, err) < 0)
        return -1;
    AUTO_FREE char *what = xasprintf("'%s:%s'", r->ref.repo, version);
    return a.status == 200 ? 0 : registry_refused(r, what, &a, ret, err);
}

int registry_manifest(struct registry *r, const char *version, struct buf *ret,
                      char digest[DIGEST_HEX + 1], struct error **err)
{
    if (get_manifest(r, version, ret, err) < 0)
        return -1;
    struct digest d = digest_of(ret->data, ret->len);
    digest_hex(&d, digest);
    if (!strncmp(version, "sha256:", 7) && strcmp(version + 7, digest) != 0)
        return error_set(err, ERR_USER, "registry '%s' sent another manifest than %s", r->ref.host,
                         version);
    return 0;
}

/* 1: refused, but it may go better: registries mix up equal manifests that are sent at once. */
static int put_manifest(struct registry *r, const char *version, const char *type,
                        const struct buf *text, struct error **err)
{
    CLEANUP(answer_clear) struct answer a = {0};
    CLEANUP(buf_clear) struct buf reply = BUF_INIT;
    AUTO_FREE char *url = xasprintf("%s/v2/%s/manifests/%s", r->base, r->ref.repo, version);
    struct request q = {REQUEST_INIT,          .method = "PUT", .url = url,
                        .type = type,          .body = text,    .reply = &reply,
                        .reply_max = REPLY_MAX};
    if (registry_request(r, &q, &a, err) < 0)
        return -1;
    if (a.status == 201 || a.status == 200)
        return 0;
    registry_refused(r, "the manifest", &a, &reply, err);
    return a.status == 400 || a.status == 409 ? 1 : -1;
}

int registry_put_manifest(struct registry *r, const char *version, const char *type,
                          const struct buf *text, struct error **err)
{
    enum { TRIES_REFUSED = 3 };
    if (r->layout)
        return layout_put_manifest(r->layout, version, type, text, err);
    for (unsigned failures = 0;;) {
        struct error *why = NULL;
        int rc = put_manifest(r, version, type, text, &why);
        if (rc <= 0 || ++failures == TRIES_REFUSED)
            return rc ? error_propagate(err, why) : 0;
        error_free(why);
        if (registry_pause(r, failures - 1, 0, err) < 0)
            return -1;
    }
}

static char *blob_url(const struct registry *r, const char *hex)
{
    return xasprintf("%s/v2/%s/blobs/sha256:%s", r->base, r->ref.repo, hex);
}

static int is_there(struct registry *r, const char *url, const char *accept, struct error **err)
{
    CLEANUP(answer_clear) struct answer a = {0};
    struct request q = {REQUEST_INIT, .method = "HEAD", .url = url, .accept = accept};
    if (registry_request(r, &q, &a, err) < 0)
        return -1;
    if (a.status != 200 && a.status != 404)
        return registry_refused(r, "a look-up", &a, NULL, err);
    return a.status == 200;
}

int registry_has_blob(struct registry *r, const char *hex, uint64_t size, struct error **err)
{
    if (r->layout)
        return layout_has_blob(r->layout, hex, size, err);
    AUTO_FREE char *url = blob_url(r, hex);
    return is_there(r, url, NULL, err);
}

int registry_has_manifest(struct registry *r, const char *version, struct error **err)
{
    if (r->layout)
        return layout_has_manifest(r->layout, version, err);
    AUTO_FREE char *url = xasprintf("%s/v2/%s/manifests/%s", r->base, r->ref.repo, version);
    return is_there(r, url, ACCEPT, err);
}

static int wrong_content(const char *from, const char *hex, struct error **err)
{
    return error_set(err, ERR_USER, "%s sent other content than that of blob sha256:%.12s…", from,
                     hex);
}

int registry_blob(struct registry *r, const char *hex, size_t limit, struct buf *ret,
                  struct error **err)
{
    if (r->layout)
        return layout_blob(r->layout, hex, limit, ret, err);
    CLEANUP(answer_clear) struct answer a = {0};
    AUTO_FREE char *url = blob_url(r, hex);
    struct request q = {REQUEST_INIT, .method = "GET", .url = url, .reply = ret,
                        .reply_max = limit};
    if (registry_request(r, &q, &a, err) < 0)
        return -1;
    if (a.status != 200)
        return registry_refused(r, "the request for a blob", &a, ret, err);
    struct digest want, got = digest_of(ret->data, ret->len);
    return digest_parse(hex, &want) && digest_eq(&want, &got) ? 0 : wrong_content(a.from, hex, err);
}

/* A blob that is fetched into a file. */
struct download {
    const char *url;
    uint64_t size;
    int fd;
    struct sha256 *sha; /* of what the file has */
    char *from;         /* owned: who sent the last part, for messages */
    bool kept;          /* it has what an earlier download left */
    _Atomic uint64_t *moved;
};

static int empty(struct download *d, struct error **err)
{
    off_t have = lseek(d->fd, 0, SEEK_END);
    if (d->moved && have > 0)
        *d->moved -= (uint64_t)have;
    sha256_free(d->sha);
    d->sha = sha256_new();
    return ftruncate(d->fd, 0) < 0 ? error_errno(err, "cannot empty a file") : 0;
}

/* What an earlier download has left counts, too. */
static int begin(struct download *d, struct error **err)
{
    enum { CHUNK = 64 << 10 };
    AUTO_FREE char *chunk = xmalloc(CHUNK);
    ssize_t n;
    off_t have = lseek(d->fd, 0, SEEK_END);
    d->sha = sha256_new();
    d->kept = have > 0;
    if (d->moved && have > 0)
        *d->moved += (uint64_t)have;
    if (have > (off_t)d->size)
        return empty(d, err);
    for (off_t at = 0; (n = pread_all(d->fd, chunk, CHUNK, at)) > 0; at += n)
        sha256_add(d->sha, chunk, (size_t)n);
    return n < 0 ? error_errno(err, "cannot read what was downloaded") : 0;
}

/* 1: what was kept may be damaged; it is begun again without that. */
static int finish(const char *hex, struct download *d, struct error **err)
{
    struct digest want, got = sha256_finish(STEAL(d->sha));
    if (digest_parse(hex, &want) && digest_eq(&want, &got))
        return 0;
    if (empty(d, err) < 0)
        return -1;
    bool again = d->kept;
    d->kept = false;
    return again ? 1 : wrong_content(d->from, hex, err);
}

/* One answer's worth of bytes behind those that are there. */
static int fetch_part(struct registry *r, struct download *d, struct error **err)
{
    CLEANUP(answer_clear) struct answer a = {0};
    CLEANUP(buf_clear) struct buf reply = BUF_INIT;
    off_t have = lseek(d->fd, 0, SEEK_END);
    if (have < 0)
        return error_errno(err, "cannot read what was downloaded");
    struct request q = {REQUEST_INIT,         .method = "GET",        .url = d->url,
                        .reply = &reply,      .reply_max = REPLY_MAX, .reply_at = (uint64_t)have,
                        .reply_end = d->size, .moved = d->moved,      .reply_sha = d->sha};
    q.reply_fd = d->fd;
    struct error *why = NULL;
    int rc = registry_request(r, &q, &a, &why);
    free(d->from);
    d->from = xstrdup(a.from ? a.from : r->ref.host); // none: nobody answered
    if (rc < 0) {
        bool goes_on = a.written && why->kind == ERR_SYSTEM; // a broken connection
        error_propagate(err, why);
        return goes_on ? 1 : -1;
    }
    if (a.status != 200 && a.status != 206 && a.status != 416)
        return registry_refused(r, "the request for a blob", &a, &reply, err);
    return !a.written && have ? empty(d, err) : 0;
}

static int fetch_parts(struct registry *r, const char *hex, struct download *d, struct error **err)
{
    enum { PROGRESS = 1 << 20 }; // bytes after which what failed before counts no more
    off_t have;
    for (unsigned failures = 0; (have = lseek(d->fd, 0, SEEK_END)) < (off_t)d->size;) {
        struct error *why = NULL;
        int rc = fetch_part(r, d, &why);
        if (lseek(d->fd, 0, SEEK_END) - have >= PROGRESS)
            failures = 0;
        if (rc < 0 || (++failures == REGISTRY_TRIES && why))
            return error_propagate(err, why);
        error_free(why);
        if (failures > REGISTRY_TRIES)
            return error_set(err, ERR_USER, "%s sends too little of blob sha256:%.12s…", d->from,
                             hex);
        if (rc && registry_pause(r, failures - 1, 0, err) < 0)
            return -1;
    }
    return finish(hex, d, err);
}

int registry_blob_to(struct registry *r, const char *hex, uint64_t size, int fd,
                     _Atomic uint64_t *moved, struct error **err)
{
    if (r->layout)
        return layout_blob_to(r->layout, hex, size, fd, moved, err);
    AUTO_FREE char *url = blob_url(r, hex);
    struct download d = {.url = url, .size = size, .fd = fd, .moved = moved};
    d.from = xasprintf("registry '%s'", r->ref.host);
    int rc = begin(&d, err);
    if (rc == 0)
        while ((rc = fetch_parts(r, hex, &d, err)) > 0)
            ;
    sha256_free(d.sha);
    free(d.from);
    return rc;
}
