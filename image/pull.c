// SPDX-License-Identifier: MIT
//
// One folder .working/pull-<encoded name> a name, and its lock beside it: who holds the lock pulls,
// others wait and then find the image there. The folder stays only if it has a state to resume
// from; folders that nobody came back to for a week go.
#include "image/pull.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/lock.h"
#include "image/chain.h"
#include "image/checksum.h"
#include "image/convert.h"
#include "image/fetch.h"
#include "image/name.h"
#include "image/receive.h"
#include "image/vagrant.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { STALE_SECONDS = 7 * 24 * 3600 };

static void notice(const struct image_pull_options *o, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void notice(const struct image_pull_options *o, const char *fmt, ...)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&b, fmt, ap);
    va_end(ap);
    if (o->progress.notice)
        o->progress.notice(o->progress.arg, b.data);
}

/* Where the bytes are, and what they must be. */
struct origin {
    char *url, *path; /* one of them */
    bool box;
    struct digest digest;
    bool has_digest;
};

static void origin_clear(struct origin *x)
{
    free(x->url);
    free(x->path);
}

static int find_box(const struct image_spec *spec, const struct image_pull_options *o,
                    struct origin *x, struct error **err)
{
    struct vagrant_box box = {0};
    notice(o, "Pulling from vagrant cloud: %s:%s", spec->box, spec->version);
    if (vagrant_lookup(o->vagrant_url, spec->box, spec->version, &box, err) < 0)
        return -1;
    x->url = box.url;
    x->box = true;
    x->digest = box.digest;
    x->has_digest = box.has_digest;
    return 0;
}

static void find_url(const char *url, const struct image_pull_options *o, struct origin *x)
{
    AUTO_FREE char *shown = fetch_shown_url(url);
    notice(o, "Downloading image from '%s'", shown);
    x->url = xstrdup(url);
}

static int find_checksum(const struct image_pull_options *o, struct origin *x, struct error **err)
{
    const char *source = x->url ? x->url : x->path;
    AUTO_FREE char *name = checksum_name(source, x->url != NULL);
    if (o->checksum) {
        x->has_digest = true;
        return checksum_resolve(o->checksum, name, &x->digest, err);
    }
    if (!x->has_digest && o->checksum_beside)
        x->has_digest = checksum_beside(source, x->url != NULL, &x->digest);
    return 0;
}

static int find_origin(const struct image_spec *spec, const struct image_pull_options *o,
                       struct origin *x, struct error **err)
{
    switch (spec->kind) {
    case SPEC_HTTP:
        find_url(spec->source, o, x);
        break;
    case SPEC_FILE:
        x->path = xstrdup(spec->source);
        notice(o, "Copying image from '%s'", x->path);
        break;
    case SPEC_VAGRANT:
        if (find_box(spec, o, x, err) < 0)
            return -1;
        break;
    case SPEC_NAME:
        return error_set(err, ERR_NOT_FOUND, "'%s' names no source", spec->name);
    }
    return find_checksum(o, x, err);
}

static int make_image(const struct session *s, const char *dir, enum format f,
                      const struct image_pull_options *o, struct error **err)
{
    AUTO_FREE char *disk = path_join(dir, "disk");
    if (f != FORMAT_QCOW2 && f != FORMAT_RAW)
        notice(o, "Converting the image from %s", format_name(f));
    return convert_in(s, disk, f, &o->progress, err);
}

/* Once more from nothing if the source changed under us. */
static int receive_image(const struct session *s, const char *dir, const struct origin *x,
                         const struct image_pull_options *o, struct error **err)
{
    AUTO_FREE char *shown = x->url ? fetch_shown_url(x->url) : xstrdup(x->path);
    struct receive_options r = {.dir = dir,
                                .url = x->url,
                                .path = x->path,
                                .box = x->box,
                                .expected = x->has_digest ? &x->digest : NULL,
                                .pull = o};
    for (int attempt = 1;; attempt++) {
        CLEANUP(error_freep) struct error *why = NULL;
        enum format f;
        bool changed;
        if (make_dirs(dir, 0700, err) < 0)
            return -1;
        if (receive(s, &r, &f, &changed, &why) == 0)
            return make_image(s, dir, f, o, err) < 0 ? error_wrap(err, "'%s'", shown) : 0;
        if (!changed || attempt == 2) {
            if (!strstr(why->message, shown))
                error_wrap(&why, "'%s'", shown);
            return error_propagate(err, STEAL(why));
        }
        notice(o, "The file changed on the server: starting again");
        if (remove_tree(dir, err) < 0)
            return -1;
    }
}

