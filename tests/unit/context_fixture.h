/* SPDX-License-Identifier: MIT
 *
 * A build directory and a cache in /tmp for the tests of the context, short ways to fill it and to
 * select from it, and a reader of stream.h that shares no code with the sender.
 */
#ifndef TESTS_CONTEXT_FIXTURE_H
#define TESTS_CONTEXT_FIXTURE_H

// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include "base/alloc.h"
#include "base/file.h"
#include "base/session.h"
#include "base/vector.h"
#include "builder/agent/stream.h"
#include "builder/context/context.h"
#include "builder/context/manifest.h"
#include "builder/context/send.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

struct fixture {
    char top[32];
    char *dir; /* the build directory */
    struct session session;
    struct context *ctx;
    struct selection *sel;
};

/* One decoded entry. */
struct got {
    struct stream_entry head;
    char *path, *link;
    struct buf xattrs, content;
    size_t n_extents;
    uint64_t data; /* bytes that were sent */
};
DEFINE_VECTOR(gots, struct got);

static inline int fixture_setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    memcpy(f->top, "/tmp/kiln-unit-XXXXXX", 22);
    assert_non_null(mkdtemp(f->top));
    f->dir = path_join(f->top, "ctx");
    f->session = (struct session){.cancel_fd = -1, .cache = path_join(f->top, "cache")};
    assert_int_equal(mkdir(f->dir, 0755), 0);
    *state = f;
    return 0;
}

static inline void fixture_forget(struct fixture *f)
{
    selection_free(STEAL(f->sel));
    context_free(STEAL(f->ctx));
}

static inline int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    fixture_forget(f);
    assert_int_equal(remove_tree(f->top, NULL), 0);
    free(f->dir);
    free(f->session.cache);
    free(f);
    return 0;
}

static inline char *in_dir(struct fixture *f, const char *path)
{
    return xasprintf("%s/%s", f->dir, path);
}

static inline void put_bytes(struct fixture *f, const char *path, const void *bytes, size_t n,
                             mode_t mode)
{
    AUTO_FREE char *full = in_dir(f, path);
    AUTO_FREE char *parent = path_parent(full);
    assert_int_equal(make_dirs(parent, 0755, NULL), 0);
    AUTO_CLOSE int fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write_all(fd, bytes, n), 0);
    assert_int_equal(fchmod(fd, mode), 0);
}

static inline void put(struct fixture *f, const char *path, const char *text)
{
    put_bytes(f, path, text, strlen(text), 0644);
}

/* What one test asks for; lists end with NULL. */
struct ask {
    const char *const *sources, *const *excludes;
    const char *dest;
    bool add, parents;
};

static inline int try_select(struct fixture *f, struct ask a, struct error **err)
{
    struct context_source list[8] = {0};
    struct context_request r = {.instruction = a.add ? "ADD" : "COPY",
                                .sources = list,
                                .excludes = a.excludes,
                                .dest = a.dest ? a.dest : "/dest/",
                                .unpack_local = a.add,
                                .parents = a.parents};
    while (a.sources[r.n_sources]) {
        assert_true(r.n_sources < 8);
        list[r.n_sources].text = a.sources[r.n_sources];
        r.n_sources++;
    }
    while (a.excludes && a.excludes[r.n_excludes])
        r.n_excludes++;
    fixture_forget(f);
    if (context_open(&f->session, &(struct context_options){.dir = f->dir}, &f->ctx, err) < 0)
        return -1;
    return context_select(f->ctx, &r, &f->sel, err);
}

static inline struct digest digest_now(struct fixture *f, struct ask a)
{
    CLEANUP(error_freep) struct error *err = NULL;
    if (try_select(f, a, &err) < 0)
        fail_msg("%s", err->message);
    return selection_digest(f->sel);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})
#define SELECT(f, ...) ((void)digest_now(f, (struct ask){.sources = LIST(__VA_ARGS__)}))

/* The whole stream of the selection, read `chunk` bytes at a time. */
static inline struct buf stream_of(struct fixture *f, size_t chunk, struct error **err)
{
    CLEANUP(sender_freep) struct sender *snd = sender_new(&f->session, f->sel);
    struct buf b = BUF_INIT;
    for (ssize_t n = 1; n > 0; b.len += (size_t)n) {
        buf_reserve(&b, chunk);
        n = sender_read(snd, b.data + b.len, chunk);
        assert_true(n >= 0);
    }
    (void)sender_result(snd, err);
    return b;
}

