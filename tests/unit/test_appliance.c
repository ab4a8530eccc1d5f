// SPDX-License-Identifier: MIT
//
// What the builder VM is made of, without starting it: cpio archives (read back by libarchive),
// module order, kernels that are none, the initramfs of this host, and the store of templates.
#include "base/buf.h"
#include "base/file.h"
#include "base/process.h"
#include "base/session.h"
#include "builder/appliance/appliance.h"
#include "builder/appliance/cpio.h"
#include "builder/appliance/modules.h"
#include "builder/appliance/programs.h"
#include "builder/appliance/template.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

struct fixture {
    char dir[64];
    struct session session;
};

static void ok(int rc, struct error *err)
{
    if (rc < 0)
        fail_msg("%s", err ? err->message : "failed without an error");
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    struct error *err = NULL;
    snprintf(f->dir, sizeof f->dir, "/tmp/kiln-appliance-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    setenv("KILN_HOME", f->dir, 1);
    ok(session_init(&f->session, environ, &err), err);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    (void)remove_tree(f->dir, NULL);
    session_clear(&f->session);
    free(f);
    return 0;
}

static void put_file(const char *path, const char *text)
{
    struct error *err = NULL;
    AUTO_FREE char *dir = path_parent(path);
    ok(make_dirs(dir, 0755, &err), err);
    ok(file_write_whole(path, 0644, text, strlen(text), &err), err);
}

/* "type mode path[=target|:content]" a line. */
static void list_cpio(const char *path, struct buf *ret)
{
    struct archive *a = archive_read_new();
    struct archive_entry *e;
    archive_read_support_format_cpio(a);
    assert_int_equal(archive_read_open_filename(a, path, 10240), ARCHIVE_OK);
    while (archive_read_next_header(a, &e) == ARCHIVE_OK) {
        char text[64] = "";
        mode_t type = archive_entry_filetype(e);
        buf_addf(ret, "%c %o %s",
                 type == AE_IFDIR   ? 'd'
                 : type == AE_IFLNK ? 'l'
                 : type == AE_IFCHR ? 'c'
                                    : 'f',
                 (unsigned)archive_entry_perm(e), archive_entry_pathname(e));
        if (type == AE_IFLNK)
            buf_addf(ret, "=%s", archive_entry_symlink(e));
        if (type == AE_IFREG && archive_entry_size(e) < (la_int64_t)sizeof text) {
            assert_true(archive_read_data(a, text, sizeof text) >= 0);
            buf_addf(ret, ":%s", text);
        }
        buf_addc(ret, '\n');
    }
    archive_read_free(a);
}

static void cpio_round_trip(void **state)
{
    struct fixture *f = *state;
    struct error *err = NULL;
    AUTO_FREE char *path = path_join(f->dir, "x.cpio");
    AUTO_FREE char *source = path_join(f->dir, "source");
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    CLEANUP(cpio_clear) struct cpio c;
    cpio_init(&c, fd);
    put_file(source, "12345");
    ok(cpio_file(&c, "init", 0755, "abc", 3, &err), err);
    ok(cpio_copy(&c, "a/b/c", 0600, source, &err), err);
    ok(cpio_symlink(&c, "a/link", "b/c", &err), err);
    ok(cpio_device(&c, "dev/console", 0600, 5, 1, &err), err);
    ok(cpio_file(&c, "a/empty", 0644, "", 0, &err), err);
    ok(cpio_finish(&c, &err), err);
    CLEANUP(buf_clear) struct buf list = BUF_INIT;
    list_cpio(path, &list);
    assert_string_equal(list.data,
                        "f 755 init:abc\nd 755 a\nd 755 a/b\nf 600 a/b/c:12345\n"
                        "l 777 a/link=b/c\nd 755 dev\nc 600 dev/console\n"
                        "f 644 a/empty:\n");
    assert_int_equal(c.written % 4, 0);
}

static void module_order(void **state)
{
    struct fixture *f = *state;
    struct error *err = NULL;
    AUTO_FREE char *dep = path_join(f->dir, "modules.dep");
    AUTO_FREE char *in = path_join(f->dir, "modules.builtin");
    put_file(dep,
             "kernel/lib/crc.ko:\n"
             "kernel/fs/big-fs.ko.xz: kernel/lib/sum.ko kernel/lib/crc.ko\n"
             "kernel/lib/sum.ko: kernel/lib/crc.ko\n"
             "kernel/lib/summer.ko:\n");
    put_file(in, "kernel/fs/ext4/ext4.ko\n");
    CLEANUP(strv_clear) struct strv list = {0}, missing = {0};
    const char *const wanted[] = {"sum", "big_fs", "ext4", "nothing", NULL};
    ok(modules_resolve(f->dir, wanted, &list, &missing, &err), err);
    static const char *const expect[] = {"kernel/lib/crc.ko", "kernel/lib/sum.ko",
                                         "kernel/fs/big-fs.ko.xz"};
    assert_int_equal(list.len, 3);
    for (size_t i = 0; i < list.len; i++) {
        AUTO_FREE char *path = path_join(f->dir, expect[i]);
        assert_string_equal(list.ptr[i], path);
    }
    assert_int_equal(missing.len, 1);
    assert_string_equal(missing.ptr[0], "nothing");
    AUTO_FREE char *none = path_join(f->dir, "none");
    assert_int_equal(modules_resolve(none, wanted, &list, NULL, &err), -1);
    assert_int_equal(err->kind, ERR_NOT_FOUND);
    error_free(err);
}

static void bad_kernels(void **state)
{
    struct fixture *f = *state;
    struct error *err = NULL;
    CLEANUP(kernel_clear) struct kernel k = KERNEL_INIT;
    AUTO_FREE char *path = path_join(f->dir, "vmlinuz");
    put_file(path, "not a kernel");
    setenv("KILN_KERNEL", path, 1);
    f->session.env = environ;
    assert_int_equal(kernel_find(&f->session, &k, &err), -1);
    assert_non_null(strstr(err->message, "is not a bootable Linux kernel"));
    error_free(STEAL(err));
    // a good header whose modules are nowhere
    unsigned char head[0x300] = {0};
    memcpy(head + 0x202, "HdrS", 4);
    head[0x20f] = 0x00;
    head[0x20e] = 0x80;
    memcpy(head + 0x280, "9.9.9-none (x@y) #1", 20);
    ok(file_write_whole(path, 0644, head, sizeof head, &err), err);
    assert_int_equal(kernel_find(&f->session, &k, &err), -1);
    assert_non_null(strstr(err->message, "has no modules in '/lib/modules/9.9.9-none'"));
    error_free(STEAL(err));
    // beside it, as a package unpacks
    AUTO_FREE char *boot = path_join(f->dir, "top/boot/vmlinuz-9.9.9-none");
    AUTO_FREE char *dep = path_join(f->dir, "top/lib/modules/9.9.9-none/modules.dep");
    put_file(boot, "");
    put_file(dep, "");
    ok(file_write_whole(boot, 0644, head, sizeof head, &err), err);
    setenv("KILN_KERNEL", boot, 1);
    f->session.env = environ;
    ok(kernel_find(&f->session, &k, &err), err);
    assert_string_equal(k.version, "9.9.9-none");
    // whose modules are not enough
    CLEANUP(appliance_clear) struct appliance a = APPLIANCE_INIT;
    assert_int_equal(appliance_get(&f->session, &a, &err), -1);
    assert_non_null(strstr(err->message, "has no module 'virtio_pci'"));
    error_free(STEAL(err));
    unsetenv("KILN_KERNEL");
}

static void initramfs_of_this_host(void **state)
{
    struct fixture *f = *state;
    struct error *err = NULL;
    CLEANUP(appliance_clear) struct appliance a = APPLIANCE_INIT, b = APPLIANCE_INIT;
    ok(appliance_get(&f->session, &a, &err), err);
    struct stat first, second;
    assert_int_equal(stat(a.initrd, &first), 0);
    CLEANUP(buf_clear) struct buf list = BUF_INIT;
    list_cpio(a.initrd, &list);
    static const char *const wanted[] = {"\nf 755 init",
                                         "lib/modules/virtio_blk.ko",
                                         "lib/modules.list",
                                         "f 755 sbin/mke2fs",
                                         "l 777 sbin/mkfs.ext4=mke2fs",
                                         "libc.so.6",
                                         "f 755 sbin/sfdisk",
                                         "c 600 dev/console"};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (!strstr(list.data, wanted[i]))
            fail_msg("the initramfs lacks '%s'", wanted[i]);
    // again: the same file, not made anew; and made anew when it is gone, with the same digest
    ok(appliance_get(&f->session, &b, &err), err);
    assert_int_equal(stat(b.initrd, &second), 0);
    assert_int_equal(first.st_ino, second.st_ino);
    assert_int_equal(unlink(b.initrd), 0);
    appliance_clear(&b);
    ok(appliance_get(&f->session, &b, &err), err);
    assert_string_equal(a.digest, b.digest);
    assert_int_equal(access(b.initrd, R_OK), 0);
}

/* Opens the template of a key, filling it if it is not ready; returns whether it was. */
static bool use_template(struct fixture *f, const char *key, bool *damaged)
{
    CLEANUP(saved_clear) struct saved t = SAVED_INIT;
    struct error *err = NULL;
    ok(template_open(&f->session, key, &t, &err), err);
    *damaged = t.damaged;
    if (t.ready)
        return true;
    put_file(t.ram, "ram");
    assert_int_equal(truncate(t.ram, 64 << 20), 0);
    put_file(t.state, "state");
    AUTO_FREE char *kernel = path_join(t.dir, TEMPLATE_KERNEL);
    put_file(kernel, "kernel");
    ok(saved_commit(&f->session, &t, &err), err);
    assert_true(t.ready);
    return false;
}

static void damage(struct fixture *f, const char *name, int kind)
{
    AUTO_FREE char *store = path_join(f->session.cache, "template");
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    struct error *err = NULL;
    ok(process_run(NULL, ARGV("find", store, "-name", name), &out, &err), err);
    out.data[strcspn(out.data, "\n")] = '\0';
    AUTO_CLOSE int fd = open(out.data, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    if (kind == 0)
        assert_int_equal(unlink(out.data), 0);
    else if (kind == 1)
        assert_int_equal(ftruncate(fd, 2), 0);
    else
        assert_int_equal(pwrite(fd, "X", 1, 1), 1);
}

static void templates(void **state)
{
    struct fixture *f = *state;
    bool damaged;
    assert_false(use_template(f, "key", &damaged));
    assert_false(damaged);
    assert_true(use_template(f, "key", &damaged));
    static const char *const names[] = {"ram", "state", "template.json"};
    for (size_t i = 0; i < 3; i++)
        for (int kind = 0; kind < 3; kind++) {
            damage(f, names[i], kind);
            assert_false(use_template(f, "key", &damaged));
            assert_true(damaged);
            assert_true(use_template(f, "key", &damaged));
        }
    damage(f, "kernel", 0);
    assert_false(use_template(f, "key", &damaged));
    // another key is another template; the oldest ones go, those just used stay
    for (int i = 0; i < 6; i++) {
        char key[16];
        snprintf(key, sizeof key, "other%d", i);
        assert_false(use_template(f, key, &damaged));
        assert_true(use_template(f, "key", &damaged));
    }
    assert_false(use_template(f, "other0", &damaged));
    assert_false(damaged);
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    struct error *err = NULL;
    AUTO_FREE char *store = path_join(f->session.cache, "template");
    ok(process_run(NULL, ARGV("find", store, "-name", "ram"), &out, &err), err);
    size_t n = 0;
    for (const char *p = out.data; (p = strchr(p, '\n')); p++)
        n++;
    assert_int_equal(n, 4);
}

/* A maker that dies leaves nothing: the next one makes it, and sweeps. */
static void template_maker_dies(void **state)
{
    struct fixture *f = *state;
    struct error *err = NULL;
    bool damaged;
    pid_t pid = fork();
    if (pid == 0) {
        struct saved t = SAVED_INIT;
        ok(template_open(&f->session, "dies", &t, &err), err);
        put_file(t.ram, "half");
        _exit(t.ready ? 1 : 0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_false(use_template(f, "dies", &damaged));
    assert_false(damaged);
    AUTO_FREE char *working = path_join(f->session.cache, "template/.working");
    assert_int_equal(rmdir(working), 0);
}

static void static_programs_need_nothing(void **state)
{
    struct fixture *f = *state;
    struct error *err = NULL;
    CLEANUP(strv_clear) struct strv list = {0};
    ok(program_libraries(&f->session, "/bin/busybox", &list, &err), err);
    assert_int_equal(list.len, 0);
    assert_int_equal(program_libraries(&f->session, "/etc/passwd", &list, &err), -1);
    assert_non_null(strstr(err->message, "is not a 64-bit ELF program"));
    error_free(err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpio_round_trip),
        cmocka_unit_test(module_order),
        cmocka_unit_test(bad_kernels),
        cmocka_unit_test(initramfs_of_this_host),
        cmocka_unit_test(templates),
        cmocka_unit_test(template_maker_dies),
        cmocka_unit_test(static_programs_need_nothing),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
