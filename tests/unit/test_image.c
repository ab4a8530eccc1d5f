// SPDX-License-Identifier: MIT
//
// Names, specs and the backend directory.
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include "base/alloc.h"
#include "base/file.h"
#include "base/process.h"
#include "base/session.h"
#include "image/backend.h"
#include "image/content.h"
#include "image/name.h"
#include "image/source.h"
#include "image/spec.h"
#include "qcow2/nodes.h"
#include "qcow2/qcow2.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static void names_become_file_names_and_back(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"debian", "debian"}, {"my-img", "my%2Dimg"}, {"centos/7:2004.01", "centos%2F7%3A2004.01"},
        {"a_b.c", "a_b.c"},   {"100%", "100%25"},     {"grün", "gr%C3%BCn"},
        {"a..b", "a..b"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        assert_int_equal(image_name_check(pairs[i][0], NULL), 0);
        AUTO_FREE char *file = image_name_encode(pairs[i][0]);
        assert_string_equal(file, pairs[i][1]);
        AUTO_FREE char *name = image_name_decode(file);
        assert_string_equal(name, pairs[i][0]);
    }
    static const char *const bad_names[] = {
        "",     ".layers",  "..",      "a b",   "a,b", "a=b",          "a\nb",     "a\x7f",
        "\xff", "\xc0\xaf", "scratch", "x.tmp", ".",   "\xed\xa0\x80", "a\xc2\x9b"};
    for (size_t i = 0; i < sizeof bad_names / sizeof *bad_names; i++)
        assert_int_equal(image_name_check(bad_names[i], NULL), -1);
    char longest[IMAGE_NAME_MAX + 2] = {0};
    memset(longest, 'a', IMAGE_NAME_MAX);
    assert_int_equal(image_name_check(longest, NULL), 0);
    longest[IMAGE_NAME_MAX] = 'a';
    assert_int_equal(image_name_check(longest, NULL), -1);
    memset(longest, '-', IMAGE_NAME_MAX);
    assert_int_equal(image_name_check(longest, NULL), -1); // three bytes each
    static const char *const bad_files[] = {".layers", ".working", "a%2",   "a%2d",
                                            "a%41",    "a-b",      "a%00b", "%2Elayers",
                                            "a%",      "a%2C",     "%FF",   "a.0123.tmp"};
    for (size_t i = 0; i < sizeof bad_files / sizeof *bad_files; i++)
        assert_null(image_name_decode(bad_files[i]));
}

static void specs_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int kind; /* -1 = refused */
        const char *name, *source, *box, *version;
    } cases[] = {
        {"debian", SPEC_NAME, "debian", NULL, NULL, NULL},
        {"my:tag", SPEC_NAME, "my:tag", NULL, NULL, NULL},
        {"a/b/c:1", SPEC_NAME, "a/b/c:1", NULL, NULL, NULL},
        {"centos/7:2004.01", SPEC_VAGRANT, "centos/7:2004.01", NULL, "centos/7", "2004.01"},
        {"c,vagrant=centos/7:1", SPEC_VAGRANT, "c", NULL, "centos/7", "1"},
        {"a,http=http://h/x", SPEC_HTTP, "a", "http://h/x", NULL, NULL},
        {"a,http=https://h/x?a=b,c=d", SPEC_HTTP, "a", "https://h/x?a=b,c=d", NULL, NULL},
        {"a,file=x, y=z", SPEC_FILE, "a", "x, y=z", NULL, NULL},
        {"a,file=", -1, NULL, NULL, NULL, NULL},
        {"a,http=", -1, NULL, NULL, NULL, NULL},
        {"a,http=ftp://h/x", -1, NULL, NULL, NULL, NULL},
        {"a,http=file:///etc/shadow", -1, NULL, NULL, NULL, NULL},
        {"a,http=http://", -1, NULL, NULL, NULL, NULL},
        {"a,http=http:///x", -1, NULL, NULL, NULL, NULL},
        {"a,http", -1, NULL, NULL, NULL, NULL},
        {"a,ftp=x", -1, NULL, NULL, NULL, NULL},
        {"a,vagrant=centos", -1, NULL, NULL, NULL, NULL},
        {"a,vagrant=../x:1", -1, NULL, NULL, NULL, NULL},
        {"a,vagrant=c/x:", -1, NULL, NULL, NULL, NULL},
        {"a,vagrant=c/x?y:1", -1, NULL, NULL, NULL, NULL},
        {",http=http://h/x", -1, NULL, NULL, NULL, NULL},
        {"", -1, NULL, NULL, NULL, NULL},
        {"a,", -1, NULL, NULL, NULL, NULL},
        {".a", -1, NULL, NULL, NULL, NULL},
        {"a\n,file=x", -1, NULL, NULL, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CLEANUP(error_freep) struct error *err = NULL;
        CLEANUP(image_spec_clear) struct image_spec s = {0};
        int rc = image_spec_parse(str_of(cases[i].text), &s, &err);
        if ((rc < 0) != (cases[i].kind < 0))
            fail_msg("'%s': %s", cases[i].text, err ? err->message : "accepted");
        if (rc < 0)
            continue;
        assert_int_equal(s.kind, cases[i].kind);
        assert_string_equal(s.name, cases[i].name);
        const char *const have[] = {s.source, s.box, s.version};
        const char *const want[] = {cases[i].source, cases[i].box, cases[i].version};
        for (int k = 0; k < 3; k++) {
            if (want[k])
                assert_string_equal(have[k], want[k]);
            else
                assert_null(have[k]);
        }
    }
}

