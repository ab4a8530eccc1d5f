// SPDX-License-Identifier: MIT
//
// One QEMU for real: `-machine none -accel tcg` starts in a tenth of a second and speaks QMP.
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "base/session.h"
#include "qcow2/head.h"
#include "qcow2/nodes.h"
#include "vm/accel.h"
#include "vm/console.h"
#include "vm/kvm_probe.h"
#include "vm/qemu.h"
#include "vm/vm.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

static struct session session = SESSION_INIT;
static struct qemu qemu = QEMU_INIT;
static char dir[] = "/tmp/kiln-unit-XXXXXX";

static int set_up(void **state)
{
    (void)state;
    session.log = stderr;
    session.cache = mkdtemp(dir);
    return qemu_find(&session, NULL, &qemu, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    qemu_clear(&qemu);
    return remove_tree(dir, NULL);
}

/* `more`: further arguments, NULL-terminated. */
static struct vm *start(char *const *more, char *const *ports, struct error **err)
{
    CLEANUP(strv_clear) struct strv args = {0};
    for (char *const *a = ARGV("-machine", "none", "-accel", "tcg", "-S"); *a; a++)
        strv_add(&args, *a);
    for (; more && *more; more++)
        strv_add(&args, *more);
    return vm_start(&session,
                    &(struct vm_start_options){.qemu = qemu.path, .args = &args, .ports = ports},
                    err);
}

static void qemu_is_found_and_its_version_remembered(void **state)
{
    (void)state;
    assert_true(qemu.major >= QEMU_MAJOR_MIN);
    AUTO_FREE char *cache = path_join(dir, "qemu.json");
    json_auto_t *known = json_read_file(cache, NULL);
    assert_non_null(json_object_get(known, qemu.path));
    CLEANUP(qemu_clear) struct qemu again = QEMU_INIT;
    assert_int_equal(qemu_find(&session, NULL, &again, NULL), 0);
    assert_string_equal(again.version, qemu.version);
    CLEANUP(error_freep) struct error *err = NULL;
    assert_int_equal(qemu_find(&session, "no-such-qemu", &again, &err), -1);
    assert_int_equal(err->kind, ERR_NOT_FOUND);
    assert_non_null(err->hint);
}

static void commands_are_answered_and_refusals_are_told(void **state)
{
    (void)state;
    CLEANUP(error_freep) struct error *err = NULL;
    CLEANUP(vm_freep) struct vm *vm = start(NULL, NULL, &err);
    assert_non_null(vm);
    assert_string_equal(qmp_qemu_version(vm_qmp(vm)), qemu.version);
    json_auto_t *reply = NULL;
    assert_int_equal(qmp_command(vm_qmp(vm), "query-status", NULL, 5000, &reply, &err), 0);
    assert_string_equal(json_str(reply, "status"), "prelaunch");
    assert_int_equal(
        qmp_callf(vm_qmp(vm), 5000, NULL, &err, "blockdev-del", "{s:s}", "node-name", "nobody"),
        -1);
    assert_int_equal(err->kind, ERR_SYSTEM);
    assert_string_equal(err->message,
                        "QMP blockdev-del: Failed to find node with node-name='nobody'");
    error_free(STEAL(err));
    assert_int_equal(
        qmp_callf(vm_qmp(vm), 5000, NULL, &err, "blockdev-del", "{s:s}", "node-name", "\xff"), -1);
    assert_int_equal(err->kind, ERR_USER);
    error_free(STEAL(err));
    assert_int_equal(vm_quit(vm, 5000, &err), 0);
    assert_true(vm_ended(vm));
}

static void events_reach_callback_and_queue(void **state)
{
    (void)state;
    CLEANUP(vm_freep) struct vm *vm = start(NULL, NULL, NULL);
    assert_int_equal(qmp_command(vm_qmp(vm), "cont", NULL, 5000, NULL, NULL), 0);
    assert_int_equal(qmp_wait_event(vm_qmp(vm), "RESUME", 5000, NULL, NULL), 0);
    CLEANUP(error_freep) struct error *err = NULL;
    assert_int_equal(qmp_wait_event(vm_qmp(vm), "NEVER", 50, NULL, &err), -1);
    assert_int_equal(err->kind, ERR_GUEST);
}

static void death_is_told_in_words_at_once(void **state)
{
    (void)state;
    CLEANUP(vm_freep) struct vm *vm = start(NULL, NULL, NULL);
    assert_int_equal(kill(vm_pid(vm), SIGKILL), 0);
    CLEANUP(error_freep) struct error *err = NULL;
    long long before = now_ms();
    assert_int_equal(qmp_wait_event(vm_qmp(vm), "NEVER", 30000, NULL, &err), -1);
    assert_true(now_ms() - before < 5000);
    assert_int_equal(err->kind, ERR_KILLED);
    assert_string_equal(err->message, "QEMU ended unexpectedly: killed by signal 9 (Killed)");
}

/* QEMU's own crash is told apart from a signal that somebody sent, whether QEMU catches it or not.
 */
static void who_ended_qemu_is_known(void **state)
{
    (void)state;
    static const struct {
        int sig;
        enum error_kind kind;
        const char *said;
    } cases[] = {{SIGTERM, ERR_KILLED, "terminating on signal 15 from pid"},
                 {SIGHUP, ERR_KILLED, "terminating on signal 1 from pid"},
                 {SIGSEGV, ERR_GUEST, "killed by signal 11"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CLEANUP(vm_freep) struct vm *vm = start(NULL, NULL, NULL);
        assert_int_equal(kill(vm_pid(vm), cases[i].sig), 0);
        CLEANUP(error_freep) struct error *err = NULL;
        assert_int_equal(qmp_wait_event(vm_qmp(vm), "NEVER", 30000, NULL, &err), -1);
        assert_int_equal(err->kind, cases[i].kind);
        assert_non_null(strstr(err->message, cases[i].said));
    }
}

static void a_wrong_option_is_reported_with_qemus_words(void **state)
{
    (void)state;
    CLEANUP(error_freep) struct error *err = NULL;
    assert_null(start(ARGV("-device", "nonsense"), NULL, &err));
    assert_int_equal(err->kind, ERR_GUEST);
    assert_non_null(strstr(err->message, "exit status 1"));
    assert_non_null(strstr(err->message, "'nonsense' is not a valid device"));
}

static void a_stopped_qemu_meets_the_deadline(void **state)
{
    (void)state;
    CLEANUP(vm_freep) struct vm *vm = start(NULL, NULL, NULL);
    kill(vm_pid(vm), SIGSTOP);
    CLEANUP(error_freep) struct error *err = NULL;
    assert_int_equal(qmp_command(vm_qmp(vm), "query-status", NULL, 100, NULL, &err), -1);
    assert_string_equal(err->message, "QMP query-status: no answer in 0.1 s");
    kill(vm_pid(vm), SIGCONT);
    json_auto_t *reply = NULL; // the late answer is passed over
    assert_int_equal(qmp_command(vm_qmp(vm), "query-version", NULL, 5000, &reply, NULL), 0);
    assert_non_null(json_object_get(reply, "qemu"));
}

static void an_interruption_ends_a_wait(void **state)
{
    (void)state;
    CLEANUP(vm_freep) struct vm *vm = start(NULL, NULL, NULL);
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], "", 1), 1);
    session.cancel_fd = fds[0];
    CLEANUP(error_freep) struct error *err = NULL;
    assert_int_equal(vm_wait(vm, NULL, 0, now_ms() + 5000, &err), -1);
    session.cancel_fd = -1;
    assert_int_equal(err->kind, ERR_CANCELLED);
    close(fds[0]);
    close(fds[1]);
}

