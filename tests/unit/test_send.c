// SPDX-License-Identifier: MIT
//
// The stream of a selection: what each kind of file becomes, and files that change meanwhile.
#include "tests/unit/context_fixture.h"

#include <endian.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

/* security.capability, version 2: cap_net_raw (bit 13) permitted and effective. */
static const uint32_t capability[5] = {0x02000001, 1 << 13, 0, 0, 0};

static void modes_times_and_root_as_owner(void **state)
{
    struct fixture *f = *state;
    put_bytes(f, "run", "#!", 2, 04755);
    AUTO_FREE char *path = in_dir(f, "run");
    struct timespec t[2] = {{0, 0}, {-5, 250}};
    assert_int_equal(utimensat(AT_FDCWD, path, t, 0), 0);
    if (geteuid() == 0) {
        assert_int_equal(chown(path, 1000, 1001), 0);
        assert_int_equal(chmod(path, 04755), 0);
    }
    SELECT(f, "run");
    CLEANUP(gots_free) struct gots all = sent(f);
    const struct stream_entry *h = &find(&all, "run")->head;
    assert_int_equal(h->mode, 04755);
    assert_int_equal(h->uid, 0);
    assert_int_equal(h->gid, 0);
    assert_int_equal(h->mtime, -5);
    assert_int_equal(h->mtime_ns, 250);
    assert_int_equal(h->flags, 0);
}

static void attributes_and_capabilities_travel(void **state)
{
    struct fixture *f = *state;
    put(f, "ping", "p");
    AUTO_FREE char *path = in_dir(f, "ping");
    if (setxattr(path, "user.b", "two", 3, 0) < 0 || setxattr(path, "user.a", "", 0, 0) < 0)
        skip(); // this file system has none
    bool root = setxattr(path, "security.capability", capability, sizeof capability, 0) == 0;
    if (root)
        (void)setxattr(path, "trusted.kiln", "no", 2, 0);
    SELECT(f, "ping");
    CLEANUP(gots_free) struct gots all = sent(f);
    CLEANUP(buf_clear) struct buf expected = BUF_INIT;
    if (root) {
        buf_add(&expected, "\x13\0\x14\0\0\0security.capability", 25);
        buf_add(&expected, capability, sizeof capability);
    }
    buf_add(&expected, "\x06\0\0\0\0\0user.a\x06\0\x03\0\0\0user.btwo", 12 + 15);
    assert_int_equal(all.ptr[0].xattrs.len, expected.len);
    assert_memory_equal(all.ptr[0].xattrs.data, expected.data, expected.len);
}

static void add_name(struct fixture *f, const char *old, const char *new)
{
    AUTO_FREE char *a = in_dir(f, old), *b = in_dir(f, new);
    assert_int_equal(link(a, b), 0);
}

static void names_of_one_file_are_sent_as_links(void **state)
{
    struct fixture *f = *state;
    put(f, "d/one", "same");
    add_name(f, "d/one", "d/two");
    add_name(f, "d/one", "three");
    put(f, "d/other", "same");
    SELECT(f, ".");
    CLEANUP(gots_free) struct gots all = sent(f);
    assert_int_equal(find(&all, "d/one")->head.type, STREAM_FILE);
    assert_int_equal(find(&all, "d/two")->head.type, STREAM_HARDLINK);
    assert_string_equal(find(&all, "d/two")->link, "d/one");
    assert_string_equal(find(&all, "three")->link, "d/one");
    assert_int_equal(find(&all, "d/other")->head.type, STREAM_FILE);

    SELECT(f, "three", "d/two");
    CLEANUP(gots_free) struct gots pair = sent(f);
    assert_int_equal(find(&pair, "three")->head.type, STREAM_FILE);
    assert_string_equal(find(&pair, "two")->link, "three");

    // Folders may overwrite each other's names: no links across them.
    SELECT(f, "d", ".");
    CLEANUP(gots_free) struct gots both = sent(f);
    assert_int_equal(find(&both, "d/one")->head.type, STREAM_FILE);
    assert_string_equal(find(&both, "two")->link, "one");
    assert_string_equal(find(&both, "three")->link, "d/one");
}

static void two_files_are_not_one_by_their_inode_alone(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "x");
    put(f, "b", "x");
    add_name(f, "a", "a2");
    add_name(f, "b", "b2");
    SELECT(f, ".");
    CLEANUP(gots_free) struct gots all = sent(f);
    assert_string_equal(find(&all, "a2")->link, "a");
    assert_string_equal(find(&all, "b2")->link, "b");
}

