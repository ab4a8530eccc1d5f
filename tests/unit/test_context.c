// SPDX-License-Identifier: MIT
//
// What a COPY selects and what makes its key: sources, globs, ignore file, manifests, the index.
#include "builder/context/index.h"
#include "tests/unit/context_fixture.h"

#include <linux/capability.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/xattr.h>

#define EXPECT_SENT(f, paths, ...) expect_sent(f, (struct ask){.sources = LIST(__VA_ARGS__)}, paths)

static bool same_key(struct fixture *f, const struct digest *before)
{
    struct digest now = digest_now(f, (struct ask){.sources = LIST(".")});
    return digest_eq(before, &now);
}

static struct digest key(struct fixture *f)
{
    return digest_now(f, (struct ask){.sources = LIST(".")});
}

static void fill(struct fixture *f)
{
    put(f, "app/conf/app.ini", "x=1\n");
    put(f, "app/main.c", "int main;\n");
    put(f, "b.txt", "b");
    put(f, "a.txt", "a");
    put(f, "a.log", "log");
}

static void folders_stand_for_their_content(void **state)
{
    struct fixture *f = *state;
    fill(f);
    EXPECT_SENT(f, "<dest> conf conf/app.ini main.c ", "app");
    EXPECT_SENT(f, "<dest> conf conf/app.ini main.c ", "./app//");
    EXPECT_SENT(f, "<dest> conf conf/app.ini main.c ", "/app/x/..");
    EXPECT_SENT(f, "<dest> a.log a.txt app app/conf app/conf/app.ini app/main.c b.txt ", ".");
}

static void files_go_into_a_folder_or_to_a_name(void **state)
{
    struct fixture *f = *state;
    fill(f);
    EXPECT_SENT(f, "b.txt ", "b.txt");
    EXPECT_SENT(f, "app.ini ", "app/conf/app.ini");
    EXPECT_SENT(f, "b.txt app.ini <dest> app.ini ", "b.txt", "app/conf/app.ini", "app/conf");
    (void)digest_now(f, (struct ask){.sources = LIST("app/main.c"), .dest = "/opt/x"});
    CLEANUP(gots_free) struct gots all = sent(f);
    assert_string_equal(all.ptr[0].path, "");
    assert_string_equal(all.ptr[0].link, "main.c");
    assert_string_equal(all.ptr[0].content.data, "int main;\n");
}

static void patterns_match_part_by_part(void **state)
{
    struct fixture *f = *state;
    fill(f);
    EXPECT_SENT(f, "a.txt b.txt ", "*.txt");
    EXPECT_SENT(f, "main.c ", "*/ma?n.[a-d]");
    EXPECT_SENT(f, "app.ini ", "a*/conf/*");
    EXPECT_SENT(f, "<dest> app.ini ", "app/c*");
    // a pattern without a match is nothing, beside other sources or alone
    EXPECT_SENT(f, "b.txt ", "b.txt", "*.zip", "app/*/*.zip", "no/[a-z]");
    EXPECT_SENT(f, "", "*.zip");
    expect_sent(f, (struct ask){.sources = LIST("*.zip", "x?"), .add = true}, "");
    expect_error(f, (struct ask){.sources = LIST("*.zip", "b.zip")}, "'b.zip' was not found", NULL);
    expect_error(f, (struct ask){.sources = LIST("[a")}, "'[a' is not a valid pattern", NULL);
}

static void several_things_go_into_a_folder(void **state)
{
    struct fixture *f = *state;
    fill(f);
    for (int add = 0; add < 2; add++) {
        expect_sent(f, (struct ask){.sources = LIST("a.txt", "b.txt"), .dest = "/x", .add = add},
                    "a.txt b.txt ");
        expect_sent(f, (struct ask){.sources = LIST("*.txt"), .dest = "/x", .add = add},
                    "a.txt b.txt ");
        assert_true(selection_needs_folder(f->sel));
        expect_sent(f, (struct ask){.sources = LIST("app", "b.*"), .dest = "/x", .add = add},
                    "<dest> conf conf/app.ini main.c b.txt ");
        expect_sent(f, (struct ask){.sources = LIST("b.txt", "*.zip"), .dest = "/x", .add = add},
                    "b.txt ");
        expect_sent(f, (struct ask){.sources = LIST("b.t*"), .dest = "/x", .add = add}, "<dest> ");
        assert_false(selection_needs_folder(f->sel));
    }
    expect_sent(f, (struct ask){.sources = LIST("*.txt"), .dest = "."}, "a.txt b.txt ");
    assert_true(context_dest_is_folder("x/.") && context_dest_is_folder("..") &&
                context_dest_is_folder("/") && !context_dest_is_folder("/x/..."));
}