/* SeaBIOS writes its messages to the debug port 0x402, and with graphics off to the serial port. */
static void ports_and_console_carry_bytes(void **state)
{
    (void)state;
    CLEANUP(error_freep) struct error *err = NULL;
    CLEANUP(strv_clear) struct strv args = {0};
    for (char *const *a = ARGV("-machine", "pc,graphics=off", "-accel", "tcg", "-nodefaults", "-m",
                               "32", "-device", "isa-debugcon,iobase=0x402,chardev=bios", "-serial",
                               "chardev:console");
         *a; a++)
        strv_add(&args, *a);
    CLEANUP(vm_freep)
    struct vm *vm = vm_start(
        &session,
        &(struct vm_start_options){.qemu = qemu.path, .args = &args, .ports = ARGV("bios")}, &err);
    assert_non_null(vm);
    struct pollfd f = {.fd = vm_port(vm, "bios"), .events = POLLIN};
    long long deadline = now_ms() + 10000;
    CLEANUP(buf_clear) struct buf bios = BUF_INIT;
    AUTO_FREE char *text = xstrdup("");
    // who does not read the port stops the guest: it writes one byte at a time
    while (!strstr(text, "SeaBIOS")) {
        char bytes[512];
        assert_int_equal(vm_wait(vm, &f, 1, deadline, &err), 1);
        ssize_t n = f.revents ? read(f.fd, bytes, sizeof bytes) : 0;
        buf_add(&bios, bytes, n > 0 ? (size_t)n : 0);
        free(text);
        text = vm_console_text(vm, 5);
    }
    assert_true(str_starts(buf_str(&bios), "SeaBIOS (version"));
    error_set(&err, ERR_GUEST, "it hangs");
    assert_int_equal(vm_add_console(vm, &err), -1);
    assert_non_null(strstr(err->message, "it hangs\nlast lines of its console:\n  SeaBIOS"));
    assert_int_equal(vm_port(vm, "other"), -1);
}

