// SPDX-License-Identifier: MIT
//
// QEMU's serial port always goes to us over a socket pair with QEMU's own multiplexer at the far
// end (so Ctrl-A x and the monitor under Ctrl-A c are QEMU's); we pass it on to the terminal or
// keep it for error reports. The overlay is handed to QEMU as an fdset. The SSH port is the kernel's choice (hostfwd port 0), read back from QEMU.
#include "vm/run.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "base/session.h"
#include "base/terminal.h"
#include "qcow2/qcow2.h"
#include "vm/login.h"
#include "vm/qmp.h"
#include "vm/run_disks.h"
#include "vm/run_machine.h"
#include "vm/share.h"
#include "vm/ssh.h"
#include "vm/ssh_program.h"
#include "vm/vm.h"
#include "vm/warm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct run {
    const struct session *session;
    const struct vm_run_options *o;
    struct vm *vm;
    int *overlays; /* descriptors of what the guest writes to its disks */
    size_t n_overlays;
    int console_to;  /* where console bytes are shown, -1 = nowhere */
    int unwritten;   /* the errno for which they could not be, 0 = they were */
    int log;         /* descriptor of spec->console_log, -1 = none */
    bool panicked;   /* the guest's kernel said so on the console */
    long long until; /* end of the session by now_ms(), -1 = none */
    bool answered;   /* QEMU ended before it was up, with what it was asked for (-version) */
    bool full_told;  /* that the host has no space for what the guest writes */
    bool halted;     /* and QEMU has stopped the guest for it */
    uint64_t space;  /* bytes that were free then */
};

static void run_clear(struct run *r)
{
    vm_free(r->vm);
    for (size_t i = 0; i < r->n_overlays; i++)
        close(r->overlays[i]);
    free(r->overlays);
    if (r->log >= 0)
        close(r->log);
}

static const char *temp_dir(const struct session *s)
{
    const char *tmp = session_setting(s, "TMPDIR");
    return tmp ? tmp : "/var/tmp";
}

/* Where what the guest writes goes. */
static const char *written_to(const struct run *r)
{
    return r->o->keep ? vm_run_disk_top(r->o, 0) : temp_dir(r->session);
}

/* Disk errors go to the guest (werror=report), or with stop_when_full those of a full host halt it. */
static void on_event(void *arg, const char *event, const json_t *data)
{
    struct run *r = arg;
    if (strcmp(event, "BLOCK_IO_ERROR"))
        return;
    const char *where = written_to(r);
    const char *reason = json_str(data, "reason"), *action = json_str(data, "action");
    if (action && !strcmp(action, "stop")) {
        r->halted = true;
        r->space = free_bytes(where);
    }
    if (r->full_told)
        return;
    // the field "nospace" is there only when QEMU stops the guest
    bool full = json_flag(data, "nospace") || (reason && !strcmp(reason, strerror(ENOSPC)));
    AUTO_FREE char *line =
        full ? xasprintf(
                   "no space is left in '%s' for what the guest writes (%llu bytes are free)%s",
                   where, (unsigned long long)free_bytes(where),
                   r->halted ? ": the VM is paused until there is" : "")
             : xasprintf("the guest's disk has errors: %s",
                         reason ? reason : "QEMU does not say which");
    r->full_told = true;
    session_notice(r->session, "%s", line);
}

/* A file that has no name, so that nothing can be left behind. */
static int nameless_file(const struct session *s, struct error **err)
{
    const char *tmp = temp_dir(s);
    int fd = open(tmp, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return fd >= 0 ? fd : error_errno(err, "cannot make a temporary file in '%s'", tmp);
    AUTO_FREE char *path = path_join(tmp, "kiln-XXXXXX"); // a filesystem without O_TMPFILE
    fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, "cannot make a temporary file in '%s'", tmp);
    (void)unlink(path);
    return fd;
}

/* An empty qcow2 of that size in it, the next of r->overlays. */
static int make_overlay(struct run *r, uint64_t bytes, struct error **err)
{
    int fd = nameless_file(r->session, err);
    if (fd < 0)
        return -1;
    r->overlays[r->n_overlays++] = fd;
    struct qcow2_overlay overlay = {.size = bytes};
    return qcow2_write_overlay(fd, &overlay, err) < 0
               ? error_wrap(err, "cannot make a temporary disk in '%s'", temp_dir(r->session))
               : 0;
}

/* Adds the fdsets that vm_run_disks counts on. */
static int add_overlays(struct run *r, struct strv *args, struct error **err)
{
    const struct vm_run_options *o = r->o;
    r->overlays = xcalloc(o->n_disks, sizeof *r->overlays);
    for (size_t i = 0; !o->keep && i < o->n_disks; i++) {
        if (make_overlay(r, o->disks[i].size, err) < 0)
            return -1;
        strv_add(args, "-add-fd");
        strv_addf(args, "fd=%d,set=%zu", r->overlays[i], i + 1);
    }
    return 0;
}

