// SPDX-License-Identifier: MIT
#include "tests/unit/store_fixture.h"

struct tree {
    size_t n;
    char id[40][DIGEST_HEX + 1];
    int parent[40]; /* index, -1 = none */
    int64_t used[40];
};

static int give_roots(void *arg, struct strv *ids, struct error **err)
{
    (void)err;
    for (char **id = arg; *id; id++)
        strv_add(ids, *id);
    return 0;
}

static int fail_roots(void *arg, struct strv *ids, struct error **err)
{
    (void)arg;
    (void)ids;
    return error_set(err, ERR_USER, "an image can't be read");
}

static void set_used(const struct fixture *f, const char *id, int64_t used)
{
    AUTO_FREE char *path = layer_file(f, id, "layer.json");
    struct timespec t[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = used}};
    assert_int_equal(utimensat(AT_FDCWD, path, t, 0), 0);
}

static bool is_there(const struct fixture *f, const char *id)
{
    AUTO_FREE char *path = layer_file(f, id, "layer.json");
    return access(path, F_OK) == 0;
}

static struct prune_result prune(struct fixture *f, const struct prune_options *o)
{
    struct prune_result r = {0};
    struct error *err = NULL;
    if (store_prune(f->st, o, &r, &err) < 0)
        fail_msg("%s", err->message);
    return r;
}

static void grow(struct fixture *f, struct tree *t, size_t n, unsigned *seed)
{
    t->n = n;
    for (size_t i = 0; i < n; i++) {
        AUTO_FREE char *step = xasprintf("RUN %zu", i);
        t->parent[i] = (int)((unsigned)rand_r(seed) % (i + 1)) - 1;
        build(f->st, t->parent[i] < 0 ? NULL : t->id[t->parent[i]], step, false, t->id[i]);
    }
    for (size_t i = 0; i < n; i++) {
        t->used[i] = 1000000 + rand_r(seed) % 100000;
        set_used(f, t->id[i], t->used[i]);
    }
    store_free(f->st); // its lease covers all of them
    f->st = open_store(f);
}

/* What must hold after any prune: nothing needed is gone, nothing is left without its parent. */
static void check_tree(const struct fixture *f, const struct tree *t, char *const *roots)
{
    for (size_t i = 0; i < t->n; i++)
        if (is_there(f, t->id[i]) && t->parent[i] >= 0)
            assert_true(is_there(f, t->id[t->parent[i]]));
    for (; *roots; roots++)
        for (size_t i = 0; i < t->n; i++)
            if (!strcmp(t->id[i], *roots))
                for (int at = (int)i; at >= 0; at = t->parent[at])
                    assert_true(is_there(f, t->id[at]));
}

/* Least recently used leaves first: replayed, what goes is each time the oldest leaf that no root
 * is. */
static void check_order(const struct tree *t, const json_t *removed, char *const *roots)
{
    size_t i;
    json_t *r;
    bool gone[40] = {false};
    json_array_foreach ((json_t *)removed, i, r) {
        int oldest = -1, it = -1;
        for (int k = 0; k < (int)t->n; k++) {
            bool leaf = !gone[k];
            for (size_t c = 0; c < t->n; c++)
                leaf &= t->parent[c] != k || gone[c];
            for (char *const *root = roots; *root; root++)
                leaf &= strcmp(*root, t->id[k]) != 0;
            if (leaf && (oldest < 0 || t->used[k] < t->used[oldest]))
                oldest = k;
            if (!strcmp(t->id[k], json_str(r, "id")))
                it = k;
        }
        if (it < 0 || oldest < 0) {
            fail_msg("what went was no leaf");
            return;
        }
        assert_int_equal(t->used[it], t->used[oldest]);
        gone[it] = true;
    }
}

static void random_trees_keep_what_is_needed_and_lose_the_oldest_leaves(void **state)
{
    struct fixture *f = *state;
    for (unsigned round = 1; round <= 25; round++) {
        unsigned seed = round;
        struct tree t;
        grow(f, &t, 5 + (unsigned)rand_r(&seed) % 25, &seed);
        char *roots[4] = {NULL};
        for (size_t i = 0; i < round % 4; i++)
            roots[i] = t.id[(unsigned)rand_r(&seed) % t.n];
        struct store_usage u;
        assert_int_equal(store_usage(f->st, give_roots, roots, &u, NULL), 0);
        assert_int_equal(u.layers, t.n);
        assert_int_equal(u.needed + u.unused_bytes, u.bytes);
        struct prune_options o = PRUNE_OPTIONS_INIT;
        o.roots = give_roots;
        o.roots_arg = roots;
        o.max_size = u.bytes * ((unsigned)rand_r(&seed) % 100) / 100;
        o.dry_run = true;
        struct prune_result dry = prune(f, &o);
        for (size_t i = 0; i < t.n; i++)
            assert_true(is_there(f, t.id[i]));
        o.dry_run = false;
        struct prune_result r = prune(f, &o);
        assert_true(json_equal(dry.removed, r.removed));
        assert_true(r.left <= o.max_size || r.left == r.needed); // a cap is a cap
        assert_int_equal(r.left + r.bytes, u.bytes);
        check_tree(f, &t, roots);
        check_order(&t, r.removed, roots);
        prune_result_clear(&dry);
        prune_result_clear(&r);
        o.all = true;
        r = prune(f, &o);
        assert_int_equal(r.left, r.needed);
        check_tree(f, &t, roots);
        prune_result_clear(&r);
        o.roots = NULL;
        r = prune(f, &o);
        assert_int_equal(r.left, 0);
        assert_int_equal(count_in(f, ".layers"), 0);
        prune_result_clear(&r);
    }
}

