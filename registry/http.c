// SPDX-License-Identifier: MIT
//
// One attempt of one request. Redirects are followed here and not by libcurl, so that what is for one
// address (Authorization, certs.d) is not for another one that it leads to.
#include "base/http.h"
#include "base/alloc.h"
#include "base/file.h"
#include "base/session.h"
#include "registry/private.h"

#include <curl/curl.h>
#include <strings.h>
#include <unistd.h>

enum { REDIRECTS_MAX = 10 };

struct attempt {
    const struct request *q;
    struct registry *r;
    char *url; /* owned: where the redirects so far lead */
    CURL *curl;
    struct answer *answer;
    uint64_t sent;
    bool too_long, write_failed;
    struct error *unusable; /* owned: the certificates for the address can't be used */
    char why[CURL_ERROR_SIZE];
};

void answer_clear(struct answer *a)
{
    free(a->location);
    free(a->challenge);
    free(a->next);
    free(a->from);
    memset(a, 0, sizeof *a);
}

static char *value_of(const char *line, size_t n, const char *name)
{
    size_t len = strlen(name);
    if (n <= len || strncasecmp(line, name, len) != 0 || line[len] != ':')
        return NULL;
    const char *p = line + len + 1, *end = line + n;
    while (p < end && *p == ' ')
        p++;
    while (end > p && (unsigned char)end[-1] <= ' ')
        end--;
    return xstrndup(p, (size_t)(end - p));
}

/* Where a challenge of that scheme begins in a header that may have several (RFC 9110, 11.6.1):
 * outside of quotes, at the start or behind a comma. */
static const char *find_scheme(const char *header, const char *scheme)
{
    size_t len = strlen(scheme);
    bool quoted = false, start = true;
    for (const char *p = header; *p; p++) {
        if (!quoted && start && !strncasecmp(p, scheme, len) && (p[len] == ' ' || !p[len]))
            return p;
        if (quoted && *p == '\\' && p[1])
            p++;
        else if (*p == '"')
            quoted = !quoted;
        start = !quoted && (*p == ',' || (start && *p == ' '));
    }
    return NULL;
}

/* Bearer is better than Basic, and the first one counts. */
static void take_challenge(struct answer *a, const char *header)
{
    const char *bearer = find_scheme(header, "bearer"), *basic = find_scheme(header, "basic");
    bool have_bearer = a->challenge && !strncasecmp(a->challenge, "bearer", 6);
    const char *best = bearer ? bearer : basic;
    if (!best || have_bearer || (a->challenge && !bearer))
        return;
    free(a->challenge);
    a->challenge = xstrdup(best);
}

/* "Range: 0-999", of an upload; some say "bytes=0-999". */
static void take_range(struct answer *a, const char *value)
{
    const char *end = strchr(value, '-');
    a->has_range = end && end[1] >= '0' && end[1] <= '9';
    a->range_end = a->has_range ? strtoull(end + 1, NULL, 10) : 0;
}

/* <address>; rel="next" (RFC 8288). */
static void take_link(struct answer *a, const char *value)
{
    const char *end = *value == '<' ? strchr(value, '>') : NULL;
    if (!end || !(strstr(end, "rel=\"next\"") || strstr(end, "rel=next")))
        return;
    free(a->next);
    a->next = xstrndup(value + 1, (size_t)(end - value - 1));
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
    struct attempt *t = arg;
    char *v;
    n *= size;
    if (n > 5 && !strncmp(line, "HTTP/", 5)) {
        answer_clear(t->answer);
    } else if ((v = value_of(line, n, "location"))) {
        free(t->answer->location);
        t->answer->location = v;
    } else if ((v = value_of(line, n, "www-authenticate"))) {
        take_challenge(t->answer, v);
        free(v);
    } else if ((v = value_of(line, n, "link"))) {
        take_link(t->answer, v);
        free(v);
    } else if ((v = value_of(line, n, "range"))) {
        take_range(t->answer, v);
        free(v);
    } else if ((v = value_of(line, n, "oci-chunk-min-length"))) {
        t->answer->chunk_min = strtoull(v, NULL, 10);
        free(v);
    }
    return n;
}

