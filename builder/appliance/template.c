// SPDX-License-Identifier: MIT
//
// A template is made in <store>/.working/<random>/ and renamed to <store>/<key>/; the kernel lock
// of <store>/<key>.lock is exclusive while it is made, so two builds that need it make one. The
// record is written last and its time is that of the last use, which is what pruning goes by. What
// the record says of the files is compared in full; then `checked` notes which files those were,
// and as long as it is about this boot of the host and the very same files, that is enough.
#include "builder/appliance/template.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "base/lock.h"
#include "base/session.h"
#include "base/vector.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { PAGE = 4096, CHUNK = 64 * PAGE, KEEP = 4 };

void template_clear(struct template *t)
{
    working_clear(&t->work);
    auto_closep(&t->lock);
    free(t->ram);
    free(t->state);
    free(t->kernel);
    free(t->key_text);
    free(t->store);
    free(t->dir);
    *t = (struct template)TEMPLATE_INIT;
}

static void set_paths(struct template *t, const char *dir)
{
    free(t->ram);
    free(t->state);
    free(t->kernel);
    t->ram = path_join(dir, "ram");
    t->state = path_join(dir, "state");
    t->kernel = path_join(dir, "kernel");
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
    return n < 0 ? error_errno(err, "cannot read the template's memory") : 0;
}

static int add_digest(json_t *to, const char *name, const char *path, struct error **err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct digest digest;
    char hex[DIGEST_HEX + 1];
    if (fd < 0)
        return error_errno(err, "cannot read the template '%s'", path);
    if (digest_of_fd(fd, &digest, err) < 0)
        return -1;
    digest_hex(&digest, hex);
    return json_object_set_new(to, name, json_string(hex));
}

/* What a template's files are: new reference, NULL when they cannot be read. */
static json_t *describe(const struct template *t, struct error **err)
{
    AUTO_CLOSE int ram = open(t->ram, O_RDONLY | O_CLOEXEC);
    struct stat st;
    uint64_t pages;
    if (ram < 0 || fstat(ram, &st) < 0) {
        error_errno(err, "cannot read the template '%s'", t->dir);
        return NULL;
    }
    if (digest_pages(ram, &pages, err) < 0)
        return NULL;
    AUTO_FREE char *hex = xasprintf("%016llx", (unsigned long long)pages);
    json_t *is = json_pack("{s:s, s:I, s:s}", "key", t->key_text, "ram_size",
                           (json_int_t)st.st_size, "ram_xxh3", hex);
    if (add_digest(is, "state_sha256", t->state, err) < 0 ||
        add_digest(is, "kernel_sha256", t->kernel, err) < 0) {
        json_decref(is);
        return NULL;
    }
    return is;
}

/* The same text: this boot of the host, and no file was written to since; owned. NULL when a file
 * cannot be looked at. ctime cannot be set back, as mtime can. */
static char *fingerprint(const struct template *t)
{
    AUTO_FREE char *record = path_join(t->dir, "template.json");
    const char *const files[] = {t->ram, t->state, t->kernel};
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    struct stat st;
    if (access(record, R_OK) < 0 || file_read("/proc/sys/kernel/random/boot_id", 100, &b, NULL) < 0)
        return NULL;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (stat(files[i], &st) < 0 || !S_ISREG(st.st_mode) || access(files[i], R_OK) < 0)
            return NULL;
        buf_addf(&b, "%llx:%llx %lld %lld.%09ld %lld.%09ld\n", (unsigned long long)st.st_dev,
                 (unsigned long long)st.st_ino, (long long)st.st_size, (long long)st.st_mtim.tv_sec,
                 st.st_mtim.tv_nsec, (long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
    }
    return buf_detach(&b, NULL);
}

static bool was_checked(const struct template *t, const char *now)
{
    AUTO_FREE char *path = path_join(t->dir, "checked");
    CLEANUP(buf_clear) struct buf was = BUF_INIT;
    return now && file_read(path, 4096, &was, NULL) == 0 && !strcmp(was.data, now);
}

/* Notes that the files are what the record says: `now` is their fingerprint from before they were
 * read, so a change meanwhile is seen next time. */
static void note_checked(const struct template *t, const char *now)
{
    AUTO_FREE char *path = path_join(t->dir, "checked");
    if (now)
        (void)file_write_whole(path, 0644, now, strlen(now), NULL);
}

/* Looks at <store>/<key>: sets ready or damaged. */
static void check(struct template *t)
{
    AUTO_FREE char *record = path_join(t->dir, "template.json");
    set_paths(t, t->dir);
    if (access(t->dir, F_OK) < 0)
        return;
    AUTO_FREE char *now = fingerprint(t);
    json_auto_t *should = json_read_file(record, NULL);
    t->ready = should && was_checked(t, now);
    if (!t->ready) {
        json_auto_t *is = describe(t, NULL);
        t->ready = is && should && json_equal(is, should);
        if (t->ready)
            note_checked(t, now);
    }
    t->damaged = !t->ready;
    if (t->ready)
        (void)utimensat(AT_FDCWD, record, NULL, 0);
}

int template_open(const struct session *s, const char *key_text, struct template *ret,
                  struct error **err)
{
    CLEANUP(template_clear) struct template t = TEMPLATE_INIT;
    struct digest digest = digest_of(key_text, strlen(key_text));
    char key[DIGEST_HEX + 1];
    digest_hex(&digest, key);
    t.key_text = xstrdup(key_text);
    t.store = path_join(s->cache, "template");
    t.dir = path_join(t.store, key);
    AUTO_FREE char *lock = xasprintf("%s.lock", t.dir);
    AUTO_FREE char *parent = path_join(t.store, ".working");
    if (make_dirs(t.store, 0700, err) < 0)
        return -1;
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
        if (t.ready && lock_change(t.lock, LOCK_SHARED, err) < 0)
            return -1;
    }
    if (!t.ready) {
        working_sweep(parent);
        if (working_open(&t.work, parent, err) < 0)
            return -1;
        AUTO_FREE char *dir = path_join(t.work.dir, "new");
        if (mkdir(dir, 0755) < 0)
            return error_errno(err, "cannot make '%s'", dir);
        set_paths(&t, dir);
    }
    *ret = t;
    t = (struct template)TEMPLATE_INIT;
    return 0;
}