static void age_takes_only_what_is_too_old(void **state)
{
    struct fixture *f = *state;
    char a[DIGEST_HEX + 1], b[DIGEST_HEX + 1], c[DIGEST_HEX + 1];
    build(f->st, NULL, "RUN a", false, a);
    build(f->st, a, "RUN b", false, b);
    build(f->st, a, "RUN c", false, c);
    reopen(f);
    set_used(f, a, time(NULL) - 1000); // old, but below a young one
    set_used(f, b, time(NULL) - 1000);
    struct prune_options o = PRUNE_OPTIONS_INIT;
    o.max_age = 500;
    struct prune_result r = prune(f, &o);
    assert_int_equal(r.layers, 1);
    assert_true(is_there(f, a) && !is_there(f, b) && is_there(f, c));
    prune_result_clear(&r);
}

static void a_use_makes_young(void **state)
{
    struct fixture *f = *state;
    char a[DIGEST_HEX + 1];
    build(f->st, NULL, "RUN a", false, a);
    set_used(f, a, 1000);
    reopen(f);
    assert_int_equal(find(f->st, NULL, "RUN a", NULL), 1);
    reopen(f);
    struct prune_options o = PRUNE_OPTIONS_INIT;
    o.max_age = 500;
    struct prune_result r = prune(f, &o);
    assert_int_equal(r.layers, 0);
    prune_result_clear(&r);
}

static void free_space_is_made(void **state)
{
    struct fixture *f = *state;
    char a[DIGEST_HEX + 1];
    build(f->st, NULL, "RUN a", false, a);
    reopen(f);
    struct prune_options o = PRUNE_OPTIONS_INIT;
    o.keep_free = 1; // there is that much
    struct prune_result r = prune(f, &o);
    assert_int_equal(r.layers, 0);
    prune_result_clear(&r);
    o.keep_free = UINT64_MAX; // and never that much
    r = prune(f, &o);
    assert_int_equal(r.layers, 1);
    prune_result_clear(&r);
}

static void a_lease_protects_until_its_end(void **state)
{
    struct fixture *f = *state;
    char a[DIGEST_HEX + 1], b[DIGEST_HEX + 1];
    build(f->st, NULL, "RUN a", false, a);
    build(f->st, a, "RUN b", false, b);
    struct store *other = open_store(f);
    struct prune_options o = PRUNE_OPTIONS_INIT;
    o.all = true;
    struct prune_result r = {0};
    assert_int_equal(store_prune(other, &o, &r, NULL), 0); // built: leased by f->st
    assert_int_equal(r.layers, 0);
    prune_result_clear(&r);
    reopen(f);
    assert_int_equal(find(f->st, a, "RUN b", NULL), 1); // found: leased, and what is below it
    assert_int_equal(store_prune(other, &o, &r, NULL), 0);
    assert_int_equal(r.layers, 0);
    prune_result_clear(&r);
    reopen(f); // sweeps the dead lease
    assert_int_equal(store_prune(other, &o, &r, NULL), 0);
    assert_int_equal(r.layers, 2);
    prune_result_clear(&r);
    store_free(other);
}

static void an_unreadable_record_frees_nothing_that_an_image_stands_on(void **state)
{
    struct fixture *f = *state;
    char a[DIGEST_HEX + 1], b[DIGEST_HEX + 1], c[DIGEST_HEX + 1];
    build(f->st, NULL, "RUN a", false, a);
    build(f->st, a, "RUN b", false, b);
    build(f->st, b, "RUN c", false, c);
    AUTO_FREE char *top = layer_file(f, c, "layer.json"), *middle = layer_file(f, b, "layer.json");
    cut(top, 10);
    cut(middle, 10);
    reopen(f);
    char *roots[] = {c, NULL};
    struct prune_options o = PRUNE_OPTIONS_INIT;
    o.roots = give_roots;
    o.roots_arg = roots;
    o.all = true;
    struct prune_result r = prune(f, &o);
    assert_int_equal(r.layers, 0);
    assert_true(is_there(f, a) && is_there(f, b) && is_there(f, c));
    prune_result_clear(&r);
}