static void console_text_is_clean_and_bounded(void **state)
{
    (void)state;
    CLEANUP(console_clear) struct console c = CONSOLE_INIT;
    static const char text[] =
        "one\r\n\033[0;32mtwo\033[0m \r\n\r\n10%\r20%\n\033]0;title\athree\a\n";
    console_add(&c, text, sizeof text - 1);
    AUTO_FREE char *all = console_last_lines(&c, 10);
    assert_string_equal(all, "one\ntwo\n20%\nthree");
    AUTO_FREE char *last = console_last_lines(&c, 2);
    assert_string_equal(last, "20%\nthree");
    for (int i = 0; i < 100000; i++)
        console_add(&c, "0123456789", 10);
    assert_true(c.bytes.len <= 2 * CONSOLE_KEPT);
}

/* Two overlays over a base that claims /etc/shadow as its backing file. */
static void a_chain_is_opened_as_told_whatever_headers_say(void **state)
{
    (void)state;
    AUTO_FREE char *base = path_join(dir, "base"), *mid = path_join(dir, "mid, x"),
                   *top = path_join(dir, "top");
    assert_int_equal(process_run(NULL,
                                 ARGV("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b",
                                      "/etc/shadow", "-F", "raw", base, "5M"),
                                 NULL, NULL),
                     0);
    char *const *more[] = {
        ARGV("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", mid, "64G"),
        ARGV("qemu-img", "create", "-q", "-f", "qcow2", "-o", "extended_l2=on", top, "64G")};
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(process_run(NULL, more[i], NULL, NULL), 0);
    const char *files[] = {base, mid, top};
    struct qcow2_disk d = {.node = "disk", .files = files, .n_files = 3, .writable = true};
    CLEANUP(strv_clear) struct strv args = {0};
    CLEANUP(error_freep) struct error *err = NULL;
    json_auto_t *chain = qcow2_nodes(&d, &err);
    for (size_t k = 0; k < json_array_size(chain); k++) {
        AUTO_FREE char *text = json_text(json_array_get(chain, k));
        strv_add(&args, "-blockdev");
        strv_add(&args, text);
    }
    uint64_t size;
    assert_int_equal(qcow2_size(top, &size, NULL), 0);
    assert_int_equal(size >> 30, 64);
    CLEANUP(vm_freep) struct vm *vm = start(args.ptr, NULL, &err);
    assert_non_null(vm);
    json_auto_t *nodes = NULL;
    assert_int_equal(qmp_command(vm_qmp(vm), "query-named-block-nodes", NULL, 5000, &nodes, &err),
                     0);
    size_t i;
    json_t *n;
    unsigned qcow2 = 0;
    json_array_foreach (nodes, i, n) {
        assert_null(strstr(json_str(n, "file"), "shadow"));
        if (strcmp(json_str(n, "drv"), "qcow2"))
            continue;
        qcow2++;
        assert_int_equal(!strcmp(json_str(n, "node-name"), "disk"), !json_flag(n, "ro"));
    }
    assert_int_equal(qcow2, 3);
    // from the top down the chain can be taken away, and comes back from the base up
    json_auto_t *again = qcow2_nodes(&d, NULL);
    for (size_t k = json_array_size(again); k-- > 0;)
        assert_int_equal(qmp_callf(vm_qmp(vm), 5000, NULL, &err, "blockdev-del", "{s:s}",
                                   "node-name", json_str(json_array_get(again, k), "node-name")),
                         0);
    json_array_foreach (again, i, n)
        assert_int_equal(qmp_command(vm_qmp(vm), "blockdev-add", json_incref(n), 5000, NULL, &err),
                         0);
    const char *no[] = {"/etc/passwd"};
    struct qcow2_disk bad = {.node = "x", .files = no, .n_files = 1};
    assert_null(qcow2_nodes(&bad, &err));
    assert_int_equal(err->kind, ERR_USER);
}

