// SPDX-License-Identifier: MIT
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include "base/alloc.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/mode.h"
#include "base/path.h"
#include "base/printable.h"
#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void errors_wrap_and_keep_the_first_hint(void **state)
{
    (void)state;
    CLEANUP(error_freep) struct error *err = NULL;
    assert_int_equal(error_set(&err, ERR_USER, "no '%s'", "x"), -1);
    error_hint(&err, "inner");
    error_hint(&err, "outer");
    error_wrap(&err, "step %d", 3);
    assert_string_equal(err->message, "step 3: no 'x'");
    assert_string_equal(err->hint, "inner");
}

static void buf_grows_and_consumes(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    for (int i = 0; i < 1000; i++)
        buf_addf(&b, "%d,", i);
    buf_consume(&b, 4);
    assert_true(str_starts(buf_str(&b), "2,3,"));
    buf_reset(&b);
    buf_add_size(&b, 1126170624);
    assert_string_equal(b.data, "1.05 GiB");
}

static void texts_are_cut(void **state)
{
    (void)state;
    struct str rest = str_of("a,,b");
    assert_true(str_is(str_cut(&rest, ','), "a") && str_is(rest, ",b"));
    assert_true(str_is(str_cut(&rest, ','), "") && str_is(rest, "b"));
    assert_true(str_is(str_cut(&rest, ','), "b") && !rest.len);
    assert_true(str_is(str_cut(&rest, ','), ""));
}

static void sha256_is_the_standard_one(void **state)
{
    (void)state;
    struct digest d = digest_of("abc", 3), back;
    char hex[DIGEST_HEX + 1];
    digest_hex(&d, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_true(digest_parse(hex, &back) && digest_eq(&d, &back));
    assert_false(digest_parse("ba78", &back));
}

static void an_abandoned_file_never_was(void **state)
{
    (void)state;
    char dir[] = "/tmp/kiln-unit-XXXXXX";
    assert_non_null(mkdtemp(dir));
    AUTO_FREE char *path = path_join(dir, "f");
    struct atomic_file f = ATOMIC_FILE_INIT;
    assert_int_equal(atomic_file_open(&f, path, 0644, NULL), 0);
    atomic_file_abandon(&f);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(rmdir(dir), 0); // nothing is left in it
}

static void a_lock_excludes_and_ends(void **state)
{
    (void)state;
    char path[] = "/tmp/kiln-unit-XXXXXX";
    close(mkstemp(path));
    int a = lock_try(path, LOCK_EXCLUSIVE, NULL);
    assert_true(a >= 0);
    CLEANUP(error_freep) struct error *err = NULL;
    assert_int_equal(lock_try(path, LOCK_SHARED, &err), -1);
    assert_int_equal(err->kind, ERR_BUSY);
    close(a);
    int b = lock_try(path, LOCK_SHARED, NULL);
    assert_true(b >= 0);
    close(b);
    unlink(path);
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

/* For ourselves alone, but what lies in a folder that was made to be shared is shared. */
static void locks_and_folders_are_for_whom_their_folder_is(void **state)
{
    (void)state;
    char top[] = "/tmp/kiln-base-XXXXXX";
    mode_t mask = umask(022);
    assert_non_null(mkdtemp(top));
    AUTO_FREE char *own = xasprintf("%s/home/backend/.working", top);
    assert_int_equal(make_dirs_inside(own, NULL), 0);
    assert_int_equal(mode_of(own), 0700);
    AUTO_FREE char *shared = xasprintf("%s/shared", top), *inside = path_join(shared, ".working");
    assert_int_equal(mkdir(shared, 0700), 0);
    assert_int_equal(chmod(shared, 02775), 0);
    assert_int_equal(make_dirs_inside(inside, NULL), 0);
    assert_int_equal(mode_of(inside), 02775);
    AUTO_FREE char *ours = path_join(own, "lock"), *theirs = path_join(inside, "lock");
    AUTO_CLOSE int old = open(ours, O_WRONLY | O_CREAT | O_CLOEXEC, 0644); // of an older kiln
    AUTO_CLOSE int a = lock_try(ours, LOCK_EXCLUSIVE, NULL);
    AUTO_CLOSE int b = lock_try(theirs, LOCK_EXCLUSIVE, NULL);
    assert_true(old >= 0 && a >= 0 && b >= 0);
    assert_int_equal(mode_of(ours), 0600);
    assert_int_equal(mode_of(theirs), 0660);
    umask(mask);
    assert_int_equal(remove_tree(top, NULL), 0);
}

static void programs_run_and_fail_with_words(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    assert_int_equal(process_run(NULL, ARGV("echo", "hi"), &out, NULL), 0);
    assert_string_equal(out.data, "hi\n");
    CLEANUP(error_freep) struct error *err = NULL;
    assert_int_equal(process_run(NULL, ARGV("ls", "/no/such"), NULL, &err), -1);
    assert_non_null(strstr(err->message, "exit status 2"));
    assert_non_null(strstr(err->message, "/no/such"));
}

static void strangers_text_cannot_reach_the_terminal(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"grün „ok“ 日本 \xf0\x9f\x98\x80\n\tx", "grün „ok“ 日本 \xf0\x9f\x98\x80\n\tx"},
        {"a\x1b]0;p\aZ\x7f\r", "a\\x1b]0;p\\x07Z\\x7f\\x0d"},
        {"\xc2\x9b"
         "2J",
         "\\u009b2J"},
        {"\xe2\x80\xaegpj.exe", "\\u202egpj.exe"},
        {"\xff\xc0\xaf\xed\xa0\x80", "\\xff\\xc0\\xaf\\xed\\xa0\\x80"},
        {"\xe2\x82", "\\xe2\\x82"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        CLEANUP(buf_clear) struct buf b = BUF_INIT;
        printable_add(&b, pairs[i][0], strlen(pairs[i][0]));
        assert_string_equal(b.data, pairs[i][1]);
    }
}

static void modes_are_octal_or_symbolic(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned old, file, folder; /* BAD: it is not a mode */
    } rows[] = {
#define BAD 077777
        {"644", 0777, 0644, 0644},
        {"04755", 0, 04755, 04755},
        {"0", 0777, 0, 0},
        {"u=rw,go=r", 0777, 0644, 0644},
        {"a+X", 0640, 0640, 0751},
        {"a+X", 0740, 0751, 0751},
        {"+x", 0644, 0755, 0755},
        {"go=", 0755, 0700, 0700},
        {"u+s,g+s,+t", 0755, 07755, 07755},
        {"u-s", 06755, 02755, 02755},
        {"g=u,o=g-w", 0640, 0664, 0664},
        {"u=rwx+t", 0, 0700, 0700},
        {"ug+w-x", 0755, 0665, 0665},
        {"o=u,o-wx", 0744, 0744, 0744},
        {"", 0, BAD, BAD},
        {"8", 0, BAD, BAD},
        {"77777", 0, BAD, BAD},
        {"u", 0, BAD, BAD},
        {"u=q", 0, BAD, BAD},
        {"u=r,", 0, BAD, BAD},
        {"rwx", 0, BAD, BAD},
        {"u=r g=r", 0, BAD, BAD},
        {"0x1", 0, BAD, BAD},
        {"12345", 0, BAD, BAD},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mode_t file = BAD, folder = BAD;
        (void)mode_apply(rows[i].text, rows[i].old, false, &file);
        (void)mode_apply(rows[i].text, rows[i].old, true, &folder);
        if (file != rows[i].file || folder != rows[i].folder)
            fail_msg("'%s' of %o: %o, %o", rows[i].text, rows[i].old, file, folder);
    }
}