static void without_limits_only_what_is_of_no_use_goes(void **state)
{
    struct fixture *f = *state;
    char a[DIGEST_HEX + 1], b[DIGEST_HEX + 1], c[DIGEST_HEX + 1], a2[DIGEST_HEX + 1];
    char d[DIGEST_HEX + 1], e[DIGEST_HEX + 1], d2[DIGEST_HEX + 1];
    char x[DIGEST_HEX + 1], y[DIGEST_HEX + 1];
    build(f->st, NULL, "RUN a", false, a);
    build(f->st, a, "RUN b", false, b);
    build(f->st, a, "RUN c", false, c);
    build(f->st, NULL, "RUN a", true, a2); // replaces a, but an image names b, so a can be reached
    build(f->st, NULL, "RUN d", false, d);
    build(f->st, d, "RUN e", false, e);
    build(f->st, NULL, "RUN d", true, d2); // replaces d, and nothing names what stands on it
    build(f->st, NULL, "RUN x", false, x);
    build(f->st, x, "RUN y", false, y);
    AUTO_FREE char *record = layer_file(f, x, "layer.json");
    cut(record, 10); // x is damaged, y stands on it
    reopen(f);
    char *roots[] = {b, NULL};
    struct prune_options o = PRUNE_OPTIONS_INIT;
    o.roots = give_roots;
    o.roots_arg = roots;
    struct prune_result r = prune(f, &o);
    assert_int_equal(r.layers, 4);
    assert_true(is_there(f, a) && is_there(f, b) && is_there(f, c) && is_there(f, a2));
    assert_true(is_there(f, d2));
    assert_false(is_there(f, d) || is_there(f, e) || is_there(f, x) || is_there(f, y));
    prune_result_clear(&r);
    assert_int_equal(find(f->st, NULL, "RUN a", x), 1); // the pointer stays
    assert_string_equal(x, a2);
}

/* Trees in which some steps were built again (--no-cache), over a few different steps, so that one
 * key has several layers. */
static void grow_with_rebuilds(struct fixture *f, struct tree *t, size_t n, unsigned *seed,
                               int step[40])
{
    t->n = n;
    for (size_t i = 0; i < n; i++) {
        step[i] = rand_r(seed) % 3;
        t->parent[i] = (int)((unsigned)rand_r(seed) % (i + 1)) - 1;
        AUTO_FREE char *text = xasprintf("RUN %d", step[i]);
        const char *parent = t->parent[i] < 0 ? NULL : t->id[t->parent[i]];
        build(f->st, parent, text, find(f->st, parent, text, NULL) != 0, t->id[i]);
    }
    reopen(f);
}

/* Whether a build gets to the layer: an image names it or one above, or the build gets to what is
 * below and a lookup by key gives it. */
static bool is_reachable(struct fixture *f, const struct tree *t, const int *step, size_t i,
                         const char *root)
{
    for (int at = (int)t->n - 1; at >= 0; at--)
        for (int k = at; !strcmp(t->id[at], root) && k >= 0; k = t->parent[k])
            if (k == (int)i)
                return true;
    char found[DIGEST_HEX + 1];
    int parent = t->parent[i];
    AUTO_FREE char *text = xasprintf("RUN %d", step[i]);
    return (parent < 0 || is_reachable(f, t, step, (size_t)parent, root)) &&
           find(f->st, parent < 0 ? NULL : t->id[parent], text, found) && !strcmp(found, t->id[i]);
}

static void a_plain_prune_takes_exactly_what_no_build_gets_to(void **state)
{
    struct fixture *f = *state;
    size_t gone = 0;
    for (unsigned seed = 1, round = 0; round < 30; round++) {
        struct tree t;
        int step[40];
        bool reachable[40];
        grow_with_rebuilds(f, &t, 5 + (unsigned)rand_r(&seed) % 25, &seed, step);
        char *roots[] = {t.id[(unsigned)rand_r(&seed) % t.n], NULL};
        for (size_t i = 0; i < t.n; i++)
            reachable[i] = is_reachable(f, &t, step, i, roots[0]);
        reopen(f); // the lookups leased what they found
        struct prune_options o = PRUNE_OPTIONS_INIT;
        o.roots = give_roots;
        o.roots_arg = roots;
        struct prune_result r = prune(f, &o);
        for (size_t i = 0; i < t.n; i++)
            assert_int_equal(is_there(f, t.id[i]), reachable[i]);
        gone += r.layers;
        prune_result_clear(&r);
        o.all = true;
        o.roots = NULL;
        r = prune(f, &o);
        prune_result_clear(&r);
    }
    assert_true(gone > 0);
}