static void holes_are_not_sent(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE char *path = in_dir(f, "disk");
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    AUTO_FREE char *chunk = xmalloc(256 * 1024);
    memset(chunk, 'x', 256 * 1024);
    assert_int_equal(pwrite_all(fd, chunk, 256 * 1024, 1 << 20), 0);
    assert_int_equal(pwrite_all(fd, "end", 3, 40 << 20), 0);
    assert_int_equal(ftruncate(fd, 64 << 20), 0);
    put(f, "small", "s");
    SELECT(f, "disk", "small");
    CLEANUP(gots_free) struct gots all = sent(f);
    const struct got *g = find(&all, "disk");
    assert_int_equal(g->head.size, 64 << 20);
    assert_true(g->n_extents >= 1);
    assert_true(g->data < 1 << 20);
    CLEANUP(buf_clear) struct buf whole = BUF_INIT;
    assert_int_equal(file_read(path, 64 << 20, &whole, NULL), 0);
    assert_memory_equal(whole.data, g->content.data, 64 << 20);
    assert_string_equal(find(&all, "small")->content.data, "s");

    AUTO_FREE char *empty = in_dir(f, "hole");
    AUTO_CLOSE int hole = open(empty, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(ftruncate(hole, 1 << 20), 0);
    SELECT(f, "hole");
    CLEANUP(gots_free) struct gots nothing = sent(f);
    assert_int_equal(nothing.ptr[0].data, 0);
    assert_int_equal(nothing.ptr[0].head.size, 1 << 20);
}

static void special_files_are_copied_and_sockets_are_not(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE char *fifo = in_dir(f, "fifo"), *socket = in_dir(f, "socket"),
                   *dev = in_dir(f, "null");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(mknod(socket, S_IFSOCK | 0600, 0), 0);
    bool root = mknod(dev, S_IFCHR | 0666, makedev(1, 3)) == 0;
    SELECT(f, ".");
    CLEANUP(gots_free) struct gots all = sent(f);
    assert_int_equal(all.len, root ? 4 : 3); // with <dest> and the end
    assert_int_equal(find(&all, "fifo")->head.type, STREAM_FIFO);
    if (!root)
        return;
    assert_int_equal(find(&all, "null")->head.type, STREAM_CHAR);
    assert_int_equal(find(&all, "null")->head.rdev_major, 1);
    assert_int_equal(find(&all, "null")->head.rdev_minor, 3);
}

static void the_stream_does_not_depend_on_the_reads(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE char *big = xcalloc(STREAM_BIG + 12345, 1);
    for (size_t i = 0; i < STREAM_BIG + 12345; i++)
        big[i] = (char)(i * 7919 >> 3);
    put_bytes(f, "a/big", big, STREAM_BIG + 12345, 0644);
    put_bytes(f, "a/exact", big, STREAM_BIG, 0644);
    put_bytes(f, "a/less", big, STREAM_BIG - 1, 0644);
    put(f, "a/empty", "");
    put(f, "a/small", "small");
    SELECT(f, ".");
    CLEANUP(buf_clear) struct buf whole = stream_of(f, 1 << 20, NULL);
    static const size_t chunks[] = {1, 7, 512, 4096, 65536};
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        CLEANUP(buf_clear) struct buf b = stream_of(f, chunks[i], NULL);
        assert_int_equal(b.len, whole.len);
        assert_memory_equal(b.data, whole.data, whole.len);
    }
    CLEANUP(gots_free) struct gots all = decode(&whole);
    assert_memory_equal(find(&all, "a/big")->content.data, big, STREAM_BIG + 12345);
    assert_memory_equal(find(&all, "a/less")->content.data, big, STREAM_BIG - 1);
}

/* Reads the stream, after which it must have been aborted for `path`, and decodes it. */
static void expect_changed(struct fixture *f, const char *path)
{
    CLEANUP(error_freep) struct error *err = NULL;
    CLEANUP(buf_clear) struct buf b = stream_of(f, 4096, &err);
    assert_non_null(err);
    AUTO_FREE char *message = xasprintf("'%s' changed while it was copied", path);
    assert_string_equal(err->message, message);
    CLEANUP(gots_free) struct gots all = decode(&b);
    const struct got *last = &all.ptr[all.len - 1];
    assert_int_equal(last->head.type, STREAM_ABORT);
    assert_string_equal(last->path, message);
}

static void changes_after_hashing_are_noticed(void **state)
{
    struct fixture *f = *state;
    put(f, "d/file", "content");
    AUTO_FREE char *path = in_dir(f, "d/file"), *other = in_dir(f, "d/other");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);

    SELECT(f, "d");
    put(f, "d/file", "tnetnoc"); // same size; and the mtime put back
    struct timespec t[2] = {st.st_atim, st.st_mtim};
    assert_int_equal(utimensat(AT_FDCWD, path, t, 0), 0);
    expect_changed(f, "d/file");

    SELECT(f, "d");
    put(f, "d/file", "longer content");
    expect_changed(f, "d/file");

    SELECT(f, "d");
    assert_int_equal(chmod(path, 0755), 0);
    expect_changed(f, "d/file");

    SELECT(f, "d");
    assert_int_equal(unlink(path), 0);
    expect_changed(f, "d/file");

    put(f, "d/file", "content");
    SELECT(f, "d");
    assert_int_equal(rename(path, other), 0);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    expect_changed(f, "d/file");

    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0644), 0); // must not hang
    expect_changed(f, "d/file");
}

