// SPDX-License-Identifier: MIT
//
// A kept file is asked about with a conditional GET that is broken off when the answer is not 304;
// the download itself is image/fetch's, which survives broken connections. The body goes to a file
// in a working folder, which the next fetch sweeps if we die; its digest then is the file's name.
// Kept files are not locked: they never change, records are replaced whole, and who uses a file has
// it open. A replaced version is removed, which at worst costs another URL with the same content a
// download.
#include "builder/context/remote.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/session.h"
#include "base/url.h"
#include "base/working.h"
#include "builder/context/index.h"
#include "image/fetch.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

enum { BLOCKS = 4, BLOCK_SIZE = 256 * 1024, WAKE_MS = 100 };

/* What is known of a URL from the last time. */
struct record {
    struct digest digest;
    char *etag, *last_modified; /* NULL = none */
    int64_t mtime;
};

/* One remote_fetch. */
struct job {
    const struct session *session;
    const char *url;
    char *shown; /* the URL for messages */
    char *name;  /* the file's */
    char *dir, *record_path;
    struct index *index;
    char *etag, *last_modified; /* of what was fetched */
    long long told_ms;          /* when progress was called last */
};

void remote_file_clear(struct remote_file *f)
{
    if (f->fd >= 0)
        (void)close(f->fd);
    free(f->name);
    *f = (struct remote_file)REMOTE_FILE_INIT;
}

int remote_file_copy(const struct remote_file *from, struct remote_file *ret, struct error **err)
{
    // opened again: a place of its own in it
    AUTO_FREE char *path = xasprintf("/proc/self/fd/%d", from->fd);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, "cannot open '%s' again", from->name);
    *ret = *from;
    ret->fd = fd;
    ret->name = xstrdup(from->name);
    return 0;
}

static void record_clear(struct record *r)
{
    free(r->etag);
    free(r->last_modified);
}

static void job_clear(struct job *j)
{
    index_free(j->index);
    free(j->dir);
    free(j->record_path);
    free(j->shown);
    free(j->name);
    free(j->etag);
    free(j->last_modified);
}

static char *content_path(const struct job *j, const struct digest *d)
{
    char hex[DIGEST_HEX + 1];
    digest_hex(d, hex);
    return xasprintf("%s/%s", j->dir, hex);
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
    return good ? 0 : error_set(err, ERR_USER, "'%s' is not an http or https URL", url);
}

int remote_checksum(const char *checksum, struct digest *ret, struct error **err)
{
    static const char algorithm[] = "sha256:";
    if (!strncmp(checksum, algorithm, strlen(algorithm)) &&
        digest_parse(checksum + strlen(algorithm), ret))
        return 0;
    error_set(err, ERR_USER, "the checksum '%s' is not of the form sha256:<64 hex digits>",
              checksum);
    return -1;
}

static bool read_record(const struct job *j, struct record *ret)
{
    json_auto_t *json = json_read_file(j->record_path, NULL);
    const char *digest = json_str(json, "digest"), *url = json_str(json, "url");
    if (!digest || !url || strcmp(url, j->url) || !digest_parse(digest, &ret->digest))
        return false;
    const char *etag = json_str(json, "etag"), *modified = json_str(json, "last_modified");
    ret->etag = etag ? xstrdup(etag) : NULL;
    ret->last_modified = modified ? xstrdup(modified) : NULL;
    ret->mtime = json_int(json, "mtime", 0);
    return true;
}

static int write_record(const struct job *j, const struct remote_file *file, struct error **err)
{
    char hex[DIGEST_HEX + 1];
    digest_hex(&file->digest, hex);
    json_auto_t *json =
        json_pack("{s:s, s:s, s:I, s:s*, s:s*}", "url", j->url, "digest", hex, "mtime",
                  (json_int_t)file->mtime, "etag", j->etag, "last_modified", j->last_modified);
    return json ? json_write_file(j->record_path, 0644, json, err)
                : error_set(err, ERR_SYSTEM, "the server's headers for '%s' are not text", j->url);
}

