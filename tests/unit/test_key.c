// SPDX-License-Identifier: MIT
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include "base/json.h"
#include "cache/key.h"

#define PARENT "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void digest_text(const char *text, char hex[DIGEST_HEX + 1])
{
    struct digest d = digest_of(text, strlen(text));
    digest_hex(&d, hex);
}

/* The texts are written out here, so a change of the canonical form (which makes every cache of
 * every user miss) can't happen unseen. */
static void the_canonical_text_is_what_it_was(void **state)
{
    (void)state;
    char hex[DIGEST_HEX + 1], want[DIGEST_HEX + 1];
    key_finish(key_begin(NULL), hex, NULL);
    digest_text("10:kiln-key-1,0:,", want);
    assert_string_equal(hex, want);
    assert_string_equal(hex, "d133a66e9e3e147529711621acc4e86fdc8619dd19177e6e7c924aaa8fd05933");

    struct key *k = key_begin(PARENT);
    key_field(k, "step", "RUN make", 8);
    key_field(k, "ARG V", "", 0);
    key_field(k, "ENV L", "é,\n", 4);
    key_finish(k, hex, NULL);
    digest_text("10:kiln-key-1,64:" PARENT ",4:step,8:RUN make,5:ARG V,0:,5:ENV L,4:é,\n,", want);
    assert_string_equal(hex, want);
    assert_string_equal(hex, "30caa71a045087849a65856d54c4713a744e397fe04ccc106554ef45519eab92");
}

static void key2(const char *parent, const char *const *fields, char hex[DIGEST_HEX + 1],
                 json_t **inputs)
{
    struct key *k = key_begin(parent);
    for (; *fields; fields += 2)
        key_field(k, fields[0], fields[1], strlen(fields[1]));
    key_finish(k, hex, inputs);
}

static void no_two_lists_of_fields_share_a_key(void **state)
{
    (void)state;
    static const char *const lists[][7] = {
        {NULL},
        {"a", "b", NULL},
        {"a", "b", "c", "d", NULL},
        {"c", "d", "a", "b", NULL},
        {"a", "b1:c,1:d,", NULL},
        {"a", "", NULL},
        {"", "a", NULL},
        {"a", "b", "", "", NULL},
        {"ab", "", NULL},
        {"a", "1:b", NULL},
    };
    enum { N = sizeof lists / sizeof *lists };
    char hex[2 * N][DIGEST_HEX + 1];
    for (size_t i = 0; i < N; i++) {
        key2(NULL, lists[i], hex[2 * i], NULL);
        key2(PARENT, lists[i], hex[2 * i + 1], NULL);
    }
    for (size_t i = 0; i < 2 * N; i++)
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(hex[i], hex[j]);
}

static void inputs_are_kept_short_and_as_text(void **state)
{
    (void)state;
    static char big[KEY_INPUT_MAX + 1];
    char hex[DIGEST_HEX + 1];
    json_auto_t *inputs = NULL;
    memset(big, 'x', sizeof big);
    struct key *k = key_begin(PARENT);
    key_field(k, "small", "v", 1);
    key_field(k, "big", big, sizeof big);
    key_field(k, "bytes", "\xff\xfe", 2);
    key_field(k, "nul", "a\0b", 3);
    key_finish(k, hex, &inputs);
    AUTO_FREE char *text = json_text(inputs);
    assert_true(strlen(text) < 1000);
    assert_string_equal(json_str(json_array_get(inputs, 0), "value"), PARENT);
    assert_string_equal(json_str(json_array_get(inputs, 1), "value"), "v");
    assert_int_equal(json_int(json_array_get(inputs, 2), "size", 0), sizeof big);
    assert_non_null(json_str(json_array_get(inputs, 3), "sha256"));
    assert_non_null(json_str(json_array_get(inputs, 4), "sha256"));
}

static void explain(const char *const *old, const char *const *new, const char *other_parent,
                    const char *files, const char *want)
{
    char hex[DIGEST_HEX + 1];
    json_auto_t *was = NULL, *is = NULL;
    key2(NULL, old, hex, &was);
    key2(other_parent, new, hex, &is);
    AUTO_FREE char *text = key_explain(was, is, files, 0);
    if (!want)
        assert_null(text);
    else
        assert_string_equal(text, want);
}

#define F(...) \
    (const char *const[]) \
    { \
        __VA_ARGS__, NULL \
    }

static void a_miss_is_explained_down_to_the_input(void **state)
{
    (void)state;
    AUTO_FREE char *never = key_explain(NULL, NULL, NULL, 0);
    assert_string_equal(never, "first build");
    explain(F("step", "RUN a"), F("step", "RUN a"), NULL, NULL, NULL);
    explain(F("step", "RUN a"), F("step", "RUN a"), PARENT, NULL, "parent changed");
    explain(F("step", "RUN a"), F("step", "RUN b"), NULL, NULL, "the instruction changed");
    explain(F("ARG VERSION", "1.2"), F("ARG VERSION", "1.3"), NULL, NULL, "ARG VERSION 1.2 → 1.3");
    explain(F("ARG V", ""), F("ARG V", "1"), PARENT, NULL, "ARG V '' → 1, parent changed");
    explain(F("ENV A", "1"), F("ENV B", "1"), NULL, NULL, "ENV B added, ENV A removed");
    explain(F("<<EOF", "a\nb"), F("<<EOF", "a\nc"), NULL, NULL, "<<EOF changed");
    explain(F("files", "1"), F("files", "2"), NULL, "conf/app.ini changed", "conf/app.ini changed");
    explain(F("files", "1"), F("files", "2"), NULL, NULL, "files changed");
    explain(F("<<E", "1", "<<E", "2"), F("<<E", "1", "<<E", "3"), NULL, NULL, "<<E 2 → 3");
    explain(F("a", "1"), F("b", "1", "c", "1", "d", "1", "e", "1"), PARENT, NULL,
            "b added, c added, d added and 2 more, parent changed");
    json_auto_t *was = json_pack("[{s:s, s:s}]", "name", "parent", "value", "1");
    json_auto_t *is = json_pack("[{s:s, s:s}]", "name", "parent", "value", "2");
    AUTO_FREE char *which = key_explain(was, is, NULL, 3);
    assert_string_equal(which, "parent changed (step 3)");
}

static void inputs_that_are_not_what_we_wrote_do_no_harm(void **state)
{
    (void)state;
    json_auto_t *good =
        json_loads("[{\"name\":\"parent\",\"value\":\"\"},{\"name\":\"a\"}]", 0, NULL);
    static const char *const odd[] = {"[]", "[1,null,\"x\"]", "[{\"name\":1,\"value\":{}}]", "{}",
                                      "[{\"name\":\"a\",\"value\":null}]"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        json_auto_t *bad = json_loads(odd[i], 0, NULL);
        free(key_explain(bad, good, NULL, 0));
        free(key_explain(good, bad, NULL, 0));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_canonical_text_is_what_it_was),
        cmocka_unit_test(no_two_lists_of_fields_share_a_key),
        cmocka_unit_test(inputs_are_kept_short_and_as_text),
        cmocka_unit_test(a_miss_is_explained_down_to_the_input),
        cmocka_unit_test(inputs_that_are_not_what_we_wrote_do_no_harm),
    };
    return cmocka_run_group_tests_name("key", tests, NULL, NULL);
}
