// SPDX-License-Identifier: MIT
//
// One easy handle, performed again and again until everything is there. `done` of the fetch is the
// offset of the next byte; a response is judged when its first byte comes (or when it ended without
// one): does it begin a little before that offset, and is it still the same file? Only then bytes are
// passed on, and only if the bytes before the offset are those we have: some servers keep an ETag
// when the file changes.
#include "base/http.h"
#include "base/alloc.h"
#include "base/file.h"
#include "base/session.h"
#include "image/fetch_private.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

enum {
    TRIES_EMPTY = 4,
    TRIES = 6,
    PROGRESS = 64 * 1024,
    PAUSE_MAX_MS = 30000,
    ANSWER_SECONDS = 60,
};

/* One response, as far as its headers are known. */
struct response {
    struct fetch *f;
    CURL *curl;
    char *etag, *modified;
    bool ranged;          /* 206 with a readable Content-Range */
    uint64_t from, total; /* of Content-Range; total 0 = not told */
    bool judged;
    uint64_t skip; /* bytes to drop because we have them */
    size_t check;  /* bytes after these that must be the end of the tail */
    bool refused;  /* we ended it, f->error may say why */
};

char *fetch_shown_url(const char *url)
{
    const char *host = strstr(url, "://");
    size_t n = host ? strcspn(host + 3, "/?#") : 0;
    const char *at = NULL;
    for (size_t i = 0; i < n; i++)
        if (host[3 + i] == '@')
            at = host + 3 + i;
    return at ? xasprintf("%.*s%s", (int)(host + 3 - url), url, at + 1) : xstrdup(url);
}

static void forget_headers(struct response *r)
{
    free(STEAL(r->etag));
    free(STEAL(r->modified));
    r->ranged = false;
    r->from = r->total = 0;
}

/* The value of a header line if it has that name, trimmed and owned; else NULL. */
static char *header_value(const char *line, size_t n, const char *name)
{
    size_t len = strlen(name);
    if (n <= len || strncasecmp(line, name, len) || line[len] != ':')
        return NULL;
    const char *p = line + len + 1, *end = line + n;
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    while (end > p && (unsigned char)end[-1] <= ' ')
        end--;
    return xstrndup(p, (size_t)(end - p));
}

static void take_range(struct response *r, const char *text)
{
    unsigned long long from, to, total = 0;
    int n = sscanf(text, "bytes %llu-%llu/%llu", &from, &to, &total);
    r->ranged = n >= 2 && from <= to;
    r->from = r->ranged ? from : 0;
    r->total = n == 3 ? total : 0;
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
    struct response *r = arg;
    n *= size;
    char *v;
    if (n > 5 && !strncmp(line, "HTTP/", 5)) {
        forget_headers(r); // of the redirect before
    } else if ((v = header_value(line, n, "etag"))) {
        free(r->etag);
        r->etag = strncmp(v, "W/", 2) ? v : NULL; // a weak one does not promise equal bytes
        if (!r->etag)
            free(v);
    } else if ((v = header_value(line, n, "last-modified"))) {
        free(r->modified);
        r->modified = v;
    } else if ((v = header_value(line, n, "content-range"))) {
        take_range(r, v);
        free(v);
    }
    return n;
}

static bool equal(const char *a, const char *b)
{
    return a && b && !strcmp(a, b);
}

/* Whether the response is of the file that these validators are of. */
static bool same_file(const struct response *r, const char *etag, const char *modified)
{
    if (etag || r->etag)
        return equal(etag, r->etag);
    return equal(modified, r->modified);
}

static bool refuse_changed(struct response *r)
{
    r->f->changed = true;
    r->refused = true;
    error_set(&r->f->error, ERR_USER, "'%s' changed while it was downloaded", r->f->shown);
    return false;
}

static uint64_t content_length(CURL *curl)
{
    curl_off_t n = -1;
    curl_easy_getinfo(curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &n);
    return n > 0 ? (uint64_t)n : 0;
}

static void remember_file(struct response *r, uint64_t total)
{
    struct fetch *f = r->f;
    pthread_mutex_lock(&f->mutex);
    free(f->etag);
    free(f->modified);
    f->etag = STEAL(r->etag);
    f->modified = STEAL(r->modified);
    pthread_mutex_unlock(&f->mutex);
    f->total = total;
}