static int fetch_image(const struct session *s, const struct image_spec *spec, const char *dir,
                       const struct image_pull_options *o, struct error **err)
{
    CLEANUP(origin_clear) struct origin x = {0};
    if (find_origin(spec, o, &x, err) < 0 || receive_image(s, dir, &x, o, err) < 0)
        return -1;
    if (session_cancelled(s))
        return error_set(err, ERR_CANCELLED, "interrupted");
    AUTO_FREE char *disk = path_join(dir, "disk");
    return backend_register_file(s->backend, spec->name, disk, err);
}

/* What can't be resumed goes, and what can stays. */
static void leave(const char *dir, const char *lock, bool done)
{
    AUTO_FREE char *state = path_join(dir, "state.json");
    if (!done && access(state, F_OK) == 0)
        return;
    if (remove_tree(dir, NULL) == 0)
        (void)unlink(lock);
}

static void sweep_one(const char *parent, const char *name)
{
    AUTO_FREE char *dir = path_join(parent, name), *lock = xasprintf("%s.lock", dir);
    struct stat st;
    if (lstat(dir, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_mtime > time(NULL) - STALE_SECONDS)
        return;
    AUTO_CLOSE int fd = lock_try(lock, LOCK_EXCLUSIVE, NULL);
    if (fd >= 0)
        leave(dir, lock, true);
}

static void sweep(const char *parent)
{
    DIR *d = opendir(parent);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));)
        if (!strncmp(e->d_name, "pull-", 5) && !strstr(e->d_name, ".lock"))
            sweep_one(parent, e->d_name);
    closedir(d);
}

/* The lock of a name; *ret_waited: somebody else had it. */
static int take_lock(const struct session *s, const char *lock, const char *name,
                     const struct image_pull_options *o, bool *ret_waited, struct error **err)
{
    CLEANUP(error_freep) struct error *why = NULL;
    int fd = lock_try(lock, LOCK_EXCLUSIVE, &why);
    *ret_waited = fd < 0 && why->kind == ERR_BUSY;
    if (fd >= 0)
        return fd;
    if (!*ret_waited)
        return error_propagate(err, STEAL(why));
    notice(o, "Waiting for another process that pulls '%s'", name);
    return lock_wait(lock, LOCK_EXCLUSIVE, s->cancel_fd, err);
}

int image_pull(const struct session *s, const struct image_spec *spec,
               const struct image_pull_options *o, bool *ret_pulled, struct error **err)
{
    bool there = backend_has(s->backend, spec->name), waited;
    if (ret_pulled)
        *ret_pulled = false;
    if (there && !o->force)
        return 0;
    if (spec->kind == SPEC_NAME)
        return backend_not_found(s->backend, spec->name, err);
    if (!there)
        notice(o, "Unable to find image '%s' in backend", spec->name);
    AUTO_FREE char *parent = path_join(s->backend, WORKING), *file = image_name_encode(spec->name);
    AUTO_FREE char *dir = xasprintf("%s/pull-%s", parent, file), *lock = xasprintf("%s.lock", dir);
    if (make_dirs(parent, 0755, err) < 0)
        return -1;
    sweep(parent);
    AUTO_CLOSE int fd = take_lock(s, lock, spec->name, o, &waited, err);
    if (fd < 0)
        return -1;
    // the one we waited for, or one just before us, did the work
    if (backend_has(s->backend, spec->name) && (waited || !there)) {
        leave(dir, lock, false);
        return 0;
    }
    int rc = fetch_image(s, spec, dir, o, err);
    leave(dir, lock, rc == 0);
    if (rc < 0)
        return error_wrap(err, "cannot pull image '%s'", spec->name);
    if (ret_pulled)
        *ret_pulled = true;
    return 0;
}

int image_ensure(const struct session *s, const struct image_spec *spec,
                 const struct image_pull_options *o, struct backend_image *ret, struct error **err)
{
    if (image_pull(s, spec, o, NULL, err) < 0)
        return -1;
    return backend_find(s->backend, spec->name, ret, err);
}
