// SPDX-License-Identifier: MIT
//
// The builder VM, for real: template made and restored, overlays, disks, the stream, what happens
// when the template is damaged, the host's disk is full, the user interrupts. With KILN_BENCH set
// it prints the times it took.
#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/process.h"
#include "base/session.h"
#include "builder/agent/protocol.h"
#include "builder/agent/stream.h"
#include "builder/worker/internal.h"
#include "builder/worker/standby.h"
#include "builder/worker/vm.h"
#include "qcow2/qcow2.h"
#include "vm/accel.h"
#include "vm/qemu.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

enum { DISK_MB = 640 };
#define DISK_SIZE ((uint64_t)DISK_MB << 20)

struct fixture {
    char dir[64];
    char *base;
    struct session session;
    struct buf notices, output;
};

static void ok(int rc, struct error *err)
{
    if (rc < 0)
        fail_msg("%s", err ? err->message : "failed without an error");
}

static void run_host(const char *const *argv)
{
    struct error *err = NULL;
    ok(process_run(NULL, (char *const *)argv, NULL, &err), err);
}
#define RUN(...) run_host((const char *const[]){__VA_ARGS__, NULL})

static void bench(const char *what, long long since_ms)
{
    if (getenv("KILN_BENCH"))
        print_message("# %-34s %5lld ms\n", what, now_ms() - since_ms);
}