/* Passes the bytes of the part on, as if they had come now. */
static bool use_part(struct response *r)
{
    struct fetch *f = r->f;
    AUTO_CLOSE int fd = open(f->part.path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    f->resumed = f->part.bytes;
    if (fd < 0) {
        error_errno(&f->error, "cannot open '%s'", f->part.path);
        r->refused = true;
        return false;
    }
    if (f->spool >= 0 && lseek(f->spool, (off_t)f->part.bytes, SEEK_SET) < 0)
        error_errno(&f->error, "cannot resume '%s'", f->part.path);
    r->refused = f->error || !fetch_push_file(f, fd, f->part.path, 0, (off_t)f->part.bytes);
    r->check = f->tail_len;
    return !r->refused;
}

/* The first response that has bytes: everything, or what the part lacks. */
static bool judge_first(struct response *r)
{
    struct fetch *f = r->f;
    bool fits = r->ranged && f->part.path && r->from == f->part.bytes - f->tail_len &&
                same_file(r, f->part.etag, f->part.modified) &&
                (!f->part.total || !r->total || f->part.total == r->total);
    if (r->ranged && !fits)
        return refuse_changed(r);
    remember_file(r, r->ranged ? r->total : content_length(r->curl));
    if (!fits)
        f->tail_len = 0;
    if (fits && !use_part(r))
        return false;
    if (f->spool >= 0 && ftruncate(f->spool, (off_t)f->resumed) < 0)
        error_errno(&f->error, "cannot keep what came of '%s'", f->shown);
    r->refused = f->error != NULL;
    return !r->refused;
}

/* A later one, after a break. */
static bool judge_next(struct response *r)
{
    struct fetch *f = r->f;
    uint64_t total = r->ranged ? r->total : content_length(r->curl);
    bool same = same_file(r, f->etag, f->modified) && (!total || !f->total || total == f->total);
    if (!same || (r->ranged && r->from != f->done - f->tail_len))
        return refuse_changed(r);
    r->skip = r->ranged ? 0 : f->done - f->tail_len;
    r->check = f->tail_len;
    return true;
}

static bool judge(struct response *r)
{
    r->judged = true;
    return r->f->done ? judge_next(r) : judge_first(r);
}

/* Keeps the last bytes of what was passed on. */
static void keep_tail(struct fetch *f, const char *bytes, size_t n)
{
    size_t new = n < FETCH_OVERLAP ? n : FETCH_OVERLAP, room = FETCH_OVERLAP - new;
    size_t old = f->tail_len < room ? f->tail_len : room;
    memmove(f->tail, f->tail + f->tail_len - old, old);
    memcpy(f->tail + old, bytes + n - new, new);
    f->tail_len = old + new;
}

/* The first bytes of a resumed answer are ones we have: a server that sends others has another file
 * under the same ETag. */
static bool check_overlap(struct response *r, const char *bytes, size_t n)
{
    struct fetch *f = r->f;
    bool same = !memcmp(bytes, f->tail + f->tail_len - r->check, n);
    r->check -= n;
    return same || refuse_changed(r);
}

static size_t on_body(char *bytes, size_t size, size_t n, void *arg)
{
    struct response *r = arg;
    n *= size;
    if (!r->judged && !judge(r))
        return 0;
    size_t skip = r->skip < n ? (size_t)r->skip : n;
    r->skip -= skip;
    size_t known = n - skip < r->check ? n - skip : r->check;
    if (!check_overlap(r, bytes + skip, known))
        return 0;
    skip += known;
    if (r->f->spool >= 0 && write_all(r->f->spool, bytes + skip, n - skip) < 0) {
        error_errno(&r->f->error, "cannot keep what came of '%s'", r->f->shown);
        r->refused = true;
    }
    if (!r->refused && !fetch_push(r->f, bytes + skip, n - skip))
        r->refused = true;
    keep_tail(r->f, bytes + skip, n - skip);
    return r->refused ? 0 : n;
}

static int on_tick(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    const struct response *r = arg;
    return flow_stopped(r->f->out);
}

static CURL *new_handle(const struct session *s, const char *url, char *why)
{
    CURL *c = http_new();
    http_prepare(c, s, url, !strncasecmp(url, "https:", 6));
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(c, CURLOPT_MAXREDIRS, 10L);
    curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(c, CURLOPT_NETRC, (long)CURL_NETRC_OPTIONAL);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, why);
    return c;
}

static CURL *open_handle(struct response *r, char *why)
{
    CURL *c = new_handle(r->f->session, r->f->url, why);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, r);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, r);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_tick);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, r);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    return c;
}

