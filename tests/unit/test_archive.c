// SPDX-License-Identifier: MIT
//
// ADD of archives: those that GNU tar makes, those made here byte by byte to be odd or hostile, and
// files that only look like archives.
#include "tests/unit/context_fixture.h"

#include "base/process.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

/* A ustar header and its padded content. */
static void tar_add(struct buf *b, char type, const char *name, const char *link,
                    const void *content, size_t n)
{
    char h[512] = {0};
    memcpy(h, name, strnlen(name, 100));
    snprintf(h + 100, 8, "%07o", 04751);
    snprintf(h + 108, 8, "%07o", 1000);
    snprintf(h + 116, 8, "%07o", 1001);
    snprintf(h + 124, 12, "%011zo", n);
    snprintf(h + 136, 12, "%011o", 1234567890);
    h[156] = type;
    memcpy(h + 157, link, strnlen(link, 100));
    memcpy(h + 257,
           "ustar\0"
           "00",
           8);
    snprintf(h + 329, 8, "%07o", 8);
    snprintf(h + 337, 8, "%07o", 1);
    memset(h + 148, ' ', 8);
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof h; i++)
        sum += (unsigned char)h[i];
    snprintf(h + 148, 8, "%06o", sum);
    buf_add(b, h, sizeof h);
    buf_add(b, content, n);
    static const char zeros[512];
    buf_add(b, zeros, -n & 511);
}

static void tar_end(struct buf *b)
{
    static const char zeros[1024];
    buf_add(b, zeros, sizeof zeros);
}

/* One record of a pax header, with its own length in front. */
static void pax_record(struct buf *b, const char *key, const void *value, size_t n)
{
    size_t rest = strlen(key) + n + 3, len = rest + 1;
    while (snprintf(NULL, 0, "%zu", len) + rest != len)
        len++;
    buf_addf(b, "%zu %s=", len, key);
    buf_add(b, value, n);
    buf_addc(b, '\n');
}

static struct gots add(struct fixture *f, const char *name)
{
    (void)digest_now(f, (struct ask){.sources = LIST(name), .add = true});
    return sent(f);
}

static struct gots add_bytes(struct fixture *f, const struct buf *b)
{
    put_bytes(f, "it.tar", b->data, b->len, 0644);
    return add(f, "it.tar");
}

static void expect_refused(struct fixture *f, const struct buf *b, const char *message)
{
    put_bytes(f, "it.tar", b->data, b->len, 0644);
    (void)digest_now(f, (struct ask){.sources = LIST("it.tar"), .add = true});
    CLEANUP(error_freep) struct error *err = NULL;
    CLEANUP(buf_clear) struct buf s = stream_of(f, 65536, &err);
    if (!err)
        fail_msg("not refused: %s, %zu bytes that begin %02x", message, b->len,
                 (unsigned char)b->data[0]);
    else if (!strstr(err->message, message) || !strstr(err->message, "it.tar"))
        fail_msg("'%s' is not about '%s'", err->message, message);
    CLEANUP(gots_free) struct gots all = decode(&s);
    assert_int_equal(all.ptr[all.len - 1].head.type, STREAM_ABORT);
}