/* A qcow2 disk with one ext4 file system, on the whole disk, that holds busybox. */
static void make_base(struct fixture *f)
{
    AUTO_FREE char *root = path_join(f->dir, "root");
    AUTO_FREE char *bin = path_join(root, "bin");
    AUTO_FREE char *etc = path_join(root, "etc");
    AUTO_FREE char *sh = path_join(bin, "sh");
    AUTO_FREE char *passwd = path_join(etc, "passwd");
    AUTO_FREE char *release = path_join(etc, "os-release");
    AUTO_FREE char *raw = path_join(f->dir, "base.raw");
    AUTO_FREE char *size = xasprintf("%dM", DISK_MB);
    struct error *err = NULL;
    ok(make_dirs(bin, 0755, &err), err);
    ok(make_dirs(etc, 0755, &err), err);
    RUN("cp", "/bin/busybox", bin);
    assert_int_equal(symlink("busybox", sh), 0);
    ok(file_write_whole(passwd, 0644, "root:x:0:0::/root:/bin/sh\n", 26, &err), err);
    ok(file_write_whole(release, 0644, "NAME=Test\n", 10, &err), err);
    RUN("truncate", "-s", size, raw);
    RUN("mke2fs", "-q", "-F", "-t", "ext4", "-d", root, raw);
    f->base = path_join(f->dir, "base.qcow2");
    RUN("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, f->base);
}

/* QEMU behind a script: while the file "no-restore" is there it cannot restore, and is killed
 * while it should if that file has any content. With KVM it always fails. */
static void make_qemu(struct fixture *f)
{
    AUTO_FREE char *path = path_join(f->dir, "qemu");
    AUTO_FREE char *script = xasprintf(
        "#!/bin/sh\n"
        "stop=%s/no-restore\n"
        "for a; do if [ \"$a\" = -incoming ] && [ -e $stop ]; then\n"
        "[ -s $stop ] && kill -9 $$; exit 7; fi\n"
        "[ \"$a\" = kvm ] && exit 9; done\n"
        "exec qemu-system-x86_64 \"$@\"\n",
        f->dir);
    struct error *err = NULL;
    ok(file_write_whole(path, 0755, script, strlen(script), &err), err);
    setenv("KILN_QEMU", path, 1);
    f->session.env = environ;
}

static void take_notice(void *arg, const char *line)
{
    struct fixture *f = arg;
    buf_addf(&f->notices, "%s\n", line);
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    struct error *err = NULL;
    snprintf(f->dir, sizeof f->dir, "/tmp/kiln-vm-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    setenv("KILN_HOME", f->dir, 1);
    setenv("KILN_ACCEL", "tcg", 0);
    ok(session_init(&f->session, environ, &err), err);
    f->session.events = (struct session_events){.notice = take_notice, .arg = f};
    buf_init(&f->notices);
    buf_init(&f->output);
    make_base(f);
    make_qemu(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    (void)remove_tree(f->dir, NULL);
    session_clear(&f->session);
    buf_clear(&f->notices);
    buf_clear(&f->output);
    free(f->base);
    free(f);
    return 0;
}

static void take_output(void *arg, int stream, const char *bytes, size_t n)
{
    struct fixture *f = arg;
    assert_in_range(stream, 1, 2);
    buf_add(&f->output, bytes, n);
}

static char *new_overlay(struct fixture *f, const char *name)
{
    struct error *err = NULL;
    char *path = path_join(f->dir, name);
    (void)unlink(path);
    ok(qcow2_create_overlay(path, &(struct qcow2_overlay){.size = DISK_SIZE}, &err), err);
    return path;
}

static struct builder_vm *start_on(struct fixture *f, const char *top)
{
    struct error *err = NULL;
    struct builder_vm *vm = NULL;
    const char *files[] = {f->base, top};
    struct runner_options o = {.cpus = 1, .memory_mb = 512, .target = {files, 2, true, DISK_SIZE}};
    long long t = now_ms();
    ok(builder_vm_start(&f->session, &o, &vm, &err), err);
    bench("start", t);
    return vm;
}

static void call_slot(struct fixture *f, struct builder_vm *vm, int type, int slot)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    struct error *err = NULL;
    long long t = now_ms();
    message_put_num(&m, AGENT_TAG_SLOT, (uint64_t)slot);
    ok(builder_vm_call(vm, type, &m, 60000, take_output, f, NULL, &err), err);
    bench(type == AGENT_MOUNT ? "mount" : type == AGENT_FORMAT ? "format" : "request", t);
}

/* Runs a shell command in the image; its output is in f->output. */
static int run_rc(struct fixture *f, struct builder_vm *vm, const char *command, struct error **err)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT, reply = MESSAGE_INIT;
    buf_reset(&f->output);
    message_puts(&m, AGENT_TAG_ARG, "/bin/sh");
    message_puts(&m, AGENT_TAG_ARG, "-c");
    message_puts(&m, AGENT_TAG_ARG, command);
    long long t = now_ms();
    if (builder_vm_call(vm, AGENT_EXEC, &m, 120000, take_output, f, &reply, err) < 0)
        return -1;
    bench("exec", t);
    return (int)message_num(&reply, AGENT_TAG_STATUS, 99);
}

static void run(struct fixture *f, struct builder_vm *vm, const char *command)
{
    struct error *err = NULL;
    int rc = run_rc(f, vm, command, &err);
    ok(rc, err);
    if (rc)
        fail_msg("'%s' ended with %d: %s", command, rc, f->output.data);
}

/* The first start makes the template, the second uses it; the two differ where they must. */
static void restored_twice(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_clear) struct buf first = BUF_INIT;
    for (int i = 0; i < 3; i++) {
        AUTO_FREE char *top = new_overlay(f, "twice.qcow2");
        buf_reset(&f->notices);
        CLEANUP(builder_vm_freep) struct builder_vm *vm = start_on(f, top);
        assert_int_equal(strstr(f->notices.data, "to make its template") != NULL, i == 0);
        call_slot(f, vm, AGENT_MOUNT, AGENT_DISK_TARGET);
        run(f, vm, "busybox head -c 32 /dev/urandom | busybox od -An -tx1");
        assert_true(f->output.len >= 90);
        assert_string_not_equal(f->output.data, first.data);
        buf_reset(&first);
        buf_add(&first, f->output.data, f->output.len);
        run(f, vm, "busybox date +%s");
        long long guest = strtoll(f->output.data, NULL, 10), host = time(NULL);
        assert_in_range(guest, host - 5, host + 1);
        struct error *err = NULL;
        ok(builder_vm_stop(vm, &err), err);
    }
}