static void ignored_names_do_not_exist(void **state)
{
    struct fixture *f = *state;
    fill(f);
    put(f, "node/deep/keep.js", "k");
    put(f, "node/deep/drop.js", "d");
    put(f, ".imageignore", "# comment\n*.log\nnode\n!node/deep/keep.js\n.imageignore\n");
    EXPECT_SENT(f,
                "<dest> a.txt app app/conf app/conf/app.ini app/main.c b.txt node node/deep "
                "node/deep/keep.js ",
                ".");
    EXPECT_SENT(f, "<dest> deep deep/keep.js ", "node");
    expect_error(f, (struct ask){.sources = LIST("a.log")}, "COPY source 'a.log' was not found in",
                 "'*.log'");
    expect_error(f, (struct ask){.sources = LIST("node/deep/drop.js")}, "was not found", "'node'");
    EXPECT_SENT(f, "", "*.log");
    expect_error(f, (struct ask){.sources = LIST("nothing")}, "'nothing' was not found",
                 "build directory");
    expect_error(f, (struct ask){.sources = LIST("b.txt/")}, "was not found", NULL);
}

static struct digest by_imagefile(struct fixture *f, const char *imagefile)
{
    fixture_forget(f);
    AUTO_FREE char *path = in_dir(f, imagefile);
    struct context_options o = {.dir = f->dir, .imagefile = path};
    assert_int_equal(context_open(&f->session, &o, &f->ctx, NULL), 0);
    struct context_source source = {.text = "*"};
    struct context_request r = {.sources = &source, .n_sources = 1, .dest = "/x/"};
    assert_int_equal(context_select(f->ctx, &r, &f->sel, NULL), 0);
    return selection_digest(f->sel);
}

static void the_first_ignore_file_counts(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "A");
    put(f, "b", "B");
    put(f, "sub/Other", "FROM x");
    static const char *const files[] = {".dockerignore", ".imageignore", "sub/Other.dockerignore",
                                        "sub/Other.imageignore"};
    struct digest last = by_imagefile(f, "sub/Other");
    for (size_t i = 0; i < 4; i++) {
        AUTO_FREE char *text = xasprintf(".*\nsub\n%s", i % 2 ? "a" : "b");
        put(f, files[i], text);
        struct digest now = by_imagefile(f, "sub/Other");
        assert_false(digest_eq(&now, &last));
        assert_int_equal(selection_entries(f->sel), 1);
        last = now;
    }
    put(f, ".imageignore", ".*\nsub\na\nb"); // goes for all other Imagefiles
    (void)by_imagefile(f, "Imagefile");
    assert_int_equal(selection_entries(f->sel), 0);
}

static void the_builds_products_are_not_seen(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"x.qcow2", "x.qcow22", "x.qcow2.d/x.qcow2",
                                        "d/y",     "d/z",      ".kiln-export-Xy12ab/disk"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        put(f, names[i], "x");
    CLEANUP(strv_clear) struct strv hidden = {0};
    strv_add(&hidden, "x.qcow2");
    strv_add(&hidden, "d/y");
    struct context_options o = {.dir = f->dir, .hidden = &hidden};
    assert_int_equal(context_open(&f->session, &o, &f->ctx, NULL), 0);
    struct context_source source = {.text = "."};
    struct context_request r = {
        .instruction = "COPY", .sources = &source, .n_sources = 1, .dest = "/x"};
    assert_int_equal(context_select(f->ctx, &r, &f->sel, NULL), 0);
    CLEANUP(gots_free) struct gots all = sent(f);
    AUTO_FREE char *paths = paths_of(&all);
    assert_string_equal(paths, "<dest> d d/z x.qcow2.d x.qcow2.d/x.qcow2 x.qcow22 ");
    source.text = "d/y";
    CLEANUP(error_freep) struct error *err = NULL;
    struct selection *none;
    assert_int_equal(context_select(f->ctx, &r, &none, &err), -1);
    assert_non_null(strstr(err->hint, "the build itself writes this file"));
}

