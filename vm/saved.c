// SPDX-License-Identifier: MIT
//
// One is made in <store>/.working/<random>/ and renamed to <store>/<key>/; the kernel lock of
// <store>/<key>.lock is exclusive while it is made, so two that need it make one. The record is
// written last and its time is that of the last use, which is what pruning goes by. What the record
// says of the files is compared in full; then `checked` notes which files those were, and as long as
// it is about this boot of the host and the very same files, that is enough.
#include "vm/saved.h"

#include "base/alloc.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "base/lock.h"
#include "base/session.h"
#include "base/vector.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

enum { PAGE = 4096, CHUNK = 64 * PAGE };

void saved_clear(struct saved *t)
{
    working_clear(&t->work);
    auto_closep(&t->lock);
    strv_clear(&t->files);
    json_decref(t->note);
    free(t->ram);
    free(t->state);
    free(t->key_text);
    free(t->store);
    free(t->place);
    free(t->dir);
    *t = (struct saved)SAVED_INIT;
}

static void set_paths(struct saved *t, const char *dir)
{
    free(t->dir);
    free(t->ram);
    free(t->state);
    t->dir = xstrdup(dir);
    t->ram = path_join(dir, "ram");
    t->state = path_join(dir, "state");
}

static char *record_path(const struct saved *t, const char *dir)
{
    return path_join(dir, t->kind->record);
}

static bool is_zero(const char *page)
{
    return page[0] == 0 && memcmp(page, page + 1, PAGE - 1) == 0;
}

/* Digest of the pages that are not zero, with their places: a copy may have other holes. It is
 * against bit rot, not against people, and has to be fast: 170 MB take 50 ms. */
static int digest_pages(int fd, uint64_t *ret, struct error **err)
{
    AUTO_FREE char *chunk = xmalloc(CHUNK);
    XXH3_state_t *h = XXH3_createState();
    ssize_t n = 0;
    (void)XXH3_64bits_reset(h);
    for (off_t at = 0; (at = lseek(fd, at, SEEK_DATA)) >= 0; at += n) {
        at = at / PAGE * PAGE;
        n = pread_all(fd, chunk, CHUNK, at);
        if (n <= 0)
            break;
        memset(chunk + n, 0, CHUNK - (size_t)n);
        for (ssize_t i = 0; i < n; i += PAGE) {
            uint64_t place = (uint64_t)(at + i);
            if (is_zero(chunk + i))
                continue;
            (void)XXH3_64bits_update(h, &place, sizeof place);
            (void)XXH3_64bits_update(h, chunk + i, PAGE);
        }
    }
    *ret = XXH3_64bits_digest(h);
    (void)XXH3_freeState(h);
    return n < 0 ? error_errno(err, "cannot read the saved memory") : 0;
}

static int add_digest(json_t *to, const char *name, const char *path, struct error **err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct digest digest;
    char hex[DIGEST_HEX + 1];
    if (fd < 0)
        return error_errno(err, "cannot read '%s'", path);
    if (digest_of_fd(fd, &digest, err) < 0)
        return -1;
    digest_hex(&digest, hex);
    return json_object_set_new(to, name, json_string(hex));
}

/* What the files are, with the note: new reference, NULL when they cannot be read. */
static json_t *describe(const struct saved *t, json_t *note, struct error **err)
{
    AUTO_CLOSE int ram = open(t->ram, O_RDONLY | O_CLOEXEC);
    json_auto_t *digests = json_object();
    struct stat st;
    uint64_t pages;
    if (ram < 0 || fstat(ram, &st) < 0) {
        error_errno(err, "cannot read '%s'", t->ram);
        return NULL;
    }
    if (digest_pages(ram, &pages, err) < 0 || add_digest(digests, "state", t->state, err) < 0)
        return NULL;
    vec_foreach (char **, name, &t->files) {
        AUTO_FREE char *path = path_join(t->dir, *name);
        if (add_digest(digests, *name, path, err) < 0)
            return NULL;
    }
    AUTO_FREE char *hex = xasprintf("%016llx", (unsigned long long)pages);
    return json_pack("{s:s, s:I, s:s, s:O, s:O}", "key", t->key_text, "ram_size",
                     (json_int_t)st.st_size, "ram_xxh3", hex, "sha256", digests, "note", note);
}

/* The same text: this boot of the host, and no file was written to since; owned. NULL when a file
 * cannot be looked at. ctime cannot be set back, as mtime can. */
