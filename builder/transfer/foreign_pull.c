// SPDX-License-Identifier: MIT
//
// The blobs of a file are fetched at once, put together, and go through the pipeline that any image
// from elsewhere goes through (image/receive.h). Then it is the image itself, or of a chain a layer.
#include "base/alloc.h"
#include "base/file.h"
#include "base/session.h"
#include "builder/transfer/apple_lz4.h"
#include "builder/transfer/foreign.h"
#include "builder/transfer/foreign_disk.h"
#include "builder/transfer/pool.h"
#include "builder/transfer/transfer.h"
#include "cache/store.h"
#include "image/backend.h"
#include "image/receive.h"
#include "image/sink.h"
#include "image/source.h"
#include "registry/client.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { GZIP_NAME_MAX = 255, GZIP_HEAD = 1024, ABOUT_MAX = 1 << 20 };

struct fetching {
    const struct foreign_pull *p;
    const struct foreign_blob **blobs; /* those of one file, each once */
    struct pool pool;
};

static char *blob_path(const struct foreign_pull *p, const struct foreign_blob *blob)
{
    return xasprintf("%s/%s", p->folder, blob->hex);
}

static int fetch_blob(void *arg, size_t i, struct error **err)
{
    struct fetching *f = arg;
    AUTO_FREE char *path = blob_path(f->p, f->blobs[i]);
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_errno(err, "cannot create '%s'", path);
    return registry_blob_to(f->p->registry, f->blobs[i]->hex, f->blobs[i]->size, fd, &f->pool.moved,
                            err);
}

static int check_room(const struct foreign_pull *p, uint64_t need, struct error **err)
{
    uint64_t room = free_bytes(p->folder);
    if (!room || need <= room)
        return 0;
    error_set(err, ERR_SYSTEM, "it has %llu bytes to fetch, and there is room for %llu",
              (unsigned long long)need, (unsigned long long)room);
    return error_hint(err, "free some space, or choose another --image-backend");
}

static bool is_among(const struct foreign_blob *const *blobs, size_t n, const char *hex)
{
    size_t i = 0;
    while (i < n && strcmp(blobs[i]->hex, hex) != 0)
        i++;
    return i < n;
}

/* Its bytes that an earlier pull has not fetched. */
static uint64_t still_to_come(const struct foreign_pull *p, const struct foreign_blob *blob)
{
    AUTO_FREE char *path = blob_path(p, blob);
    struct stat st;
    uint64_t have = lstat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
    return have < blob->size ? blob->size - have : 0;
}

static int fetch_blobs(const struct foreign_pull *p, const struct foreign_blob *blobs, size_t all,
                       struct error **err)
{
    const struct transfer_options *o = p->options;
    AUTO_FREE const struct foreign_blob **once = xcalloc(all, sizeof *once);
    struct fetching fetching = {.p = p, .blobs = once}, *f = &fetching;
    uint64_t total = 0, missing = 0;
    size_t n = 0;
    for (size_t i = 0; i < all; i++) {
        if (is_among(once, n, blobs[i].hex))
            continue;
        once[n++] = &blobs[i];
        uint64_t rest = still_to_come(p, &blobs[i]);
        total = blobs[i].size < UINT64_MAX - total ? total + blobs[i].size : UINT64_MAX;
        missing = rest < UINT64_MAX - missing ? missing + rest : UINT64_MAX;
    }
    if (check_room(p, missing, err) < 0)
        return -1;
    f->pool = (struct pool){
        .work = fetch_blob, .arg = f, .n = n, .total = total, .session = f->p->session};
    pool_start(&f->pool, o->jobs ? o->jobs : TRANSFER_JOBS);
    for (size_t i = 0; i < n && pool_wait(&f->pool, i); i++)
        ;
    return pool_end(&f->pool, err);
}

/* All of `from` behind what `to` has. */
static int append(const char *from, int to, struct error **err)
{
    AUTO_CLOSE int fd = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    off_t at = 0, end = lseek(to, 0, SEEK_END);
    ssize_t n;
    if (fd < 0 || end < 0)
        return error_errno(err, "cannot read '%s'", from);
    while ((n = copy_file_range(fd, &at, to, &end, 1 << 30, 0)) > 0)
        ;
    return n < 0 ? error_errno(err, "cannot put '%s' together", from) : 0;
}

/* The same of what tart compressed; as many bytes as any decompression may write. */
static int unpack(const char *from, int to, struct error **err)
{
    AUTO_CLOSE int fd = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_errno(err, "cannot read '%s'", from);
    return apple_lz4_unpack(fd, to, sink_data_limit((uint64_t)st.st_size), err);
}