static void a_missing_source_hints_at_prepare(void **state)
{
    struct fixture *f = *state;
    put_bytes(f, "prepare", "#!/bin/sh\n", 10, 0755);
    expect_error(f, (struct ask){.sources = LIST("rootfs.tar"), .add = true}, "was not found",
                 "/prepare' may make it");
}

static void a_folder_of_which_all_is_hidden_is_gone(void **state)
{
    struct fixture *f = *state;
    fill(f);
    put(f, ".imageignore", "app\n!app/nothing\n.imageignore\n*.log\n");
    EXPECT_SENT(f, "<dest> a.txt b.txt ", ".");
    EXPECT_SENT(f, "a.txt ", "a*");
    expect_error(f, (struct ask){.sources = LIST("app")}, "was not found", "'app'");
}

static void excludes_are_relative_to_the_source(void **state)
{
    struct fixture *f = *state;
    fill(f);
    expect_sent(f, (struct ask){.sources = LIST("app"), .excludes = LIST("conf")},
                "<dest> main.c ");
    expect_sent(f, (struct ask){.sources = LIST("."), .excludes = LIST("**/*.ini", "*.txt")},
                "<dest> a.log app app/conf app/main.c ");
    expect_sent(f, (struct ask){.sources = LIST("*.txt"), .excludes = LIST("a.*")}, "b.txt ");
    expect_sent(f, (struct ask){.sources = LIST("."), .excludes = LIST("*", "!app/conf/app.ini")},
                "<dest> app app/conf app/conf/app.ini ");
}

