// SPDX-License-Identifier: MIT
//
// Work that a few threads do: turns in order, and a thread that follows.
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
// clang-format on

#include "builder/transfer/pool.h"

#include <stdatomic.h>
#include <string.h>

enum { ITEMS = 64, WIDTH = 2, PARTS = 5 };

struct work {
    struct pool pool;
    _Atomic int inside, most, out_of_order;
    size_t fails; /* this item; ITEMS = none */
};

static int take_turn(void *arg, size_t item, struct error **err)
{
    struct work *w = arg;
    if (item == w->fails)
        return error_set(err, ERR_USER, "item %zu is bad", item);
    if (!pool_turn(&w->pool, item, WIDTH))
        return 0;
    int inside = ++w->inside;
    w->most = inside > w->most ? inside : w->most;
    pthread_mutex_lock(&w->pool.mutex);
    for (size_t i = 0; i + WIDTH <= item; i++)
        w->out_of_order += !w->pool.done[i];
    pthread_mutex_unlock(&w->pool.mutex);
    for (uint64_t part = 1; part <= PARTS; part++)
        pool_tell(&w->pool, item, part);
    w->inside--;
    return 0;
}

static void start(struct work *w, size_t fails)
{
    memset(w, 0, sizeof *w);
    w->fails = fails;
    w->pool = (struct pool){.work = take_turn, .arg = w, .n = ITEMS, .ahead = 8};
    pool_start(&w->pool, 4);
}

static void turns_come_in_order(void **state)
{
    (void)state;
    struct work w;
    start(&w, ITEMS);
    for (size_t i = 0; i < ITEMS; i++)
        assert_true(pool_wait(&w.pool, i));
    assert_int_equal(pool_end(&w.pool, NULL), 0);
    assert_int_equal(w.out_of_order, 0);
    assert_in_range(w.most, 1, WIDTH);
}

static void what_is_done_of_an_item_is_followed(void **state)
{
    (void)state;
    struct work w;
    start(&w, ITEMS);
    for (size_t i = 0; i < ITEMS; i++)
        for (uint64_t done = 0, there; done < PARTS; done = there) {
            assert_true(pool_wait_part(&w.pool, i, done, &there));
            assert_in_range(there, done + 1, PARTS);
        }
    assert_int_equal(pool_end(&w.pool, NULL), 0);
}

/* Nobody waits for ever: not the others for their turn, not we for them. */
static void an_error_ends_all_waiting(void **state)
{
    (void)state;
    CLEANUP(error_freep) struct error *err = NULL;
    struct work w;
    uint64_t there;
    start(&w, 5);
    for (size_t i = 0; i < 5; i++)
        (void)pool_wait(&w.pool, i);
    assert_false(pool_wait(&w.pool, 5));
    (void)pool_wait_part(&w.pool, 9, 0, &there);
    assert_int_equal(pool_end(&w.pool, &err), -1);
    assert_string_equal(err->message, "item 5 is bad");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turns_come_in_order),
        cmocka_unit_test(what_is_done_of_an_item_is_followed),
        cmocka_unit_test(an_error_ends_all_waiting),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