static void every_type_of_entry(void **state)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    tar_add(&b, '5', "./", "", "", 0);
    tar_add(&b, '5', "./dir/", "", "", 0);
    tar_add(&b, '0', "/dir//./file", "", "hello", 5);
    tar_add(&b, '2', "dir/soft", "../../etc/x", "", 0);
    tar_add(&b, '1', "dir/hard", "./dir/file", "", 0);
    tar_add(&b, '3', "dev/char", "", "", 0);
    tar_add(&b, '4', "dev/block", "", "", 0);
    tar_add(&b, '6', "fifo", "", "", 0);
    tar_add(&b, '0', "odd \n\xff name", "", "", 0);
    tar_end(&b);
    CLEANUP(gots_free) struct gots all = add_bytes(*state, &b);
    AUTO_FREE char *paths = paths_of(&all);
    assert_string_equal(paths,
                        "<dest> dir dir/file dir/soft dir/hard dev/char dev/block fifo "
                        "odd \n\xff name ");
    const struct got *file = find(&all, "dir/file");
    assert_string_equal(file->content.data, "hello");
    assert_int_equal(file->head.mode, 04751);
    assert_int_equal(file->head.uid, 1000);
    assert_int_equal(file->head.gid, 1001);
    assert_int_equal(file->head.mtime, 1234567890);
    assert_int_equal(file->head.flags, STREAM_ARCHIVE);
    assert_int_equal(find(&all, "dir")->head.flags, STREAM_ARCHIVE | STREAM_DIR_ATTRS);
    assert_string_equal(find(&all, "dir/soft")->link, "../../etc/x");
    assert_int_equal(find(&all, "dir/hard")->head.type, STREAM_HARDLINK);
    assert_string_equal(find(&all, "dir/hard")->link, "dir/file");
    assert_int_equal(find(&all, "dev/block")->head.type, STREAM_BLOCK);
    assert_int_equal(find(&all, "dev/block")->head.rdev_major, 8);
    assert_int_equal(find(&all, "dev/block")->head.rdev_minor, 1);
}

/* Compresses with libarchive's writer of raw data; filter 0 = none. */
static struct buf compressed(const struct buf *in, int filter)
{
    struct buf out = BUF_INIT;
    size_t used = 0;
    buf_reserve(&out, 2 * in->len + 4096);
    struct archive *a = archive_write_new();
    struct archive_entry *e = archive_entry_new();
    assert_int_equal(archive_write_set_format_raw(a), ARCHIVE_OK);
    assert_int_equal(filter ? archive_write_add_filter(a, filter) : ARCHIVE_OK, ARCHIVE_OK);
    assert_int_equal(archive_write_set_bytes_in_last_block(a, 1), ARCHIVE_OK);
    assert_int_equal(archive_write_open_memory(a, out.data, out.alloc, &used), ARCHIVE_OK);
    archive_entry_set_filetype(e, AE_IFREG);
    assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
    assert_int_equal(archive_write_data(a, in->data, in->len), in->len);
    assert_int_equal(archive_write_close(a), ARCHIVE_OK);
    archive_entry_free(e);
    archive_write_free(a);
    out.len = used;
    return out;
}

static const int filters[] = {0, ARCHIVE_FILTER_GZIP, ARCHIVE_FILTER_BZIP2, ARCHIVE_FILTER_XZ,
                              ARCHIVE_FILTER_ZSTD};
enum { N_FILTERS = sizeof filters / sizeof *filters };

/* Content that compresses, but not to nothing. */
static void fill_noise(char *bytes, size_t n)
{
    uint32_t x = 1;
    for (size_t i = 0; i < n; i++)
        bytes[i] = "0123456789abcdef"[(x = x * 1664525 + 1013904223) >> 28];
}

enum { SAMPLE = 4000 * 512 }; // more than two blocks of bzip2

static struct buf sample_tar(void)
{
    struct buf b = BUF_INIT;
    AUTO_FREE char *noise = xmalloc(SAMPLE);
    fill_noise(noise, SAMPLE);
    tar_add(&b, '5', "d/", "", "", 0);
    tar_add(&b, '0', "d/noise", "", noise, SAMPLE);
    tar_add(&b, '0', "d/last", "", "last", 4);
    tar_end(&b);
    return b;
}

static void compression_is_told_by_content(void **state)
{
    CLEANUP(buf_clear) struct buf plain = sample_tar();
    for (size_t i = 0; i < N_FILTERS; i++) {
        CLEANUP(buf_clear) struct buf b = compressed(&plain, filters[i]);
        CLEANUP(gots_free) struct gots all = add_bytes(*state, &b);
        assert_int_equal(find(&all, "d/noise")->head.size, SAMPLE);
        assert_memory_equal(find(&all, "d/noise")->content.data, plain.data + 1024, SAMPLE);
        assert_string_equal(find(&all, "d/last")->content.data, "last");
    }
}