static void sources_keep_their_folders(void **state)
{
    struct fixture *f = *state;
    fill(f);
    put(f, "x/y/deep/main.c", "int deep;\n");
    const struct {
        const char *const *sources, *const *excludes;
        const char *sent;
    } cases[] = {
        {LIST("app/conf/app.ini", "b.txt"), NULL, "app app/conf app/conf/app.ini b.txt "},
        {LIST("./app/./conf/app.ini"), NULL, "conf conf/app.ini "},
        {LIST("app/conf/./app.ini"), NULL, "app.ini "},
        {LIST("app"), NULL, "app app/conf app/conf/app.ini app/main.c "},
        {LIST("app/."), NULL, "app app/conf app/conf/app.ini app/main.c "},
        {LIST("app/./"), NULL, "<dest> conf conf/app.ini main.c "},
        {LIST("x/../app/./conf"), NULL, "conf conf/app.ini "},
        {LIST("**/main.c"), NULL, "app app/main.c x x/y x/y/deep x/y/deep/main.c "},
        {LIST("x/./**/main.c", "a*"), NULL,
         "y y/deep y/deep/main.c a.log a.txt app app/conf app/conf/app.ini app/main.c "},
        {LIST("app/conf/app.ini", "app/main.c"), NULL, "app app/conf app/conf/app.ini app/main.c "},
        {LIST("app/**"), NULL, "app app/conf app/conf/app.ini app/main.c "},
        {LIST("none/**/x"), NULL, ""},
        {LIST("app", "b.txt"), LIST("app/conf", "*.txt"), "app app/main.c "},
        {LIST("app/conf/app.ini", "b.txt"), LIST("**/*.ini"), "b.txt "},
        {LIST("x/./y"), LIST("y"), ""},
        {LIST("app/./conf"), LIST("conf", "!conf/app.ini"), "conf conf/app.ini "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_sent(f,
                    (struct ask){.sources = cases[i].sources,
                                 .excludes = cases[i].excludes,
                                 .dest = "/x",
                                 .parents = true},
                    cases[i].sent);
    assert_true(selection_needs_folder(f->sel));
    expect_error(f, (struct ask){.sources = LIST("app/./none"), .parents = true},
                 "'app/./none' was not found", NULL);
}

static void make_link(struct fixture *f, const char *target, const char *path)
{
    AUTO_FREE char *full = in_dir(f, path);
    assert_int_equal(symlink(target, full), 0);
}

static void links_are_followed_as_sources_only_and_never_out(void **state)
{
    struct fixture *f = *state;
    fill(f);
    make_link(f, "app/main.c", "link.c");
    make_link(f, "../b.txt", "app/up");
    make_link(f, "app", "folder");
    make_link(f, "/etc/passwd", "evil");
    make_link(f, "../../../etc", "evil2");
    make_link(f, "missing", "dangling");
    make_link(f, "loop", "loop");
    (void)digest_now(f, (struct ask){.sources = LIST("link.c"), .dest = "/x"});
    CLEANUP(gots_free) struct gots all = sent(f);
    assert_int_equal(all.ptr[0].head.type, STREAM_FILE);
    assert_string_equal(all.ptr[0].link, "link.c");
    assert_string_equal(all.ptr[0].content.data, "int main;\n");
    EXPECT_SENT(f, "app.ini ", "folder/conf/app.ini");
    EXPECT_SENT(f, "up ", "folder/up");
    // the build directory is the root of everything
    expect_error(f, (struct ask){.sources = LIST("evil")}, "'evil' was not found", "'/etc/passwd'");
    expect_error(f, (struct ask){.sources = LIST("evil2/passwd")}, "was not found",
                 "'../../../etc'");
    expect_error(f, (struct ask){.sources = LIST("../x")}, "'../x' was not found", NULL);
    EXPECT_SENT(f, "b.txt ", "../b.txt");
    EXPECT_SENT(f, "b.txt ", "app/../../../b.txt");
    make_link(f, "/app/conf", "inside");
    make_link(f, "../../../../app", "app/clamped");
    EXPECT_SENT(f, "app.ini ", "inside/app.ini");
    EXPECT_SENT(f, "app.ini ", "inside/app*");
    EXPECT_SENT(f, "main.c ", "app/clamped/main.c");
    put(f, "etc/passwd", "ours");
    (void)digest_now(f, (struct ask){.sources = LIST("evil"), .dest = "/x"});
    CLEANUP(gots_free) struct gots ours = sent(f);
    assert_string_equal(ours.ptr[0].content.data, "ours");
    expect_error(f, (struct ask){.sources = LIST("loop")}, "too many links", NULL);
    expect_error(f, (struct ask){.sources = LIST("dangling")}, "was not found", "'missing'");

    SELECT(f, ".");
    CLEANUP(gots_free) struct gots whole = sent(f);
    assert_int_equal(find(&whole, "evil")->head.type, STREAM_SYMLINK);
    assert_string_equal(find(&whole, "evil")->link, "/etc/passwd");
    assert_string_equal(find(&whole, "app/up")->link, "../b.txt");
}

static void a_pattern_takes_bad_links_as_links(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "A");
    make_link(f, "/etc/passwd", "evil");
    make_link(f, "a", "good");
    SELECT(f, "*");
    CLEANUP(gots_free) struct gots all = sent(f);
    assert_int_equal(find(&all, "evil")->head.type, STREAM_SYMLINK);
    assert_int_equal(find(&all, "good")->head.type, STREAM_FILE);
}

static int make_socket(struct fixture *f, const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s/%s", f->dir, name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void keep_line(void *arg, const char *line)
{
    buf_addf(arg, "%s\n", line);
}

static void sockets_are_named(void **state)
{
    struct fixture *f = *state;
    put(f, "sub/a", "A");
    AUTO_CLOSE int one = make_socket(f, "sub/one"), two = make_socket(f, "sub/two");
    expect_error(f, (struct ask){.sources = LIST("sub/one")}, "'sub/one' is a socket", NULL);
    expect_error(f, (struct ask){.sources = LIST("sub/t"), .add = true}, "was not found", NULL);
    EXPECT_SENT(f, "a ", "sub/*");
    fixture_forget(f);
    CLEANUP(buf_clear) struct buf said = BUF_INIT;
    struct context_options o = {.dir = f->dir};
    f->session.events = (struct session_events){.notice = keep_line, .arg = &said};
    assert_int_equal(context_open(&f->session, &o, &f->ctx, NULL), 0);
    struct context_source source = {.text = "sub"};
    struct context_request r = {.sources = &source, .n_sources = 1, .dest = "/x"};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(context_select(f->ctx, &r, &f->sel, NULL), 0);
        selection_free(STEAL(f->sel));
    }
    assert_string_equal(said.data, "'sub/one' and 1 more are left out: a socket can't be copied\n");
    (void)one, (void)two;
}

static void odd_names_are_kept(void **state)
{
    struct fixture *f = *state;
    put(f, "with space", "1");
    put(f, "new\nline", "2");
    put(f, "bytes\xff\xfe", "3");
    put(f, "-rf", "4");
    put(f, "sub/*", "5");
    EXPECT_SENT(f, "<dest> -rf bytes\xff\xfe new\nline sub sub/* with space ", ".");
    EXPECT_SENT(f, "with space ", "with space");
    EXPECT_SENT(f, "* ", "sub/[*]");
    EXPECT_SENT(f, "bytes\xff\xfe ", "bytes*");
}

static void touch(struct fixture *f, const char *path, time_t when)
{
    AUTO_FREE char *full = in_dir(f, path);
    struct timespec t[2] = {{when, 0}, {when, 0}};
    assert_int_equal(utimensat(AT_FDCWD, full, t, AT_SYMLINK_NOFOLLOW), 0);
}

static void the_key_is_of_content_not_of_times(void **state)
{
    struct fixture *f = *state;
    fill(f);
    struct digest before = key(f);
    assert_true(same_key(f, &before));
    touch(f, "a.txt", 1000);
    touch(f, "app", 1000);
    assert_true(same_key(f, &before));

    put(f, "a.txt", "A");
    assert_false(same_key(f, &before));
    put(f, "a.txt", "a");
    assert_true(same_key(f, &before));

    AUTO_FREE char *path = in_dir(f, "a.txt");
    assert_int_equal(chmod(path, 0755), 0);
    assert_false(same_key(f, &before));
    assert_int_equal(chmod(path, 0644), 0);
    assert_true(same_key(f, &before));

    AUTO_FREE char *folder = in_dir(f, "app/conf");
    assert_int_equal(chmod(folder, 0700), 0);
    assert_false(same_key(f, &before));
    assert_int_equal(chmod(folder, 0755), 0);

    AUTO_FREE char *other = in_dir(f, "c.txt");
    assert_int_equal(rename(path, other), 0);
    assert_false(same_key(f, &before));
    assert_int_equal(rename(other, path), 0);
    assert_true(same_key(f, &before));
}

static void attributes_and_links_are_in_the_key(void **state)
{
    struct fixture *f = *state;
    fill(f);
    make_link(f, "one", "link");
    struct digest before = key(f);
    AUTO_FREE char *path = in_dir(f, "a.txt");
    if (setxattr(path, "user.kiln", "v", 1, 0) == 0) {
        assert_false(same_key(f, &before));
        assert_int_equal(removexattr(path, "user.kiln"), 0);
    }
    AUTO_FREE char *folder = in_dir(f, "app");
    if (setxattr(folder, "user.kiln", "v", 1, 0) == 0) {
        assert_false(same_key(f, &before));
        assert_int_equal(removexattr(folder, "user.kiln"), 0);
    }
    assert_true(same_key(f, &before));
    AUTO_FREE char *link_path = in_dir(f, "link");
    assert_int_equal(unlink(link_path), 0);
    make_link(f, "two", "link");
    assert_false(same_key(f, &before));
}

static void a_moved_directory_has_the_same_key(void **state)
{
    struct fixture *f = *state;
    fill(f);
    struct digest before = key(f);
    char *moved = path_join(f->top, "elsewhere");
    assert_int_equal(rename(f->dir, moved), 0);
    free(f->dir);
    f->dir = moved;
    assert_true(same_key(f, &before));
}

/* Two seconds pass as far as the index is concerned: ctime can't be set, so wait for it. */
static void settle(void)
{
    (void)usleep(2100 * 1000);
}

static void settled_files_are_not_read_again(void **state)
{
    struct fixture *f = *state;
    fill(f);
    (void)key(f);
    assert_int_equal(context_stats(f->ctx).hashed_files, 5);
    (void)key(f); // racily clean: just written, so not trusted
    assert_int_equal(context_stats(f->ctx).hashed_files, 5);
    settle();
    struct digest before = key(f);
    assert_int_equal(context_stats(f->ctx).hashed_files, 5);
    assert_true(same_key(f, &before));
    assert_int_equal(context_stats(f->ctx).hashed_files, 0);

    // Same size and mtime, other content: ctime tells.
    touch(f, "a.txt", 5000);
    settle();
    (void)key(f);
    assert_true(same_key(f, &before));
    assert_int_equal(context_stats(f->ctx).hashed_files, 0);
    put(f, "a.txt", "z");
    touch(f, "a.txt", 5000);
    assert_false(same_key(f, &before));
    assert_int_equal(context_stats(f->ctx).hashed_files, 1);
}

/* Times are in nanoseconds before the moment in which the file was opened to be hashed. */
static void only_settled_and_unchanged_files_are_found(void **state)
{
    struct fixture *f = *state;
    const int64_t now = INT64_C(1700000000000000000), second = 1000000000;
    static const struct {
        int64_t mtime, ctime;
        bool kept;
    } cases[] = {
        {3600000000000, 3600000000000, true},
        {2000000001, 2000000001, true},
        {2000000000, 3600000000000, false},
        {3600000000000, 2000000000, false},
        {0, 0, false},
        {-1000000000, 3600000000000, false},
        {-2000000000, 3600000000000, false}, // a clock that was set back
        {3600000000000, -5000000000, false},
        {-3600000000000, 3600000000000, true},
    };
    enum { N = sizeof cases / sizeof *cases };
    AUTO_FREE char *path = path_join(f->session.cache, "settled.idx");
    struct digest d = digest_of("x", 1);
    struct file_id id[N];
    CLEANUP(index_freep) struct index *ix = index_open(path);
    for (unsigned i = 0; i < N; i++) {
        id[i] = (struct file_id){1, i, 5, now - cases[i].mtime, now - cases[i].ctime};
        index_add(ix, &id[i], &d, NULL, now);
    }
    assert_int_equal(index_save(ix, NULL), 0);
    CLEANUP(index_freep) struct index *again = index_open(path);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(index_find(again, &id[i]) != NULL, cases[i].kept);
    struct file_id other[] = {id[0], id[0], id[0], id[0], id[0]};
    other[0].dev++;
    other[1].ino += 100;
    other[2].size++;
    other[3].mtime_ns -= second;
    other[4].ctime_ns++;
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        assert_null(index_find(again, &other[i]));
}

static void a_damaged_index_is_ignored(void **state)
{
    struct fixture *f = *state;
    fill(f);
    settle();
    struct digest before = key(f);
    fixture_forget(f);
    AUTO_FREE char *dir = path_join(f->session.cache, "context");
    AUTO_FREE char *real = realpath(f->dir, NULL);
    struct digest d = digest_of(real, strlen(real));
    char hex[DIGEST_HEX + 1];
    digest_hex(&d, hex);
    AUTO_FREE char *path = xasprintf("%s/%s.idx", dir, hex);
    CLEANUP(buf_clear) struct buf index = BUF_INIT;
    assert_int_equal(file_read(path, 1 << 20, &index, NULL), 0);
    for (size_t i = 0; i < index.len; i += 7) {
        index.data[i] ^= 0x20;
        assert_int_equal(file_write_whole(path, 0644, index.data, index.len, NULL), 0);
        index.data[i] ^= 0x20;
        assert_true(same_key(f, &before));
        assert_int_equal(context_stats(f->ctx).hashed_files, 5);
        fixture_forget(f);
    }
    assert_int_equal(file_write_whole(path, 0644, index.data, index.len / 2, NULL), 0);
    assert_true(same_key(f, &before));
    fixture_forget(f);
    assert_true(same_key(f, &before)); // and it has been written anew
    assert_int_equal(context_stats(f->ctx).hashed_files, 0);
}

/* Takes from this thread, and gives back, root's right to read what it may not. */
static void may_read_all(bool may)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[2];
    unsigned mask = 1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH;
    assert_int_equal(syscall(SYS_capget, &head, caps), 0);
    caps[0].effective =
        may ? caps[0].effective | (caps[0].permitted & mask) : caps[0].effective & ~mask;
    assert_int_equal(syscall(SYS_capset, &head, caps), 0);
}