/* The end of the part; none if it can't be read. */
static void load_tail(struct fetch *f)
{
    size_t n = f->part.bytes < FETCH_OVERLAP ? (size_t)f->part.bytes : FETCH_OVERLAP;
    AUTO_CLOSE int fd = n ? open(f->part.path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    bool read = fd >= 0 && pread_all(fd, f->tail, n, (off_t)(f->part.bytes - n)) == (ssize_t)n;
    f->tail_len = read ? n : 0;
}

/* One request from the next byte on, and some before it. */
static CURLcode request(struct response *r)
{
    struct fetch *f = r->f;
    if (!f->done)
        load_tail(f);
    uint64_t from = (f->done ? f->done : f->part.bytes) - f->tail_len;
    const char *etag = f->done ? f->etag : f->part.etag;
    const char *modified = f->done ? f->modified : f->part.modified;
    struct curl_slist *headers = NULL;
    AUTO_FREE char *range = xasprintf("%llu-", (unsigned long long)from);
    AUTO_FREE char *condition = xasprintf("If-Range: %s", etag ? etag : modified ? modified : "");
    if (from && (etag || modified)) {
        headers = curl_slist_append(NULL, condition);
        curl_easy_setopt(r->curl, CURLOPT_RANGE, range);
    } else {
        curl_easy_setopt(r->curl, CURLOPT_RANGE, NULL);
    }
    curl_easy_setopt(r->curl, CURLOPT_HTTPHEADER, headers);
    forget_headers(r);
    r->judged = r->refused = false;
    r->skip = r->check = 0;
    CURLcode rc = curl_easy_perform(r->curl);
    curl_slist_free_all(headers);
    return rc;
}

static long status_of(CURL *curl)
{
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

/* Who refused, in words; owned. Without a status a proxy did, which was to connect us (https). */
static char *refusal_of(CURL *curl)
{
    long status = status_of(curl), connect = 0;
    curl_easy_getinfo(curl, CURLINFO_HTTP_CONNECTCODE, &connect);
    return status ? xasprintf("the server answered %ld", status)
                  : xasprintf("the proxy answered CONNECT with %ld", connect);
}

static bool worth_another_try(CURLcode rc, long status)
{
    switch ((int)rc) {
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return true;
    case CURLE_HTTP_RETURNED_ERROR:
        return status == 408 || status == 425 || status == 429 || status >= 500;
    default:
        return false;
    }
}

/* Waits before another try; false when the flow has stopped. */
static bool pause_for(struct response *r, unsigned failures)
{
    long ms = http_number(r->f->session, "KILN_HTTP_RETRY_MS", 500, 0);
    curl_off_t asked = 0;
    curl_easy_getinfo(r->curl, CURLINFO_RETRY_AFTER, &asked);
    for (unsigned i = 1; i < failures && ms < PAUSE_MAX_MS; i++)
        ms *= 2;
    if (asked > 0 && asked * 1000 > ms)
        ms = asked * 1000;
    long long end = now_ms() + (ms < PAUSE_MAX_MS ? ms : PAUSE_MAX_MS);
    while (now_ms() < end && !flow_stopped(r->f->out))
        (void)poll(NULL, 0, 20);
    return !flow_stopped(r->f->out);
}

/* libcurl calls a header line of more than 100 KB CURLE_OUT_OF_MEMORY; what is not there when memory
 * has run out ends the program. */
static const char *reason(CURLcode rc, const char *why)
{
    if (rc == CURLE_OUT_OF_MEMORY)
        return "the response headers are too long";
    return *why ? why : curl_easy_strerror(rc);
}

static void explain(struct response *r, CURLcode rc, const char *why, unsigned tries)
{
    struct fetch *f = r->f;
    long status = status_of(r->curl);
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    AUTO_FREE char *refusal = refusal_of(r->curl);
    if (rc == CURLE_HTTP_RETURNED_ERROR)
        buf_adds(&text, refusal);
    else
        buf_adds(&text, reason(rc, why));
    if (tries > 1)
        buf_addf(&text, " (tried %u times)", tries);
    if (f->done && f->total)
        buf_addf(&text, ", received %llu of %llu bytes", (unsigned long long)f->done,
                 (unsigned long long)f->total);
    bool missing = rc == CURLE_HTTP_RETURNED_ERROR && (status == 404 || status == 410);
    error_set(&f->error, missing ? ERR_NOT_FOUND : ERR_SYSTEM, "cannot download '%s': %s", f->shown,
              text.data);
    if (rc == CURLE_PEER_FAILED_VERIFICATION)
        error_hint(&f->error,
                   "set SSL_CERT_FILE to a file with additional certificate authorities");
}

/* A response that is whole: was it all? */
static bool is_complete(struct response *r, CURLcode rc)
{
    struct fetch *f = r->f;
    if (rc == CURLE_HTTP_RETURNED_ERROR && status_of(r->curl) == 416 && !f->done && f->part.path) {
        (void)refuse_changed(r); // it is shorter now
        return true;
    }
    if (rc != CURLE_OK)
        return false;
    if (!r->judged && !judge(r))
        return true; // with an error
    return !f->total || f->done >= f->total;
}

static void perform(struct response *r, const char *why)
{
    struct fetch *f = r->f;
    unsigned failures = 0;
    for (;;) {
        uint64_t before = f->done;
        CURLcode rc = request(r);
        if (is_complete(r, rc) || r->refused || flow_stopped(f->out))
            return;
        failures = f->done - before >= PROGRESS ? 1 : failures + 1;
        bool again = rc == CURLE_OK || worth_another_try(rc, status_of(r->curl));
        if (f->done && !f->etag && !f->modified)
            again = false; // nothing to tell by whether the rest belongs to it
        if (!again || failures >= (f->done ? TRIES : TRIES_EMPTY)) {
            explain(r, rc == CURLE_OK ? CURLE_PARTIAL_FILE : rc, why, failures);
            return;
        }
        if (!pause_for(r, failures))
            return;
    }
}

void fetch_http(struct fetch *f)
{
    char why[CURL_ERROR_SIZE] = "";
    struct response r = {.f = f};
    curl_global_init(CURL_GLOBAL_DEFAULT);
    r.curl = open_handle(&r, why);
    perform(&r, why);
    curl_easy_cleanup(r.curl);
    forget_headers(&r);
    curl_global_cleanup();
}

struct text {
    struct buf *to;
    size_t limit;
    bool too_long;
};

static size_t on_text(char *bytes, size_t size, size_t n, void *arg)
{
    struct text *t = arg;
    n *= size;
    t->too_long = n > t->limit - t->to->len;
    if (t->too_long)
        return 0;
    buf_add(t->to, bytes, n);
    return n;
}

int fetch_text(const struct session *s, const char *url, size_t limit, unsigned seconds,
               struct buf *ret, struct error **err)
{
    struct text t = {.to = ret, .limit = limit};
    char why[CURL_ERROR_SIZE] = "";
    AUTO_FREE char *shown = fetch_shown_url(url);
    buf_reset(ret);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    CURL *c = new_handle(s, url, why);
    struct curl_slist *headers =
        curl_slist_append(NULL, "Accept: application/json, text/plain, */*");
    curl_easy_setopt(c, CURLOPT_TIMEOUT, (long)seconds);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_text);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &t);
    http_stop_with(c, s);
    CURLcode rc = curl_easy_perform(c);
    long status = status_of(c);
    AUTO_FREE char *refusal = refusal_of(c);
    curl_slist_free_all(headers);
    curl_easy_cleanup(c);
    curl_global_cleanup();
    if (rc == CURLE_OK)
        return 0;
    if (rc == CURLE_ABORTED_BY_CALLBACK)
        return error_set(err, ERR_CANCELLED, "interrupted");
    if (t.too_long)
        return error_set(err, ERR_USER, "'%s' is longer than %zu bytes", shown, limit);
    if (rc == CURLE_HTTP_RETURNED_ERROR)
        return error_set(err, status == 404 || status == 410 ? ERR_NOT_FOUND : ERR_SYSTEM,
                         "cannot download '%s': %s", shown, refusal);
    return error_set(err, ERR_SYSTEM, "cannot download '%s': %s", shown, reason(rc, why));
}