/* A backend with the layers l0 <- l1 <- l2 in it; "<dir>/be" is the backend. */
static char *make_backend(char *dir)
{
    assert_non_null(mkdtemp(dir));
    char *be = path_join(dir, "be");
    for (int i = 0; i < 3; i++) {
        AUTO_FREE char *folder = xasprintf("%s/.layers/l%d", be, i);
        assert_int_equal(make_dirs(folder, 0755, NULL), 0);
        AUTO_FREE char *disk = path_join(folder, "disk.qcow2");
        AUTO_FREE char *below = i ? xasprintf("../l%d/disk.qcow2", i - 1) : NULL;
        struct qcow2_overlay o = {.size = 64 << 20, .backing = below};
        assert_int_equal(qcow2_create_overlay(disk, &o, NULL), 0);
    }
    return be;
}

static void thin_images_stand_on_layers(void **state)
{
    (void)state;
    char dir[] = "/tmp/kiln-image-XXXXXX";
    AUTO_FREE char *be = make_backend(dir);
    CLEANUP(error_freep) struct error *err = NULL;
    struct backend_thin t = {.layer = "l2", .metadata = "{\"env\":{\"A\":\"1\"}}"};
    if (backend_register_thin(be, "my-img", &t, &err) < 0)
        fail_msg("%s", err->message);
    t.layer = "l1";
    assert_int_equal(backend_register_thin(be, "other", &t, NULL), 0);
    t.layer = "l9";
    assert_int_equal(backend_register_thin(be, "none", &t, NULL), -1);
    t.layer = "../l1";
    assert_int_equal(backend_register_thin(be, "none", &t, NULL), -1);

    // a backend that moved works all the same
    AUTO_FREE char *moved = path_join(dir, "moved");
    assert_int_equal(rename(be, moved), 0);
    CLEANUP(backend_images_free) struct backend_images all = {0};
    assert_int_equal(backend_list(moved, &all, NULL), 0);
    assert_int_equal(all.len, 2);
    assert_string_equal(all.ptr[0].name, "my-img");
    assert_string_equal(all.ptr[0].layer, "l2");
    assert_string_equal(all.ptr[0].metadata, "{\"env\":{\"A\":\"1\"}}");
    assert_int_equal(all.ptr[0].virtual_size, 64 << 20);
    assert_null(all.ptr[0].broken);
    CLEANUP(strv_clear) struct strv chain = {0}, roots = {0};
    assert_int_equal(backend_image_chain(moved, "my-img", &chain, NULL), 0);
    assert_int_equal(chain.len, 4);
    assert_true(strstr(chain.ptr[0], "l0/disk.qcow2") && strstr(chain.ptr[3], "/my%2Dimg"));
    AUTO_FREE char *json = qcow2_chain_json(&chain);
    AUTO_FREE char *copy = path_join(dir, "copy");
    if (process_run(NULL, ARGV("qemu-img", "convert", "-O", "qcow2", json, copy), NULL, &err) < 0)
        fail_msg("%s", err->message);
    assert_int_equal(backend_roots(moved, &roots, NULL), 0);
    assert_int_equal(roots.len, 2);
    assert_string_equal(roots.ptr[0], "l1");

    assert_int_equal(backend_tag(moved, "my-img", "my:second", NULL), 0);
    assert_int_equal(backend_remove(moved, "my-img", NULL), 0);
    assert_false(backend_has(moved, "my-img"));
    CLEANUP(backend_image_clear) struct backend_image i = {0};
    assert_int_equal(backend_find(moved, "my:second", &i, NULL), 0);
    assert_true(i.thin);
    assert_int_equal(backend_find(moved, "my-img", &i, &err), -1);
    assert_int_equal(err->kind, ERR_NOT_FOUND);
    AUTO_FREE char *working = path_join(moved, ".working");
    assert_int_equal(rmdir(working), 0); // nothing is left in it
    assert_int_equal(remove_tree(dir, NULL), 0);
}

