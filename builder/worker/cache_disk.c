// SPDX-License-Identifier: MIT
//
// The lock of a disk is taken first and kept until the VM has ended. <name>.busy is made when the
// disk is given out and removed by cache_disk_clean, once the guest has let go of it: a disk whose
// .busy is there when its lock is free was left by a VM that was killed, and is made again. The
// header is read by our own reader before QEMU sees it.
#include "builder/worker/cache_disk.h"

#include "base/alloc.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/session.h"
#include "base/vector.h"
#include "qcow2/qcow2.h"

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

/* The lock of `base`.lock: a descriptor, -1 with *err, or -2: somebody has it. */
static int try_lock(const char *base, struct error **err)
{
    AUTO_FREE char *path = xasprintf("%s.lock", base);
    CLEANUP(error_freep) struct error *why = NULL;
    int fd = lock_try(path, LOCK_EXCLUSIVE, &why);
    if (fd >= 0)
        return fd;
    return why->kind == ERR_BUSY ? -2 : error_propagate(err, STEAL(why));
}

/* Takes the lock of the disk *base (its path without the ending, owned), or of another one of this
 * id, which *base then is. */
static int take_lock(const struct session *s, const struct cache_disk_request *r, char **base,
                     struct error **err)
{
    int fd = try_lock(*base, err);
    if (fd != -2)
        return fd;
    if (!r->own) {
        AUTO_FREE char *path = xasprintf("%s.lock", *base);
        AUTO_FREE char *line =
            xasprintf("waiting for another build that uses the cache mount '%s'", r->id);
        session_notice(s, "%s", line);
        return lock_wait(path, LOCK_EXCLUSIVE, s->cancel_fd, err);
    }
    AUTO_FREE char *line = xasprintf(
        "another build uses the cache mount '%s': this one gets a cache of its own", r->id);
    session_notice(s, "%s", line);
    AUTO_FREE char *first = STEAL(*base);
    for (unsigned n = 1; fd == -2; n++) {
        free(*base);
        *base = xasprintf("%s-%u", first, n);
        fd = try_lock(*base, err);
    }
    return fd;
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

static char *base_of(const char *dir, const char *id)
{
    char hex[DIGEST_HEX + 1];
    struct digest digest = digest_of(id, strlen(id));
    digest_hex(&digest, hex);
    return path_join(dir, hex);
}

int cache_disk_open(const struct session *s, const struct cache_disk_request *r,
                    struct cache_disk **ret, struct error **err)
{
    AUTO_FREE char *dir = path_join(s->cache, "mounts");
    AUTO_FREE char *base = base_of(dir, r->id);
    if (make_dirs(dir, 0700, err) < 0)
        return -1;
    AUTO_CLOSE int lock = take_lock(s, r, &base, err);
    if (lock < 0)
        return -1;
    CLEANUP(cache_disk_freep) struct cache_disk *d = xcalloc(1, sizeof *d);
    d->path = xasprintf("%s.qcow2", base);
    d->busy = xasprintf("%s.busy", base);
    d->size = r->size ? r->size : CACHE_DISK_SIZE;
    d->lock = STEAL_FD(lock);
    if (ensure_disk(d, err) < 0)
        return -1;
    AUTO_CLOSE int busy = open(d->busy, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (busy < 0)
        return error_errno(err, "cannot create '%s'", d->busy);
    if (ftruncate(d->lock, 0) == 0 && pwrite_all(d->lock, r->id, strlen(r->id), 0) < 0)
        session_debug(s, 1, "cannot note the id of a cache mount: %s", strerror(errno));
    *ret = STEAL(d);
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