static size_t refuse_body(char *bytes, size_t one, size_t n, void *arg)
{
    (void)bytes, (void)one, (void)n, (void)arg;
    return 0;
}

static struct curl_slist *add_condition(struct curl_slist *list, const char *name,
                                        const char *value)
{
    AUTO_FREE char *line = value ? xasprintf("%s: %s", name, value) : NULL;
    return line ? curl_slist_append(list, line) : list;
}

int fetch_unchanged(const struct session *s, const char *url, const char *etag,
                    const char *modified, struct error **err)
{
    char why[CURL_ERROR_SIZE] = "";
    AUTO_FREE char *shown = fetch_shown_url(url);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    CURL *c = new_handle(s, url, why);
    struct curl_slist *headers = add_condition(NULL, "If-None-Match", etag);
    headers = add_condition(headers, "If-Modified-Since", modified);
    curl_easy_setopt(c, CURLOPT_FAILONERROR, 0L);
    curl_easy_setopt(c, CURLOPT_TIMEOUT, (long)ANSWER_SECONDS);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, refuse_body);
    http_stop_with(c, s);
    CURLcode rc = curl_easy_perform(c);
    long status = status_of(c);
    AUTO_FREE char *refusal = refusal_of(c);
    curl_slist_free_all(headers);
    curl_easy_cleanup(c);
    curl_global_cleanup();
    if (rc == CURLE_ABORTED_BY_CALLBACK)
        return error_set(err, ERR_CANCELLED, "interrupted");
    if ((rc == CURLE_OK || rc == CURLE_WRITE_ERROR) && status < 400)
        return status == 304;
    return error_set(err, status == 404 || status == 410 ? ERR_NOT_FOUND : ERR_SYSTEM,
                     "cannot request '%s': %s", shown, status >= 400 ? refusal : reason(rc, why));
}