/* A kernel's last words come with a trace behind them. A user at the console sees them himself, and might
 * show them there; without a terminal nobody does. */
static void look_for_panic(struct run *r)
{
    if (r->panicked || (r->o->spec->session == VM_SERIAL && isatty(r->session->in)))
        return;
    AUTO_FREE char *text = vm_console_text(r->vm, 60);
    r->panicked = strstr(text, "Kernel panic - not syncing") != NULL;
}

static void show_console(void *arg, const char *bytes, size_t n)
{
    struct run *r = arg;
    look_for_panic(r);
    if (r->log >= 0 && write_all(r->log, bytes, n) < 0) {
        AUTO_FREE char *line =
            xasprintf("cannot write to '%s': %s; the rest of the console is lost",
                      r->o->spec->console_log, strerror(errno));
        session_notice(r->session, "%s", line);
        close(r->log);
        r->log = -1;
    }
    if (r->console_to < 0 || write_all(r->console_to, bytes, n) == 0)
        return;
    if (errno != EPIPE)
        r->unwritten = errno;
    else if (r->console_to == r->session->out)
        session_interrupt(r->session, SIGPIPE);
    r->console_to = -1;
}

static int fail(int status, struct error **err, const char *what)
{
    struct error *e = NULL;
    error_set(&e, ERR_GUEST, "%s", what);
    e->status = status;
    return error_propagate(err, e);
}

/* A VM that was halted for want of space goes on once there is more than a little. */
static void go_on(struct run *r)
{
    enum { ENOUGH = 1 << 20, ANSWER_MS = 10000 };
    if (!r->halted || free_bytes(written_to(r)) < r->space + ENOUGH)
        return;
    r->halted = r->full_told = false;
    if (qmp_command(vm_qmp(r->vm), "cont", NULL, ANSWER_MS, NULL, NULL) == 0)
        session_notice(r->session, "there is space again: the VM goes on");
}

static long long sooner(long long a, long long b)
{
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

/* As vm_wait, but a panic and --timeout end the session, and a halted VM is looked after. */
static int run_wait(void *arg, struct pollfd *fds, size_t n, long long deadline, struct error **err)
{
    enum { LOOK_MS = 500 };
    struct run *r = arg;
    long long until = sooner(deadline, r->until);
    if (r->halted)
        until = sooner(until, now_ms() + LOOK_MS);
    int rc = vm_wait(r->vm, fds, n, until, err);
    if (rc < 0)
        return -1;
    go_on(r);
    if (r->unwritten) {
        errno = r->unwritten;
        return error_errno(err, "cannot write to standard output");
    }
    if (r->panicked) {
        fail(VM_EXIT_PANIC, err, "the guest's kernel panicked");
        return vm_add_console(r->vm, err);
    }
    if (r->until < 0 || now_ms() < r->until)
        return until == deadline ? rc : 1;
    AUTO_FREE char *what =
        xasprintf("the VM was stopped after %g s", r->o->spec->timeout_ms / 1000.0);
    fail(VM_EXIT_TIMEOUT, err, what);
    return error_hint(err, "--timeout gives it longer");
}

static int open_log(struct run *r, struct error **err)
{
    const char *path = r->o->spec->console_log;
    if (!path)
        return 0;
    r->log = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    return r->log < 0 ? error_errno(err, "cannot write the console to '%s'", path) : 0;
}

static int start(struct run *r, struct error **err)
{
    const struct vm_run_options *o = r->o;
    CLEANUP(strv_clear) struct strv args = {0};
    if (vm_run_check_disks(o, err) < 0 || open_log(r, err) < 0 ||
        vm_run_check_ports(o->spec, err) < 0 || add_overlays(r, &args, err) < 0)
        return -1;
    json_auto_t *disks = vm_run_disks(o, err);
    if (!disks)
        return -1;
    vm_run_machine(o, disks, &args);
    if (o->started)
        o->started(o->arg, o->restore);
    AUTO_FREE int *keep = xcalloc(2 + o->n_disks + o->spec->shares.len, sizeof *keep);
    const int *held = o->keep ? &o->hold : r->overlays;
    size_t n_held = o->keep ? o->hold >= 0 : r->n_overlays;
    size_t n_keep = vm_run_keep(o, held, n_held, keep);
    if (o->warm && o->warm->ram_fd >= 0)
        keep[n_keep++] = o->warm->ram_fd;
    struct vm_start_options spec = {.qemu = o->qemu->path,
                                    .args = &args,
                                    .ports = o->warm ? ARGV("wake", "wakeport", "command") : NULL,
                                    .keep = keep,
                                    .n_keep = n_keep,
                                    .monitor_on_console = true,
                                    .show_stdout = o->spec->session == VM_SERIAL,
                                    .qmp_timeout_ms = o->spec->qmp_timeout_ms,
                                    .ret_answered = &r->answered};
    r->vm = vm_start(r->session, &spec, err);
    if (!r->vm)
        return vm_run_explain(o->spec, err);
    vm_on_event(r->vm, on_event, r);
    vm_on_console(r->vm, show_console, r);
    return 0;
}

static void tell_up(struct run *r)
{
    unsigned port = 0;
    if (!r->o->up)
        return;
    (void)vm_run_ssh_port(vm_qmp(r->vm), &port, NULL);
    json_auto_t *ports = vm_run_ports(vm_qmp(r->vm));
    r->o->up(r->o->arg, getpid(), port, ports);
}

/* Bytes for the console that it has not taken yet. */
static int feed_console(struct run *r, struct buf *keys)
{
    ssize_t n = write(vm_port(r->vm, "console"), keys->data, keys->len);
    if (n > 0)
        buf_consume(keys, (size_t)n);
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        buf_reset(keys);
    return 0;
}

static int serial(struct run *r, struct error **err)
{
    CLEANUP(terminal_restore) struct terminal t = TERMINAL_INIT;
    CLEANUP(buf_clear) struct buf keys = BUF_INIT;
    bool stdin_open = true;
    int in = r->session->in;
    if (isatty(in))
        session_notice(r->session, "Ctrl-A x ends the VM, Ctrl-A h shows more");
    if (terminal_raw(&t, in, err) < 0)
        return -1;
    r->console_to = r->session->out;
    vm_may_end(r->vm);
    while (!vm_ended(r->vm)) {
        struct pollfd f[] = {{.fd = stdin_open && !keys.len ? in : -1, .events = POLLIN},
                             {.fd = keys.len ? vm_port(r->vm, "console") : -1, .events = POLLOUT}};
        if (run_wait(r, f, 2, -1, err) < 0)
            return -1;
        if (f[0].revents) {
            char chunk[1024];
            ssize_t n = read(in, chunk, sizeof chunk);
            stdin_open = n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN));
            buf_add(&keys, chunk, n > 0 ? (size_t)n : 0);
        }
        if (f[1].revents)
            feed_console(r, &keys);
    }
    return 0;
}