/* Each overlay holds just its step, and is complete when the next one has its place. */
static void overlay_a_step(void **state)
{
    struct fixture *f = *state;
    struct error *err = NULL;
    AUTO_FREE char *one = new_overlay(f, "one.qcow2");
    AUTO_FREE char *two = new_overlay(f, "two.qcow2");
    AUTO_FREE char *three = new_overlay(f, "three.qcow2");
    CLEANUP(builder_vm_freep) struct builder_vm *vm = start_on(f, one);
    call_slot(f, vm, AGENT_MOUNT, AGENT_DISK_TARGET);
    run(f, vm, "echo one > /one");
    long long t = now_ms();
    ok(builder_vm_next_overlay(vm, two, &err), err);
    bench("next overlay", t);
    run(f, vm, "echo two > /two");
    t = now_ms();
    ok(builder_vm_next_overlay(vm, three, &err), err);
    bench("next overlay", t);
    builder_vm_free(STEAL(vm)); // killed: what was committed must be there all the same
    RUN("qemu-img", "check", "-q", "-f", "qcow2", "-U", one);
    RUN("qemu-img", "check", "-q", "-f", "qcow2", "-U", two);
    AUTO_FREE char *top = new_overlay(f, "look.qcow2");
    const char *files[] = {f->base, one, two, top};
    struct runner_options o = {.cpus = 1, .memory_mb = 512, .target = {files, 4, true, DISK_SIZE}};
    ok(builder_vm_start(&f->session, &o, &vm, &err), err);
    call_slot(f, vm, AGENT_MOUNT, AGENT_DISK_TARGET);
    run(f, vm, "busybox cat /one /two");
    assert_string_equal(f->output.data, "one\ntwo\n");
}

/* Disks come and go while it runs; one that is not writable stays as it was. */
static void disks_at_run_time(void **state)
{
    struct fixture *f = *state;
    struct error *err = NULL;
    AUTO_FREE char *top = new_overlay(f, "top.qcow2");
    AUTO_FREE char *cache = new_overlay(f, "cache.qcow2");
    CLEANUP(builder_vm_freep) struct builder_vm *vm = start_on(f, top);
    struct runner_disk disk = {(const char *const[]){cache}, 1, true, DISK_SIZE};
    for (int round = 0; round < 2; round++) {
        long long t = now_ms();
        ok(builder_vm_set_disk(vm, AGENT_DISK_EXTRA, &disk, &err), err);
        bench("set disk", t);
        call_slot(f, vm, AGENT_FORMAT, AGENT_DISK_EXTRA);
        call_slot(f, vm, AGENT_UMOUNT, AGENT_DISK_EXTRA);
        t = now_ms();
        ok(builder_vm_set_disk(vm, AGENT_DISK_EXTRA, NULL, &err), err);
        bench("take disk out", t);
    }
    RUN("qemu-img", "check", "-q", "-f", "qcow2", cache);
    struct stat before, after;
    assert_int_equal(stat(cache, &before), 0);
    disk.writable = false;
    ok(builder_vm_set_disk(vm, AGENT_DISK_EXTRA + 1, &disk, &err), err);
    call_slot(f, vm, AGENT_FORMAT, AGENT_DISK_EXTRA + 1); // mounts it: it has a file system
    builder_vm_free(STEAL(vm));
    assert_int_equal(stat(cache, &after), 0);
    assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
    AUTO_FREE char *work = path_join(f->session.cache, "work");
    assert_int_equal(rmdir(work), 0); // nothing of the throw-away overlay is left
}

struct big_file {
    uint64_t at, size;
};

/* A stream of one file "big" of zeros and then its end. */
static ssize_t produce(void *arg, void *bytes, size_t n)
{
    struct big_file *b = arg;
    char head[STREAM_ALIGN] = "", tail[sizeof(struct stream_entry)];
    struct stream_entry e = {.magic = STREAM_MAGIC,
                             .type = STREAM_FILE,
                             .mode = 0644,
                             .size = b->size,
                             .path_len = 3,
                             .n_extents = 1};
    struct stream_entry end = {.magic = STREAM_MAGIC, .type = STREAM_END};
    uint64_t extent[2] = {0, b->size};
    memcpy(head, &e, sizeof e);
    memcpy(head + sizeof e, "big", 3);
    memcpy(head + sizeof e + 3, extent, sizeof extent);
    memcpy(tail, &end, sizeof tail);
    uint64_t data_end = sizeof head + b->size, all = data_end + sizeof tail;
    size_t done = 0;
    while (done < n && b->at < all) {
        uint64_t limit = b->at < sizeof head ? sizeof head : b->at < data_end ? data_end : all;
        size_t piece = limit - b->at < n - done ? (size_t)(limit - b->at) : n - done;
        if (b->at < sizeof head)
            memcpy((char *)bytes + done, head + b->at, piece);
        else if (b->at < data_end)
            memset((char *)bytes + done, 'x', piece);
        else
            memcpy((char *)bytes + done, tail + (b->at - data_end), piece);
        b->at += piece;
        done += piece;
    }
    return (ssize_t)done;
}

