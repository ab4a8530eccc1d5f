// SPDX-License-Identifier: MIT
//
// What a RUN sees and what it leaves behind, in the real builder VM, on an image of busybox and a
// few files. One VM serves all tests.
#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/process.h"
#include "base/session.h"
#include "builder/agent/protocol.h"
#include "builder/worker/vm.h"
#include "qcow2/qcow2.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define DISK_SIZE (192ull << 20)

struct fixture {
    char dir[64];
    char *base, *top;
    struct session session;
    struct builder_vm *vm;
    struct buf output;
    long long first_output; /* when, ms */
    int status;
};

static void ok(int rc, const struct error *err)
{
    if (rc < 0)
        fail_msg("%s", err ? err->message : "failed without an error");
}

static void put(struct fixture *f, const char *name, mode_t mode, const char *text)
{
    AUTO_FREE char *path = xasprintf("%s/root/%s", f->dir, name);
    AUTO_FREE char *parent = path_parent(path);
    struct error *err = NULL;
    ok(make_dirs(parent, 0755, &err), err);
    ok(file_write_whole(path, mode, text, strlen(text), &err), err);
}

static void make_base(struct fixture *f)
{
    AUTO_FREE char *root = path_join(f->dir, "root");
    AUTO_FREE char *busybox = path_join(root, "bin/busybox");
    AUTO_FREE char *sh = path_join(root, "bin/sh");
    AUTO_FREE char *resolv = path_join(root, "etc/resolv.conf");
    AUTO_FREE char *raw = path_join(f->dir, "base.raw");
    struct error *err = NULL;
    put(f, "etc/passwd", 0644, "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/srv/web:/bin/sh\n");
    put(f, "etc/group", 0644, "root:x:0:\nweb:x:33:\nvideo:x:44:web\n");
    put(f, "etc/hostname", 0644, "vm\n");
    put(f, "etc/hosts", 0644, "127.0.0.1 localhost\n127.0.1.1 vm.example vm\n");
    put(f, "etc/os-release", 0644, "PRETTY_NAME=\"Test 1\"\n");
    put(f, "usr/sbin/invoke-rc.d", 0755, "#!/bin/sh\n/usr/sbin/policy-rc.d\necho $?\n");
    put(f, "usr/sbin/other", 0755, "#!/bin/sh\necho other\n");
    put(f, "bin/telling-shell", 0755,
        "#!/bin/sh\n[ \"$2\" != : ] || { echo ahead >>/log; echo ahead >/fifo; }\n"
        "exec /bin/sh \"$@\"\n");
    AUTO_FREE char *fifo = path_join(root, "fifo");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    put(f, "bin/noshell", 0755, "#!/no/such/shell\n");
    // the first bytes of a 64-bit program for aarch64
    put(f, "bin/foreign", 0755,
        "\x7f"
        "ELF\2\1\1");
    AUTO_FREE char *foreign = path_join(root, "bin/foreign");
    assert_int_equal(truncate(foreign, 64), 0);
    FILE *e = fopen(foreign, "r+e");
    assert_true(e && fseek(e, 16, SEEK_SET) == 0 && fputc(2, e) == 2 && fputc(0, e) == 0 &&
                fputc(183, e) == 183 && fclose(e) == 0);
    ok(process_run(NULL, ARGV("cp", "/bin/busybox", busybox), NULL, &err), err);
    assert_int_equal(symlink("busybox", sh), 0);
    assert_int_equal(symlink("../run/resolve/resolv.conf", resolv), 0);
    ok(process_run(NULL, ARGV("truncate", "-s", "192M", raw), NULL, &err), err);
    ok(process_run(NULL, ARGV("mke2fs", "-q", "-F", "-t", "ext4", "-d", root, raw), NULL, &err),
       err);
    ok(process_run(NULL, ARGV("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, f->base),
                   NULL, &err),
       err);
}

static void take_output(void *arg, int stream, const char *bytes, size_t n)
{
    struct fixture *f = arg;
    assert_in_range(stream, 1, 2);
    if (!f->output.len)
        f->first_output = now_ms();
    buf_add(&f->output, bytes, n);
}

static int call(struct fixture *f, int type, const struct message *m, struct error **err)
{
    CLEANUP(message_clear) struct message reply = MESSAGE_INIT;
    buf_reset(&f->output);
    if (builder_vm_call(f->vm, type, m, 120000, take_output, f, &reply, err) < 0)
        return -1;
    f->status = (int)message_num(&reply, AGENT_TAG_STATUS, 0);
    return 0;
}

/* call that must succeed. */
static void must(struct fixture *f, int type, const struct message *m)
{
    struct error *err = NULL;
    int rc = call(f, type, m, &err);
    ok(rc, err);
}

static int group_setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    CLEANUP(message_clear) struct message none = MESSAGE_INIT;
    struct error *err = NULL;
    snprintf(f->dir, sizeof f->dir, "/tmp/kiln-agent-vm-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    setenv("KILN_HOME", f->dir, 1);
    setenv("KILN_ACCEL", "tcg", 0);
    ok(session_init(&f->session, environ, &err), err);
    buf_init(&f->output);
    f->base = path_join(f->dir, "base.qcow2");
    f->top = path_join(f->dir, "top.qcow2");
    make_base(f);
    ok(qcow2_create_overlay(f->top, &(struct qcow2_overlay){.size = DISK_SIZE}, &err), err);
    const char *files[] = {f->base, f->top};
    struct runner_options o = {.cpus = 2, .memory_mb = 512, .target = {files, 2, true, DISK_SIZE}};
    ok(builder_vm_start(&f->session, &o, &f->vm, &err), err);
    must(f, AGENT_MOUNT, &none);
    *state = f;
    return 0;
}

static int group_teardown(void **state)
{
    struct fixture *f = *state;
    builder_vm_free(f->vm);
    (void)remove_tree(f->dir, NULL);
    session_clear(&f->session);
    buf_clear(&f->output);
    free(f->base);
    free(f->top);
    free(f);
    return 0;
}

static void put_command(struct message *m, const char *command)
{
    message_puts(m, AGENT_TAG_ARG, "/bin/sh");
    message_puts(m, AGENT_TAG_ARG, "-c");
    message_puts(m, AGENT_TAG_ARG, command);
}

/* Runs a command with further fields already in m, and compares what it wrote. */
static void check(struct fixture *f, struct message *m, const char *command, const char *output)
{
    put_command(m, command);
    must(f, AGENT_EXEC, m);
    assert_string_equal(f->output.data, output);
    message_clear(m);
}

/* Only the first shell of a VM: this test must be the first. */
static void the_first_shell_is_run_ahead_and_changes_nothing(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 2; i++) {
        CLEANUP(message_clear) struct message m = MESSAGE_INIT;
        message_puts(&m, AGENT_TAG_ARG, "/bin/telling-shell");
        message_puts(&m, AGENT_TAG_ARG, "-c");
        message_puts(
            &m, AGENT_TAG_ARG,
            "{ busybox timeout 3 busybox cat /fifo; } 2>/dev/null; [ -e /log ] || echo no log");
        message_put_num(&m, AGENT_TAG_FLAGS, AGENT_SHELL);
        must(f, AGENT_EXEC, &m);
        assert_string_equal(f->output.data, i == 0 ? "ahead\nno log\n" : "no log\n");
    }
}