static void a_truncated_archive_is_refused(void **state)
{
    CLEANUP(buf_clear) struct buf plain = sample_tar();
    for (size_t i = 0; i < N_FILTERS; i++) {
        CLEANUP(buf_clear) struct buf b = compressed(&plain, filters[i]);
        b.len = b.len * 2 / 3;
        expect_refused(*state, &b, "can't be unpacked");
    }
}

static void a_damaged_archive_is_refused(void **state)
{
    CLEANUP(buf_clear) struct buf plain = sample_tar();
    for (size_t i = 1; i < N_FILTERS; i++) {
        CLEANUP(buf_clear) struct buf b = compressed(&plain, filters[i]);
        for (size_t at = b.len / 2; at < b.len / 2 + 64; at++)
            b.data[at] ^= 0x55;
        expect_refused(*state, &b, "can't be unpacked");
    }
    plain.data[1024 + SAMPLE + 3] ^= 1; // the name in the last header: its checksum is wrong
    expect_refused(*state, &plain, "can't be unpacked");
}

static void what_is_no_tar_is_copied(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_clear) struct buf zeros = BUF_INIT, text = BUF_INIT;
    for (int i = 0; i < 4096; i++)
        buf_addc(&zeros, 0);
    buf_adds(&text, "no archive at all\n");
    CLEANUP(buf_clear) struct buf gz = compressed(&text, ARCHIVE_FILTER_GZIP);
    CLEANUP(buf_clear) struct buf xz = compressed(&text, ARCHIVE_FILTER_XZ);
    static const char zip[] = "PK\3\4\x0a\0\0\0\0\0";
    put_bytes(f, "zeros.tar", zeros.data, zeros.len, 0644);
    put_bytes(f, "text.gz", gz.data, gz.len, 0644);
    put_bytes(f, "text.xz", xz.data, xz.len, 0644);
    put_bytes(f, "it.zip", zip, sizeof zip, 0644);
    put_bytes(f, "broken.gz", "\x1f\x8b\x08\0broken", 10, 0644);
    put(f, "empty.tar", "");
    expect_sent(f,
                (struct ask){.sources = LIST("zeros.tar", "text.gz", "text.xz", "it.zip",
                                             "broken.gz", "empty.tar"),
                             .add = true},
                "zeros.tar text.gz text.xz it.zip broken.gz empty.tar ");
    (void)digest_now(f, (struct ask){.sources = LIST("text.xz"), .dest = "/x", .add = true});
    CLEANUP(gots_free) struct gots all = sent(f);
    assert_string_equal(all.ptr[0].link, "text.xz");
    assert_int_equal(all.ptr[0].head.size, xz.len);
    assert_memory_equal(all.ptr[0].content.data, xz.data, xz.len);
}

static void copy_never_unpacks(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_clear) struct buf b = sample_tar();
    put_bytes(f, "it.tar", b.data, b.len, 0644);
    expect_sent(f, (struct ask){.sources = LIST("it.tar")}, "it.tar ");
    put_bytes(f, "sub/it.tar", b.data, b.len, 0644);
    expect_sent(f, (struct ask){.sources = LIST("sub"), .add = true}, "<dest> it.tar ");
    expect_sent(f, (struct ask){.sources = LIST("it.tar", "sub/*"), .add = true},
                "d d/noise d/last d d/noise d/last ");
}