static void streams(void **state)
{
    struct fixture *f = *state;
    struct error *err = NULL;
    AUTO_FREE char *top = new_overlay(f, "top.qcow2");
    CLEANUP(builder_vm_freep) struct builder_vm *vm = start_on(f, top);
    call_slot(f, vm, AGENT_MOUNT, AGENT_DISK_TARGET);
    for (int i = 0; i < 2; i++) {
        CLEANUP(message_clear) struct message m = MESSAGE_INIT, reply = MESSAGE_INIT;
        struct big_file b = {.size = i ? 100 << 20 : STREAM_BIG};
        uint64_t offset;
        long long t = now_ms();
        ok(builder_vm_stream_begin(vm, produce, &b, &offset, &err), err);
        assert_int_equal(offset % STREAM_ALIGN, 0);
        message_put_num(&m, AGENT_TAG_OFFSET, offset);
        message_puts(&m, AGENT_TAG_PATH, "/");
        message_put_num(&m, AGENT_TAG_FLAGS, AGENT_DEST_DIR);
        int rc = builder_vm_call(vm, AGENT_RECEIVE, &m, 120000, NULL, NULL, &reply, &err);
        builder_vm_stream_end(vm);
        ok(rc, err);
        bench(i ? "stream of 100 MB to ext4" : "stream of 64 KB", t);
        assert_int_equal(message_num(&reply, AGENT_TAG_SIZE, 0), b.size);
        run(f, vm, "busybox stat -c %s /big; busybox tail -c 3 /big");
        assert_string_equal(f->output.data, i ? "104857600\nxxx" : "65536\nxxx");
    }
}

static void write_at(const char *path, off_t at)
{
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite_all(fd, "damage", 6, at), 0);
}

/* The one template there is; owned path of one of its files. */
static char *template_file(struct fixture *f, const char *name)
{
    AUTO_FREE char *store = path_join(f->session.cache, "template");
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    struct error *err = NULL;
    ok(process_run(NULL, ARGV("find", store, "-name", name), &out, &err), err);
    out.data[strcspn(out.data, "\n")] = '\0';
    return xstrdup(out.data);
}

/* Somebody kills QEMU while it restores: that is an error and no fault of the template's. */
static void killed_while_restoring(void **state)
{
    struct fixture *f = *state;
    CLEANUP(error_freep) struct error *err = NULL;
    AUTO_FREE char *flag = path_join(f->dir, "no-restore");
    ok(file_write_whole(flag, 0644, "kill", 4, &err), err);
    buf_reset(&f->notices);
    struct runner_options o = {.memory_mb = 512, .cpus = 1};
    struct builder_vm *vm = NULL;
    assert_int_equal(builder_vm_start(&f->session, &o, &vm, &err), -1);
    assert_int_equal(err->kind, ERR_KILLED);
    assert_non_null(strstr(err->message, "killed by signal 9"));
    assert_non_null(err->hint);
    assert_int_equal(unlink(flag), 0);
    AUTO_FREE char *top = new_overlay(f, "top.qcow2");
    builder_vm_free(start_on(f, top));
    assert_string_equal(f->notices.data, "");
}

/* A template that cannot be restored: a cold boot, with a line that says so. */
static void restore_fails(void **state)
{
    struct fixture *f = *state;
    struct error *err = NULL;
    AUTO_FREE char *flag = path_join(f->dir, "no-restore");
    AUTO_FREE char *top = new_overlay(f, "top.qcow2");
    ok(file_write_whole(flag, 0644, "", 0, &err), err);
    buf_reset(&f->notices);
    CLEANUP(builder_vm_freep) struct builder_vm *vm = start_on(f, top);
    assert_non_null(strstr(f->notices.data, "cannot be restored from its template"));
    assert_non_null(strstr(f->notices.data, "booting it cold"));
    call_slot(f, vm, AGENT_MOUNT, AGENT_DISK_TARGET);
    run(f, vm, "true");
    assert_int_equal(unlink(flag), 0);
}

/* A KVM that ran guests and does so no more: TCG with a line that says so, and that is remembered.
 */