static enum accel_found found(const char *qemu_version)
{
    CLEANUP(accel_verdict_clear) struct accel_verdict v = ACCEL_VERDICT_INIT;
    accel_verdict_load(&session, qemu_version, &v);
    return v.found;
}

/* Makes the verdict that is kept as old as that. */
static void age(json_int_t seconds)
{
    AUTO_FREE char *path = path_join(dir, "kvm.json");
    json_auto_t *v = json_read_file(path, NULL);
    assert_int_equal(json_object_set_new(v, "time", json_integer(json_int(v, "time", 0) - seconds)),
                     0);
    assert_int_equal(json_write_file(path, 0644, v, NULL), 0);
}

static void a_verdict_is_kept_for_this_boot_and_qemu(void **state)
{
    (void)state;
    CLEANUP(accel_verdict_clear) struct accel_verdict v = ACCEL_VERDICT_INIT;
    assert_int_equal(found("7.2.22"), ACCEL_FOUND_NOTHING);
    assert_int_equal(accel_verdict_store(&session, "7.2.22", ACCEL_FOUND_FAILED, "it hung", NULL),
                     0);
    accel_verdict_load(&session, "7.2.22", &v);
    assert_int_equal(v.found, ACCEL_FOUND_FAILED);
    assert_string_equal(v.why, "it hung");
    assert_int_equal(found("8.0.0"), ACCEL_FOUND_NOTHING);
    // what failed may only have been slow: that is forgotten, and a guest that ran mends it
    age(2 * 3600);
    assert_int_equal(found("7.2.22"), ACCEL_FOUND_NOTHING);
    age(-4 * 3600); // the clock was put back
    assert_int_equal(found("7.2.22"), ACCEL_FOUND_NOTHING);
    accel_worked(&session, "7.2.22");
    age(1000 * 3600);
    assert_int_equal(found("7.2.22"), ACCEL_FOUND_BOOTED);
    AUTO_FREE char *path = path_join(dir, "kvm.json");
    assert_int_equal(file_write_whole(path, 0644, "{\"of\": 7", 8, NULL), 0);
    assert_int_equal(found("7.2.22"), ACCEL_FOUND_NOTHING);
    // a reason is told once, another one again
    assert_true(accel_tell_once(&session, "it hung"));
    assert_false(accel_tell_once(&session, "it hung"));
    assert_true(accel_tell_once(&session, "it is gone"));
}

static void take_line(void *arg, const char *line)
{
    buf_addf(arg, "%s\n", line);
}