static inline const char *take_bytes(const struct buf *b, size_t *at, size_t n)
{
    assert_true(n <= b->len && *at <= b->len - n);
    const char *p = b->data + *at;
    *at += n;
    return p;
}

static inline void read_content(const struct buf *b, size_t *at, struct got *g)
{
    const char *pairs = take_bytes(b, at, 16 * (size_t)g->head.n_extents);
    AUTO_FREE char *content = xcalloc(g->head.size + 1, 1);
    for (size_t pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < g->head.n_extents; i++) {
            uint64_t x[2];
            memcpy(x, pairs + 16 * i, 16);
            assert_true(x[0] <= g->head.size && x[1] <= g->head.size - x[0] && x[1] > 0);
            if (!pass) {
                g->data += x[1];
                continue;
            }
            for (; g->data >= STREAM_BIG && *at % STREAM_ALIGN; (*at)++)
                assert_int_equal(b->data[*at], 0);
            memcpy(content + x[0], take_bytes(b, at, x[1]), x[1]);
        }
    g->n_extents = g->head.n_extents;
    buf_add(&g->content, content, g->head.size);
}

/* Decodes a stream; the last element is its STREAM_END or STREAM_ABORT. */
static inline struct gots decode(const struct buf *b)
{
    struct gots all = {0};
    for (size_t at = 0; at < b->len;) {
        struct got *g = gots_push(&all);
        memcpy(&g->head, take_bytes(b, &at, sizeof g->head), sizeof g->head);
        assert_int_equal(g->head.magic, STREAM_MAGIC);
        buf_init(&g->xattrs);
        buf_init(&g->content);
        assert_true(g->head.path_len <= STREAM_PATH_MAX && g->head.link_len <= STREAM_PATH_MAX);
        g->path = xstrndup(take_bytes(b, &at, g->head.path_len), g->head.path_len);
        g->link = xstrndup(take_bytes(b, &at, g->head.link_len), g->head.link_len);
        buf_add(&g->xattrs, take_bytes(b, &at, g->head.xattr_len), g->head.xattr_len);
        read_content(b, &at, g);
        assert_true(g->head.type < STREAM_END || at == b->len);
    }
    assert_true(all.len && all.ptr[all.len - 1].head.type >= STREAM_END);
    return all;
}

static inline void gots_free(struct gots *all)
{
    vec_foreach (struct got *, g, all) {
        free(g->path);
        free(g->link);
        buf_clear(&g->xattrs);
        buf_clear(&g->content);
    }
    gots_clear(all);
}

/* What the selection sends; fails the test when the stream is aborted. */
static inline struct gots sent(struct fixture *f)
{
    CLEANUP(error_freep) struct error *err = NULL;
    CLEANUP(buf_clear) struct buf b = stream_of(f, 1 << 20, &err);
    if (err)
        fail_msg("%s", err->message);
    struct gots all = decode(&b);
    assert_int_equal(all.ptr[all.len - 1].head.type, STREAM_END);
    return all;
}

static inline struct got *find(struct gots *all, const char *path)
{
    vec_foreach (struct got *, g, all)
        if (g->head.type < STREAM_END && !strcmp(g->path, path))
            return g;
    fail_msg("no entry '%s' was sent", path);
    return NULL;
}

/* The paths of all entries in their order, each followed by a blank. */
static inline char *paths_of(const struct gots *all)
{
    struct buf b = BUF_INIT;
    vec_foreach (const struct got *, g, all)
        if (g->head.type < STREAM_END)
            buf_addf(&b, "%s ", *g->path ? g->path : "<dest>");
    return buf_detach(&b, NULL);
}

static inline void expect_sent(struct fixture *f, struct ask a, const char *paths)
{
    (void)digest_now(f, a);
    CLEANUP(gots_free) struct gots all = sent(f);
    AUTO_FREE char *is = paths_of(&all);
    assert_string_equal(is, paths);
}

static inline void expect_error(struct fixture *f, struct ask a, const char *message,
                                const char *hint)
{
    CLEANUP(error_freep) struct error *err = NULL;
    assert_int_equal(try_select(f, a, &err), -1);
    if (!strstr(err->message, message))
        fail_msg("'%s' is not about '%s'", err->message, message);
    if (hint && (!err->hint || !strstr(err->hint, hint)))
        fail_msg("the hint '%s' is not about '%s'", err->hint ? err->hint : "(none)", hint);
}

#endif
