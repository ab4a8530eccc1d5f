// SPDX-License-Identifier: MIT
// What of the agent is pure, or works on any folder. The rest of it is tested in the builder VM.
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include "base/digest.h"
#include "base/file.h"
#include "builder/agent/elf.h"
#include "builder/agent/entry.h"
#include "builder/agent/feed.h"
#include "builder/agent/fstab.h"
#include "builder/agent/hostname.h"
#include "builder/agent/passwd.h"
#include "builder/agent/place.h"
#include "builder/agent/port.h"
#include "builder/agent/probe.h"
#include "builder/agent/protocol.h"
#include "builder/agent/scaffold.h"
#include "builder/agent/sha256.h"
#include "builder/agent/sys.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void messages_come_back_as_they_were(void **state)
{
    (void)state;
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    struct str s;
    message_puts(&m, AGENT_TAG_ARG, "a");
    message_put(&m, AGENT_TAG_ARG, "\0b", 2);
    message_put_num(&m, AGENT_TAG_SIZE, UINT64_MAX - 1);
    message_puts(&m, AGENT_TAG_PATH, NULL);
    assert_true(message_valid(&m));
    assert_true(message_get(&m, AGENT_TAG_ARG, &s) && str_is(s, "a"));
    assert_true(message_num(&m, AGENT_TAG_SIZE, 0) == UINT64_MAX - 1);
    assert_false(message_get(&m, AGENT_TAG_PATH, &s));
    m.bytes.len--;
    assert_false(message_valid(&m));
}

static void expect_name(const char *hostname, const char *hosts, const char *name)
{
    AUTO_FREE char *got = hostname_choose((struct str){hostname, strlen(hostname)},
                                          (struct str){hosts, strlen(hosts)});
    assert_string_equal(got, name);
}

static void a_machine_s_name_is_one_that_its_hosts_know(void **state)
{
    (void)state;
    static const char hosts[] =
        "127.0.0.1\tlocalhost\n# 10.0.0.1 old\n127.0.1.1 web.example Web #x";
    expect_name("web\n", hosts, "web");
    expect_name("# who\n\n  web.example \r\n", hosts, "web.example");
    expect_name("old", hosts, "localhost");
    expect_name("x", hosts, "localhost");
    expect_name("127.0.1.1", hosts, "localhost");
    expect_name("", hosts, "localhost");
    expect_name("web", "", "localhost");
}

static void fstab_is_read_in_depth_order(void **state)
{
    (void)state;
    CLEANUP(fstab_free) struct fstab f = {0};
    fstab_parse(STR("# comment\n"
                    "UUID=\"12\" /boot/efi/ vfat umask=0077,nofail 0 1\r\n"
                    "/dev/sda1 / ext4\n"
                    "LABEL=my\\040data /srv/a\\040b ext4 noauto\n"
                    "/dev/vg/boot\t/boot ext4 subvol=@x,defaults\n"
                    "host:/x /net nfs defaults\n"
                    "/swapfile none swap sw 0 0\n"
                    "broken\n"),
                &f);
    assert_int_equal(f.len, 5);
    assert_string_equal(f.ptr[0].file, "/");
    assert_string_equal(f.ptr[1].file, "/boot");
    assert_string_equal(f.ptr[2].file, "/net");
    assert_string_equal(f.ptr[3].file, "/boot/efi");
    assert_string_equal(f.ptr[3].spec, "UUID=12");
    assert_string_equal(f.ptr[4].file, "/srv/a b");
    assert_string_equal(f.ptr[4].spec, "LABEL=my data");
    assert_true(fstab_is_local(&f.ptr[1]) && fstab_is_local(&f.ptr[3]));
    assert_false(fstab_is_local(&f.ptr[0]));
    assert_false(fstab_is_local(&f.ptr[2]));
    assert_false(fstab_is_local(&f.ptr[4]));
    assert_true(fstab_has_option(&f.ptr[3], "nofail"));
    assert_false(fstab_has_option(&f.ptr[3], "fail"));
    AUTO_FREE char *subvol = fstab_option(&f.ptr[1], "subvol");
    assert_string_equal(subvol, "@x");
}