static char *fingerprint(const struct saved *t)
{
    AUTO_FREE char *record = record_path(t, t->dir);
    CLEANUP(strv_clear) struct strv files = {0};
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    struct stat st;
    if (access(record, R_OK) < 0 || file_read("/proc/sys/kernel/random/boot_id", 100, &b, NULL) < 0)
        return NULL;
    strv_add(&files, t->ram);
    strv_add(&files, t->state);
    vec_foreach (char **, name, &t->files)
        strv_add_take(&files, path_join(t->dir, *name));
    vec_foreach (char **, path, &files) {
        if (stat(*path, &st) < 0 || !S_ISREG(st.st_mode) || access(*path, R_OK) < 0)
            return NULL;
        buf_addf(&b, "%llx:%llx %lld %lld.%09ld %lld.%09ld\n", (unsigned long long)st.st_dev,
                 (unsigned long long)st.st_ino, (long long)st.st_size, (long long)st.st_mtim.tv_sec,
                 st.st_mtim.tv_nsec, (long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
    }
    return buf_detach(&b, NULL);
}

static bool was_checked(const struct saved *t, const char *now)
{
    AUTO_FREE char *path = path_join(t->dir, "checked");
    CLEANUP(buf_clear) struct buf was = BUF_INIT;
    return now && file_read(path, 4096, &was, NULL) == 0 && !strcmp(was.data, now);
}

/* Notes that the files are what the record says: `now` is their fingerprint from before they were
 * read, so a change meanwhile is seen next time. */
static void note_checked(const struct saved *t, const char *now)
{
    AUTO_FREE char *path = path_join(t->dir, "checked");
    if (now)
        (void)file_write_whole(path, 0600, now, strlen(now), NULL);
}

/* Looks at <store>/<key>: sets ready or damaged. */
static void check(struct saved *t)
{
    AUTO_FREE char *record = record_path(t, t->place);
    set_paths(t, t->place);
    if (access(t->place, F_OK) < 0)
        return;
    AUTO_FREE char *now = fingerprint(t);
    json_auto_t *should = json_read_file(record, NULL);
    json_t *note = json_object_get(should, "note");
    t->ready = json_is_object(note) && was_checked(t, now);
    if (!t->ready && json_is_object(note)) {
        json_auto_t *is = describe(t, note, NULL);
        t->ready = is && json_equal(is, should);
        if (t->ready)
            note_checked(t, now);
    }
    t->damaged = !t->ready;
    if (!t->ready)
        return;
    (void)utimensat(AT_FDCWD, record, NULL, 0);
    json_decref(t->note);
    t->note = json_incref(note);
}

/* Where the files of a new one are written to. */
static int begin(struct saved *t, struct error **err)
{
    AUTO_FREE char *parent = path_join(t->store, ".working");
    working_sweep(parent);
    if (working_open(&t->work, parent, err) < 0)
        return -1;
    AUTO_FREE char *dir = path_join(t->work.dir, "new");
    if (mkdir(dir, 0700) < 0)
        return error_errno(err, "cannot make '%s'", dir);
    set_paths(t, dir);
    return 0;
}

static char *store_path(const struct session *s, const struct saved_kind *kind)
{
    return path_join(s->cache, kind->folder);
}

int saved_open(const struct session *s, const struct saved_kind *kind, const char *const *files,
               const char *key_text, struct saved *ret, struct error **err)
{
    CLEANUP(saved_clear) struct saved t = SAVED_INIT;
    struct digest digest = digest_of(key_text, strlen(key_text));
    char key[DIGEST_HEX + 1];
    digest_hex(&digest, key);
    t.kind = kind;
    t.note = json_object();
    t.key_text = xstrdup(key_text);
    t.store = store_path(s, kind);
    t.place = path_join(t.store, key);
    for (; *files; files++)
        strv_add(&t.files, *files);
    AUTO_FREE char *lock = xasprintf("%s.lock", t.place);
    if (make_dirs(t.store, 0700, err) < 0)
        return -1;
    t.lock = lock_try(lock, LOCK_SHARED, NULL);
    if (t.lock < 0 && kind->waiting)
        session_notice(s, "%s", kind->waiting);
    if (t.lock < 0)
        t.lock = lock_wait(lock, LOCK_SHARED, s->cancel_fd, err);
    if (t.lock < 0)
        return -1;
    check(&t);
    if (!t.ready) {
        auto_closep(&t.lock);
        t.lock = lock_wait(lock, LOCK_EXCLUSIVE, s->cancel_fd, err);
        if (t.lock < 0)
            return -1;
        t.damaged = false; // another one may have made it while we waited
        check(&t);
        if (t.ready ? lock_change(t.lock, LOCK_SHARED, err) < 0 : begin(&t, err) < 0)
            return -1;
    }
    *ret = t;
    t = (struct saved)SAVED_INIT;
    return 0;
}

struct candidate {
    char *dir;
    struct timespec used;
    uint64_t bytes;
};
DEFINE_VECTOR(candidates, struct candidate);

static void free_candidates(struct candidates *all)
{
    vec_foreach (struct candidate *, c, all)
        free(c->dir);
    candidates_clear(all);
}

static int last_used_first(const void *a, const void *b)
{
    const struct timespec *x = &((const struct candidate *)a)->used,
                          *y = &((const struct candidate *)b)->used;
    if (x->tv_sec != y->tv_sec)
        return x->tv_sec < y->tv_sec ? 1 : -1;
    return x->tv_nsec < y->tv_nsec ? 1 : x->tv_nsec > y->tv_nsec ? -1 : 0;
}

static uint64_t bytes_in(const char *dir)
{
    uint64_t sum = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        if (*e->d_name != '.' && fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            sum += (uint64_t)st.st_blocks * 512;
    }
    if (d)
        closedir(d);
    return sum;
}

/* All there are, the last used one first. */
static struct candidates list(const char *store, const struct saved_kind *kind)
{
    struct candidates all = {0};
    DIR *d = opendir(store);
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        AUTO_FREE char *dir = path_join(store, e->d_name);
        AUTO_FREE char *record = path_join(dir, kind->record);
        if (strlen(e->d_name) != DIGEST_HEX)
            continue;
        bool whole = stat(record, &st) == 0;
        uint64_t bytes = bytes_in(dir);
        *candidates_push(&all) =
            (struct candidate){STEAL(dir), whole ? st.st_mtim : (struct timespec){0, 0}, bytes};
    }
    if (d)
        closedir(d);
    if (all.len)
        qsort(all.ptr, all.len, sizeof *all.ptr, last_used_first);
    return all;
}

/* Removes one unless it is in use. */
static bool remove_unused(const char *dir)
{
    AUTO_FREE char *path = xasprintf("%s.lock", dir);
    AUTO_CLOSE int lock = lock_try(path, LOCK_EXCLUSIVE, NULL);
    if (lock < 0 || remove_tree(dir, NULL) < 0)
        return false;
    (void)unlink(path);
    return true;
}

static void prune(const struct saved *t)
{
    CLEANUP(free_candidates) struct candidates all = list(t->store, t->kind);
    uint64_t max = t->kind->max_bytes ? t->kind->max_bytes : UINT64_MAX, sum = bytes_in(t->place);
    size_t n = 1;
    vec_foreach (const struct candidate *, c, &all) {
        if (!strcmp(c->dir, t->place))
            continue;
        sum += c->bytes;
        if (++n > t->kind->keep || sum > max)
            (void)remove_unused(c->dir);
    }
}

struct saved_sum saved_remove(const struct session *s, const struct saved_kind *kind,
                              saved_choose_fn *choose, void *arg, bool dry_run)
{
    AUTO_FREE char *store = store_path(s, kind), *parent = path_join(store, ".working");
    CLEANUP(free_candidates) struct candidates all = list(store, kind);
    struct saved_sum sum = {0};
    if (!dry_run)
        working_sweep(parent);
    vec_foreach (const struct candidate *, c, &all) {
        AUTO_FREE char *path = path_join(c->dir, kind->record);
        json_auto_t *record = json_read_file(path, NULL);
        int64_t age = (int64_t)time(NULL) - (int64_t)c->used.tv_sec;
        if ((choose && !choose(arg, json_object_get(record, "note"), age)) ||
            (!dry_run && !remove_unused(c->dir)))
            continue;
        sum.n++;
        sum.bytes += c->bytes;
    }
    return sum;
}

struct saved_sum saved_usage(const struct session *s, const struct saved_kind *kind)
{
    AUTO_FREE char *store = store_path(s, kind);
    CLEANUP(free_candidates) struct candidates all = list(store, kind);
    struct saved_sum sum = {.n = all.len};
    vec_foreach (const struct candidate *, c, &all)
        sum.bytes += c->bytes;
    return sum;
}

static int sync_file(const char *path, struct error **err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fdatasync(fd) < 0)
        return error_errno(err, "cannot write '%s'", path);
    return 0;
}