static void commands_run_as_who_they_should(void **state)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    check(*state, &m, "busybox id -u; umask; pwd; echo $HOME; busybox hostname; busybox cat",
          "0\n0022\n/\n/root\nvm\n");
    message_puts(&m, AGENT_TAG_USER, "web");
    message_puts(&m, AGENT_TAG_CWD, "/etc");
    check(*state, &m, "busybox id -u; busybox id -G; pwd; echo $HOME",
          "33\n33 44\n/etc\n/srv/web\n");
    message_puts(&m, AGENT_TAG_USER, "7:video");
    check(*state, &m, "busybox id -u; busybox id -G", "7\n44\n");
}

static void statuses_are_wait_statuses(void **state)
{
    struct fixture *f = *state;
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    check(f, &m, "exit 7", "");
    assert_int_equal(WEXITSTATUS(f->status), 7);
    check(f, &m, "kill -9 $$", "");
    assert_int_equal(WTERMSIG(f->status), 9);
}

static void expect_failure(struct fixture *f, const char *program, const char *tag_cwd,
                           const char *words)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    CLEANUP(error_freep) struct error *err = NULL;
    message_puts(&m, AGENT_TAG_ARG, program);
    message_puts(&m, AGENT_TAG_CWD, tag_cwd);
    assert_int_equal(call(f, AGENT_EXEC, &m, &err), -1);
    if (!strstr(err->message, words))
        fail_msg("'%s' does not say '%s'", err->message, words);
}