static void kvm_breaks(void **state)
{
    struct fixture *f = *state;
    CLEANUP(qemu_clear) struct qemu qemu = QEMU_INIT;
    CLEANUP(accel_verdict_clear) struct accel_verdict v = ACCEL_VERDICT_INIT;
    struct error *err = NULL;
    if (accel_kvm_check(NULL) < 0) {
        print_message("# there is no KVM that could break\n");
        skip();
    }
    AUTO_FREE char *top = new_overlay(f, "top.qcow2");
    AUTO_FREE char *accel = xstrdup(getenv("KILN_ACCEL"));
    ok(qemu_find(&f->session, NULL, &qemu, &err), err);
    accel_worked(&f->session, qemu.version);
    buf_reset(&f->notices);
    unsetenv("KILN_ACCEL");
    CLEANUP(builder_vm_freep) struct builder_vm *vm = start_on(f, top);
    setenv("KILN_ACCEL", accel, 1);
    f->session.env = environ;
    assert_non_null(strstr(f->notices.data,
                           "using TCG (slow): the builder VM does not start under KVM: "
                           "QEMU ended unexpectedly: exit status 9; "));
    accel_verdict_load(&f->session, qemu.version, &v);
    assert_int_equal(v.found, ACCEL_FOUND_FAILED);
    call_slot(f, vm, AGENT_MOUNT, AGENT_DISK_TARGET);
    run(f, vm, "true");
}

/* The template is damaged, and two processes need it at once: one of them makes it anew. */
static void remade_once(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE char *path = template_file(f, "state");
    write_at(path, 1000);
    pid_t pids[2];
    for (int i = 0; i < 2; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            AUTO_FREE char *name = xasprintf("both%d.qcow2", i);
            AUTO_FREE char *top = new_overlay(f, name);
            buf_reset(&f->notices);
            struct builder_vm *vm = start_on(f, top);
            builder_vm_free(vm);
            _exit(strstr(f->notices.data, "template is damaged: rebuilding it") ? 1 : 0);
        }
    }
    int made = 0;
    for (int i = 0; i < 2; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status));
        made += WEXITSTATUS(status);
    }
    assert_int_equal(made, 1);
}