static void hostile_names_are_refused(void **state)
{
    static const struct {
        char type;
        const char *name, *link, *message;
    } cases[] = {
        {'0', "../evil", "", "its entry '../evil' has a '..'"},
        {'0', "a/../../evil", "", "'a/../../evil' has a '..'"},
        {'5', "..", "", "'..' has a '..'"},
        {'0', "/../etc/passwd", "", "has a '..'"},
        {'1', "hard", "../../etc/shadow", "'../../etc/shadow' has a '..'"},
        {'1', "hard", "/", "its entry 'hard' is damaged"},
        {'0', ".", "", "has no name"},
        {'2', "/", "x", "has no name"},
        {'2', "soft", "", "its entry 'soft' is damaged"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CLEANUP(buf_clear) struct buf b = BUF_INIT;
        tar_add(&b, '0', "good", "", "x", 1);
        tar_add(&b, cases[i].type, cases[i].name, cases[i].link, "", 0);
        tar_end(&b);
        expect_refused(*state, &b, cases[i].message);
    }
    // A ".." in a file's name, and any target of a symbolic link, are legal.
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    tar_add(&b, '0', "a..b/..c", "", "x", 1);
    tar_add(&b, '2', "l", "/../../etc", "", 0);
    tar_end(&b);
    CLEANUP(gots_free) struct gots all = add_bytes(*state, &b);
    assert_string_equal(find(&all, "a..b/..c")->content.data, "x");
    assert_string_equal(find(&all, "l")->link, "/../../etc");
}

static void lies_about_sizes_are_refused(void **state)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    CLEANUP(buf_clear) struct buf pax = BUF_INIT;
    pax_record(&pax, "size", "9000000000000000000", 19);
    tar_add(&b, 'x', "pax", "", pax.data, pax.len);
    tar_add(&b, '0', "huge", "", "x", 1);
    tar_end(&b);
    expect_refused(*state, &b, "it holds more than 4 TiB");

    buf_reset(&b);
    buf_reset(&pax);
    pax_record(&pax, "size", "100000000", 9);
    tar_add(&b, 'x', "pax", "", pax.data, pax.len);
    tar_add(&b, '0', "short", "", "x", 1);
    tar_end(&b);
    expect_refused(*state, &b, "can't be unpacked");

    buf_reset(&b);
    buf_reset(&pax);
    pax_record(&pax, "uid", "99999999999", 11);
    tar_add(&b, 'x', "pax", "", pax.data, pax.len);
    tar_add(&b, '0', "owned", "", "x", 1);
    tar_end(&b);
    expect_refused(*state, &b, "impossible owner");

    buf_reset(&b);
    buf_reset(&pax);
    AUTO_FREE char *name = xmalloc(5001);
    for (size_t i = 0; i < 5000; i++)
        name[i] = i % 200 ? 'n' : '/';
    name[5000] = '\0';
    pax_record(&pax, "path", name + 1, 4999);
    tar_add(&b, 'x', "pax", "", pax.data, pax.len);
    tar_add(&b, '0', "long", "", "x", 1);
    tar_end(&b);
    expect_refused(*state, &b, "more than 4096 bytes");

    buf_reset(&b);
    buf_reset(&pax);
    memset(name, 'n', 300);
    pax_record(&pax, "path", name, 300);
    tar_add(&b, 'x', "pax", "", pax.data, pax.len);
    tar_add(&b, '0', "long", "", "x", 1);
    tar_end(&b);
    expect_refused(*state, &b, "it has a name of 300 bytes ('nnnn");
}