static void what_cannot_run_says_why(void **state)
{
    expect_failure(*state, "nosuch", NULL, "'nosuch' not found in the image");
    expect_failure(*state, "foreign", NULL, "'/bin/foreign' is a program for aarch64");
    expect_failure(*state, "/bin/noshell", NULL, "needs '/no/such/shell'");
    expect_failure(*state, "/bin/sh", "/no/where", "cannot enter the folder '/no/where'");
}

/* The image as the next step finds it must be the image as it was. */
static void nothing_of_ours_stays(void **state)
{
    static const char list[] =
        "busybox find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o "
        "-path /lost+found \\) -prune -o -print | busybox sort; "
        "busybox readlink /etc/resolv.conf; busybox stat -c %Y.%y /etc /usr/sbin";
    struct fixture *f = *state;
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    CLEANUP(error_freep) struct error *err = NULL;
    put_command(&m, list);
    must(f, AGENT_EXEC, &m);
    AUTO_FREE char *before = xstrdup(f->output.data);
    message_clear(&m);
    message_puts(&m, AGENT_TAG_MOUNT_TYPE, "secret");
    message_puts(&m, AGENT_TAG_MOUNT_TARGET, "/mnt/a/b/key");
    message_puts(&m, AGENT_TAG_MOUNT_DATA, "secret");
    message_puts(&m, AGENT_TAG_MOUNT_TYPE, "tmpfs");
    message_puts(&m, AGENT_TAG_MOUNT_TARGET, "/mnt/t");
    message_puts(&m, AGENT_TAG_NAMESERVER, "192.0.2.1");
    check(
        f, &m,
        "busybox cat /mnt/a/b/key; echo; echo x > /mnt/t/x; [ -e /etc/resolv.conf ] || echo none; "
        "invoke-rc.d; echo y > /dev/shm/y",
        "secret\nnone\n101\n");
    check(f, &m, list, before);
    // seen from outside, when no command runs
    message_puts(&m, AGENT_TAG_PATH, "/usr/sbin/policy-rc.d");
    assert_int_equal(call(f, AGENT_READ, &m, &err), -1);
    assert_non_null(strstr(err->message, "policy-rc.d"));
}

static void any_user_may_open_stdin_stdout_and_stderr(void **state)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    message_puts(&m, AGENT_TAG_USER, "web");
    check(*state, &m,
          "echo a >/dev/stdout; echo b | busybox tee /proc/self/fd/1; busybox cat /dev/stdin",
          "a\nb\nb\n");
    check(*state, &m, "busybox su web -c 'echo c >/dev/stderr; busybox id -un >/dev/stderr'",
          "c\nweb\n");
}

/* The resolver asks whom the image's file names, which is nobody here: our own server is asked. */
static void queries_go_to_the_name_server_whoever_is_asked(void **state)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    message_puts(&m, AGENT_TAG_NAMESERVER, "10.0.2.15");
    check(*state, &m,
          "busybox nc -ll -p 53 -e busybox cat & "
          "for a in 192.0.2.53 127.0.0.53; do "
          "until echo \"to $a\" | busybox nc -w 9 $a 53 2>/dev/null; do :; done; done",
          "to 192.0.2.53\nto 127.0.0.53\n");
    CLEANUP(error_freep) struct error *err = NULL;
    message_puts(&m, AGENT_TAG_NAMESERVER, "2001:db8::1");
    put_command(&m, ":");
    assert_int_equal(call(*state, AGENT_EXEC, &m, &err), -1);
    assert_string_equal(err->message, "the name server '2001:db8::1' has no IPv4 address");
}

static void user_namespaces_can_be_made(void **state)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    message_puts(&m, AGENT_TAG_USER, "web");
    check(*state, &m,
          "busybox unshare -Ur busybox id -u; busybox unshare -Urmpf --mount-proc busybox sh -c "
          "'busybox mount -t tmpfs t /etc && echo $$'",
          "0\n1\n");
    message_puts(&m, AGENT_TAG_USER, "0");
    check(*state, &m,
          "[ / -ef /proc/1/root ] || echo chroot; busybox ls -d /tree /proc/self/cwd/ 2>/dev/null",
          "chroot\n/proc/self/cwd/\n");
}

