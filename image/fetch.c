// SPDX-License-Identifier: MIT
//
// The thread, local files, and what both kinds of source share: filling blocks, hashing, counting.
#include "image/fetch.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/session.h"
#include "image/decode.h"
#include "image/fetch_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HOLE_MIN = 1 << 20, HOLE_STEP = 1 << 30, SOON_BYTES = 32 * 1024, SOON_MS = 200 };

static void flush(struct fetch *f)
{
    if (f->space)
        flow_put(f->out, f->used);
    f->space = NULL;
    f->flushed = now_ms();
}

/* Space for at least one byte; false when nobody wants it any more. */
static bool make_room(struct fetch *f)
{
    if (f->space && f->used == f->room)
        flush(f);
    if (!f->space) {
        f->used = 0;
        f->space = flow_space(f->out, &f->room);
    }
    return f->space != NULL;
}

/* n bytes are in the space. A slow source is not to wait for full blocks: what came is to be kept
 * soon. */
static void count(struct fetch *f, size_t n)
{
    f->used += n;
    f->done += n;
    if (f->used >= SOON_BYTES && now_ms() - f->flushed > SOON_MS)
        flush(f);
}

static void add_to_hash(struct fetch *f, const void *bytes, size_t n)
{
    if (f->hash)
        sha256_add(f->hash, bytes, n);
    if (f->hash512)
        sha512_add(f->hash512, bytes, n);
}

bool fetch_push(struct fetch *f, const void *bytes, size_t n)
{
    add_to_hash(f, bytes, n);
    for (const char *p = bytes; n;) {
        if (!make_room(f))
            return false;
        size_t some = f->room - f->used < n ? f->room - f->used : n;
        memcpy(f->space + f->used, p, some);
        p += some;
        n -= some;
        count(f, some);
    }
    return true;
}

/* Reads [from, to) of fd into the flow; false when the flow has stopped or with f->error. */
bool fetch_push_file(struct fetch *f, int fd, const char *path, off_t from, off_t to)
{
    while (from < to) {
        if (!make_room(f))
            return false;
        size_t room = f->room - f->used,
               want = to - from < (off_t)room ? (size_t)(to - from) : room;
        ssize_t n = pread_all(fd, f->space + f->used, want, from);
        if (n < 0)
            return error_errno(&f->error, "cannot read '%s'", path) == 0;
        if (n == 0)
            return error_set(&f->error, ERR_USER, "'%s' shrank while it was being read", path) == 0;
        add_to_hash(f, f->space + f->used, (size_t)n);
        if (f->content)
            content_hash_add(f->content, f->space + f->used, (uint64_t)n);
        count(f, (size_t)n);
        from += n;
    }
    return true;
}

static bool push_hole(struct fetch *f, off_t n)
{
    flush(f);
    for (; n > 0 && !flow_stopped(f->out); n -= HOLE_STEP) {
        size_t step = n < HOLE_STEP ? (size_t)n : HOLE_STEP;
        flow_put_hole(f->out, step);
        if (f->content)
            content_hash_add(f->content, NULL, step);
        f->done += step;
    }
    return !flow_stopped(f->out);
}

/* Holes are passed on as such unless a digest needs their zeros or a decoder would. */
static bool wants_holes(const struct fetch *f, int fd)
{
    char head[16];
    ssize_t n = pread_all(fd, head, sizeof head, 0);
    return !f->hash && n > 0 && compression_of(head, (size_t)n) == COMPRESSION_NONE;
}

static void read_file(struct fetch *f, int fd, off_t size)
{
    bool holes = wants_holes(f, fd);
    for (off_t at = 0; at < size;) {
        off_t data = holes ? lseek(fd, at, SEEK_DATA) : at;
        if (data < 0 && errno == ENXIO)
            data = size;
        else if (data < 0 || data - at < HOLE_MIN)
            data = at;
        if (data > at && !push_hole(f, data - at))
            return;
        off_t end = data >= size ? size : holes ? lseek(fd, data, SEEK_HOLE) : size;
        if (end <= data || end > size)
            end = size;
        if (!fetch_push_file(f, fd, f->path, data, end))
            return;
        at = end;
    }
}

