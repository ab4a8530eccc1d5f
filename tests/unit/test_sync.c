// SPDX-License-Identifier: MIT
//
// A copy of a build directory after each of a row of changes: sent, received, compared by the two
// manifests and by what was sent.
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
#include "builder/context/context.h"
#include "builder/context/sync.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

struct pair {
    char dir[64], from[80], to[80];
    struct session s;
};

static int begin(void **state)
{
    struct pair *p = xcalloc(1, sizeof *p);
    memcpy(p->dir, "/var/tmp/kiln-sync.XXXXXX", 26);
    if (!mkdtemp(p->dir))
        return -1;
    snprintf(p->from, sizeof p->from, "%s/from", p->dir);
    snprintf(p->to, sizeof p->to, "%s/to", p->dir);
    if (mkdir(p->from, 0755) < 0 || mkdir(p->to, 0700) < 0)
        return -1;
    p->s = (struct session)SESSION_INIT;
    *state = p;
    return 0;
}

static int end(void **state)
{
    struct pair *p = *state;
    int rc = remove_tree(p->dir, NULL);
    free(p);
    return rc;
}

static void look(struct pair *p, const char *dir, struct context **ctx, struct selection **sel)
{
    struct error *err = NULL;
    struct context_options o = {.dir = dir, .plain = true};
    assert_int_equal(context_open(&p->s, &o, ctx, &err), 0);
    assert_int_equal(sync_select(*ctx, sel, &err), 0);
}

static bool is_same(struct pair *p)
{
    CLEANUP(context_freep) struct context *a = NULL, *b = NULL;
    CLEANUP(selection_freep) struct selection *from = NULL, *to = NULL;
    look(p, p->from, &a, &from);
    look(p, p->to, &b, &to);
    return str_eq(selection_manifest(from), selection_manifest(to));
}

/* One synchronisation; how many entries were sent. */
static size_t sync_now(struct pair *p)
{
    CLEANUP(context_freep) struct context *a = NULL, *b = NULL;
    CLEANUP(selection_freep) struct selection *from = NULL, *to = NULL;
    CLEANUP(sync_plan_clear) struct sync_plan plan = {0};
    struct error *err = NULL;
    look(p, p->from, &a, &from);
    look(p, p->to, &b, &to);
    assert_int_equal(sync_compare(selection_manifest(to), selection_manifest(from), &plan, &err),
                     0);
    AUTO_FREE char *stream = path_join(p->dir, "stream");
    AUTO_CLOSE int fd = open(stream, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(sync_send(from, plan.wanted, fd, &err), 0);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    if (sync_receive(&p->s, &plan, p->to, fd, &err) < 0)
        fail_msg("%s", err->message);
    assert_true(is_same(p));
    return plan.n_wanted;
}

static void put(struct pair *p, const char *name, const char *text)
{
    AUTO_FREE char *path = path_join(p->from, name), *parent = path_parent(path);
    assert_int_equal(make_dirs(parent, 0755, NULL), 0);
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write_all(fd, text, strlen(text)), 0);
}

static char *in(struct pair *p, const char *name)
{
    return path_join(p->from, name);
}

static void only_what_differs_is_sent(void **state)
{
    struct pair *p = *state;
    put(p, "a/b/c", "1");
    put(p, "a/d", "2");
    put(p, "e", "3");
    assert_int_equal(sync_now(p), 6); // the directory, three files, two folders
    assert_int_equal(sync_now(p), 0);
    put(p, "a/b/c", "1+");
    assert_int_equal(sync_now(p), 4); // it and the folders above it
    put(p, "a-b", "before a/ in bytes, behind it in order");
    assert_int_equal(sync_now(p), 2);
    AUTO_FREE char *c = in(p, "a/b/c");
    assert_int_equal(unlink(c), 0);
    assert_int_equal(sync_now(p), 3);
}

static void things_become_other_things(void **state)
{
    struct pair *p = *state;
    put(p, "x/y/z", "deep");
    put(p, "f", "file");
    sync_now(p);
    AUTO_FREE char *x = in(p, "x"), *f = in(p, "f"), *link = in(p, "l"), *fifo = in(p, "p");
    assert_int_equal(remove_tree(x, NULL), 0);
    put(p, "x", "a file now");
    assert_int_equal(unlink(f), 0);
    put(p, "f/g/h", "a folder now");
    assert_int_equal(symlink("/etc", link), 0);
    assert_int_equal(mkfifo(fifo, 0640), 0);
    sync_now(p);
    assert_int_equal(unlink(link), 0);
    put(p, "l/passwd", "not the host's");
    assert_int_equal(unlink(fifo), 0);
    assert_int_equal(symlink("gone", fifo), 0);
    assert_int_equal(remove_tree(x, NULL), 0);
    sync_now(p);
    assert_int_not_equal(access("/etc/passwd", F_OK), -1);
}

