// SPDX-License-Identifier: MIT
// Seeds for cloud-init: what an ISO 9660 reader finds in them, and when the instance-id changes.
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "vm/seed.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* The part of a seed that is written to a file for the while; owned, NULL = there is none. */
static char *part_of(const struct vm_seed *seed, const char *part)
{
    char dir[] = "/tmp/seed-XXXXXX", volume[7] = "", *ret = NULL;
    assert_non_null(mkdtemp(dir));
    AUTO_FREE char *path = xasprintf("%s/seed.iso", dir);
    assert_int_equal(vm_seed_write(path, seed, NULL), 0);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_int_equal(fseek(f, 16 * 2048 + 40, SEEK_SET), 0); // the primary volume's identifier
    assert_int_equal(fread(volume, 1, 6, f), 6);
    fclose(f);
    assert_int_equal(strcasecmp(volume, "cidata"), 0); // ISO 9660 itself has capitals only
    struct archive *a = archive_read_new();
    struct archive_entry *e;
    archive_read_support_format_iso9660(a);
    assert_int_equal(archive_read_open_filename(a, path, 10240), ARCHIVE_OK);
    while (archive_read_next_header(a, &e) == ARCHIVE_OK)
        if (!strcmp(archive_entry_pathname(e), part)) {
            ret = xcalloc(1, (size_t)archive_entry_size(e) + 1);
            assert_int_equal(archive_read_data(a, ret, (size_t)archive_entry_size(e)),
                             archive_entry_size(e));
        }
    archive_read_free(a);
    assert_int_equal(vm_seed_write(path, seed, NULL), -1); // nothing is overwritten
    unlink(path);
    rmdir(dir);
    return ret;
}

static void a_user_is_made_with_his_keys(void **state)
{
    (void)state;
    struct vm_seed seed = {
        .name = "web", .user = "a \"b\"", .public_keys = "ssh-ed25519 AAAA me\nssh-rsa BBBB you\n"};
    AUTO_FREE char *user = part_of(&seed, "user-data"), *meta = part_of(&seed, "meta-data");
    AUTO_FREE char *network = part_of(&seed, "network-config");
    assert_int_equal(strncmp(user, "#cloud-config\n", 14), 0);
    json_auto_t *v = json_loads(user + 14, 0, NULL), *m = json_loads(meta, 0, NULL);
    const json_t *who = json_array_get(json_object_get(v, "users"), 0);
    assert_string_equal(json_str(who, "name"), "a \"b\"");
    assert_string_equal(json_str(who, "sudo"), "ALL=(ALL) NOPASSWD:ALL");
    const json_t *keys = json_object_get(who, "ssh_authorized_keys");
    assert_int_equal(json_array_size(keys), 2);
    assert_string_equal(json_string_value(json_array_get(keys, 1)), "ssh-rsa BBBB you");
    assert_true(json_flag(v, "disable_root"));
    assert_string_equal(json_str(m, "local-hostname"), "web");
    assert_null(network);
}

static void what_is_given_is_taken_as_it_is(void **state)
{
    (void)state;
    struct vm_seed seed = {.name = "web",
                           .hostname = "h",
                           .user = "u",
                           .user_data = STR("#!/bin/sh\necho \xff\n"),
                           .network_config = STR("version: 2\n")};
    AUTO_FREE char *user = part_of(&seed, "user-data"), *meta = part_of(&seed, "meta-data");
    AUTO_FREE char *network = part_of(&seed, "network-config");
    assert_string_equal(user, "#!/bin/sh\necho \xff\n");
    assert_string_equal(network, "version: 2\n");
    json_auto_t *m = json_loads(meta, 0, NULL);
    assert_string_equal(json_str(m, "local-hostname"), "h");
}

static void another_seed_is_another_instance(void **state)
{
    (void)state;
    struct vm_seed seed = {.name = "web", .user_data = STR("a")}, other = seed;
    AUTO_FREE char *first = part_of(&seed, "meta-data"), *again = part_of(&seed, "meta-data");
    other.user_data = STR("b");
    AUTO_FREE char *changed = part_of(&other, "meta-data");
    assert_string_equal(first, again);
    assert_string_not_equal(first, changed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_user_is_made_with_his_keys),
        cmocka_unit_test(what_is_given_is_taken_as_it_is),
        cmocka_unit_test(another_seed_is_another_instance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