/* Whether the answer leads to another address, which is asked then. */
static bool follows(const struct attempt *t, long status)
{
    bool asks = !strcmp(t->q->method, "GET") || !strcmp(t->q->method, "HEAD");
    return asks && status >= 300 && status < 400 && t->answer->location;
}

static size_t to_file(struct attempt *t, const char *bytes, size_t n)
{
    uint64_t at = t->q->reply_at + t->answer->written;
    t->too_long = n > t->q->reply_end - at;
    t->write_failed = !t->too_long && pwrite_all(t->q->reply_fd, bytes, n, (off_t)at) < 0;
    if (t->too_long || t->write_failed)
        return 0;
    if (t->q->reply_sha)
        sha256_add(t->q->reply_sha, bytes, n);
    t->answer->written += n;
    if (t->q->moved)
        *t->q->moved += n;
    return n;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *arg)
{
    struct attempt *t = arg;
    long status = 0;
    n *= size;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    if (follows(t, status))
        return n;
    // an answer from the start where a later part was asked for: the caller begins again
    if (t->q->reply_fd >= 0 && (status == 206 || (status == 200 && !t->q->reply_at)))
        return to_file(t, bytes, n);
    if (t->q->reply_fd >= 0 && status == 200)
        return 0;
    if (!t->q->reply)
        return n;
    t->too_long = n > t->q->reply_max - t->q->reply->len;
    if (t->too_long)
        return 0;
    buf_add(t->q->reply, bytes, n);
    return n;
}

static size_t on_send(char *to, size_t size, size_t n, void *arg)
{
    struct attempt *t = arg;
    uint64_t left = t->q->body_size - t->sent;
    n *= size;
    if (n > left)
        n = (size_t)left;
    if (pread_all(t->q->body_fd, to, n, (off_t)(t->q->body_at + t->sent)) != (ssize_t)n)
        return CURL_READFUNC_ABORT;
    t->sent += n;
    if (t->q->moved)
        *t->q->moved += n;
    return n;
}

static int on_seek(void *arg, curl_off_t at, int origin)
{
    struct attempt *t = arg;
    // libcurl would send the whole again by itself when a connection that was kept turns out to be broken
    if (origin != SEEK_SET || (t->q->no_retry && t->sent))
        return CURL_SEEKFUNC_FAIL;
    if (t->q->moved)
        *t->q->moved -= t->sent - (uint64_t)at;
    t->sent = (uint64_t)at;
    return CURL_SEEKFUNC_OK;
}

/* Those of the folder of the host that is asked. NULL: there are none for plain HTTP; an error. */
static const struct certs *certs_of(const struct attempt *t, struct error **err)
{
    const struct certs *certs = NULL;
    if (registry_owns(t->r, t->url))
        return &t->r->certs;
    AUTO_FREE char *place = url_place(t->url);
    if (!strncasecmp(t->url, "https://", 8))
        (void)certs_known_find(&t->r->far, t->r->session, place, &certs, err);
    return certs;
}

/* The system's authorities stay trusted: libcurl looks for those in a folder, too. The registry's own are
 * for where it gives tokens, also. */
static void set_certs(CURL *c, struct attempt *t)
{
    CLEANUP(buf_clear) struct buf authorities = BUF_INIT;
    const struct certs *certs = certs_of(t, &t->unusable);
    if (t->q->for_token && certs != &t->r->certs && url_same_origin(t->url, t->q->url))
        buf_add(&authorities, t->r->certs.authorities.data, t->r->certs.authorities.len);
    if (certs)
        buf_add(&authorities, certs->authorities.data, certs->authorities.len);
    struct curl_blob blob = {authorities.data, authorities.len, CURL_BLOB_COPY};
    if (blob.len)
        curl_easy_setopt(c, CURLOPT_CAINFO_BLOB, &blob);
    if (certs && certs->cert) {
        curl_easy_setopt(c, CURLOPT_SSLCERT, certs->cert);
        curl_easy_setopt(c, CURLOPT_SSLKEY, certs->key);
    }
}