static void run_file(struct fetch *f)
{
    struct stat st;
    AUTO_CLOSE int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) {
        error_set(&f->error, ERR_NOT_FOUND, "'%s' does not exist", f->path);
    } else if (fd < 0 || fstat(fd, &st) < 0) {
        error_errno(&f->error, "cannot open '%s'", f->path);
    } else if (!S_ISREG(st.st_mode)) {
        error_set(&f->error, ERR_USER, "'%s' is not a regular file", f->path);
    } else {
        f->total = (uint64_t)st.st_size;
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
        read_file(f, fd, st.st_size);
    }
}

static void *run(void *arg)
{
    struct fetch *f = arg;
    if (f->url)
        fetch_http(f);
    else
        run_file(f);
    flush(f);
    f->complete = !f->error && !flow_stopped(f->out);
    f->failed = f->error != NULL;
    flow_end(f->out, STEAL(f->error));
    return NULL;
}

static char *dup_or_null(const char *s)
{
    return s ? xstrdup(s) : NULL;
}

static void fetch_free(struct fetch *f)
{
    free(f->url);
    free(f->shown);
    free(f->path);
    free(f->part.path);
    free(f->part.etag);
    free(f->part.modified);
    free(f->etag);
    free(f->modified);
    sha256_free(f->hash);
    sha512_free(f->hash512);
    content_hash_free(f->content);
    error_free(f->error);
    if (f->spool >= 0)
        close(f->spool);
    pthread_mutex_destroy(&f->mutex);
    free(f);
}

int fetch_start(const struct fetch_options *o, struct flow *out, struct fetch **ret,
                struct error **err)
{
    struct fetch *f = xcalloc(1, sizeof *f);
    pthread_mutex_init(&f->mutex, NULL);
    f->session = o->session;
    f->out = out;
    f->spool = -1;
    f->url = dup_or_null(o->url);
    f->shown = o->url ? fetch_shown_url(o->url) : NULL;
    f->path = dup_or_null(o->path);
    f->hash = o->digest ? sha256_new() : NULL;
    f->hash512 = o->digest512 ? sha512_new() : NULL;
    f->content = o->content && o->path ? content_hash_new() : NULL;
    if (o->part && o->url)
        f->part = (struct part){xstrdup(o->part->path), o->part->bytes, o->part->total,
                                dup_or_null(o->part->etag), dup_or_null(o->part->modified)};
    if (o->spool && o->url) {
        f->spool = open(o->spool, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (f->spool < 0) {
            error_errno(err, "cannot create '%s'", o->spool);
            fetch_free(f);
            return -1;
        }
    }
    int rc = pthread_create(&f->thread, NULL, run, f);
    if (rc) {
        errno = rc;
        error_errno(err, "cannot start a thread");
        fetch_free(f);
        return -1;
    }
    *ret = f;
    return 0;
}

struct fetch_status fetch_status(struct fetch *f)
{
    return (struct fetch_status){f->done,    f->total,  f->resumed,
                                 f->changed, f->failed, f->url != NULL};
}

void fetch_validators(struct fetch *f, char **ret_etag, char **ret_modified)
{
    pthread_mutex_lock(&f->mutex);
    *ret_etag = dup_or_null(f->etag);
    *ret_modified = dup_or_null(f->modified);
    pthread_mutex_unlock(&f->mutex);
}

void fetch_finish(struct fetch *f, struct digest *ret, struct digest *ret_content,
                  struct digest512 *ret_512)
{
    if (!f)
        return;
    pthread_join(f->thread, NULL);
    if (ret && f->hash && f->complete)
        *ret = sha256_finish(STEAL(f->hash));
    if (ret_512 && f->hash512 && f->complete)
        *ret_512 = sha512_finish(STEAL(f->hash512));
    if (ret_content && f->content && f->complete)
        *ret_content = content_hash_finish(STEAL(f->content));
    fetch_free(f);
}