/* The file shrinks or changes when some of it has been sent. */
static void changes_while_sending_are_noticed(void **state)
{
    struct fixture *f = *state;
    enum { SIZE = 3 << 20 };
    AUTO_FREE char *big = xcalloc(SIZE, 1);
    for (int round = 0; round < 2; round++) {
        memset(big, 'a', SIZE);
        put_bytes(f, "big", big, SIZE, 0644);
        put(f, "later", "x");
        SELECT(f, "big", "later");
        CLEANUP(sender_freep) struct sender *snd = NULL;
        snd = sender_new(&f->session, f->sel);
        struct buf b = BUF_INIT;
        buf_reserve(&b, 2 * SIZE);
        b.len = (size_t)sender_read(snd, b.data, 1 << 20);
        AUTO_FREE char *path = in_dir(f, "big");
        if (round == 0)
            assert_int_equal(truncate(path, 2 << 20), 0);
        else {
            AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
            assert_int_equal(pwrite_all(fd, "b", 1, SIZE - 1), 0);
        }
        for (ssize_t n = 1; n > 0; b.len += (size_t)n)
            n = sender_read(snd, b.data + b.len, 2 * SIZE - b.len);
        CLEANUP(gots_free) struct gots all = decode(&b);
        assert_int_equal(all.len, 2);
        assert_int_equal(all.ptr[1].head.type, STREAM_ABORT);
        assert_int_equal(sender_result(snd, NULL), -1);
        buf_clear(&b);
    }
}

static void here_documents_are_files(void **state)
{
    struct fixture *f = *state;
    static const struct context_source sources[] = {
        {.kind = SOURCE_INLINE, .text = "EOF", .bytes = {"hello\n", 6}},
        {.kind = SOURCE_INLINE, .text = "other", .bytes = {"", 0}},
    };
    struct context_request r = {
        .instruction = "COPY", .sources = sources, .n_sources = 2, .dest = "/etc/"};
    assert_int_equal(
        context_open(&f->session, &(struct context_options){.dir = f->dir}, &f->ctx, NULL), 0);
    assert_int_equal(context_select(f->ctx, &r, &f->sel, NULL), 0);
    CLEANUP(gots_free) struct gots all = sent(f);
    assert_string_equal(find(&all, "EOF")->content.data, "hello\n");
    assert_int_equal(find(&all, "EOF")->head.mode, 0644);
    assert_int_equal(find(&all, "other")->head.size, 0);
    assert_int_equal(selection_bytes(f->sel), 6);

    selection_free(STEAL(f->sel));
    r.n_sources = 1;
    r.dest = "/etc/motd";
    assert_int_equal(context_select(f->ctx, &r, &f->sel, NULL), 0);
    CLEANUP(gots_free) struct gots one = sent(f);
    assert_string_equal(one.ptr[0].path, "");
    assert_string_equal(one.ptr[0].link, "EOF");
}

static void progress_counts_content(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "12345");
    put(f, "b/c", "678");
    SELECT(f, ".");
    CLEANUP(sender_freep) struct sender *snd = NULL;
    snd = sender_new(&f->session, f->sel);
    struct sender_progress p;
    sender_progress(snd, &p);
    assert_int_equal(p.done, 0);
    assert_int_equal(p.total, 8);
    char bytes[4096];
    while (sender_read(snd, bytes, sizeof bytes) > 0)
        ;
    sender_progress(snd, &p);
    assert_int_equal(p.done, 8);
    assert_int_equal(p.entries, 4);
    assert_int_equal(sender_read(snd, bytes, sizeof bytes), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(modes_times_and_root_as_owner),
        TEST(attributes_and_capabilities_travel),
        TEST(names_of_one_file_are_sent_as_links),
        TEST(two_files_are_not_one_by_their_inode_alone),
        TEST(holes_are_not_sent),
        TEST(special_files_are_copied_and_sockets_are_not),
        TEST(the_stream_does_not_depend_on_the_reads),
        TEST(changes_after_hashing_are_noticed),
        TEST(changes_while_sending_are_noticed),
        TEST(here_documents_are_files),
        TEST(progress_counts_content),
    };
    return cmocka_run_group_tests_name("send", tests, NULL, NULL);
}