static void set_common(CURL *c, struct attempt *t)
{
    http_prepare(c, t->r->session, t->url, !t->r->http);
    http_stop_with(c, t->r->session);
    curl_easy_setopt(c, CURLOPT_UPLOAD_BUFFERSIZE, 512L * 1024);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    set_certs(c, t);
    if (t->r->options.insecure) {
        curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 0L);
    }
}

static void set_method(CURL *c, struct attempt *t)
{
    const struct request *q = t->q;
    if (!strcmp(q->method, "GET"))
        return;
    if (!strcmp(q->method, "HEAD")) {
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    } else if (q->body || !q->body_size) {
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, q->body ? q->body->data : "");
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE, q->body ? (long)q->body->len : 0L);
        curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, q->method);
    } else {
        curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, q->method);
        curl_easy_setopt(c, CURLOPT_READFUNCTION, on_send);
        curl_easy_setopt(c, CURLOPT_READDATA, t);
        curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, on_seek);
        curl_easy_setopt(c, CURLOPT_SEEKDATA, t);
        curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, (curl_off_t)q->body_size);
    }
}

static void add_header(struct curl_slist **list, const char *name, const char *value)
{
    AUTO_FREE char *line = value ? xasprintf("%s: %s", name, value) : NULL;
    if (line)
        *list = curl_slist_append(*list, line);
}

static struct curl_slist *headers_of(const struct request *q, const char *authorization)
{
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    AUTO_FREE char *range = q->reply_fd >= 0 && q->reply_at
                                ? xasprintf("bytes=%llu-", (unsigned long long)q->reply_at)
                                : NULL;
    add_header(&list, "Authorization", authorization);
    add_header(&list, "Accept", q->accept);
    add_header(&list, "Range", range);
    if (q->body_chunk) {
        AUTO_FREE char *where = xasprintf("%llu-%llu", (unsigned long long)q->body_at,
                                          (unsigned long long)(q->body_at + q->body_size - 1));
        add_header(&list, "Content-Range", where);
    }
    if (q->body || q->body_size)
        add_header(&list, "Content-Type", q->type ? q->type : "application/octet-stream");
    return list;
}

static bool passes(CURLcode rc)
{
    return rc == CURLE_COULDNT_CONNECT || rc == CURLE_COULDNT_RESOLVE_HOST ||
           rc == CURLE_PARTIAL_FILE || rc == CURLE_OPERATION_TIMEDOUT || rc == CURLE_GOT_NOTHING ||
           rc == CURLE_SEND_ERROR || rc == CURLE_RECV_ERROR || rc == CURLE_HTTP2 ||
           rc == CURLE_HTTP2_STREAM;
}

/* Who was asked, for messages. */
static void tell_whom(struct attempt *t)
{
    AUTO_FREE char *place = url_place(t->url);
    t->answer->from_elsewhere = !registry_owns(t->r, t->url);
    free(t->answer->from);
    t->answer->from = t->answer->from_elsewhere
                          ? xasprintf("'%s' (registry '%s' leads there)", place, t->r->ref.host)
                          : xasprintf("registry '%s'", t->r->ref.host);
}

/* What became of it: as http_once. */
static int judge(struct attempt *t, CURLcode rc, long *pause, struct error **err)
{
    const char *who = t->answer->from;
    curl_off_t asked = 0;
    long status = t->answer->status;
    curl_easy_getinfo(t->curl, CURLINFO_RETRY_AFTER, &asked);
    *pause = asked > 0 ? (asked < 60 ? (long)asked * 1000 : 60000) : 0;
    if (t->r->session && session_cancelled(t->r->session))
        return error_set(err, ERR_CANCELLED, "interrupted");
    if (t->unusable) {
        error_propagate(err, STEAL(t->unusable));
        return error_wrap(err, "cannot talk to %s", who);
    }
    if (t->too_long)
        return error_set(err, ERR_USER, "%s sent more bytes than it should", who);
    if (t->write_failed)
        return error_errno(err, "cannot keep what was downloaded");
    if (rc == CURLE_WRITE_ERROR && status == 200)
        return 0; // no ranges here: told by `written`
    if (rc == CURLE_SEND_ERROR && status >= 400)
        rc = CURLE_OK; // refused before the end of what was sent
    t->answer->no_tls = rc == CURLE_SSL_CONNECT_ERROR;
    if (rc != CURLE_OK) {
        error_set(err, ERR_SYSTEM, "cannot talk to %s: %s", who,
                  *t->why ? t->why : curl_easy_strerror(rc));
        if (rc == CURLE_PEER_FAILED_VERIFICATION)
            error_hint(err,
                       "SSL_CERT_FILE names a file with further certificate authorities, "
                       "--insecure does without");
        return passes(rc) ? 1 : -1;
    }
    if (status != 408 && status != 429 && status < 500)
        return 0;
    error_set(err, ERR_USER, "%s answers %ld to the request", who, status);
    return 1;
}

