// SPDX-License-Identifier: MIT
#include "builder/cache_disk.h"

#include "base/alloc.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/session.h"
#include "base/vector.h"
#include "image/qcow2.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct cache_disk {
    char *path, *busy;
    int lock;
    uint64_t size;
};

static int take_lock(const struct session *s, const char *path, const char *id,
                     void (*notice)(void *, const char *), void *arg, struct error **err)
{
    CLEANUP(error_freep) struct error *why = NULL;
    int fd = lock_try(path, LOCK_EXCLUSIVE, &why);
    if (fd >= 0)
        return fd;
    if (why->kind != ERR_BUSY)
        return error_propagate(err, STEAL(why));
    AUTO_FREE char *line =
        xasprintf("waiting for another build that uses the cache mount '%s'", id);
    if (notice)
        notice(arg, line);
    return lock_wait(path, LOCK_EXCLUSIVE, s->cancel_fd, err);
}

/* A usable disk of this size at d->path: the old one, or a new one. */
static int ensure_disk(struct cache_disk *d, struct error **err)
{
    struct qcow2_info info = {0};
    bool fine = access(d->busy, F_OK) < 0 && qcow2_read(d->path, 0, &info, NULL) == 0 &&
                info.size == d->size;
    qcow2_info_clear(&info);
    if (fine)
        return 0;
    if (unlink(d->path) < 0 && errno != ENOENT)
        return error_errno(err, "cannot remove '%s'", d->path);
    return qcow2_create_overlay(d->path, &(struct qcow2_overlay){.size = d->size}, err);
}

int cache_disk_open(const struct session *s, const char *id, uint64_t size,
                    void (*notice)(void *arg, const char *line), void *arg, struct cache_disk **ret,
                    struct error **err)
{
    AUTO_FREE char *dir = path_join(s->cache, "mounts");
    char hex[DIGEST_HEX + 1];
    struct digest digest = digest_of(id, strlen(id));
    digest_hex(&digest, hex);
    if (make_dirs(dir, 0755, err) < 0)
        return -1;
    AUTO_FREE char *lock = xasprintf("%s/%s.lock", dir, hex);
    struct cache_disk *d = xcalloc(1, sizeof *d);
    d->path = xasprintf("%s/%s.qcow2", dir, hex);
    d->busy = xasprintf("%s/%s.busy", dir, hex);
    d->size = size ? size : CACHE_DISK_SIZE;
    d->lock = take_lock(s, lock, id, notice, arg, err);
    int busy = -1;
    if (d->lock >= 0 && ensure_disk(d, err) == 0) {
        busy = open(d->busy, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        if (busy < 0)
            error_errno(err, "cannot create '%s'", d->busy);
    }
    if (busy < 0) {
        cache_disk_free(d);
        return -1;
    }
    close(busy);
    if (ftruncate(d->lock, 0) == 0 && pwrite_all(d->lock, id, strlen(id), 0) < 0)
        session_debug(s, 1, "cannot note the id of a cache mount: %s", strerror(errno));
    *ret = d;
    return 0;
}

const char *cache_disk_path(const struct cache_disk *d)
{
    return d->path;
}

uint64_t cache_disk_size(const struct cache_disk *d)
{
    return d->size;
}

void cache_disk_clean(struct cache_disk *d)
{
    (void)unlink(d->busy);
}

void cache_disk_free(struct cache_disk *d)
{
    if (!d)
        return;
    if (d->lock >= 0)
        close(d->lock);
    free(d->path);
    free(d->busy);
    free(d);
}

struct found {
    char *base; /* path without its ending */
    uint64_t bytes;
    time_t used;
};
DEFINE_VECTOR(founds, struct found);

static int by_use(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    return x->used < y->used ? -1 : x->used > y->used;
}

static void list(const struct session *s, struct founds *ret)
{
    AUTO_FREE char *dir = path_join(s->cache, "mounts");
    DIR *d = opendir(dir);
    if (!d)
        return;
    for (const struct dirent *e; (e = readdir(d));) {
        const char *end = strstr(e->d_name, ".qcow2");
        struct stat st;
        if (!end || end[6] || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        *founds_push(ret) =
            (struct found){xasprintf("%s/%.*s", dir, (int)(end - e->d_name), e->d_name),
                           (uint64_t)st.st_blocks * 512, st.st_mtime};
    }
    closedir(d);
    if (ret->len)
        qsort(ret->ptr, ret->len, sizeof *ret->ptr, by_use);
}

static void founds_free(struct founds *v)
{
    vec_foreach (struct found *, f, v)
        free(f->base);
    founds_clear(v);
}

uint64_t cache_disk_usage(const struct session *s, unsigned *ret_count)
{
    CLEANUP(founds_free) struct founds all = {0};
    uint64_t sum = 0;
    list(s, &all);
    vec_foreach (struct found *, f, &all)
        sum += f->bytes;
    if (ret_count)
        *ret_count = (unsigned)all.len;
    return sum;
}

static bool remove_one(const struct found *f, int dry_run)
{
    AUTO_FREE char *lock = xasprintf("%s.lock", f->base);
    AUTO_CLOSE int fd = lock_try(lock, LOCK_EXCLUSIVE, NULL);
    if (fd < 0)
        return false;
    if (dry_run)
        return true;
    AUTO_FREE char *disk = xasprintf("%s.qcow2", f->base);
    AUTO_FREE char *busy = xasprintf("%s.busy", f->base);
    bool gone = unlink(disk) == 0;
    (void)unlink(busy);
    (void)unlink(lock);
    return gone;
}

uint64_t cache_disk_prune(const struct session *s, uint64_t max_bytes, long long max_age,
                          int dry_run)
{
    CLEANUP(founds_free) struct founds all = {0};
    uint64_t sum = 0, freed = 0;
    list(s, &all);
    vec_foreach (struct found *, f, &all)
        sum += f->bytes;
    vec_foreach (struct found *, f, &all) {
        bool old = max_age >= 0 && time(NULL) - f->used > max_age;
        if ((old || sum - freed > max_bytes) && remove_one(f, dry_run))
            freed += f->bytes;
    }
    return freed;
}