static void os_release_values_lose_their_quotes(void **state)
{
    (void)state;
    const struct str text = STR("PRETTY_NAME_X=no\nPRETTY_NAME=\"Debian \\\"12\\\"\"\nID=debian\n");
    AUTO_FREE char *pretty = os_release_get(text, "PRETTY_NAME");
    AUTO_FREE char *id = os_release_get(text, "ID");
    AUTO_FREE char *absent = os_release_get(text, "NAME");
    assert_string_equal(pretty, "Debian \"12\"");
    assert_string_equal(id, "debian");
    assert_null(absent);
}

static const struct str passwd =
    STR("root:x:0:0:root:/root:/bin/sh\n"
        "web:x:33:33::/var/www:/bin/sh\n"
        "42:x:7:8::/home/42:/bin/sh\nbad line\n");
static const struct str group = STR("root:x:0:\nweb:x:33:\ndisk:x:6:root,web\nvideo:x:44:web");

static void users_are_the_image_s(void **state)
{
    (void)state;
    CLEANUP(who_clear) struct who w = {0};
    assert_int_equal(who_resolve("web", passwd, group, &w, NULL), 0);
    assert_int_equal(w.uid, 33);
    assert_int_equal(w.groups.len, 2);
    assert_int_equal(w.groups.ptr[1], 44);
    assert_string_equal(w.home, "/var/www");
    who_clear(&w);
    assert_int_equal(who_resolve("web:disk", passwd, group, &w, NULL), 0);
    assert_int_equal(w.gid, 6);
    assert_int_equal(w.groups.len, 0);
    who_clear(&w);
    assert_int_equal(who_resolve("42", passwd, group, &w, NULL), 0); // a name of digits
    assert_int_equal(w.uid, 7);
    who_clear(&w);
    assert_int_equal(who_resolve("1000", passwd, group, &w, NULL), 0);
    assert_true(w.uid == 1000 && w.gid == 0 && !strcmp(w.home, "/"));
    who_clear(&w);
    CLEANUP(error_freep) struct error *err = NULL;
    assert_int_equal(who_resolve("nobody", passwd, group, &w, &err), -1);
    assert_string_equal(err->message, "the image has no user 'nobody'");
    who_clear(&w);
    error_free(STEAL(err));
    assert_int_equal(who_resolve("4294967295", passwd, group, &w, &err), -1);
    assert_string_equal(err->hint, "a number is at most 4294967294");
    who_clear(&w);
}

static void owners_take_the_group_as_docker_does(void **state)
{
    (void)state;
    uid_t uid;
    gid_t gid;
    assert_int_equal(owner_resolve("1000", passwd, group, &uid, &gid, NULL), 0);
    assert_true(uid == 1000 && gid == 1000);
    assert_int_equal(owner_resolve("web", passwd, group, &uid, &gid, NULL), 0);
    assert_true(uid == 33 && gid == 33);
    assert_int_equal(owner_resolve(":disk", passwd, group, &uid, &gid, NULL), 0);
    assert_true(uid == 0 && gid == 6);
    assert_int_equal(owner_resolve("web:nogroup", passwd, group, &uid, &gid, NULL), -1);
}

static void paths_that_lead_elsewhere_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"/a", "a/", "a//b", "..", "a/..", "./a", "a/../b", "."};
    static const char *const good[] = {"", "a", "a/b", "...", "a/..b", "\xff\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(entry_path_ok(str_of(bad[i])));
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(entry_path_ok(str_of(good[i])));
    assert_false(entry_path_ok((struct str){"a\0b", 3}));
}

static struct stream_entry file_head(const char *path, uint64_t size, uint32_t n_extents)
{
    return (struct stream_entry){.magic = STREAM_MAGIC,
                                 .type = STREAM_FILE,
                                 .mode = 0640,
                                 .uid = getuid(),
                                 .gid = getgid(),
                                 .mtime = 1700000000,
                                 .size = size,
                                 .path_len = (uint32_t)strlen(path),
                                 .n_extents = n_extents};
}

static void put_entry(struct buf *b, struct stream_entry h, const char *path,
                      const uint64_t (*extents)[2])
{
    buf_add(b, &h, sizeof h);
    buf_adds(b, path);
    for (uint32_t i = 0; i < h.n_extents; i++)
        buf_add(b, extents[i], 16);
}