static void pax_headers_are_understood(void **state)
{
    static const uint32_t capability[5] = {0x02000001, 1 << 13, 0, 0, 0};
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    CLEANUP(buf_clear) struct buf pax = BUF_INIT;
    AUTO_FREE char *name = xmalloc(301);
    memset(name, 'n', 300);
    name[150] = '/';
    name[300] = '\0';
    memcpy(name, "\xc3\xa4/", 3); // ä
    pax_record(&pax, "path", name, 300);
    pax_record(&pax, "uid", "3000000", 7);
    pax_record(&pax, "mtime", "12345678901.5", 13);
    pax_record(&pax, "SCHILY.xattr.security.capability", capability, sizeof capability);
    tar_add(&b, 'x', "pax", "", pax.data, pax.len);
    tar_add(&b, '0', "short", "", "x", 1);
    buf_reset(&pax);
    pax_record(&pax, "path",
               "no\xff"
               "utf8",
               7);
    tar_add(&b, 'x', "pax", "", pax.data, pax.len);
    tar_add(&b, '0', "short2", "", "y", 1);
    tar_end(&b);
    CLEANUP(gots_free) struct gots all = add_bytes(*state, &b);
    const struct got *g = find(&all, name);
    assert_int_equal(g->head.uid, 3000000);
    assert_true(g->head.mtime == 12345678901);
    assert_int_equal(g->head.mtime_ns, 500000000);
    assert_int_equal(g->xattrs.len, 6 + 19 + 20);
    assert_memory_equal(g->xattrs.data, "\x13\0\x14\0\0\0security.capability", 25);
    assert_memory_equal(g->xattrs.data + 25, capability, 20);
    assert_string_equal(find(&all,
                             "no\xff"
                             "utf8")
                            ->content.data,
                        "y");
}

/* Runs tar in the build directory. */
static void run_tar(struct fixture *f, const char *const *args)
{
    CLEANUP(strv_clear) struct strv argv = {0};
    strv_add(&argv, "tar");
    strv_add(&argv, "-C");
    strv_add(&argv, f->dir);
    for (; *args; args++)
        strv_add(&argv, *args);
    CLEANUP(error_freep) struct error *err = NULL;
    if (process_run(NULL, argv.ptr, NULL, &err) < 0)
        fail_msg("%s", err->message);
}

static void sparse_files_stay_sparse(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE char *path = in_dir(f, "disk");
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    AUTO_FREE char *noise = xmalloc(100000);
    fill_noise(noise, 100000);
    assert_int_equal(pwrite_all(fd, noise, 100000, 3 << 20), 0);
    assert_int_equal(pwrite_all(fd, "mid", 3, 20 << 20), 0);
    assert_int_equal(ftruncate(fd, 32 << 20), 0);
    CLEANUP(buf_clear) struct buf whole = BUF_INIT;
    assert_int_equal(file_read(path, 32 << 20, &whole, NULL), 0);
    static const char *const formats[] = {"--sparse-version=0.0", "--sparse-version=0.1",
                                          "--sparse-version=1.0", "--format=gnu"};
    for (size_t i = 0; i < 4; i++) {
        AUTO_FREE char *tar = path_join(f->top, "ctx/it.tar");
        run_tar(f, LIST(i < 3 ? "--format=posix" : "--format=gnu", formats[i], "-S", "-cf", tar,
                        "disk"));
        CLEANUP(gots_free) struct gots all = add(f, "it.tar");
        const struct got *g = find(&all, "disk");
        assert_int_equal(g->head.size, 32 << 20);
        assert_true(g->data < 1 << 20);
        assert_memory_equal(g->content.data, whole.data, 32 << 20);
    }
}

static bool buf_holds(const struct buf *b, const void *bytes, size_t n)
{
    return memmem(b->data, b->len, bytes, n) != NULL;
}

static void acls_are_kept(void **state)
{
    // user::rw-, user:7:r--, group::r--, mask::rw-, other::---, and one by name only
    static const char text[] =
        "user::rw-,user:lp:r--:7,user:somebody:rwx,group::r--,mask::rw-,"
        "other::---";
    static const uint32_t acl[] = {2,          0x00060001, 0xffffffff, 0x00040002,
                                   7,          0x00040004, 0xffffffff, 0x00060010,
                                   0xffffffff, 0x00000020, 0xffffffff};
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    CLEANUP(buf_clear) struct buf pax = BUF_INIT;
    pax_record(&pax, "SCHILY.acl.access", text, strlen(text));
    tar_add(&b, 'x', "pax", "", pax.data, pax.len);
    tar_add(&b, '0', "file", "", "x", 1);
    tar_end(&b);
    CLEANUP(gots_free) struct gots all = add_bytes(*state, &b);
    const struct got *g = find(&all, "file");
    assert_int_equal(g->xattrs.len, 6 + 23 + sizeof acl);
    assert_memory_equal(g->xattrs.data + 6, "system.posix_acl_access", 23);
    assert_memory_equal(g->xattrs.data + 29, acl, sizeof acl);
}

