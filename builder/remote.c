// SPDX-License-Identifier: MIT
//
// One conditional GET through a curl multi handle, so that a poll can watch the session's cancel_fd
// too. The body goes to a file of a random name and through the digest; the digest then is the
// file's name. Nothing is locked: kept files never change, records are replaced whole, and who
// uses a file has it open. A replaced version is removed, which at worst costs another URL with
// the same content a download.
#include "builder/remote.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/session.h"
#include "builder/index.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

enum { STALL_SECONDS = 60, CONNECT_SECONDS = 30, REDIRECTS_MAX = 10, HEADER_MAX = 1024 };

/* What is known of a URL from the last time. */
struct record {
    struct digest digest;
    char *etag, *last_modified; /* NULL = none */
    int64_t mtime;
};

struct fetch {
    const struct session *session;
    const char *url;
    void (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
    char *dir, *record_path;
    struct index *index;

    CURL *curl;
    struct atomic_file file; /* its name is made up; it is committed under another */
    struct sha256 *hash;
    uint64_t size;
    int write_errno;
    char *etag, *last_modified;
};

void remote_file_clear(struct remote_file *f)
{
    if (f->fd >= 0)
        (void)close(f->fd);
    free(f->name);
    *f = (struct remote_file)REMOTE_FILE_INIT;
}

static void record_clear(struct record *r)
{
    free(r->etag);
    free(r->last_modified);
}

static void fetch_clear(struct fetch *f)
{
    atomic_file_abandon(&f->file);
    sha256_free(f->hash);
    index_free(f->index);
    curl_easy_cleanup(f->curl);
    free(f->dir);
    free(f->record_path);
    free(f->etag);
    free(f->last_modified);
}

static char *content_path(const struct fetch *f, const struct digest *d)
{
    char hex[DIGEST_HEX + 1];
    digest_hex(d, hex);
    return xasprintf("%s/%s", f->dir, hex);
}

/* Checks the URL and gives its last part. */
static int parse_url(const char *url, char **ret_name, struct error **err)
{
    CURLU *u = curl_url();
    char *scheme = NULL, *path = NULL;
    bool good = u && !curl_url_set(u, CURLUPART_URL, url, 0) &&
                !curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) &&
                !curl_url_get(u, CURLUPART_PATH, &path, 0) &&
                (!strcmp(scheme, "http") || !strcmp(scheme, "https"));
    if (good) {
        const char *slash = strrchr(path, '/');
        int len = 0;
        char *name = curl_easy_unescape(NULL, slash ? slash + 1 : path, 0, &len);
        bool usable = name && strlen(name) == (size_t)len && !strchr(name, '/') &&
                      strcmp(name, ".") && strcmp(name, "..") && len <= 255;
        *ret_name = xstrdup(usable ? name : "");
        curl_free(name);
    }
    curl_free(scheme);
    curl_free(path);
    curl_url_cleanup(u);
    return good ? 0 : error_set(err, ERR_USER, "'%s' is no http or https URL", url);
}

static int parse_checksum(const char *checksum, struct digest *ret, struct error **err)
{
    static const char algorithm[] = "sha256:";
    if (!strncmp(checksum, algorithm, strlen(algorithm)) &&
        digest_parse(checksum + strlen(algorithm), ret))
        return 0;
    error_set(err, ERR_USER, "the checksum '%s' is not of the form sha256:<64 hex digits>",
              checksum);
    return -1;
}

static bool read_record(const struct fetch *f, struct record *ret)
{
    json_auto_t *json = json_read_file(f->record_path, NULL);
    const char *digest = json_str(json, "digest"), *url = json_str(json, "url");
    if (!digest || !url || strcmp(url, f->url) || !digest_parse(digest, &ret->digest))
        return false;
    const char *etag = json_str(json, "etag"), *modified = json_str(json, "last_modified");
    ret->etag = etag ? xstrdup(etag) : NULL;
    ret->last_modified = modified ? xstrdup(modified) : NULL;
    ret->mtime = json_int(json, "mtime", 0);
    return true;
}

static int write_record(const struct fetch *f, const struct remote_file *file, struct error **err)
{
    char hex[DIGEST_HEX + 1];
    digest_hex(&file->digest, hex);
    json_auto_t *json =
        json_pack("{s:s, s:s, s:I, s:s*, s:s*}", "url", f->url, "digest", hex, "mtime",
                  (json_int_t)file->mtime, "etag", f->etag, "last_modified", f->last_modified);
    return json ? json_write_file(f->record_path, 0644, json, err)
                : error_set(err, ERR_SYSTEM, "the server's headers for '%s' are no text", f->url);
}

