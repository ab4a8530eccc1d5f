// SPDX-License-Identifier: MIT
//
// One pass over the folders makes the list, sorted by last use; pruning then walks it. What was cut
// short by a crash is a ".tmp" beside the file it was to be: after an hour nobody writes to it any
// more and it is a file as any other.
#include "builder/build/cache_files.h"

#include "base/alloc.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "base/session.h"
#include "base/vector.h"
#include "cache/history.h"
#include "cache/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { UNFINISHED_SECONDS = 3600 };

struct kept {
    enum cache_file_kind kind;
    struct strv paths; /* a download's records come after its content */
    uint64_t bytes;
    int64_t used;
};
DEFINE_VECTOR(kepts, struct kept);

struct cache_files {
    struct kepts all; /* sorted, the least recently used first */
    size_t next;      /* to be pruned */
    bool on_backend;  /* they lie on the backend's file system */
};

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

static void add_to(struct kept *k, const char *path, const struct stat *st)
{
    strv_add(&k->paths, path);
    k->bytes += (uint64_t)st->st_blocks * 512;
    if (st->st_mtim.tv_sec > k->used)
        k->used = st->st_mtim.tv_sec;
}

/* A regular file that nobody is writing. */
static bool is_kept(const char *path, struct stat *st)
{
    return lstat(path, st) == 0 && S_ISREG(st->st_mode) &&
           (!ends_with(path, ".tmp") || time(NULL) - st->st_mtim.tv_sec > UNFINISHED_SECONDS);
}

static void add_file(struct cache_files *f, enum cache_file_kind kind, const char *path)
{
    struct stat st;
    if (!is_kept(path, &st))
        return;
    struct kept *k = kepts_push(&f->all);
    k->kind = kind;
    add_to(k, path, &st);
}

static void add_folder(struct cache_files *f, const char *dir, enum cache_file_kind kind,
                       bool (*want)(const char *name))
{
    DIR *d = opendir(dir);
    for (const struct dirent *e; d && (e = readdir(d));) {
        AUTO_FREE char *path = path_join(dir, e->d_name);
        if (e->d_name[0] != '.' && (!want || want(e->d_name)))
            add_file(f, kind, path);
    }
    if (d)
        closedir(d);
}

static bool is_record(const char *name)
{
    return ends_with(name, ".json");
}

static bool is_content(const char *name)
{
    return !is_record(name) && strncmp(name, "index", 5) != 0;
}

static bool is_index(const char *name)
{
    return !strncmp(name, "index", 5);
}

/* A URL's record goes with the content it names, and its time is the content's. */
static void add_record(struct cache_files *f, const char *dir, const char *path)
{
    struct stat st;
    json_auto_t *record = json_read_file(path, NULL);
    const char *digest = json_str(record, "digest");
    AUTO_FREE char *content = path_join(dir, digest ? digest : "");
    vec_foreach (struct kept *, k, &f->all)
        if (k->kind == CACHE_FILE_DOWNLOAD && !strcmp(k->paths.ptr[0], content)) {
            if (is_kept(path, &st))
                add_to(k, path, &st);
            return;
        }
    add_file(f, CACHE_FILE_NOTE, path);
}

static void add_downloads(struct cache_files *f, const char *dir)
{
    add_folder(f, dir, CACHE_FILE_DOWNLOAD, is_content);
    DIR *d = opendir(dir);
    for (const struct dirent *e; d && (e = readdir(d));) {
        AUTO_FREE char *path = path_join(dir, e->d_name);
        if (is_record(e->d_name))
            add_record(f, dir, path);
    }
    if (d)
        closedir(d);
    add_folder(f, dir, CACHE_FILE_NOTE, is_index);
}

static void add_history(void *files, const char *image, const char *path)
{
    if (access(image, F_OK) < 0 && errno == ENOENT)
        add_file(files, CACHE_FILE_HISTORY, path);
}

static int by_use(const void *a, const void *b)
{
    const struct kept *x = a, *y = b;
    return x->used < y->used ? -1 : x->used > y->used;
}

struct cache_files *cache_files_new(const struct session *s, struct store *st)
{
    static const char *const notes[] = {"context", "inspect", "digests"};
    struct cache_files *f = xcalloc(1, sizeof *f);
    struct stat cache, backend;
    AUTO_FREE char *remote = path_join(s->cache, "remote");
    add_downloads(f, remote);
    for (size_t i = 0; i < sizeof notes / sizeof *notes; i++) {
        AUTO_FREE char *dir = path_join(s->cache, notes[i]);
        add_folder(f, dir, CACHE_FILE_NOTE, NULL);
    }
    history_list(st, add_history, f);
    if (f->all.len)
        qsort(f->all.ptr, f->all.len, sizeof *f->all.ptr, by_use);
    f->on_backend = stat(s->cache, &cache) == 0 && stat(store_dir(st), &backend) == 0 &&
                    cache.st_dev == backend.st_dev;
    return f;
}

void cache_files_free(struct cache_files *f)
{
    if (!f)
        return;
    vec_foreach (struct kept *, k, &f->all)
        strv_clear(&k->paths);
    kepts_clear(&f->all);
    free(f);
}

uint64_t cache_files_usage(const struct cache_files *f, enum cache_file_kind kind,
                           size_t *ret_count)
{
    uint64_t bytes = 0;
    *ret_count = 0;
    vec_foreach (const struct kept *, k, &f->all)
        if (k->kind == kind) {
            bytes += k->bytes;
            ++*ret_count;
        }
    return bytes;
}

static bool oldest(void *files, struct prune_item *ret)
{
    const struct cache_files *f = files;
    if (f->next == f->all.len)
        return false;
    const struct kept *k = &f->all.ptr[f->next];
    *ret = (struct prune_item){k->paths.ptr[0], k->bytes, k->paths.len, k->used};
    return true;
}

static int take(void *files, bool dry_run, struct error **err)
{
    struct cache_files *f = files;
    const struct kept *k = &f->all.ptr[f->next++];
    vec_foreach (char **, path, &k->paths)
        if (!dry_run && unlink(*path) < 0 && errno != ENOENT)
            return error_errno(err, "cannot remove '%s'", *path);
    return 0;
}

struct prune_extra cache_files_extra(struct cache_files *f)
{
    uint64_t bytes = 0;
    vec_foreach (const struct kept *, k, &f->all)
        bytes += k->bytes;
    return (struct prune_extra){f, bytes, f->on_backend, oldest, take};
}

static uint64_t tree_bytes(const char *path)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return 0;
    uint64_t bytes = (uint64_t)st.st_blocks * 512;
    DIR *d = S_ISDIR(st.st_mode) ? opendir(path) : NULL;
    for (const struct dirent *e; d && (e = readdir(d));) {
        AUTO_FREE char *in = path_join(path, e->d_name);
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            bytes += tree_bytes(in);
    }
    if (d)
        closedir(d);
    return bytes;
}

uint64_t cache_appliance_usage(const struct session *s)
{
    static const char *const folders[] = {"appliance/.", "template/.", "kernel/."};
    uint64_t bytes = 0;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        AUTO_FREE char *dir = path_join(s->cache, folders[i]); // "/.": through a symbolic link
        bytes += tree_bytes(dir);
    }
    return bytes;
}