/* The pieces as one file; its path, owned. `add` puts one behind those before. */
static char *join(const struct foreign_pull *p, const struct foreign_blob *blobs, size_t n,
                  int (*add)(const char *from, int to, struct error **err), struct error **err)
{
    if (n == 1 && add == append)
        return blob_path(p, blobs);
    AUTO_FREE char *all = path_join(p->folder, "joined");
    AUTO_CLOSE int fd = open(all, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        error_errno(err, "cannot create '%s'", all);
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        AUTO_FREE char *path = blob_path(p, &blobs[i]);
        if (session_cancelled(p->session))
            error_set(err, ERR_CANCELLED, "interrupted");
        if (session_cancelled(p->session) || add(path, fd, err) < 0)
            return NULL;
        // what is in it now is known to be right, and is not kept twice
        bool again = false;
        for (size_t j = i + 1; j < n; j++)
            again = again || !strcmp(blobs[i].hex, blobs[j].hex);
        if (!again)
            (void)unlink(path);
    }
    return STEAL(all);
}

/* The name in a gzip header (RFC 1952, 2.3), owned; NULL = none. */
static char *gzip_name(const char *path)
{
    unsigned char head[GZIP_HEAD] = {0};
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd < 0 ? -1 : pread_all(fd, head, sizeof head - 1, 0);
    if (n < 10 || memcmp(head, "\x1f\x8b", 2) != 0 || !(head[3] & 8))
        return NULL;
    size_t at = 10;
    if (head[3] & 4)
        at += 2 + (size_t)head[10] + ((size_t)head[11] << 8);
    if (at >= (size_t)n)
        return NULL;
    size_t len = strnlen((const char *)head + at, sizeof head - at);
    return len && len <= GZIP_NAME_MAX && at + len < (size_t)n
               ? xstrndup((const char *)head + at, len)
               : NULL;
}

/* One file of the image. */
struct file {
    char *disk;   /* <folder>/disk, as it came */
    char *joined; /* what it is made of */
    char *name;   /* that it had; NULL = none is known */
    enum format format;
};

static void file_clear(struct file *f)
{
    free(f->disk);
    free(f->joined);
    free(f->name);
    *f = (struct file){0};
}

/* What was joined as a disk; overlay: it may stand on another. 1, or 0: it was fetched, and a container's
 * layer has no disk; -1. */
static int take_joined(const struct foreign_pull *p, enum tar_disk tar, bool overlay,
                       struct file *ret, struct error **err)
{
    CLEANUP(received_clear) struct received got = {0};
    CLEANUP(error_freep) struct error *why = NULL;
    struct image_pull_options o = {.raw = p->options->raw, .max_size = p->options->max_size};
    struct receive_options r = {
        .dir = p->folder, .path = ret->joined, .tar = tar, .overlay = overlay, .pull = &o};
    if (receive(p->session, &r, &got, &why) < 0)
        return tar == TAR_DISK_CONTAINER && why->kind == ERR_NOT_FOUND
                   ? 0
                   : error_propagate(err, STEAL(why));
    ret->disk = path_join(p->folder, "disk");
    ret->name = gzip_name(ret->joined);
    ret->format = got.format;
    return 1;
}

/* The same of n blobs. */
static int take_file(const struct foreign_pull *p, const struct foreign_blob *blobs, size_t n,
                     enum tar_disk tar, bool overlay, struct file *ret, struct error **err)
{
    if (fetch_blobs(p, blobs, n, err) < 0 || !(ret->joined = join(p, blobs, n, append, err)))
        return -1;
    return take_joined(p, tar, overlay, ret, err);
}

/* The image's metadata; NULL = none. */
static int read_about(const struct foreign_pull *p, const struct foreign *f, char **ret,
                      struct error **err)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    if (f->about.size > ABOUT_MAX)
        return error_set(err, ERR_USER, "its description is larger than 1 MiB");
    if (f->about.size && registry_blob(p->registry, f->about.hex, ABOUT_MAX, &text, err) < 0)
        return -1;
    *ret = foreign_metadata(buf_str(&text));
    return 0;
}

static struct foreign_disk disk_of(const struct foreign_pull *p, const struct file *f)
{
    return (struct foreign_disk){p->session, f->disk, f->format, p->options->max_size, p->from};
}

/* metadata NULL = none. */
static int register_alone(const struct foreign_pull *p, const struct file *f, const char *metadata,
                          struct error **err)
{
    struct foreign_disk disk = disk_of(p, f);
    return foreign_disk_register(&disk, p->name, metadata, err);
}