/* Opens the kept content with this digest, if it is there and is what it claims to be. */
static bool open_kept(struct fetch *f, const struct digest *digest, struct remote_file *ret)
{
    AUTO_FREE char *path = content_path(f, digest);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return false;
    struct file_id id = file_id_of(&st);
    const struct index_entry *known = index_find(f->index, &id);
    struct digest is;
    if (known)
        is = known->content;
    else {
        struct timespec now;
        (void)clock_gettime(CLOCK_REALTIME, &now);
        if (digest_of_fd(fd, &is, NULL) < 0)
            return false;
        index_add(f->index, &id, &is, NULL, (int64_t)now.tv_sec * 1000000000 + now.tv_nsec);
        (void)index_save(f->index, NULL);
    }
    if (!digest_eq(&is, digest)) {
        (void)unlink(path);
        return false;
    }
    ret->fd = STEAL_FD(fd);
    ret->digest = *digest;
    ret->size = (uint64_t)st.st_size;
    return true;
}

static size_t on_body(char *bytes, size_t one, size_t n, void *arg)
{
    struct fetch *f = arg;
    n *= one;
    if (write_all(f->file.fd, bytes, n) < 0) {
        f->write_errno = errno;
        return 0;
    }
    sha256_add(f->hash, bytes, n);
    f->size += n;
    return n;
}

/* The value of a header line if it is the named one; owned. */
static char *header_value(const char *line, size_t n, const char *name)
{
    size_t len = strlen(name);
    if (n <= len || n > HEADER_MAX || strncasecmp(line, name, len) || line[len] != ':')
        return NULL;
    for (line += len + 1, n -= len + 1; n && (*line == ' ' || *line == '\t'); line++)
        n--;
    while (n && (line[n - 1] == '\r' || line[n - 1] == '\n' || line[n - 1] == ' '))
        n--;
    return n ? xstrndup(line, n) : NULL;
}

static size_t on_header(char *line, size_t one, size_t n, void *arg)
{
    struct fetch *f = arg;
    n *= one;
    if (n > 5 && !strncasecmp(line, "HTTP/", 5)) { // of the next answer, after a redirect
        free(STEAL(f->etag));
        free(STEAL(f->last_modified));
    }
    char *etag = header_value(line, n, "ETag"), *modified = header_value(line, n, "Last-Modified");
    if (etag) {
        free(f->etag);
        f->etag = etag;
    }
    if (modified) {
        free(f->last_modified);
        f->last_modified = modified;
    }
    return n;
}

static int on_progress(void *arg, curl_off_t total, curl_off_t done, curl_off_t up_total,
                       curl_off_t up)
{
    (void)up_total, (void)up;
    struct fetch *f = arg;
    if (f->progress && done > 0)
        f->progress(f->arg, (uint64_t)done, total > 0 ? (uint64_t)total : 0);
    return session_cancelled(f->session);
}

/* Runs the transfer; *ret_code is curl's verdict. */
static int perform(struct fetch *f, CURLcode *ret_code, struct error **err)
{
    CURLM *multi = curl_multi_init();
    if (!multi || curl_multi_add_handle(multi, f->curl))
        alloc_failed();
    struct curl_waitfd wake = {.fd = f->session->cancel_fd, .events = CURL_WAIT_POLLIN};
    int running = 1;
    while (running && !session_cancelled(f->session) &&
           curl_multi_perform(multi, &running) == CURLM_OK && running)
        (void)curl_multi_poll(multi, &wake, f->session->cancel_fd >= 0, 1000, NULL);
    int left;
    CURLMsg *m = curl_multi_info_read(multi, &left);
    *ret_code = m ? m->data.result : CURLE_ABORTED_BY_CALLBACK;
    curl_multi_remove_handle(multi, f->curl);
    curl_multi_cleanup(multi);
    return session_cancelled(f->session) ? error_set(err, ERR_CANCELLED, "interrupted") : 0;
}

static void set_up(struct fetch *f, struct curl_slist *headers, char *problem)
{
    CURL *c = f->curl;
    curl_easy_setopt(c, CURLOPT_URL, f->url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(c, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
    curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(c, CURLOPT_FILETIME, 1L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)STALL_SECONDS);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "kiln/" KILN_VERSION);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, problem);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, f);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, f);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, f);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
}

static struct curl_slist *conditions(const struct record *r)
{
    struct curl_slist *list = NULL;
    if (r && r->etag) {
        AUTO_FREE char *line = xasprintf("If-None-Match: %s", r->etag);
        list = curl_slist_append(list, line);
    }
    if (r && r->last_modified) {
        AUTO_FREE char *line = xasprintf("If-Modified-Since: %s", r->last_modified);
        list = curl_slist_append(list, line);
    }
    return list;
}

static int explain(const struct fetch *f, CURLcode code, long status, const char *problem,
                   struct error **err)
{
    if (f->write_errno) {
        errno = f->write_errno;
        return error_errno(err, "cannot write '%s'", f->file.temp);
    }
    if (status == 404 || status == 410)
        return error_set(err, ERR_NOT_FOUND, "the server has no '%s' (HTTP status %ld)", f->url,
                         status);
    return error_set(err, ERR_SYSTEM, "cannot fetch '%s': %s", f->url,
                     *problem ? problem : curl_easy_strerror(code));
}