static void modes_attributes_and_closed_folders(void **state)
{
    struct pair *p = *state;
    put(p, "ro/sub/file", "1");
    AUTO_FREE char *ro = in(p, "ro"), *sub = in(p, "ro/sub"), *file = in(p, "ro/sub/file");
    assert_int_equal(chmod(file, 04751), 0);
    (void)setxattr(file, "user.kiln", "1", 1, 0);
    assert_int_equal(chmod(sub, 0555), 0);
    assert_int_equal(chmod(ro, 0511), 0);
    assert_int_equal(chmod(p->from, 0555), 0);
    sync_now(p);
    assert_int_equal(chmod(sub, 0755), 0);
    assert_int_equal(chmod(p->from, 0755), 0);
    put(p, "new", "");
    put(p, "ro/sub/file", "2");
    put(p, "ro/sub/new", "");
    assert_int_equal(chmod(sub, 0500), 0);
    (void)setxattr(file, "user.kiln", "22", 2, 0);
    sync_now(p);
    assert_int_equal(chmod(sub, 0755), 0);
    assert_int_equal(chmod(ro, 0755), 0);
    sync_now(p);
}

static void names_of_one_file_stay_together(void **state)
{
    struct pair *p = *state;
    put(p, "one", "text");
    AUTO_FREE char *one = in(p, "one"), *two = in(p, "two"), *dir = in(p, "d"),
                   *three = in(p, "d/three"), *copy = path_join(p->to, "d/three");
    struct stat st;
    assert_int_equal(mkdir(dir, 0755), 0);
    assert_int_equal(link(one, two), 0);
    assert_int_equal(link(one, three), 0);
    sync_now(p);
    assert_int_equal(stat(copy, &st), 0);
    assert_int_equal(st.st_nlink, 3);
    put(p, "one", "another text");
    sync_now(p);
    assert_int_equal(stat(copy, &st), 0);
    assert_int_equal(st.st_nlink, 3);
    // one of them is damaged there: the others, which are right, become names of the new file
    assert_int_equal(unlink(copy), 0);
    AUTO_CLOSE int fd = open(copy, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    assert_int_equal(write_all(fd, "damage", 6), 0);
    sync_now(p);
    assert_int_equal(stat(copy, &st), 0);
    assert_int_equal(st.st_nlink, 3);
    assert_int_equal(unlink(two), 0);
    put(p, "two", "another text");
    sync_now(p);
    assert_int_equal(stat(copy, &st), 0);
    assert_int_equal(st.st_nlink, 2);
}

/* Of this machine's security modules and root's alone. */
static void attributes_of_the_host_stay_here(void **state)
{
    struct pair *p = *state;
    char value[8];
    put(p, "file", "1");
    AUTO_FREE char *file = in(p, "file"), *copy = path_join(p->to, "file");
    int own = setxattr(file, "user.kiln", "own", 3, 0);
    (void)setxattr(file, "trusted.kiln", "host", 4, 0);
    sync_now(p);
    assert_int_equal(getxattr(copy, "user.kiln", value, sizeof value), own == 0 ? 3 : -1);
    assert_int_equal(getxattr(copy, "trusted.kiln", value, sizeof value), -1);
}

static void holes_and_long_names(void **state)
{
    struct pair *p = *state;
    AUTO_FREE char *sparse = in(p, "sparse"), *copy = path_join(p->to, "sparse");
    put(p, "sparse", "begin");
    assert_int_equal(truncate(sparse, 300 << 20), 0);
    char name[256];
    memset(name, 'n', 255);
    name[255] = '\0';
    put(p, name, "long");
    put(p, "\xff\xfe not UTF-8\n", "bytes");
    sync_now(p);
    struct stat st;
    assert_int_equal(stat(copy, &st), 0);
    assert_int_equal(st.st_size, 300 << 20);
    assert_true(st.st_blocks < 2048);
}

static void a_damaged_manifest_is_refused(void **state)
{
    (void)state;
    CLEANUP(sync_plan_clear) struct sync_plan plan = {0};
    struct error *err = NULL;
    assert_int_equal(sync_compare(STR(MANIFEST_MAGIC), STR("nonsense"), &plan, &err), -1);
    error_free(err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_what_differs_is_sent, begin, end),
        cmocka_unit_test_setup_teardown(things_become_other_things, begin, end),
        cmocka_unit_test_setup_teardown(modes_attributes_and_closed_folders, begin, end),
        cmocka_unit_test_setup_teardown(names_of_one_file_stay_together, begin, end),
        cmocka_unit_test_setup_teardown(attributes_of_the_host_stay_here, begin, end),
        cmocka_unit_test_setup_teardown(holes_and_long_names, begin, end),
        cmocka_unit_test(a_damaged_manifest_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