/* Opens the kept content with this digest, if it is there and is what it claims to be. */
static bool open_kept(struct job *j, const struct digest *digest, struct remote_file *ret)
{
    AUTO_FREE char *path = content_path(j, digest);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return false;
    struct file_id id = file_id_of(&st);
    const struct index_entry *known = index_find(j->index, &id);
    struct digest is;
    if (known)
        is = known->content;
    else {
        struct timespec now;
        (void)clock_gettime(CLOCK_REALTIME, &now);
        if (digest_of_fd(fd, &is, NULL) < 0)
            return false;
        index_add(j->index, &id, &is, NULL, (int64_t)now.tv_sec * 1000000000 + now.tv_nsec);
        (void)index_save(j->index, NULL);
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

/* Asks whether what the record describes is still what the server has: 1 yes, 0 no, -1. */
static int is_current(struct job *j, const struct record *record, struct error **err)
{
    if (!record->etag && !record->last_modified)
        return 0;
    return fetch_unchanged(j->session, j->url, record->etag, record->last_modified, err);
}

/* Every WAKE_MS, and at the end. */
static void tell(struct job *j, struct fetch *f, bool end)
{
    long long now = now_ms();
    if (!end && now - j->told_ms < WAKE_MS)
        return;
    struct fetch_status st = fetch_status(f);
    j->told_ms = now;
    session_progress(j->session, j->name, st.done, end ? st.done : st.total, end);
}

/* Everything from the flow into the file. */
static int write_flow(struct job *j, struct fetch *f, struct flow *flow, struct atomic_file *file,
                      struct error **err)
{
    struct str block;
    int got;
    while ((got = flow_take(flow, WAKE_MS, &block, err)) > 0) {
        if (session_cancelled(j->session))
            return error_set(err, ERR_CANCELLED, "interrupted");
        if (got == FLOW_AGAIN)
            continue;
        int wrote = write_all(file->fd, block.ptr, block.len);
        flow_done(flow);
        if (wrote < 0)
            return error_errno(err, "cannot write '%s'", file->temp);
        tell(j, f, false);
    }
    if (got == 0) // a bar for what did not come says nothing
        tell(j, f, true);
    return got;
}

/* Downloads into the file; *ret is the digest. */
static int download(struct job *j, struct atomic_file *file, struct digest *ret, struct error **err)
{
    CLEANUP(flow_freep) struct flow *flow = flow_new(BLOCKS, BLOCK_SIZE);
    struct fetch *f;
    struct fetch_options o = {.url = j->url, .digest = true};
    if (fetch_start(&o, flow, &f, err) < 0)
        return -1;
    int got = write_flow(j, f, flow, file, err);
    flow_stop(flow);
    fetch_validators(f, &j->etag, &j->last_modified);
    fetch_finish(f, ret, NULL, NULL);
    return got;
}

static int check(const struct job *j, const struct digest *is, const struct digest *expected,
                 struct error **err)
{
    if (!expected || digest_eq(is, expected))
        return 0;
    char want[DIGEST_HEX + 1], got[DIGEST_HEX + 1];
    digest_hex(expected, want);
    digest_hex(is, got);
    error_set(err, ERR_USER, "'%s' is not what its checksum says: it has sha256:%s, not %s",
              j->shown, got, want);
    return error_hint(err, "the file has changed on the server, or the checksum is of another");
}

/* Fetches, puts the file under its digest and opens it. */
static int fetch_again(struct job *j, const struct digest *expected, struct remote_file *ret,
                       struct error **err)
{
    CLEANUP(working_clear) struct working work = WORKING_INIT;
    CLEANUP(atomic_file_abandon) struct atomic_file file = ATOMIC_FILE_INIT;
    AUTO_FREE char *parent = path_join(j->dir, ".working");
    struct digest is;
    working_sweep(parent);
    if (working_open(&work, parent, err) < 0)
        return -1;
    AUTO_FREE char *at = path_join(work.dir, "fetch");
    if (atomic_file_open(&file, at, 0644, err) < 0 || download(j, &file, &is, err) < 0 ||
        check(j, &is, expected, err) < 0)
        return -1;
    // before it has its name: from then on it may be pruned
    ret->fd = open(file.temp, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    AUTO_FREE char *path = content_path(j, &is);
    free(file.path);
    file.path = xstrdup(path);
    if (atomic_file_commit(&file, err) < 0)
        return -1;
    struct stat st;
    if (ret->fd < 0 || fstat(ret->fd, &st) < 0)
        return error_errno(err, "cannot open '%s'", path);
    ret->digest = is;
    ret->size = (uint64_t)st.st_size;
    // -1 is its error, and a second that no file of ours is of
    time_t mtime = j->last_modified ? curl_getdate(j->last_modified, NULL) : 0;
    ret->mtime = mtime == -1 ? 0 : mtime;
    return write_record(j, ret, err);
}

static void forget_version(const struct job *j, const struct record *old,
                           const struct remote_file *now)
{
    if (digest_eq(&old->digest, &now->digest))
        return;
    AUTO_FREE char *path = content_path(j, &old->digest);
    (void)unlink(path);
}

static int get(struct job *j, const struct digest *expected, struct remote_file *ret,
               struct error **err)
{
    CLEANUP(record_clear) struct record record = {0};
    bool known = read_record(j, &record);
    bool kept = expected ? open_kept(j, expected, ret) : known && open_kept(j, &record.digest, ret);
    if (kept) {
        int current = expected ? 1 : is_current(j, &record, err);
        if (current < 0)
            return -1;
        ret->mtime = known ? record.mtime : 0;
        if (current) {
            (void)utimensat(AT_FDCWD, j->record_path, NULL, AT_SYMLINK_NOFOLLOW); // for pruning
            return 0;
        }
        (void)close(STEAL_FD(ret->fd));
    }
    if (fetch_again(j, expected, ret, err) < 0)
        return -1;
    if (known)
        forget_version(j, &record, ret);
    return 0;
}

int remote_fetch(const struct session *s, const char *url, const char *checksum,
                 struct remote_file *ret, struct error **err)
{
    CLEANUP(remote_file_clear) struct remote_file file = REMOTE_FILE_INIT;
    CLEANUP(job_clear)
    struct job j = {.session = s,
                    .url = url,
                    .shown = fetch_shown_url(url),
                    .name = url_file_name(url),
                    .dir = path_join(s->cache, "remote")};
    struct digest expected;
    if (parse_url(url, &file.name, err) < 0 ||
        (checksum && remote_checksum(checksum, &expected, err) < 0) ||
        make_dirs(j.dir, 0700, err) < 0)
        return -1;
    struct digest of_url = digest_of(url, strlen(url));
    AUTO_FREE char *content = content_path(&j, &of_url);
    j.record_path = xasprintf("%s.json", content);
    AUTO_FREE char *index_path = path_join(j.dir, "index");
    j.index = index_open(index_path);
    if (get(&j, checksum ? &expected : NULL, &file, err) < 0)
        return -1;
    *ret = file;
    file = (struct remote_file)REMOTE_FILE_INIT;
    return 0;
}