/* GET, conditional if there is a record. *ret_status is 304 or 200; then the body is in f->file. */
static int get(struct fetch *f, const struct record *record, long *ret_status, int64_t *ret_mtime,
               struct error **err)
{
    AUTO_FREE char *at = path_join(f->dir, "fetch");
    if (atomic_file_open(&f->file, at, 0644, err) < 0)
        return -1;
    f->hash = sha256_new();
    f->curl = curl_easy_init();
    if (!f->curl)
        alloc_failed();
    char problem[CURL_ERROR_SIZE] = "";
    struct curl_slist *headers = conditions(record);
    set_up(f, headers, problem);
    CURLcode code;
    int got = perform(f, &code, err);
    long status = 0;
    curl_off_t mtime = -1;
    curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(f->curl, CURLINFO_FILETIME_T, &mtime);
    curl_easy_setopt(f->curl, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(headers);
    if (got < 0)
        return -1;
    if (code != CURLE_OK)
        return explain(f, code, status, problem, err);
    *ret_status = status;
    *ret_mtime = mtime > 0 ? mtime : 0;
    return 0;
}

/* Puts what was fetched under its digest and opens it. */
static int keep(struct fetch *f, const struct digest *expected, struct remote_file *ret,
                struct error **err)
{
    struct digest is = sha256_finish(STEAL(f->hash));
    if (expected && !digest_eq(&is, expected)) {
        char want[DIGEST_HEX + 1], got[DIGEST_HEX + 1];
        digest_hex(expected, want);
        digest_hex(&is, got);
        error_set(err, ERR_USER, "'%s' is not what its checksum says: it has sha256:%s, not %s",
                  f->url, got, want);
        return error_hint(err, "the file has changed on the server, or the checksum is of another");
    }
    free(f->file.path);
    f->file.path = content_path(f, &is);
    AUTO_FREE char *path = xstrdup(f->file.path);
    if (atomic_file_commit(&f->file, err) < 0)
        return -1;
    ret->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (ret->fd < 0)
        return error_errno(err, "cannot open '%s'", path);
    ret->digest = is;
    ret->size = f->size;
    return 0;
}

static void forget_version(const struct fetch *f, const struct record *old,
                           const struct remote_file *now)
{
    if (digest_eq(&old->digest, &now->digest))
        return;
    AUTO_FREE char *path = content_path(f, &old->digest);
    (void)unlink(path);
}

static int fetch(struct fetch *f, const struct digest *expected, struct remote_file *ret,
                 struct error **err)
{
    CLEANUP(record_clear) struct record record = {0};
    bool known = read_record(f, &record);
    if (expected && open_kept(f, expected, ret)) {
        ret->mtime = known ? record.mtime : 0;
        return 0;
    }
    bool kept = known && !expected && open_kept(f, &record.digest, ret);
    long status = 0;
    if (get(f, kept ? &record : NULL, &status, &ret->mtime, err) < 0)
        return -1;
    if (kept && status == 304) {
        ret->mtime = record.mtime;
        return 0;
    }
    if (status < 200 || status > 299)
        return error_set(err, ERR_SYSTEM, "cannot fetch '%s': HTTP status %ld", f->url, status);
    if (ret->fd >= 0)
        (void)close(STEAL_FD(ret->fd));
    if (keep(f, expected, ret, err) < 0 || write_record(f, ret, err) < 0)
        return -1;
    if (known)
        forget_version(f, &record, ret);
    return 0;
}

int remote_fetch(const struct session *s, const char *url, const char *checksum,
                 void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                 struct remote_file *ret, struct error **err)
{
    CLEANUP(remote_file_clear) struct remote_file file = REMOTE_FILE_INIT;
    CLEANUP(fetch_clear)
    struct fetch f = {.session = s,
                      .url = url,
                      .progress = progress,
                      .arg = arg,
                      .file = ATOMIC_FILE_INIT,
                      .dir = path_join(s->cache, "remote")};
    struct digest expected;
    if (parse_url(url, &file.name, err) < 0 ||
        (checksum && parse_checksum(checksum, &expected, err) < 0) ||
        make_dirs(f.dir, 0755, err) < 0)
        return -1;
    struct digest of_url = digest_of(url, strlen(url));
    AUTO_FREE char *content = content_path(&f, &of_url);
    f.record_path = xasprintf("%s.json", content);
    AUTO_FREE char *index_path = path_join(f.dir, "index");
    f.index = index_open(index_path);
    if (fetch(&f, checksum ? &expected : NULL, &file, err) < 0)
        return -1;
    *ret = file;
    file = (struct remote_file)REMOTE_FILE_INIT;
    return 0;
}