static void *start_cat(void *process)
{
    struct process_spec spec = {
        .argv = ARGV("cat"), .in = PROCESS_PIPE, .out = PROCESS_PIPE, .errors = PROCESS_NULL};
    return process_start(process, &spec, NULL) == 0 ? process : NULL;
}

static void a_child_outlives_the_thread_that_started_it(void **state)
{
    (void)state;
    CLEANUP(process_clear) struct process p = PROCESS_INIT;
    pthread_t thread;
    void *started = NULL;
    char back[3] = "";
    assert_int_equal(pthread_create(&thread, NULL, start_cat, &p), 0);
    assert_int_equal(pthread_join(thread, &started), 0);
    assert_non_null(started);
    assert_int_equal(write(p.in, "hi", 2), 2);
    assert_int_equal(read(p.out, back, 2), 2);
    assert_string_equal(back, "hi");
}

static void paths_are_cleaned_part_by_part(void **state)
{
    (void)state;
    static const struct {
        const char *path, *clean; /* NULL: it leads above where it began */
    } cases[] = {{"", ""},        {"/", ""},           {".", ""},
                 {"a", "a"},      {"//a/./b/", "a/b"}, {"a/../b", "b"},
                 {"a/b/..", "a"}, {"..", NULL},        {"a/../..", NULL},
                 {"...", "..."},  {"a/.b", "a/.b"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CLEANUP(buf_clear) struct buf b = BUF_INIT;
        struct str part;
        bool above = false;
        for (size_t at = 0; path_part(str_of(cases[i].path), &at, &part);) {
            if (str_is(part, ".."))
                above |= !path_pop(&b);
            else
                path_push(&b, part);
        }
        assert_int_equal(above, !cases[i].clean);
        if (!above)
            assert_string_equal(b.len ? b.data : "", cases[i].clean);
    }
}

/* Also between two file systems, where the kernel cannot: /dev/shm is one of its own. */
static void a_file_is_copied_between_file_systems(void **state)
{
    (void)state;
    char from[] = "/dev/shm/kiln-unit-XXXXXX", to[] = "/tmp/kiln-unit-XXXXXX", bytes[6] = "";
    AUTO_CLOSE int in = mkstemp(from), out = mkstemp(to);
    assert_true(in >= 0 && out >= 0);
    assert_int_equal(pwrite_all(in, "hello", 5, 3 << 20), 0);
    assert_int_equal(file_copy(in, out, NULL), 0);
    assert_int_equal(pread_all(out, bytes, 5, 3 << 20), 5);
    assert_string_equal(bytes, "hello");
    assert_int_equal(rename_new(to, from), -1);
    assert_true(errno == EEXIST || errno == EXDEV);
    AUTO_FREE char *other = xasprintf("%s-other", to);
    assert_int_equal(rename_new(to, other), 0);
    assert_int_equal(access(other, F_OK), 0);
    (void)unlink(other);
    (void)unlink(from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_copied_between_file_systems),
        cmocka_unit_test(paths_are_cleaned_part_by_part),
        cmocka_unit_test(errors_wrap_and_keep_the_first_hint),
        cmocka_unit_test(buf_grows_and_consumes),
        cmocka_unit_test(texts_are_cut),
        cmocka_unit_test(strangers_text_cannot_reach_the_terminal),
        cmocka_unit_test(sha256_is_the_standard_one),
        cmocka_unit_test(an_abandoned_file_never_was),
        cmocka_unit_test(modes_are_octal_or_symbolic),
        cmocka_unit_test(a_lock_excludes_and_ends),
        cmocka_unit_test(locks_and_folders_are_for_whom_their_folder_is),
        cmocka_unit_test(programs_run_and_fail_with_words),
        cmocka_unit_test(a_child_outlives_the_thread_that_started_it),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