static void what_tar_packs_arrives(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE char *long_name = xmalloc(221);
    memset(long_name, 'l', 220);
    long_name[220] = '\0';
    AUTO_FREE char *deep = xasprintf("src/%s/%s", long_name, long_name);
    put(f, deep, "deep");
    put(f, "src/attr", "a");
    AUTO_FREE char *attr = in_dir(f, "src/attr"), *soft = in_dir(f, "src/soft"),
                   *hard = in_dir(f, "src/hard");
    bool has = setxattr(attr, "user.k", "v", 1, 0) == 0;
    // user::rw-, user:7:r--, group::r--, mask::r--, other::r--
    static const uint32_t acl[] = {2,          0x00060001, 0xffffffff, 0x00040002,
                                   7,          0x00040004, 0xffffffff, 0x00040010,
                                   0xffffffff, 0x00040020, 0xffffffff};
    bool has_acl = setxattr(attr, "system.posix_acl_access", acl, sizeof acl, 0) == 0;
    assert_int_equal(symlink(deep, soft), 0);
    assert_int_equal(link(attr, hard), 0);
    static const char *const formats[] = {"--format=posix", "--format=gnu"};
    for (size_t i = 0; i < 2; i++) {
        AUTO_FREE char *tar = path_join(f->top, "ctx/it.tar");
        run_tar(f, LIST(formats[i], "--xattrs", "--acls", "-cf", tar, "src"));
        CLEANUP(gots_free) struct gots all = add(f, "it.tar");
        assert_string_equal(find(&all, deep)->content.data, "deep");
        assert_string_equal(find(&all, "src/soft")->link, deep);
        const struct got *a = find(&all, "src/attr"), *h = find(&all, "src/hard");
        const struct got *file = a->head.type == STREAM_FILE ? a : h;
        assert_int_equal((file == a ? h : a)->head.type, STREAM_HARDLINK);
        if (i == 0 && has)
            assert_true(buf_holds(&file->xattrs, "\6\0\1\0\0\0user.kv", 13));
        if (i == 0 && has && has_acl)
            assert_true(buf_holds(&file->xattrs, acl, sizeof acl));
    }
}

static void a_changed_archive_is_noticed(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_clear) struct buf b = sample_tar();
    put_bytes(f, "it.tar", b.data, b.len, 0644);
    (void)digest_now(f, (struct ask){.sources = LIST("it.tar"), .add = true});
    b.data[1024] ^= 1;
    put_bytes(f, "it.tar", b.data, b.len, 0644);
    CLEANUP(error_freep) struct error *err = NULL;
    CLEANUP(buf_clear) struct buf s = stream_of(f, 65536, &err);
    (void)s; // only how it ended matters
    assert_string_equal(err->message, "'it.tar' changed while it was copied");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_type_of_entry),
        TEST(compression_is_told_by_content),
        TEST(a_truncated_archive_is_refused),
        TEST(a_damaged_archive_is_refused),
        TEST(what_is_no_tar_is_copied),
        TEST(copy_never_unpacks),
        TEST(hostile_names_are_refused),
        TEST(lies_about_sizes_are_refused),
        TEST(pax_headers_are_understood),
        TEST(acls_are_kept),
        TEST(sparse_files_stay_sparse),
        TEST(what_tar_packs_arrives),
        TEST(a_changed_archive_is_noticed),
    };
    return cmocka_run_group_tests_name("archive", tests, NULL, NULL);
}