static void unreadable_files_are_named(void **state)
{
    struct fixture *f = *state;
    put_bytes(f, "secret", "x", 1, 0);
    may_read_all(false);
    expect_error(f, (struct ask){.sources = LIST(".")}, "secret': Permission denied",
                 "the ignore file");
    may_read_all(true);
}

static char *diff(struct str older, struct str newer, size_t max)
{
    CLEANUP(strv_clear) struct strv lines = {0};
    manifest_diff(older, newer, max, &lines);
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < lines.len; i++)
        buf_addf(&b, "%s%s", i ? "; " : "", lines.ptr[i]);
    return buf_detach(&b, NULL);
}

static void a_diff_says_what_changed(void **state)
{
    struct fixture *f = *state;
    fill(f);
    put(f, "gone\n", "x");
    make_link(f, "a", "link");
    (void)key(f);
    CLEANUP(buf_clear) struct buf older = BUF_INIT;
    buf_add_str(&older, selection_manifest(f->sel));
    put(f, "app/conf/app.ini", "x=2\n");
    put(f, "new", "n");
    AUTO_FREE char *gone = in_dir(f, "gone\n"), *b = in_dir(f, "b.txt"), *l = in_dir(f, "link");
    assert_int_equal(unlink(gone), 0);
    assert_int_equal(unlink(l), 0);
    assert_int_equal(chmod(b, 0755), 0);
    make_link(f, "b", "link");
    (void)key(f);
    AUTO_FREE char *all = diff(buf_str(&older), selection_manifest(f->sel), 10);
    assert_string_equal(all,
                        "app/conf/app.ini changed; mode of b.txt changed (0644 to 0755); "
                        "removed gone\\012; link link changed; added new");
    AUTO_FREE char *some = diff(buf_str(&older), selection_manifest(f->sel), 2);
    assert_string_equal(some,
                        "app/conf/app.ini changed; mode of b.txt changed (0644 to 0755); "
                        "and 3 more");
    AUTO_FREE char *none = diff(buf_str(&older), buf_str(&older), 2);
    assert_string_equal(none, "");
    AUTO_FREE char *bad = diff(STR("kiln manifest 1\nf"), buf_str(&older), 2);
    assert_non_null(strstr(bad, "not readable"));
}