static void loop_devices_are_there_and_detached_afterwards(void **state)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    check(*state, &m,
          "[ -c /dev/fuse ] && [ -c /dev/net/tun ] && [ -c /dev/btrfs-control ] && "
          "[ -c /dev/mapper/control ] && : <>/dev/fuse && : <>/dev/net/tun && echo there; "
          "busybox dd if=/dev/zero of=/disk bs=1M count=4 2>/dev/null; busybox mke2fs -F /disk "
          ">/dev/null; busybox mkdir /mnt; busybox mount -o loop /disk /mnt && echo x >/mnt/x; "
          "busybox losetup $(busybox losetup -f) /disk; busybox losetup -a | busybox wc -l",
          "there\n2\n");
    check(*state, &m,
          "busybox losetup -a; busybox mount -o loop /disk /mnt && busybox cat /mnt/x; "
          "busybox umount /mnt; busybox rm -r /disk /mnt",
          "x\n");
}

static void services_are_forbidden_when_they_are_asked_for(void **state)
{
    struct fixture *f = *state;
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    const char *const programs[][2] = {{"/usr/sbin/invoke-rc.d", "101\n"},
                                       {"/usr/sbin/other", "other\n"}};
    for (size_t i = 0; i < 2; i++) { // as the command itself
        message_puts(&m, AGENT_TAG_ARG, programs[i][0]);
        must(f, AGENT_EXEC, &m);
        assert_string_equal(f->output.data, programs[i][1]);
        message_clear(&m);
    }
    check(
        f, &m,
        "cd /usr/sbin; [ -e policy-rc.d ] || echo none; other & wait; busybox cp invoke-rc.d new; "
        "busybox mv new invoke-rc.d; invoke-rc.d; invoke-rc.d",
        "none\nother\n101\n101\n");
    check(f, &m,
          "cd /usr/sbin; [ -e policy-rc.d ] || echo none; printf '#!/bin/sh\nexit 7' >policy-rc.d; "
          "busybox chmod 755 policy-rc.d; invoke-rc.d",
          "none\n7\n");
    check(f, &m, "invoke-rc.d; busybox rm /usr/sbin/policy-rc.d", "7\n");
}

static void what_is_left_running_is_killed(void **state)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    long long start = now_ms();
    check(*state, &m, "busybox sleep 600 & (busybox setsid busybox sleep 600 &) ; echo done",
          "done\n");
    assert_true(now_ms() - start < 60000);
    check(*state, &m, "busybox ps | busybox grep -c '[s]leep'", "0\n");
}

static void output_is_live_and_whole(void **state)
{
    struct fixture *f = *state;
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    check(f, &m, "echo first; busybox sleep 1; echo second", "first\nsecond\n");
    assert_true(now_ms() - f->first_output >= 900);
    put_command(&m, "busybox yes 0123456 | busybox head -c 8388608; echo e >&2");
    must(f, AGENT_EXEC, &m);
    assert_int_equal(f->output.len, 8388608 + 2);
    assert_memory_equal(f->output.data + 8388600, "0123456\n", 6);
}

static void a_frozen_disk_is_thawed_by_what_needs_it(void **state)
{
    CLEANUP(message_clear) struct message none = MESSAGE_INIT, m = MESSAGE_INIT;
    must(*state, AGENT_FREEZE, &none);
    must(*state, AGENT_PING, &none); // needs nothing of the disk
    check(*state, &m, "echo > /thawed && echo yes", "yes\n");
}

static void without_a_network_there_is_only_lo(void **state)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    message_put_num(&m, AGENT_TAG_FLAGS, AGENT_NO_NETWORK);
    check(*state, &m, "busybox ls /sys/class/net", "lo\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_shell_is_run_ahead_and_changes_nothing),
        cmocka_unit_test(commands_run_as_who_they_should),
        cmocka_unit_test(statuses_are_wait_statuses),
        cmocka_unit_test(what_cannot_run_says_why),
        cmocka_unit_test(nothing_of_ours_stays),
        cmocka_unit_test(any_user_may_open_stdin_stdout_and_stderr),
        cmocka_unit_test(queries_go_to_the_name_server_whoever_is_asked),
        cmocka_unit_test(user_namespaces_can_be_made),
        cmocka_unit_test(loop_devices_are_there_and_detached_afterwards),
        cmocka_unit_test(services_are_forbidden_when_they_are_asked_for),
        cmocka_unit_test(what_is_left_running_is_killed),
        cmocka_unit_test(output_is_live_and_whole),
        cmocka_unit_test(a_frozen_disk_is_thawed_by_what_needs_it),
        cmocka_unit_test(without_a_network_there_is_only_lo),
    };
    return cmocka_run_group_tests_name("agent in the builder VM", tests, group_setup,
                                       group_teardown);
}