int vm_run_ssh_timeout(const struct vm_spec *spec, enum accel accel)
{
    enum { SSH_MS = 90000, TCG_SLOWER = 3 };
    return spec->ssh.timeout_ms >= 0 ? spec->ssh.timeout_ms
           : accel == ACCEL_TCG      ? SSH_MS * TCG_SLOWER
                                     : SSH_MS;
}

static void tell_waiting(void *arg, long long ms)
{
    struct run *r = arg;
    bool verbose = r->session->verbosity > 0;
    AUTO_FREE char *line = verbose && ms >= 0 ? vm_console_text(r->vm, 1) : NULL;
    r->o->waiting(r->o->arg, ms, line);
}

/* The user's command or shell. */
static int session_over(const struct run *r, const struct vm_ssh_options *login, struct vm_ssh *ssh,
                        int *ret_status, struct error **err)
{
    const struct vm_spec *spec = r->o->spec;
    const char *command = spec->session == VM_SSH_COMMAND ? spec->command : NULL;
    struct ssh_program p = {spec->ssh.program, &spec->ssh.options, login, command, spec->tty};
    if (spec->ssh.program || spec->ssh.options.len)
        return ssh_program_run(r->session, &p, ret_status, err);
    if (!command)
        return vm_ssh_console(ssh, ret_status, err);
    return (spec->tty ? vm_ssh_run_tty : vm_ssh_run)(ssh, command, ret_status, err);
}