/* A handle of an earlier request, so that its connection is used again, or a new one. */
static CURL *take_handle(struct registry *r)
{
    pthread_mutex_lock(&r->idle_mutex);
    CURL *c = r->n_idle ? r->idle[--r->n_idle] : NULL;
    pthread_mutex_unlock(&r->idle_mutex);
    return c ? c : http_new();
}

static void give_back(struct registry *r, CURL *c)
{
    curl_easy_reset(c);
    pthread_mutex_lock(&r->idle_mutex);
    bool kept = r->n_idle < REGISTRY_IDLE;
    if (kept)
        r->idle[r->n_idle++] = c;
    pthread_mutex_unlock(&r->idle_mutex);
    if (!kept)
        curl_easy_cleanup(c);
}

void http_end(struct registry *r)
{
    while (r->n_idle)
        curl_easy_cleanup(r->idle[--r->n_idle]);
}

/* The address that the answer leads to, without user and password; owned. NULL: nowhere. */
static char *next_address(const struct attempt *t)
{
    const char *url = NULL;
    long status = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(t->curl, CURLINFO_REDIRECT_URL, &url);
    return url && follows(t, status) ? url_without_user(url) : NULL;
}

static CURLcode ask(struct attempt *t, const char *authorization)
{
    bool same = authorization && url_same_origin(t->url, t->q->url);
    struct curl_slist *headers = headers_of(t->q, same ? authorization : NULL);
    if (t->q->reply)
        buf_reset(t->q->reply);
    answer_clear(t->answer);
    set_common(t->curl, t);
    set_method(t->curl, t);
    curl_easy_setopt(t->curl, CURLOPT_ERRORBUFFER, t->why);
    curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, headers);
    CURLcode rc = t->unusable ? CURLE_ABORTED_BY_CALLBACK : curl_easy_perform(t->curl);
    curl_slist_free_all(headers);
    return rc;
}

static CURLcode ask_and_follow(struct attempt *t, const char *authorization)
{
    for (unsigned hops = 0;; hops++) {
        CURLcode rc = ask(t, authorization);
        char *next = rc == CURLE_OK ? next_address(t) : NULL;
        if (!next)
            return rc;
        free(t->url);
        t->url = next;
        if (hops == REDIRECTS_MAX) {
            (void)snprintf(t->why, sizeof t->why, "more than %d redirects followed", REDIRECTS_MAX);
            return CURLE_TOO_MANY_REDIRECTS;
        }
        curl_easy_reset(t->curl);
    }
}

int http_once(struct registry *r, const struct request *q, const char *authorization, long *pause,
              struct answer *ret, struct error **err)
{
    struct attempt t = {
        .q = q, .r = r, .url = xstrdup(q->url), .curl = take_handle(r), .answer = ret};
    CURLcode rc = ask_and_follow(&t, authorization);
    curl_easy_getinfo(t.curl, CURLINFO_RESPONSE_CODE, &ret->status);
    tell_whom(&t);
    int judged = judge(&t, rc, pause, err);
    if (q->moved && (judged || ret->status >= 400))
        *q->moved -= t.sent; // it will be sent again
    free(t.url);
    error_free(t.unusable);
    give_back(r, t.curl);
    return judged;
}