static void extents_must_be_in_order_and_inside(void **state)
{
    (void)state;
    static const struct {
        uint64_t extents[2][2];
        int result;
    } cases[] = {
        {{{0, 10}, {20, 30}}, 0},
        {{{0, 10}, {20, 80}}, 0},
        {{{0, 10}, {5, 10}}, -1},
        {{{0, 10}, {90, 11}}, -1},
        {{{20, 10}, {0, 10}}, -1},
        {{{0, 0}, {5, 5}}, -1},
        {{{0, 10}, {UINT64_MAX - 4, 8}}, -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CLEANUP(buf_clear) struct buf b = BUF_INIT;
        struct entry e;
        put_entry(&b, file_head("f", 100, 2), "f", cases[i].extents);
        assert_int_equal(entry_decode(b.data, b.len, &e, NULL), cases[i].result);
        assert_int_equal(entry_decode(b.data, b.len - 1, &e, NULL), -1);
    }
}

static void file_systems_are_told_by_their_bytes(void **state)
{
    (void)state;
    static unsigned char disk[PROBE_FS_BYTES];
    struct probed p;
    assert_false(probe_fs(disk, sizeof disk, &p));
    memcpy(disk + 1024 + 56, "\x53\xef", 2);
    disk[1024 + 96] = 0x40;
    memset(disk + 1024 + 104, 0xab, 16);
    memcpy(disk + 1024 + 120, "rootfs  ", 8);
    assert_true(probe_fs(disk, sizeof disk, &p));
    assert_string_equal(p.type, "ext4");
    assert_string_equal(p.uuid, "abababab-abab-abab-abab-abababababab");
    assert_string_equal(p.label, "rootfs");
    memcpy(disk + 65536 + 64, "_BHRfS_M", 8);
    assert_true(probe_fs(disk, sizeof disk, &p));
    assert_string_equal(p.type, "btrfs");
    assert_true(probe_fs(disk, 4096, &p)); // only the ext4 is seen in so few bytes
    assert_string_equal(p.type, "ext4");
}

static void partition_tables_are_read(void **state)
{
    (void)state;
    static unsigned char disk[PROBE_TABLE_BYTES];
    CLEANUP(table_entries_clear) struct table_entries t = {0};
    assert_null(probe_table(disk, sizeof disk, &t));
    memcpy(disk + 510, "\x55\xaa", 2);
    memcpy(disk + 446, "\x80\0\0\0\x83\0\0\0\0\x08\0\0\0\x10\0\0", 16);
    memcpy(disk + 440, "\x78\x56\x34\x12", 4);
    assert_string_equal(probe_table(disk, sizeof disk, &t), "mbr");
    assert_int_equal(t.len, 1);
    assert_true(t.ptr[0].active && t.ptr[0].start == 2048 && t.ptr[0].size == 4096);
    assert_string_equal(t.ptr[0].uuid, "12345678-01");
    memcpy(disk + 512, "EFI PART", 8);
    disk[512 + 72] = 2, disk[512 + 80] = 128, disk[512 + 84] = 128;
    static const unsigned char root[16] = {0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8, 0xb1, 0x4d,
                                           0x96, 0xe7, 0xfb, 0xca, 0xf9, 0x84, 0xb7, 0x09};
    memcpy(disk + 1024 + 128, root, 16);
    table_entries_clear(&t);
    assert_string_equal(probe_table(disk, sizeof disk, &t), "gpt");
    assert_int_equal(t.len, 1);
    assert_int_equal(t.ptr[0].number, 2);
    assert_string_equal(t.ptr[0].type, GUID_ROOT_X86_64);
    assert_int_equal(probe_sector(disk, sizeof disk), 512);
    // the same made for sectors of 4096 bytes
    memset(disk + 512, 0, sizeof disk - 512);
    disk[450] = 0xee;
    memcpy(disk + 4096, "EFI PART", 8);
    disk[4096 + 72] = 2, disk[4096 + 80] = 128, disk[4096 + 84] = 128;
    memcpy(disk + 8192, root, 16);
    disk[8192 + 33] = 1, disk[8192 + 41] = 2; // sectors 256 to 512
    table_entries_clear(&t);
    assert_string_equal(probe_table(disk, sizeof disk, &t), "gpt");
    assert_int_equal(probe_sector(disk, sizeof disk), 4096);
    assert_true(t.len == 1 && t.ptr[0].start == 2048 && t.ptr[0].size == 257 * 8);
}

// A folder of its own for each test that needs one.
static int make_folder(void **state)
{
    char path[] = "/tmp/kiln-agent-XXXXXX";
    *state = mkdtemp(path) ? xstrdup(path) : NULL;
    return *state ? 0 : -1;
}

static int remove_folder(void **state)
{
    AUTO_FREE char *path = *state;
    return remove_tree(path, NULL);
}

static int place_text(struct place *p, const char *path, const char *text, struct error **err)
{
    struct entry e = {.head = file_head(path, strlen(text), 0), .path = str_of(path)};
    int fd = place_file(p, &e, err);
    if (fd < 0)
        return -1;
    assert_int_equal(write_all(fd, text, strlen(text)), 0);
    return place_file_done(p, &e, fd, err);
}

static void nothing_is_placed_outside_the_root(void **state)
{
    AUTO_FREE char *outside = xasprintf("%s/outside", (char *)*state);
    AUTO_FREE char *tree = xasprintf("%s/tree", (char *)*state);
    mkdir(outside, 0755);
    mkdir(tree, 0755);
    AUTO_CLOSE int root = open(tree, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(symlinkat(outside, root, "absolute"), 0);
    assert_int_equal(symlinkat("../outside", root, "relative"), 0);
    assert_int_equal(symlinkat("../outside/f", root, "file"), 0);
    mkdirat(root, "outside", 0755);
    CLEANUP(place_clear) struct place p;
    place_init(&p, root, "/", true);
    // "../outside" ends at the root, so it is the image's own folder of that name
    assert_int_equal(place_text(&p, "relative/a", "1", NULL), 0);
    // and so is what an absolute link leads to, which is made where it is missing
    assert_int_equal(place_text(&p, "absolute/b", "1", NULL), 0);
    assert_int_equal(place_text(&p, "file", "2", NULL), 0); // replaces the link
    AUTO_FREE char *inside = xasprintf("%s/outside/a", tree);
    assert_int_equal(access(inside, F_OK), 0);
    AUTO_FREE char *made = xasprintf("%s%s/b", tree, outside);
    assert_int_equal(access(made, F_OK), 0);
    assert_int_equal(rmdir(outside), 0); // still empty
}

static void a_link_that_leads_nowhere_gets_its_target(void **state)
{
    struct stat st;
    AUTO_CLOSE int root = open(*state, O_PATH | O_DIRECTORY | O_CLOEXEC);
    mkdirat(root, "a", 0700);
    assert_int_equal(symlinkat("../tmp/./x/../target", root, "a/link"), 0);
    assert_int_equal(symlinkat("/a/link/", root, "chain"), 0);
    assert_int_equal(symlinkat("loop", root, "loop"), 0);
    CLEANUP(place_clear) struct place p;
    place_init(&p, root, "/chain/sub", true);
    p.has_owner = true;
    p.uid = geteuid(), p.gid = getegid(), p.chmod = xstrdup("02750");
    assert_int_equal(place_text(&p, "f", "1", NULL), 0);
    assert_int_equal(fstatat(root, "tmp/target/sub", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 02750); // --chmod reaches the folders that are made,
    assert_int_equal(fstatat(root, "tmp", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 02750);
    assert_int_equal(fstatat(root, "a", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0700); // and no others
    CLEANUP(place_clear) struct place loop;
    place_init(&loop, root, "/loop", true);
    assert_int_equal(place_text(&loop, "x", "1", NULL), -1);
}

static int place_archived(struct place *p, enum stream_type type, const char *path,
                          const char *link)
{
    CLEANUP(error_freep) struct error *err = NULL;
    struct entry e = {.head = file_head(path, 0, 0), .path = str_of(path), .link = str_of(link)};
    e.head.type = (uint8_t)type;
    e.head.flags = STREAM_ARCHIVE | (type == STREAM_DIR ? STREAM_DIR_ATTRS : 0);
    if (type != STREAM_FILE)
        return place_other(p, &e, &err);
    int fd = place_file(p, &e, &err);
    return fd < 0 ? -1 : place_file_done(p, &e, fd, &err);
}

static bool there(int root, const char *path)
{
    return faccessat(root, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void an_archive_does_not_leave_its_destination_by_its_own_links(void **state)
{
    AUTO_CLOSE int root = open(*state, O_PATH | O_DIRECTORY | O_CLOEXEC);
    mkdirat(root, "etc", 0755), mkdirat(root, "d", 0755), mkdirat(root, "srv", 0755);
    assert_int_equal(symlinkat("/srv", root, "d/data"), 0); // the image's own: may be used
    assert_int_equal(symlinkat("planned", root, "d/soon"), 0);
    CLEANUP(place_clear) struct place p;
    place_init(&p, root, "/d", true);
#define ARCHIVED(type, path, link) place_archived(&p, STREAM_##type, path, link)
    assert_int_equal(ARCHIVED(FILE, "data/x", ""), 0);
    assert_int_equal(ARCHIVED(SYMLINK, "up", "../etc"), 0); // a link alone harms nobody
    assert_int_equal(ARCHIVED(FILE, "up/evil", ""), -1);
    assert_int_equal(ARCHIVED(DIR, "up", ""), -1);
    assert_int_equal(ARCHIVED(HARDLINK, "up/evil", "data/x"), -1);
    assert_int_equal(ARCHIVED(HARDLINK, "taken", "up/passwd"), -1);
    assert_int_equal(ARCHIVED(SYMLINK, "up/evil", "x"), -1);
    assert_int_equal(ARCHIVED(SYMLINK, "data/up", "../etc"), 0);
    assert_int_equal(ARCHIVED(FILE, "data/up/evil", ""), -1);
    assert_int_equal(ARCHIVED(SYMLINK, "planned", "../etc"), 0);
    assert_int_equal(ARCHIVED(FILE, "soon/evil", ""), -1); // by the image's link and its own
    assert_int_equal(ARCHIVED(SYMLINK, "twice", "./up/../up"), 0);
    assert_int_equal(ARCHIVED(FILE, "twice/evil", ""), -1);
    // what stays inside is as good as a folder; an absolute target starts at the destination
    assert_int_equal(ARCHIVED(SYMLINK, "bin", "usr/bin"), 0);
    assert_int_equal(ARCHIVED(FILE, "bin/sh", ""), 0);
    assert_int_equal(ARCHIVED(SYMLINK, "sbin", "/usr/../usr/sbin"), 0);
    assert_int_equal(ARCHIVED(FILE, "sbin/init", ""), 0);
    assert_int_equal(ARCHIVED(DIR, "a", ""), 0);
    assert_int_equal(ARCHIVED(SYMLINK, "a", "/etc"), 0); // in the empty folder's place
    assert_int_equal(ARCHIVED(FILE, "a/passwd", ""), 0);
    assert_int_equal(ARCHIVED(SYMLINK, "use", "data/y"), 0); // through the image's link
    assert_int_equal(ARCHIVED(FILE, "use/z", ""), 0);
    assert_int_equal(place_finish(&p, NULL), 0);
    assert_true(there(root, "srv/x") && there(root, "srv/y/z") && there(root, "d/usr/bin/sh") &&
                there(root, "d/usr/sbin/init") && there(root, "d/etc/passwd"));
    assert_int_equal(unlinkat(root, "etc", AT_REMOVEDIR), 0); // still empty
}

static void a_root_file_system_is_unpacked_through_its_links(void **state)
{
    AUTO_CLOSE int root = open(*state, O_PATH | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(place_clear) struct place p;
    place_init(&p, root, "/", true);
    assert_int_equal(ARCHIVED(DIR, "usr", ""), 0);
    assert_int_equal(ARCHIVED(SYMLINK, "bin", "/usr/bin"), 0);
    assert_int_equal(ARCHIVED(SYMLINK, "lib", "../../usr/lib"), 0);
    assert_int_equal(ARCHIVED(FILE, "bin/sh", ""), 0);
    assert_int_equal(ARCHIVED(FILE, "lib/libc.so", ""), 0);
    assert_int_equal(ARCHIVED(DIR, "bin", ""), 0);
    assert_true(there(root, "usr/bin/sh") && there(root, "usr/lib/libc.so"));
}

static void digests_are_those_of_libcrypto(void **state)
{
    (void)state;
    unsigned char bytes[300], got[32];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 7 + 3);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        struct digest want = digest_of(bytes, n);
        for (size_t step = 1; step <= 130; step += 43) { // also across blocks
            struct agent_sha256 h;
            agent_sha256_init(&h);
            for (size_t at = 0; at < n; at += step)
                agent_sha256_add(&h, bytes + at, n - at < step ? n - at : step);
            agent_sha256_end(&h, got);
            assert_memory_equal(got, want.byte, sizeof got);
        }
    }
}

static void only_archives_replace_empty_folders(void **state)
{
    AUTO_CLOSE int root = open(*state, O_PATH | O_DIRECTORY | O_CLOEXEC);
    mkdirat(root, "d", 0755), mkdirat(root, "d/f", 0755);
    CLEANUP(error_freep) struct error *err = NULL;
    CLEANUP(place_clear) struct place p;
    place_init(&p, root, "/d", true);
    assert_int_equal(place_text(&p, "f", "1", &err), -1);
    assert_string_equal(err->message, "'/d/f' is a folder in the image and cannot become a file");
    assert_int_equal(ARCHIVED(FILE, "f", ""), 0);
}

static void files_replace_files_and_keep_attributes(void **state)
{
    struct stat st;
    AUTO_CLOSE int root = open(*state, O_PATH | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(place_clear) struct place p;
    place_init(&p, root, "/opt/app/", false);
    assert_int_equal(place_text(&p, "x/f", "old", NULL), 0);
    assert_int_equal(linkat(root, "opt/app/x/f", root, "other", 0), 0);
    assert_int_equal(place_text(&p, "x/f", "new!", NULL), 0);
    assert_int_equal(fstatat(root, "opt/app/x/f", &st, 0), 0);
    assert_true(st.st_size == 4 && st.st_mtime == 1700000000 && (st.st_mode & 07777) == 0640);
    assert_int_equal(fstatat(root, "other", &st, 0), 0);
    assert_int_equal(st.st_size, 3); // the other name keeps the old file
    CLEANUP(error_freep) struct error *err = NULL;
    assert_int_equal(place_text(&p, "x", "file", &err), -1);
    assert_non_null(strstr(err->message, "is a folder"));
}

static void a_single_file_goes_into_an_existing_folder(void **state)
{
    AUTO_CLOSE int root = open(*state, O_PATH | O_DIRECTORY | O_CLOEXEC);
    mkdirat(root, "etc", 0755);
    for (int i = 0; i < 2; i++) {
        CLEANUP(place_clear) struct place p;
        place_init(&p, root, i ? "/new" : "/etc", false);
        struct entry e = {.head = file_head("", 0, 0), .link = STR("app.conf")};
        AUTO_CLOSE int fd = place_file(&p, &e, NULL);
        assert_true(fd >= 0);
    }
    assert_int_equal(faccessat(root, "etc/app.conf", F_OK, 0), 0);
    assert_int_equal(faccessat(root, "new", F_OK, 0), 0);
}

static void scaffolds_leave_nothing(void **state)
{
    struct stat before, after;
    AUTO_CLOSE int root = open(*state, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(fstatat(root, ".", &before, 0), 0);
    struct scaffolds s = {0};
    AUTO_CLOSE int a = scaffold_folder(&s, root, "/a/b/c", NULL);
    AUTO_CLOSE int b = scaffold_file(&s, root, "/a/file", NULL);
    assert_true(a >= 0 && b >= 0);
    assert_int_equal(scaffold_write(&s, root, "/w", 0755, "text", NULL), 0);
    assert_int_equal(scaffold_folder(&s, root, "/a/file", NULL), -1);
    scaffolds_undo(&s);
    assert_int_equal(fstatat(root, ".", &after, 0), 0);
    assert_int_equal(after.st_nlink, before.st_nlink);
    assert_true(after.st_mtim.tv_nsec == before.st_mtim.tv_nsec);
    // what a command has put there stays
    AUTO_CLOSE int d = scaffold_folder(&s, root, "/kept/sub", NULL);
    assert_true(d >= 0 && mkdirat(root, "kept/mine", 0755) == 0);
    assert_int_equal(scaffold_write(&s, root, "/edited", 0755, "text", NULL), 0);
    AUTO_CLOSE int edited = openat(root, "edited", O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_int_equal(write_all(edited, "other", 5), 0);
    scaffolds_undo(&s);
    assert_int_equal(faccessat(root, "kept/mine", F_OK, 0), 0);
    assert_int_equal(faccessat(root, "kept/sub", F_OK, 0), -1);
    assert_int_equal(faccessat(root, "edited", F_OK, 0), 0);
}

static void a_feed_gives_the_bytes_in_order(void **state)
{
    enum { SIZE = 5 << 20 };
    AUTO_FREE char *path = xasprintf("%s/stream", (char *)*state);
    AUTO_FREE unsigned char *bytes = xmalloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (unsigned char)(i * 2654435761u >> 13);
    assert_int_equal(file_write_whole(path, 0600, bytes, SIZE, NULL), 0);
    CLEANUP(feed_freep) struct feed *f = feed_new(path, 4096, NULL);
    assert_non_null(f);
    unsigned char small[7];
    size_t at = 4096;
    for (unsigned step = 1; at + step < SIZE; step = step * 3 % 50021 + 1) {
        size_t n;
        const void *piece = feed_piece(f, step, &n, NULL);
        assert_true(piece && n >= 1 && n <= step && !memcmp(piece, bytes + at, n));
        assert_int_equal(feed_skip(f, n, NULL), 0);
        at += n;
        if (at + sizeof small > SIZE)
            break;
        assert_int_equal(feed_read(f, small, sizeof small, NULL), 0);
        assert_memory_equal(small, bytes + at, sizeof small);
        at += sizeof small;
    }
    assert_int_equal(feed_align(f, NULL), 0);
}

static void a_held_chunk_stays(void **state)
{
    enum { SIZE = 20 << 20, STEP = 4096 };
    AUTO_FREE char *path = xasprintf("%s/stream", (char *)*state);
    AUTO_FREE uint32_t *words = xmalloc(SIZE);
    for (uint32_t i = 0; i < SIZE / sizeof *words; i++)
        words[i] = i;
    assert_int_equal(file_write_whole(path, 0600, words, SIZE, NULL), 0);
    CLEANUP(feed_freep) struct feed *f = feed_new(path, 0, NULL);
    size_t n;
    const void *first = feed_piece(f, STEP, &n, NULL);
    assert_true(first && n == STEP);
    uint64_t chunk = feed_hold(f);
    for (size_t at = 0; at < SIZE; at += n) {
        const void *piece = feed_piece(f, STEP, &n, NULL);
        assert_true(piece && !memcmp(piece, (char *)words + at, n));
        assert_int_equal(feed_skip(f, n, NULL), 0);
        if (at == 4 << 20) { // time for the reader to come round, if it could
            nanosleep(&(struct timespec){0, 50000000}, NULL);
            assert_memory_equal(first, words, STEP);
            feed_release(f, chunk);
        }
    }
}

static void the_port_takes_frames_however_they_come(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    CLEANUP(port_clear) struct port p = PORT_INIT;
    port_use(&p, ends[0]);
    CLEANUP(message_clear) struct message m = MESSAGE_INIT, got = MESSAGE_INIT;
    struct frame f;
    message_puts(&m, AGENT_TAG_PATH, "/x");
    unsigned char head[AGENT_FRAME_HEADER];
    frame_encode(&(struct frame){(uint32_t)m.bytes.len, 7, AGENT_READ}, head);
    CLEANUP(buf_clear) struct buf wire = BUF_INIT;
    for (int i = 0; i < 2; i++) {
        buf_add(&wire, head, sizeof head);
        buf_add(&wire, m.bytes.data, m.bytes.len);
    }
    for (size_t i = 0; i < wire.len; i++) {
        assert_int_equal(write_all(ends[1], wire.data + i, 1), 0);
        assert_true(port_fill(&p));
        bool whole = (i + 1) % (wire.len / 2) == 0;
        assert_int_equal(port_has_frame(&p), whole);
        assert_int_equal(port_next(&p, &f, &got), whole);
        if (whole)
            assert_true(f.id == 7 && f.type == AGENT_READ && message_valid(&got));
    }
    assert_int_equal(write_all(ends[1], "nonsense nonsense", 17), 0);
    assert_true(port_fill(&p));
    assert_false(port_next(&p, &f, &got));
    assert_int_equal(p.in.len, 0);
    close(ends[1]);
    assert_false(port_fill(&p));
    close(ends[0]);
}

/* A here-document may be long; a frame longer than any is damaged. */
static void a_request_may_be_longer_than_what_is_taken_in_ahead(void **state)
{
    (void)state;
    enum { SIZE = 9 << 20 };
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    CLEANUP(port_clear) struct port p = PORT_INIT;
    port_use(&p, ends[0]);
    CLEANUP(message_clear) struct message m = MESSAGE_INIT, got = MESSAGE_INIT;
    AUTO_FREE char *script = xcalloc(SIZE, 1);
    memset(script, 'x', SIZE);
    message_put(&m, AGENT_TAG_SCRIPT, script, SIZE);
    unsigned char head[AGENT_FRAME_HEADER];
    frame_encode(&(struct frame){(uint32_t)m.bytes.len, 7, AGENT_EXEC}, head);
    CLEANUP(buf_clear) struct buf wire = BUF_INIT;
    for (int i = 0; i < 2; i++) {
        buf_add(&wire, head, sizeof head);
        buf_add(&wire, m.bytes.data, m.bytes.len);
    }
    struct frame f;
    int frames = 0;
    for (size_t at = 0; frames < 2;) {
        ssize_t n = write(ends[1], wire.data + at, wire.len - at);
        at += n > 0 ? (size_t)n : 0;
        size_t before = p.in.len - p.taken;
        assert_true(port_fill(&p));
        assert_true(n > 0 || at == wire.len || p.in.len > before); // or it would wait for ever
        struct str text;
        while (port_next(&p, &f, &got)) {
            assert_true(message_get(&got, AGENT_TAG_SCRIPT, &text));
            assert_true(text.len == SIZE && f.type == AGENT_EXEC);
            frames++;
        }
    }
    frame_encode(&(struct frame){AGENT_REQUEST_MAX + 1, 7, AGENT_EXEC}, head);
    assert_false(frame_decode(head, &f));
    close(ends[1]);
    close(ends[0]);
}

static void programs_say_what_they_are(void **state)
{
    (void)state;
    char machine[64];
    AUTO_CLOSE int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    assert_true(elf_machine(self, machine, sizeof machine));
    AUTO_FREE char *loader = elf_interpreter(self);
    assert_true(loader && loader[0] == '/');
    AUTO_CLOSE int run = open("tests/run", O_RDONLY | O_CLOEXEC);
    assert_false(elf_machine(run, machine, sizeof machine));
    AUTO_FREE char *shell = elf_interpreter(run);
    assert_string_equal(shell, "/bin/sh");
}

static void modes_are_octal(void **state)
{
    (void)state;
    mode_t mode;
    assert_int_equal(sys_parse_mode(STR("04755"), &mode), 0);
    assert_int_equal(mode, 04755);
    assert_int_equal(sys_parse_mode(STR("8"), &mode), -1);
    assert_int_equal(sys_parse_mode(STR("17777"), &mode), -1);
    assert_int_equal(sys_parse_mode(STR(""), &mode), -1);
}

#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_come_back_as_they_were),
        cmocka_unit_test(a_machine_s_name_is_one_that_its_hosts_know),
        cmocka_unit_test(fstab_is_read_in_depth_order),
        cmocka_unit_test(os_release_values_lose_their_quotes),
        cmocka_unit_test(users_are_the_image_s),
        cmocka_unit_test(owners_take_the_group_as_docker_does),
        cmocka_unit_test(paths_that_lead_elsewhere_are_refused),
        cmocka_unit_test(extents_must_be_in_order_and_inside),
        cmocka_unit_test(file_systems_are_told_by_their_bytes),
        cmocka_unit_test(partition_tables_are_read),
        IN_FOLDER(nothing_is_placed_outside_the_root),
        IN_FOLDER(a_link_that_leads_nowhere_gets_its_target),
        IN_FOLDER(an_archive_does_not_leave_its_destination_by_its_own_links),
        IN_FOLDER(a_root_file_system_is_unpacked_through_its_links),
        IN_FOLDER(only_archives_replace_empty_folders),
        cmocka_unit_test(digests_are_those_of_libcrypto),
        IN_FOLDER(files_replace_files_and_keep_attributes),
        IN_FOLDER(a_single_file_goes_into_an_existing_folder),
        IN_FOLDER(scaffolds_leave_nothing),
        IN_FOLDER(a_feed_gives_the_bytes_in_order),
        IN_FOLDER(a_held_chunk_stays),
        cmocka_unit_test(the_port_takes_frames_however_they_come),
        cmocka_unit_test(a_request_may_be_longer_than_what_is_taken_in_ahead),
        cmocka_unit_test(programs_say_what_they_are),
        cmocka_unit_test(modes_are_octal),
    };
    umask(0);
    return cmocka_run_group_tests_name("agent", tests, NULL, NULL);
}