/* The probe against this host's own KVM, whatever that is; with none, TCG is chosen and said. */
static void kvm_is_probed_in_a_moment(void **state)
{
    (void)state;
    CLEANUP(error_freep) struct error *err = NULL, *strict = NULL;
    CLEANUP(buf_clear) struct buf said = BUF_INIT;
    AUTO_FREE char *path = path_join(dir, "kvm.json");
    bool opens = accel_kvm_check(NULL) == 0, works = opens && kvm_probe(&err) == 0;
    (void)unlink(path);
    enum accel a;
    session.env = NULL; // no KILN_ACCEL
    session.events = (struct session_events){.notice = take_line, .arg = &said};
    assert_int_equal(accel_choose(&session, NULL, "7.2.22", &a, NULL), 0);
    session.env = environ;
    session.events = (struct session_events){0};
    assert_int_equal(a, works ? ACCEL_KVM : ACCEL_TCG);
    assert_int_equal(found("7.2.22") == ACCEL_FOUND_PROBED, works);
    assert_int_equal(said.len == 0, works);
    if (!works)
        assert_non_null(strstr(said.data, "using TCG (slow): "));
    // asked for, KVM is not replaced
    assert_int_equal(accel_choose(&session, "kvm", "7.2.22", &a, &strict), works - 1);
    if (opens && !works) {
        assert_int_equal(err->kind, ERR_GUEST);
        assert_non_null(strstr(strict->hint, "--accel tcg"));
    }
    if (opens && kvm_module() && !strcmp(kvm_module(), "kvm_pvm")) {
        assert_false(works);
        assert_non_null(strstr(said.data, "kvm_pvm"));
    }
}

static void the_processor_is_the_hosts(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf info = BUF_INIT;
    assert_int_equal(file_read("/proc/cpuinfo", 1 << 22, &info, NULL), 0);
    bool amd = strstr(info.data, "AuthenticAMD") || strstr(info.data, "HygonGenuine");
    assert_string_equal(accel_cpu(ACCEL_KVM), amd ? "host,-arch-capabilities" : "host");
}

static void accelerators_are_parsed(void **state)
{
    (void)state;
    enum accel a;
    struct session none = SESSION_INIT, tcg = SESSION_INIT;
    tcg.env = (char *const[]){(char[]){"KILN_ACCEL=tcg"}, NULL};
    assert_int_equal(accel_parse(&none, NULL, &a, NULL), 0);
    assert_int_equal(a, ACCEL_AUTO);
    assert_int_equal(accel_parse(&tcg, NULL, &a, NULL), 0);
    assert_int_equal(a, ACCEL_TCG);
    assert_int_equal(accel_parse(&tcg, "kvm", &a, NULL), 0);
    assert_int_equal(a, ACCEL_KVM);
    CLEANUP(error_freep) struct error *err = NULL;
    assert_int_equal(accel_parse(&tcg, "hvf", &a, &err), -1);
    assert_int_equal(err->kind, ERR_USAGE);
}

int main(void)
{
    session.env = environ;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(qemu_is_found_and_its_version_remembered),
        cmocka_unit_test(commands_are_answered_and_refusals_are_told),
        cmocka_unit_test(events_reach_callback_and_queue),
        cmocka_unit_test(death_is_told_in_words_at_once),
        cmocka_unit_test(who_ended_qemu_is_known),
        cmocka_unit_test(a_wrong_option_is_reported_with_qemus_words),
        cmocka_unit_test(a_stopped_qemu_meets_the_deadline),
        cmocka_unit_test(an_interruption_ends_a_wait),
        cmocka_unit_test(ports_and_console_carry_bytes),
        cmocka_unit_test(console_text_is_clean_and_bounded),
        cmocka_unit_test(a_chain_is_opened_as_told_whatever_headers_say),
        cmocka_unit_test(a_verdict_is_kept_for_this_boot_and_qemu),
        cmocka_unit_test(kvm_is_probed_in_a_moment),
        cmocka_unit_test(the_processor_is_the_hosts),
        cmocka_unit_test(accelerators_are_parsed),
    };
    return cmocka_run_group_tests_name("vm", tests, set_up, tear_down);
}