/* err is not NULL. */
static int ssh(struct run *r, int *ret_status, struct error **err)
{
    const struct vm_run_options *o = r->o;
    struct vm_ssh_options so = {.session = r->session,
                                .port = o->spec->ssh.port,
                                .user = o->spec->ssh.user,
                                .key_file = o->spec->ssh.key,
                                .vm_key = o->vm_key,
                                .options = &o->spec->ssh.options,
                                .deadline = now_ms() + vm_run_ssh_timeout(o->spec, o->accel),
                                .wait = run_wait,
                                .wait_arg = r};
    if (!so.port && vm_run_ssh_port(vm_qmp(r->vm), &so.port, err) < 0)
        return -1;
    session_debug(r->session, 1, "ssh: 127.0.0.1:%u is the guest's port 22", so.port);
    so.waiting = o->waiting && !o->spec->show_serial ? tell_waiting : NULL;
    bool command = o->spec->session == VM_SSH_COMMAND;
    r->console_to = o->spec->show_serial ? command ? r->session->errors : r->session->out : -1;
    AUTO_FREE char *user = NULL;
    CLEANUP(vm_ssh_freep) struct vm_ssh *ssh = vm_login(&so, o->image, &user, err);
    r->console_to = -1;
    if (!ssh && !(*err)->status && (*err)->kind == ERR_GUEST && !vm_ended(r->vm)) {
        (*err)->status = VM_EXIT_NO_SSH;
        return vm_add_console(r->vm, err);
    }
    if (!ssh)
        return -1;
    if (o->accel == ACCEL_KVM)
        accel_worked(r->session, o->qemu->version);
    if (o->warm && o->warm->saving)
        return vm_warm_prepare(r->session, o, r->vm, ssh, user, err);
    so.user = user;
    size_t mounted = 0;
    if (vm_share_mount(r->session, ssh, &so, o->spec, &mounted, err) < 0 ||
        (o->entered && o->entered(o->arg, ssh, err) < 0))
        return -1;
    int rc = session_over(r, &so, ssh, ret_status, err);
    if (rc == 0 && o->leaving)
        return o->leaving(o->arg, ssh, err);
    // "poweroff" typed into the shell ends the connection before the shell
    if (rc < 0 && !command && !o->leaving && vm_wait_end(r->vm, 2000, NULL) == 0 &&
        vm_status(r->vm) == 0) {
        *ret_status = 0;
        error_free(STEAL(*err));
        return 0;
    }
    return rc;
}

static int session(struct run *r, int *ret_status, struct error **err)
{
    const struct vm_run_options *o = r->o;
    bool saving = o->warm && o->warm->saving;
    if (o->warm && o->warm->command) {
        if (o->accel == ACCEL_KVM)
            accel_worked(r->session, o->qemu->version);
        return vm_warm_command(r->session, o, r->vm, run_wait, r, ret_status, err);
    }
    if (o->spec->session != VM_SERIAL ? ssh(r, ret_status, err) < 0
        : saving                      ? vm_warm_prepare(r->session, o, r->vm, NULL, NULL, err) < 0
                                      : serial(r, err) < 0)
        return -1;
    if (saving && r->full_told)
        return error_set(err, ERR_SYSTEM, "the disk had errors while it booted");
    return saving ? vm_warm_save(r->session, o, r->vm, err) : 0;
}

static void finish(struct run *r, bool failed)
{
    const struct vm_run_options *o = r->o;
    CLEANUP(error_freep) struct error *e = NULL;
    if (!r->vm || vm_ended(r->vm))
        return;
    // what is saved has ended already; a copy that is thrown away, or has not begun, is not waited for
    bool warm =
        o->warm && (o->warm->saving || !o->warm->resumed || (!o->keep && !o->spec->shares.len));
    if (r->panicked || r->halted || warm || (failed && !o->keep))
        (void)vm_quit(r->vm, 3000, NULL); // nothing of it stays: no reason to let the user wait
    else if (vm_powerdown(r->vm, o->spec->shutdown_timeout_ms, &e) < 0)
        session_notice(r->session, "%s", e->message);
}

int vm_run(const struct session *s, const struct vm_run_options *o, int *ret_status,
           struct error **err)
{
    CLEANUP(run_clear)
    struct run r = {.session = s, .o = o, .console_to = -1, .log = -1};
    int status = 0;
    struct error *e = NULL;
    r.until = o->spec->timeout_ms ? now_ms() + o->spec->timeout_ms : -1;
    int rc = start(&r, &e);
    if (rc == 0 && o->warm && !o->warm->saving) {
        rc = vm_warm_resume(s, o, r.vm, &e);
        if (rc < 0 && r.full_told)
            o->warm->loading = false; // its disk is to blame, not its state
    }
    if (rc == 0) {
        tell_up(&r);
        rc = session(&r, &status, &e);
    }
    // the end of the connection comes first
    if (rc < 0 && r.vm && e->kind == ERR_GUEST && !e->status) {
        struct error *killed = NULL;
        (void)vm_wait_end(r.vm, 2000, NULL);
        if (vm_was_killed(r.vm, &killed)) {
            error_free(e);
            e = killed;
        }
    }
    bool died = rc < 0 && r.vm && (e->kind == ERR_GUEST || e->kind == ERR_KILLED) && vm_ended(r.vm);
    if (died && !e->status)
        e->status = VM_EXIT_DIED;
    finish(&r, rc < 0);
    if (rc < 0 && !r.answered)
        return error_propagate(err, e);
    error_free(e);
    *ret_status = status;
    return 0;
}