static void chains_never_lead_out_of_the_backend(void **state)
{
    (void)state;
    char dir[] = "/tmp/kiln-image-XXXXXX";
    AUTO_FREE char *be = make_backend(dir);
    static const char *const names[] = {
        "/etc/shadow",
        "../secret",
        ".layers/l1/../../../secret",
        "json:{}",
        "nbd://h/x",
        ".layers/l1",
        ".layers/../evil",
        ".layers/l1/layer.json",
        ".layers//.l/disk.qcow2",
        "file:.layers/l1/disk.qcow2",
        ".layers/link/disk.qcow2",
        "evil",
    };
    AUTO_FREE char *evil = path_join(be, "evil"), *link = path_join(be, ".layers/link");
    assert_int_equal(symlink("l1", link), 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct qcow2_overlay o = {.size = 64 << 20, .backing = names[i]};
        assert_int_equal(qcow2_create_overlay(evil, &o, NULL), 0);
        CLEANUP(strv_clear) struct strv chain = {0};
        CLEANUP(error_freep) struct error *err = NULL;
        if (backend_image_chain(be, "evil", &chain, &err) == 0)
            fail_msg("'%s' was followed", names[i]);
        CLEANUP(backend_images_free) struct backend_images all = {0};
        assert_int_equal(backend_list(be, &all, NULL), 0);
        assert_non_null(all.ptr[0].broken);
        CLEANUP(strv_clear) struct strv roots = {0};
        assert_int_equal(backend_roots(be, &roots, NULL), -1);
        unlink(evil);
    }
    assert_int_equal(symlink("/etc/passwd", evil), 0);
    CLEANUP(strv_clear) struct strv chain = {0};
    assert_int_equal(backend_image_chain(be, "evil", &chain, NULL), -1);
    assert_int_equal(remove_tree(dir, NULL), 0);
}

static void digests_are_remembered_only_when_safe(void **state)
{
    (void)state;
    char dir[] = "/tmp/kiln-image-XXXXXX";
    assert_non_null(mkdtemp(dir));
    AUTO_FREE char *file = path_join(dir, "f"), *cache = path_join(dir, "cache"),
                   *notes = path_join(cache, "digests");
    struct session s = {.cache = cache};
    struct digest a, b;
    assert_int_equal(file_write_whole(file, 0644, "abc", 3, NULL), 0);
    assert_int_equal(backend_digest(&s, file, &a, NULL), 0);
    assert_int_equal(access(notes, F_OK), -1); // touched just now
    // the same size at the same time is told apart
    assert_int_equal(file_write_whole(file, 0644, "abd", 3, NULL), 0);
    assert_int_equal(backend_digest(&s, file, &b, NULL), 0);
    assert_false(digest_eq(&a, &b));
    // an old file is remembered
    assert_int_equal(backend_digest(&s, "/etc/passwd", &a, NULL), 0);
    assert_int_equal(access(notes, F_OK), 0);
    assert_int_equal(backend_digest(&s, "/etc/passwd", &b, NULL), 0);
    assert_true(digest_eq(&a, &b));
    assert_int_equal(remove_tree(dir, NULL), 0);
}