/* The user's interruption ends a call at once, and with the VM everything of it is gone. */
static void interrupted(void **state)
{
    struct fixture *f = *state;
    struct error *err = NULL;
    AUTO_FREE char *top = new_overlay(f, "top.qcow2");
    pid_t pid = fork();
    if (pid == 0) {
        int wake[2];
        struct interrupt interrupt = {.wake_fd = -1};
        if (pipe(wake) < 0)
            _exit(1);
        atomic_store(&interrupt.wake_fd, wake[1]);
        f->session.cancel_fd = wake[0];
        f->session.interrupt = &interrupt;
        struct builder_vm *vm = start_on(f, top);
        call_slot(f, vm, AGENT_MOUNT, AGENT_DISK_TARGET);
        (void)alarm(60);
        struct sigaction act = {.sa_handler = SIG_DFL};
        (void)sigaction(SIGALRM, &act, NULL);
        session_interrupt(&f->session, SIGTERM);
        int rc = run_rc(f, vm, "busybox sleep 1000", &err);
        int good = rc < 0 && err->kind == ERR_CANCELLED;
        builder_vm_free(vm);
        _exit(good ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_not_equal(process_run(NULL, ARGV("pgrep", "-f", top), NULL, NULL), 0);
}

/* One that came up while nobody waited works like any other; one that is not wanted goes at once. */
static void started_ahead(void **state)
{
    struct fixture *f = *state;
    struct error *err = NULL;
    AUTO_FREE char *top = new_overlay(f, "ahead.qcow2");
    struct runner_options o = {.cpus = 1, .memory_mb = 512};
    struct standby *next = standby_start(&f->session, &o);
    assert_non_null(next);
    struct runner_disk target = {(const char *[]){f->base, top}, 2, true, DISK_SIZE};
    CLEANUP(builder_vm_freep) struct builder_vm *vm = standby_take(next, &target);
    assert_non_null(vm);
    next = standby_start(&f->session, &o);
    call_slot(f, vm, AGENT_MOUNT, AGENT_DISK_TARGET);
    run(f, vm, "echo one > /one && busybox cat /one");
    assert_string_equal(f->output.data, "one\n");
    standby_free(next);
    standby_free(standby_start(&f->session, &o)); // it may not even have a QEMU yet
    ok(builder_vm_stop(vm, &err), err);
    builder_vm_free(STEAL(vm));
    assert_int_not_equal(process_run(NULL, ARGV("pgrep", "-f", f->dir), NULL, NULL), 0);
}

/* In a mount namespace of this process's own. */
static void fill_a_small_disk(struct fixture *f)
{
    struct error *err = NULL;
    AUTO_FREE char *small = path_join(f->dir, "small");
    AUTO_FREE char *name = path_join(small, "top.qcow2");
    assert_int_equal(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    assert_int_equal(mkdir(small, 0755), 0);
    assert_int_equal(mount("small", small, "tmpfs", 0, "size=8m"), 0);
    ok(qcow2_create_overlay(name, &(struct qcow2_overlay){.size = DISK_SIZE}, &err), err);
    CLEANUP(builder_vm_freep) struct builder_vm *vm = start_on(f, name);
    call_slot(f, vm, AGENT_MOUNT, AGENT_DISK_TARGET);
    int rc = run_rc(f, vm,
                    "busybox dd if=/dev/urandom of=/fill bs=1M count=30 && busybox sync; "
                    "busybox sleep 60",
                    &err);
    assert_int_equal(rc, -1);
    assert_int_equal(err->kind, ERR_SYSTEM);
    assert_int_equal(err->errnum, ENOSPC);
    assert_non_null(strstr(err->message, name));
    error_free(err);
    builder_vm_free(STEAL(vm));
    (void)umount2(small, MNT_DETACH);
}

/* A full disk of the host ends the step with ENOSPC, path and room; it must not hang. */
static void host_disk_full(void **state)
{
    int status;
    if (geteuid() != 0) {
        print_message("# only root can mount a small file system\n");
        skip();
    }
    pid_t pid = fork(); // its children have its namespace
    if (pid == 0) {
        if (unshare(CLONE_NEWNS) < 0)
            _exit(1);
        fill_a_small_disk(*state);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* What a command left is killed, and the process that says that the VM lives with it: it is there
 * again for the next. */
static void there_is_a_pulse_after_each_command(void **state)
{
    struct fixture *f = *state;
    struct error *err = NULL;
    AUTO_FREE char *top = new_overlay(f, "top.qcow2");
    struct builder_vm *vm = start_on(f, top);
    call_slot(f, vm, AGENT_MOUNT, AGENT_DISK_TARGET);
    int fd = vm_port(vm->vm, "pulse");
    for (int i = 0; i < 2; i++) {
        char beat = 0;
        ok(run_rc(f, vm, "busybox true", &err), err);
        struct pollfd p = {.fd = fd, .events = POLLIN};
        // one that came before it listened is lost
        for (int tries = 0; tries < 60 && write(fd, "", 1) == 1 && poll(&p, 1, 500) == 0; tries++)
            ;
        assert_int_equal(read(fd, &beat, 1), 1);
    }
    builder_vm_free(vm);
}

/* A VM that dies is told at once, with the end of its console. */
static void guest_dies(void **state)
{
    struct fixture *f = *state;
    struct error *err = NULL;
    AUTO_FREE char *top = new_overlay(f, "top.qcow2");
    CLEANUP(builder_vm_freep) struct builder_vm *vm = start_on(f, top);
    call_slot(f, vm, AGENT_MOUNT, AGENT_DISK_TARGET);
    long long t = now_ms();
    int rc = run_rc(f, vm,
                    "busybox mount -t proc p /proc 2>/dev/null; echo c > /proc/sysrq-trigger; "
                    "busybox sleep 100",
                    &err);
    assert_int_equal(rc, -1);
    assert_int_equal(err->kind, ERR_GUEST);
    if (!strstr(err->message, "panic"))
        fail_msg("%s", err->message);
    assert_true(now_ms() - t < 30000);
    error_free(err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(restored_twice),
        cmocka_unit_test(overlay_a_step),
        cmocka_unit_test(disks_at_run_time),
        cmocka_unit_test(streams),
        cmocka_unit_test(started_ahead),
        cmocka_unit_test(interrupted),
        cmocka_unit_test(there_is_a_pulse_after_each_command),
        cmocka_unit_test(guest_dies),
        cmocka_unit_test(killed_while_restoring),
        cmocka_unit_test(restore_fails),
        cmocka_unit_test(remade_once),
        cmocka_unit_test(kvm_breaks),
        cmocka_unit_test(host_disk_full),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