int saved_commit(const struct session *s, struct saved *t, struct error **err)
{
    AUTO_FREE char *from = xstrdup(t->dir), *record = record_path(t, t->dir);
    if (sync_file(t->ram, err) < 0 || sync_file(t->state, err) < 0)
        return -1;
    json_auto_t *is = describe(t, t->note, err);
    if (!is || json_write_file(record, 0600, is, err) < 0 || remove_tree(t->place, err) < 0)
        return -1;
    if (rename(from, t->place) < 0)
        return error_errno(err, "cannot make '%s'", t->place);
    session_debug(s, 1, "%s %s", t->kind->folder, t->place);
    set_paths(t, t->place);
    working_clear(&t->work);
    t->ready = true;
    AUTO_FREE char *now = fingerprint(t);
    note_checked(t, now);
    prune(t);
    return lock_change(t->lock, LOCK_SHARED, err);
}

uint64_t saved_bytes(const struct saved *t)
{
    return bytes_in(t->dir);
}

void saved_reject(struct saved *t)
{
    AUTO_FREE char *record = record_path(t, t->place);
    if (t->ready)
        (void)unlink(record);
}

bool saved_damaged(const struct session *s, const struct saved_kind *kind, const char *const *files,
                   const char *key_text)
{
    CLEANUP(saved_clear) struct saved t = SAVED_INIT;
    struct digest digest = digest_of(key_text, strlen(key_text));
    char key[DIGEST_HEX + 1];
    digest_hex(&digest, key);
    AUTO_FREE char *checked = xasprintf("%s/%s/%s/checked", s->cache, kind->folder, key);
    (void)unlink(checked);
    return saved_open(s, kind, files, key_text, &t, NULL) == 0 && t.damaged;
}