static struct digest content_of(const char *bytes, size_t n, size_t step)
{
    struct content_hash *h = content_hash_new();
    for (size_t i = 0; i < n; i += step)
        content_hash_add(h, bytes + i, step < n - i ? step : n - i);
    return content_hash_finish(h);
}

static void content_digests_do_not_depend_on_holes_or_steps(void **state)
{
    enum { SIZE = 5 * 65536 + 1000 };
    (void)state;
    char dir[] = "/tmp/kiln-image-XXXXXX";
    assert_non_null(mkdtemp(dir));
    AUTO_FREE char *disk = xcalloc(1, SIZE), *cache = path_join(dir, "cache"),
                   *file = path_join(dir, "sparse");
    memset(disk + 2 * 65536 + 10, 'x', 70000);
    struct digest a = content_of(disk, SIZE, SIZE), b = content_of(disk, SIZE, 777), c;
    assert_true(digest_eq(&a, &b));
    struct content_hash *h = content_hash_new();
    content_hash_add(h, NULL, 2 * 65536 + 10);
    content_hash_add(h, disk + 2 * 65536 + 10, 70000);
    content_hash_add(h, NULL, SIZE - (2 * 65536 + 10 + 70000));
    c = content_hash_finish(h);
    assert_true(digest_eq(&a, &c));
    AUTO_CLOSE int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(ftruncate(fd, SIZE), 0);
    assert_int_equal(pwrite_all(fd, disk + 2 * 65536, 2 * 65536, 2 * 65536), 0);
    struct session s = {.cache = cache};
    assert_int_equal(content_digest(&s, file, &c, NULL), 0);
    assert_true(digest_eq(&a, &c));
    disk[SIZE - 1] = 1;
    b = content_of(disk, SIZE, SIZE);
    assert_false(digest_eq(&a, &b));
    b = content_of(disk, SIZE - 1, SIZE); // one zero less
    assert_false(digest_eq(&a, &b));
    assert_int_equal(remove_tree(dir, NULL), 0);
}

static void a_source_is_known_of_the_file_it_was_written_for(void **state)
{
    (void)state;
    char dir[] = "/tmp/kiln-image-XXXXXX";
    assert_non_null(mkdtemp(dir));
    AUTO_FREE char *image = path_join(dir, "from");
    assert_int_equal(qcow2_create_overlay(image, &(struct qcow2_overlay){.size = 1 << 20}, NULL),
                     0);
    char path[] = "/a/b", etag[] = "\"v1\"";
    struct image_source x = {.kind = SPEC_FILE, .from = path, .etag = etag, .has_content = true};
    CLEANUP(image_source_clear) struct image_source got = {0};
    assert_false(image_source_read(dir, "from", &got));
    assert_int_equal(image_source_write(dir, "from", &x, NULL), 0);
    assert_true(image_source_read(dir, "from", &got));
    assert_string_equal(got.from, "/a/b");
    assert_true(got.has_content && !got.has_sha256 && got.kind == SPEC_FILE);
    struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_sec = 1}};
    assert_int_equal(utimensat(AT_FDCWD, image, times, 0), 0);
    struct image_source none = {0};
    assert_false(image_source_read(dir, "from", &none));
    assert_int_equal(remove_tree(dir, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_become_file_names_and_back),
        cmocka_unit_test(specs_are_read),
        cmocka_unit_test(thin_images_stand_on_layers),
        cmocka_unit_test(chains_never_lead_out_of_the_backend),
        cmocka_unit_test(digests_are_remembered_only_when_safe),
        cmocka_unit_test(content_digests_do_not_depend_on_holes_or_steps),
        cmocka_unit_test(a_source_is_known_of_the_file_it_was_written_for),
    };
    return cmocka_run_group_tests_name("image", tests, NULL, NULL);
}