struct candidate {
    char *dir;
    struct timespec used;
};
DEFINE_VECTOR(candidates, struct candidate);

static int last_used_first(const void *a, const void *b)
{
    const struct timespec *x = &((const struct candidate *)a)->used,
                          *y = &((const struct candidate *)b)->used;
    if (x->tv_sec != y->tv_sec)
        return x->tv_sec < y->tv_sec ? 1 : -1;
    return x->tv_nsec < y->tv_nsec ? 1 : x->tv_nsec > y->tv_nsec ? -1 : 0;
}

/* Removes one unless it is in use. */
static void remove_unused(const char *dir)
{
    AUTO_FREE char *path = xasprintf("%s.lock", dir);
    AUTO_CLOSE int lock = lock_try(path, LOCK_EXCLUSIVE, NULL);
    if (lock >= 0 && remove_tree(dir, NULL) == 0)
        (void)unlink(path);
}

static void prune(const struct template *t)
{
    struct candidates all = {0};
    DIR *d = opendir(t->store);
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        AUTO_FREE char *dir = path_join(t->store, e->d_name);
        AUTO_FREE char *record = path_join(dir, "template.json");
        if (strlen(e->d_name) != DIGEST_HEX || strcmp(dir, t->dir) == 0)
            continue;
        bool whole = stat(record, &st) == 0;
        *candidates_push(&all) =
            (struct candidate){STEAL(dir), whole ? st.st_mtim : (struct timespec){0, 0}};
    }
    if (d)
        closedir(d);
    if (all.len)
        qsort(all.ptr, all.len, sizeof *all.ptr, last_used_first);
    for (size_t i = 0; i < all.len; i++) {
        if (i >= KEEP - 1)
            remove_unused(all.ptr[i].dir);
        free(all.ptr[i].dir);
    }
    candidates_clear(&all);
}

static int sync_file(const char *path, struct error **err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fdatasync(fd) < 0)
        return error_errno(err, "cannot write '%s'", path);
    return 0;
}

int template_commit(const struct session *s, struct template *t, struct error **err)
{
    AUTO_FREE char *from = path_parent(t->ram);
    AUTO_FREE char *record = path_join(from, "template.json");
    if (sync_file(t->ram, err) < 0 || sync_file(t->state, err) < 0)
        return -1;
    json_auto_t *is = describe(t, err);
    if (!is || json_write_file(record, 0644, is, err) < 0 || remove_tree(t->dir, err) < 0)
        return -1;
    if (rename(from, t->dir) < 0)
        return error_errno(err, "cannot make '%s'", t->dir);
    session_debug(s, 1, "template %s", t->dir);
    set_paths(t, t->dir);
    working_clear(&t->work);
    t->ready = true;
    AUTO_FREE char *now = fingerprint(t);
    note_checked(t, now);
    prune(t);
    return lock_change(t->lock, LOCK_SHARED, err);
}

void template_reject(struct template *t)
{
    AUTO_FREE char *record = path_join(t->dir, "template.json");
    if (t->ready)
        (void)unlink(record);
}

bool template_damaged(const struct session *s, const char *key_text)
{
    CLEANUP(template_clear) struct template t = TEMPLATE_INIT;
    struct digest digest = digest_of(key_text, strlen(key_text));
    char key[DIGEST_HEX + 1];
    digest_hex(&digest, key);
    AUTO_FREE char *checked = xasprintf("%s/template/%s/checked", s->cache, key);
    (void)unlink(checked);
    return template_open(s, key_text, &t, NULL) == 0 && t.damaged;
}

int template_stand_in(const char *kernel, const char *path, struct error **err)
{
    AUTO_CLOSE int fd = open(kernel, O_RDONLY | O_CLOEXEC);
    unsigned char sectors = 0;
    if (fd < 0 || pread_all(fd, &sectors, 1, 0x1f1) != 1)
        return error_errno(err, "cannot read kernel '%s'", kernel);
    // boot sector and set-up code (boot.rst: setup_sects, 0 means 4), then a little of the rest
    size_t n = ((size_t)(sectors ? sectors : 4) + 1) * 512 + PAGE;
    AUTO_FREE char *bytes = xmalloc(n);
    if (pread_all(fd, bytes, n, 0) != (ssize_t)n)
        return error_set(err, ERR_USER, "kernel '%s' is too short", kernel);
    return file_write_whole(path, 0644, bytes, n, err);
}
