/* SPDX-License-Identifier: MIT
 *
 * A store in a folder of its own, and layers with real qcow2 headers (no tables: the store does not
 * look at more).
 */
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/session.h"
#include "cache/internal.h"
#include "cache/key.h"
#include "cache/prune.h"

#include <dirent.h>
#include <endian.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

struct fixture {
    char dir[32];
    struct session session;
    struct store *st;
    struct buf said; /* notices, one a line */
};

static void hear(void *arg, const char *line)
{
    buf_addf(arg, "%s\n", line);
}

static struct store *open_store(struct fixture *f)
{
    struct store *st = NULL;
    struct error *err = NULL;
    f->session = (struct session){.cancel_fd = -1, .events = {.notice = hear, .arg = &f->said}};
    if (store_open(&f->session, f->dir, &st, &err) < 0)
        fail_msg("%s", err->message);
    return st;
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    // Memory, if it may be: a commit syncs five times
    snprintf(f->dir, sizeof f->dir, "%s/kiln-store-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    buf_init(&f->said);
    f->st = open_store(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    store_free(f->st);
    remove_tree(f->dir, NULL);
    buf_clear(&f->said);
    free(f);
    return 0;
}

/* A fresh process' view of the same backend. */
__attribute__((unused)) static void reopen(struct fixture *f)
{
    store_free(f->st);
    f->st = open_store(f);
    buf_reset(&f->said);
}

/* A qcow2 header (version 2, 1 GiB) and `body`. */
__attribute__((unused)) static void write_disk(const char *path, const char *backing,
                                               const char *body)
{
    unsigned char head[512] = "QFI\xfb";
    size_t len = backing ? strlen(backing) : 0;
    uint64_t at = htobe64(backing ? 72 : 0), size = htobe64(1 << 30);
    uint32_t version = htobe32(2), n = htobe32((uint32_t)len), bits = htobe32(16);
    memcpy(head + 4, &version, 4);
    memcpy(head + 8, &at, 8);
    memcpy(head + 16, &n, 4);
    memcpy(head + 20, &bits, 4);
    memcpy(head + 24, &size, 8);
    if (backing)
        memcpy(head + 72, backing, len);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write_all(fd, head, sizeof head), 0);
    char pad[8192];
    memset(pad, 'x', sizeof pad);
    assert_int_equal(write_all(fd, pad, sizeof pad), 0);
    assert_int_equal(write_all(fd, body, strlen(body)), 0);
    close(fd);
}

__attribute__((unused)) static void key_of(const char *parent, const char *step,
                                           char hex[DIGEST_HEX + 1])
{
    struct key *k = key_begin(parent);
    key_field(k, "step", step, strlen(step));
    key_finish(k, hex, NULL);
}

/* Begins a draft and writes its disk. */
__attribute__((unused)) static struct draft *draft(struct store *st, const char *parent,
                                                   const char *step, bool rebuild)
{
    char key[DIGEST_HEX + 1];
    struct error *err = NULL;
    struct layer *there = NULL;
    struct draft *d = NULL;
    key_of(parent, step, key);
    struct draft_request r = {.key = key, .parent = parent, .step = step, .rebuild = rebuild};
    if (store_build_begin(st, &r, &there, &d, &err) != 0)
        fail_msg("no draft: %s", err ? err->message : "found");
    write_disk(draft_disk(d), draft_backing(d), step);
    return d;
}

/* Builds a layer of the step on parent (NULL: none); its id into id. */
__attribute__((unused)) static void build(struct store *st, const char *parent, const char *step,
                                          bool rebuild, char id[DIGEST_HEX + 1])
{
    struct error *err = NULL;
    struct draft *d = draft(st, parent, step, rebuild);
    struct layer *l = NULL;
    if (store_commit(d, NULL, &l, &err) < 0)
        fail_msg("%s", err->message);
    assert_string_equal(l->id, draft_id(d));
    memcpy(id, l->id, sizeof l->id);
    layer_free(l);
    draft_free(d);
}

/* 1 and its id, or 0. */
__attribute__((unused)) static int find(struct store *st, const char *parent, const char *step,
                                        char id[DIGEST_HEX + 1])
{
    char key[DIGEST_HEX + 1];
    struct error *err = NULL;
    struct layer *l = NULL;
    key_of(parent, step, key);
    int rc = store_find(st, key, &l, &err);
    if (rc < 0)
        fail_msg("%s", err->message);
    if (rc && id)
        memcpy(id, l->id, sizeof l->id);
    layer_free(l);
    return rc;
}

/* The layer as kiln 0.1 would have made it: its id is its key, and no pointer names it. */
__attribute__((unused)) static void make_old(struct fixture *f, char id[DIGEST_HEX + 1])
{
    AUTO_FREE char *folder = xasprintf("%s/.layers/%s", f->dir, id);
    AUTO_FREE char *path = path_join(folder, "layer.json");
    json_auto_t *record = json_read_file(path, NULL);
    AUTO_FREE char *key = xstrdup(json_str(record, "key"));
    AUTO_FREE char *pointer = xasprintf("%s/.keys/%s", f->dir, key);
    AUTO_FREE char *old = xasprintf("%s/.layers/%s", f->dir, key);
    (void)json_object_del(record, "check");
    (void)json_object_set_new(record, "id", json_string(key));
    assert_int_equal(record_write(path, record, NULL), 0);
    assert_int_equal(unlink(pointer), 0);
    assert_int_equal(rename(folder, old), 0);
    memcpy(id, key, DIGEST_HEX + 1);
    reopen(f);
}

__attribute__((unused)) static char *layer_file(const struct fixture *f, const char *id,
                                                const char *name)
{
    return xasprintf("%s/.layers/%s/%s", f->dir, id, name);
}

/* Cuts a sealed file. */
__attribute__((unused)) static void cut(const char *path, off_t size)
{
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(truncate(path, size), 0);
}

/* Entries of a folder below the backend, without "." and ".." and the store lock. */
__attribute__((unused)) static size_t count_in(const struct fixture *f, const char *below)
{
    AUTO_FREE char *path = path_join(f->dir, below);
    DIR *d = opendir(path);
    size_t n = 0;
    for (struct dirent *e; d && (e = readdir(d));)
        n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && strcmp(e->d_name, ".lock") &&
             strcmp(e->d_name, ".cwd");
    if (d)
        closedir(d);
    return n;
}

#endif