static void failed_states_go_first(void **state)
{
    struct fixture *f = *state;
    char a[DIGEST_HEX + 1];
    build(f->st, NULL, "RUN a", false, a);
    struct draft *d = draft(f->st, a, "RUN fails", false);
    assert_int_equal(store_keep_failed(d, "name", NULL, NULL), 0);
    draft_free(d);
    reopen(f);
    struct store_usage u;
    assert_int_equal(store_usage(f->st, NULL, NULL, &u, NULL), 0);
    assert_int_equal(u.failed, 1);
    struct prune_options o = PRUNE_OPTIONS_INIT;
    o.max_size = u.bytes - 1;
    struct prune_result r = prune(f, &o);
    assert_int_equal(r.layers, 1);
    assert_true(is_there(f, a));
    assert_int_equal(count_in(f, ".failed"), 0);
    prune_result_clear(&r);
}

static void roots_that_cannot_be_told_stop_a_prune(void **state)
{
    struct fixture *f = *state;
    char a[DIGEST_HEX + 1];
    build(f->st, NULL, "RUN a", false, a);
    reopen(f);
    struct prune_options o = PRUNE_OPTIONS_INIT;
    o.roots = fail_roots;
    o.all = true;
    struct prune_result r;
    assert_int_equal(store_prune(f->st, &o, &r, NULL), -1);
    assert_true(is_there(f, a));
}

static void collect(void *arg, const char *id, const char *step, const char *why)
{
    (void)id;
    buf_addf(arg, "%s: %s\n", step, why ? why : "ok");
}

static void verify_finds_a_flipped_bit_and_repair_removes(void **state)
{
    struct fixture *f = *state;
    char a[DIGEST_HEX + 1], b[DIGEST_HEX + 1], c[DIGEST_HEX + 1];
    CLEANUP(buf_clear) struct buf said = BUF_INIT;
    build(f->st, NULL, "RUN a", false, a);
    build(f->st, NULL, "RUN b", false, b);
    build(f->st, b, "RUN c", false, c);
    AUTO_FREE char *disk = layer_file(f, b, "disk.qcow2");
    assert_int_equal(chmod(disk, 0644), 0);
    int fd = open(disk, O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "y", 1, 6000), 1); // neither size nor header
    reopen(f);
    assert_int_equal(find(f->st, b, "RUN c", NULL), 1);
    reopen(f);
    struct verify_result r;
    assert_int_equal(store_verify(f->st, false, NULL, NULL, collect, &said, &r, NULL), 0);
    assert_int_equal(r.layers, 3);
    assert_int_equal(r.damaged, 2);
    assert_int_equal(r.removed, 0);
    assert_non_null(strstr(said.data, "RUN a: ok\n"));
    assert_non_null(strstr(said.data, "RUN b: the content of disk.qcow2 was altered\n"));
    assert_non_null(strstr(said.data, "RUN c: its parent layer"));
    assert_int_equal(find(f->st, NULL, "RUN b", NULL), 0); // marked: no build uses it
    assert_int_equal(find(f->st, b, "RUN c", NULL), 0);
    // whole again: the mark goes
    assert_int_equal(pwrite(fd, "x", 1, 6000), 1);
    assert_int_equal(store_verify(f->st, false, NULL, NULL, NULL, NULL, &r, NULL), 0);
    assert_int_equal(r.damaged, 0);
    assert_int_equal(find(f->st, b, "RUN c", NULL), 1);
    reopen(f);
    assert_int_equal(pwrite(fd, "y", 1, 8000), 1);
    close(fd);
    // an image needs it: kept, but not used by builds
    char *roots[] = {b, NULL};
    assert_int_equal(store_verify(f->st, true, give_roots, roots, NULL, NULL, &r, NULL), 0);
    assert_int_equal(r.removed, 1); // c
    assert_true(is_there(f, b));
    assert_int_equal(find(f->st, NULL, "RUN b", NULL), 0);
    assert_int_equal(store_verify(f->st, true, NULL, NULL, NULL, NULL, &r, NULL), 0);
    assert_int_equal(r.removed, 1);
    assert_true(is_there(f, a) && !is_there(f, b));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(random_trees_keep_what_is_needed_and_lose_the_oldest_leaves),
        T(age_takes_only_what_is_too_old),
        T(a_use_makes_young),
        T(free_space_is_made),
        T(a_lease_protects_until_its_end),
        T(without_limits_only_what_is_of_no_use_goes),
        T(an_unreadable_record_frees_nothing_that_an_image_stands_on),
        T(a_plain_prune_takes_exactly_what_no_build_gets_to),
        T(failed_states_go_first),
        T(roots_that_cannot_be_told_stop_a_prune),
        T(verify_finds_a_flipped_bit_and_repair_removes),
    };
    return cmocka_run_group_tests_name("prune", tests, NULL, NULL);
}