/* Container images are looked through from the top. */
static int fetch_container(const struct foreign_pull *p, const struct foreign *f,
                           struct error **err)
{
    for (size_t i = f->blobs.len; i-- > 0;) {
        CLEANUP(file_clear) struct file file = {0};
        int found = take_file(p, &f->blobs.ptr[i], 1, TAR_DISK_CONTAINER, false, &file, err);
        if (found)
            return found < 0 ? -1 : register_alone(p, &file, NULL, err);
        (void)unlink(file.joined);
    }
    error_set(err, ERR_USER,
              "it is a container image without a disk: no layer has a file in /disk");
    return error_hint(err, "a containerDisk of KubeVirt has one");
}

/* Where the blobs of the next file end. */
static size_t end_of(const struct foreign *f, size_t first)
{
    size_t end = first;
    while (end < f->blobs.len && f->blobs.ptr[end].disk == f->blobs.ptr[first].disk)
        end++;
    return end;
}

static int fetch_chain(const struct foreign_pull *p, const struct foreign *f, struct store *st,
                       const char *metadata, struct error **err)
{
    CLEANUP(layer_freep) struct layer *top = NULL;
    AUTO_FREE char *below = NULL;
    for (size_t first = 0, end; first < f->blobs.len; first = end) {
        CLEANUP(file_clear) struct file file = {0};
        struct layer *layer = NULL;
        end = end_of(f, first);
        if (take_file(p, &f->blobs.ptr[first], end - first, TAR_DISK_NONE, top != NULL, &file,
                      err) < 0)
            return -1;
        if (top && !below)
            return error_set(err, ERR_USER, "its disks have no names, so their order is not known");
        struct foreign_disk disk = disk_of(p, &file);
        if ((top ? foreign_disk_overlay(&disk, st, below, top, &layer, err)
                 : foreign_disk_base(&disk, st, &layer, err)) < 0)
            return error_wrap(err, "disk '%s'", file.name ? file.name : "");
        layer_free(top);
        top = layer;
        free(below);
        below = STEAL(file.name);
        (void)unlink(file.joined);
    }
    struct backend_thin thin = {.layer = top->id, .metadata = metadata};
    return backend_register_thin(p->session->backend, p->name, &thin, err);
}

static int fetch_disks(const struct foreign_pull *p, const struct foreign *f, struct error **err)
{
    CLEANUP(file_clear) struct file file = {0};
    CLEANUP(store_freep) struct store *st = NULL;
    AUTO_FREE char *metadata = NULL;
    if (read_about(p, f, &metadata, err) < 0)
        return -1;
    if (f->disks > 1)
        return store_open(p->session, p->session->backend, &st, err) < 0
                   ? -1
                   : fetch_chain(p, f, st, metadata, err);
    return take_file(p, f->blobs.ptr, f->blobs.len, TAR_DISK_NONE, false, &file, err) < 0
               ? -1
               : register_alone(p, &file, metadata, err);
}

static int fetch_tart(const struct foreign_pull *p, const struct foreign *f, struct error **err)
{
    CLEANUP(file_clear) struct file file = {0};
    if (fetch_blobs(p, f->blobs.ptr, f->blobs.len, err) < 0 ||
        !(file.joined = join(p, f->blobs.ptr, f->blobs.len, unpack, err)))
        return -1;
    int taken = take_joined(p, TAR_DISK_NONE, false, &file, err);
    (void)unlink(file.joined);
    if (taken < 0 || register_alone(p, &file, NULL, err) < 0)
        return -1;
    session_notice(p->session, "tart's images are for ARM processors: this one does not boot here");
    return 0;
}

int foreign_fetch(const struct foreign_pull *p, const struct foreign *f, struct error **err)
{
    int rc = f->kind == FOREIGN_CONTAINER ? fetch_container(p, f, err)
             : f->kind == FOREIGN_TART    ? fetch_tart(p, f, err)
                                          : fetch_disks(p, f, err);
    if (rc < 0)
        return -1;
    AUTO_FREE char *from = xstrdup(p->from), *etag = xasprintf("sha256:%s", p->digest);
    struct image_source x = {.kind = SPEC_OCI, .from = from, .etag = etag};
    return image_source_write(p->session->backend, p->name, &x, err);
}

bool foreign_is_here(const struct session *s, const char *name, const char *digest)
{
    CLEANUP(image_source_clear) struct image_source x = {0};
    return image_source_read(s->backend, name, &x) && x.kind == SPEC_OCI && x.etag &&
           !strncmp(x.etag, "sha256:", 7) && !strcmp(x.etag + 7, digest);
}