static void opening_needs_a_directory(void **state)
{
    struct fixture *f = *state;
    CLEANUP(error_freep) struct error *err = NULL;
    struct context *ctx;
    assert_int_equal(
        context_open(&f->session, &(struct context_options){.dir = "/nowhere/at/all"}, &ctx, &err),
        -1);
    assert_int_equal(err->kind, ERR_NOT_FOUND);
}

/* Enough folders that several threads scan. */
static void a_large_tree_is_whole_and_in_order(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 60; i++)
        for (int j = 0; j < 5; j++) {
            AUTO_FREE char *path = xasprintf("d%02d/e%d/f", i, j);
            put(f, path, path);
        }
    struct digest before = key(f);
    assert_int_equal(selection_entries(f->sel), 1 + 60 + 300 + 300);
    for (int i = 0; i < 20; i++)
        assert_true(same_key(f, &before));
    CLEANUP(gots_free) struct gots all = sent(f);
    for (size_t i = 2; i + 1 < all.len; i++)
        assert_true(strcmp(all.ptr[i - 1].path, all.ptr[i].path) < 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(folders_stand_for_their_content),
        TEST(files_go_into_a_folder_or_to_a_name),
        TEST(patterns_match_part_by_part),
        TEST(several_things_go_into_a_folder),
        TEST(ignored_names_do_not_exist),
        TEST(the_first_ignore_file_counts),
        TEST(the_builds_products_are_not_seen),
        TEST(a_missing_source_hints_at_prepare),
        TEST(sockets_are_named),
        TEST(a_folder_of_which_all_is_hidden_is_gone),
        TEST(excludes_are_relative_to_the_source),
        TEST(sources_keep_their_folders),
        TEST(links_are_followed_as_sources_only_and_never_out),
        TEST(a_pattern_takes_bad_links_as_links),
        TEST(odd_names_are_kept),
        TEST(the_key_is_of_content_not_of_times),
        TEST(attributes_and_links_are_in_the_key),
        TEST(a_moved_directory_has_the_same_key),
        TEST(settled_files_are_not_read_again),
        TEST(only_settled_and_unchanged_files_are_found),
        TEST(a_damaged_index_is_ignored),
        TEST(unreadable_files_are_named),
        TEST(a_diff_says_what_changed),
        TEST(opening_needs_a_directory),
        TEST(a_large_tree_is_whole_and_in_order),
    };
    return cmocka_run_group_tests_name("context", tests, NULL, NULL);
}
