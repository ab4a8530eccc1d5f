// SPDX-License-Identifier: MIT
//
// vm_wait is the one poll of the module; qmp's waits come here too (wait_for_qmp). Each turn it
// takes in, without blocking, whatever console, stderr and QMP have, so QEMU never stands still
// because nobody reads. Death is noticed by the pidfd; before it is reported, what is left in the
// pipes is read, as the reason stands there.
#include "vm/vm.h"

#include "base/alloc.h"
#include "base/json.h"
#include "base/process.h"
#include "base/session.h"
#include "vm/console.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { PORTS_MAX = 8, CONSOLE_LINES = 15, STDERR_LINES = 8 };

struct port {
    char *name;
    int fd;
};

struct vm {
    const struct session *session;
    struct process process;
    struct qmp *qmp;
    struct port ports[PORTS_MAX];
    size_t n_ports;
    int console_fd;
    bool console_open, stderr_open, ignore_cancel;
    bool ending;  /* any end is expected */
    bool may_end; /* an orderly end is not an error */
    struct console console, errors;
    vm_console_fn *on_console;
    void *on_console_arg;
};

/* What vm_start builds up for the child. */
struct launch {
    struct strv argv, env;
    int ends[PORTS_MAX + 2]; /* the child's ends of socket pairs */
    size_t n_ends;
    int *keep;
    size_t n_keep;
};

static void launch_clear(struct launch *l)
{
    strv_clear(&l->argv);
    strv_clear(&l->env);
    free(l->keep);
    for (size_t i = 0; i < l->n_ends; i++)
        close(l->ends[i]);
}

/* A socket pair and the -chardev for its far end; returns ours or -1. */
static int add_channel(struct launch *l, const char *name, bool mux, struct error **err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return error_errno(err, "cannot make a socket pair");
    l->keep[l->n_keep++] = l->ends[l->n_ends++] = pair[1];
    (void)fcntl(pair[0], F_SETFL, O_NONBLOCK);
    strv_add(&l->argv, "-chardev");
    strv_addf(&l->argv, "socket,id=%s,fd=%d%s", name, pair[1], mux ? ",mux=on" : "");
    return pair[0];
}

static int prepare(struct vm *vm, const struct vm_start_options *spec, struct launch *l,
                   int *ret_qmp, struct error **err)
{
    l->keep = xcalloc(spec->n_keep + PORTS_MAX + 2, sizeof *l->keep);
    strv_add(&l->argv, spec->qemu);
    for (size_t i = 0; i < spec->n_keep; i++)
        l->keep[l->n_keep++] = spec->keep[i];
    *ret_qmp = add_channel(l, "qmp", false, err);
    if (*ret_qmp < 0)
        return -1;
    vm->console_fd = add_channel(l, "console", spec->monitor_on_console, err);
    if (vm->console_fd < 0)
        return -1;
    for (char *const *p = spec->ports; p && *p; p++) {
        assert(vm->n_ports < PORTS_MAX);
        int fd = add_channel(l, *p, false, err);
        if (fd < 0)
            return -1;
        vm->ports[vm->n_ports++] = (struct port){xstrdup(*p), fd};
    }
    static const char *const fixed[] = {"-mon", "chardev=qmp,mode=control", "-display", "none"};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        strv_add(&l->argv, fixed[i]);
    if (spec->monitor_on_console) {
        strv_add(&l->argv, "-mon");
        strv_add(&l->argv, "chardev=console");
    }
    vec_foreach (char **, a, spec->args)
        strv_add(&l->argv, *a);
    return 0;
}

/*
 * Ours, and: glibc asks for huge pages for its heap. Half of QEMU's page faults (6,000 of 13,000 in
 * a short build) are for its heap and its threads' heaps. Without glibc it means nothing.
 */
static void add_environment(const struct session *s, struct strv *env)
{
    for (char *const *e = s ? s->env : environ; e && *e; e++)
        strv_add(env, *e);
    if (!session_env(s, "GLIBC_TUNABLES"))
        strv_add(env, "GLIBC_TUNABLES=glibc.malloc.hugetlb=1");
}

/* Reads what is there; false at the end of the stream. */
static bool take_in(struct vm *vm, int fd, struct console *into)
{
    char chunk[16 * 1024];
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return true;
        if (n <= 0)
            return false;
        console_add(into, chunk, (size_t)n);
        if (into == &vm->console && vm->on_console)
            vm->on_console(vm->on_console_arg, chunk, (size_t)n);
        if ((size_t)n < sizeof chunk)
            return true;
    }
}

static void take_in_all(struct vm *vm)
{
    if (vm->console_open)
        vm->console_open = take_in(vm, vm->console_fd, &vm->console);
    if (vm->stderr_open)
        vm->stderr_open = take_in(vm, vm->process.errors, &vm->errors);
}

static void add_indented(struct buf *b, const char *lines)
{
    for (const char *p = lines; *p;) {
        size_t n = strcspn(p, "\n");
        buf_addf(b, "\n  %.*s", (int)n, p);
        p += n + (p[n] == '\n');
    }
}

int vm_add_console(const struct vm *vm, struct error **err)
{
    AUTO_FREE char *text = vm_console_text(vm, CONSOLE_LINES);
    if (!err || !*err || !*text)
        return -1;
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    buf_adds(&b, (*err)->message);
    buf_adds(&b, "\nlast lines of its console:");
    add_indented(&b, text);
    free((*err)->message);
    (*err)->message = buf_detach(&b, NULL);
    return -1;
}

/*
 * Whether a signal from outside ended QEMU. A crash (SIGSEGV, SIGABRT, SIGBUS) is its own doing. To
 * SIGTERM and its like it answers with an orderly end, of which stderr tells (QMP's last event can
 * get lost on the way out).
 */
static bool was_killed(const struct vm *vm, const char *said)
{
    int st = vm->process.status;
    if (WIFSIGNALED(st))
        return WTERMSIG(st) == SIGKILL || WTERMSIG(st) == SIGTERM || WTERMSIG(st) == SIGINT ||
               WTERMSIG(st) == SIGHUP;
    return strstr(said, "terminating on signal ") != NULL;
}

/* QEMU has ended: the error that says how, and what it and the guest said last. */
static int death(struct vm *vm, struct error **err)
{
    while (vm->stderr_open && take_in(vm, vm->process.errors, &vm->errors))
        if (poll(&(struct pollfd){.fd = vm->process.errors, .events = POLLIN}, 1, 0) <= 0)
            break;
    take_in_all(vm);
    AUTO_FREE char *how = process_status_text(vm->process.status);
    AUTO_FREE char *said = console_last_lines(&vm->errors, STDERR_LINES);
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    bool killed = was_killed(vm, said);
    if (!killed && WIFEXITED(vm->process.status) && WEXITSTATUS(vm->process.status) == 0)
        buf_adds(&b, "the VM powered off");
    else
        buf_addf(&b, "QEMU ended unexpectedly: %s", how);
    add_indented(&b, said);
    error_set(err, killed ? ERR_KILLED : ERR_GUEST, "%s", b.data);
    return vm_add_console(vm, err);
}

bool vm_ended(struct vm *vm)
{
    return process_ended(&vm->process);
}

bool vm_was_killed(struct vm *vm, struct error **err)
{
    CLEANUP(error_freep) struct error *e = NULL;
    if (!vm_ended(vm))
        return false;
    (void)death(vm, &e);
    if (e->kind != ERR_KILLED)
        return false;
    error_propagate(err, STEAL(e));
    return true;
}

int vm_status(const struct vm *vm)
{
    return vm->process.status;
}

static bool end_is_fine(const struct vm *vm)
{
    int st = vm->process.status;
    return vm->ending || (vm->may_end && WIFEXITED(st) && WEXITSTATUS(st) == 0);
}

/* QMP's end of stream mostly comes a moment before the process can be waited for. */
static int qmp_ended(struct vm *vm, struct error **err)
{
    if (process_wait(&vm->process, 2000, NULL) == 0)
        return end_is_fine(vm) ? 1 : death(vm, err);
    return error_set(err, ERR_GUEST, "QEMU closed its control connection");
}

int vm_wait(struct vm *vm, struct pollfd *fds, size_t n, long long deadline, struct error **err)
{
    enum { CONSOLE, ERRORS, QMP, DEATH, CANCEL, OWN };
    struct pollfd f[OWN + VM_WAIT_FDS] = {0};
    assert(n <= VM_WAIT_FDS);
    for (int i = 0; i < OWN; i++)
        f[i] = (struct pollfd){.fd = -1, .events = POLLIN};
    f[CONSOLE].fd = vm->console_open ? vm->console_fd : -1;
    f[ERRORS].fd = vm->stderr_open ? vm->process.errors : -1;
    f[QMP].fd = vm->qmp && !qmp_closed(vm->qmp) ? qmp_fd(vm->qmp) : -1;
    f[DEATH].fd = vm->process.pidfd;
    f[CANCEL].fd = vm->session && !vm->ignore_cancel ? vm->session->cancel_fd : -1;
    for (size_t i = 0; i < n; i++) {
        f[OWN + i] = fds[i];
        fds[i].revents = 0;
    }
    long long left = deadline < 0 ? 60000 : deadline - now_ms();
    int ready = poll(f, OWN + n, left < 0 ? 0 : left > 60000 ? 60000 : (int)left);
    if (ready < 0 && errno != EINTR)
        return error_errno(err, "cannot wait for the VM");
    if (ready <= 0)
        return deadline < 0 || now_ms() < deadline;
    for (size_t i = 0; i < n; i++)
        fds[i].revents = f[OWN + i].revents;
    take_in_all(vm);
    CLEANUP(error_freep) struct error *e = NULL;
    if (f[QMP].revents && qmp_readable(vm->qmp, &e) < 0 && !qmp_closed(vm->qmp))
        return error_propagate(err, STEAL(e));
    if (vm->qmp && qmp_closed(vm->qmp))
        return qmp_ended(vm, err);
    if (f[CANCEL].revents)
        return error_set(err, ERR_CANCELLED, "interrupted");
    for (size_t i = 0; i < n; i++)
        if (fds[i].revents & POLLIN)
            return 1; // what QEMU passed on before it ended comes first
    if (f[DEATH].revents && process_ended(&vm->process) && !end_is_fine(vm))
        return death(vm, err);
    return 1;
}

static int wait_for_qmp(void *arg, int fd, short events, long long deadline, struct error **err)
{
    struct vm *vm = arg;
    struct pollfd f = {.fd = fd, .events = (short)(events & ~POLLIN)}; // vm_wait polls for POLLIN
    if (vm_ended(vm))
        return death(vm, err);
    return vm_wait(vm, f.events ? &f : NULL, f.events ? 1 : 0, deadline, err);
}

/* As one would type it into a shell: an option with its value on each line. */
static void show_command(const struct session *s, const struct strv *argv)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    vec_foreach (char **, a, argv) {
        buf_adds(&b, **a == '-' ? " \\\n  " : " ");
        buf_add_shell_word(&b, *a);
    }
    session_debug(s, 1, "start:%s", b.data);
}

struct vm *vm_start(const struct session *session, const struct vm_start_options *spec,
                    struct error **err)
{
    CLEANUP(vm_freep) struct vm *vm = xcalloc(1, sizeof *vm);
    CLEANUP(launch_clear) struct launch l = {0};
    AUTO_CLOSE int qmp = -1;
    vm->session = session;
    vm->process = (struct process)PROCESS_INIT;
    vm->console = vm->errors = (struct console)CONSOLE_INIT;
    vm->console_fd = -1;
    if (prepare(vm, spec, &l, &qmp, err) < 0)
        return NULL;
    if (session && session->verbosity >= 1)
        show_command(session, &l.argv);
    add_environment(session, &l.env);
    struct process_spec ps = {.argv = l.argv.ptr,
                              .env = l.env.ptr,
                              .cwd = spec->cwd,
                              .in = PROCESS_NULL,
                              .out = spec->show_stdout ? PROCESS_INHERIT : PROCESS_NULL,
                              .errors = PROCESS_PIPE,
                              .keep = l.keep,
                              .n_keep = l.n_keep,
                              .own_session = true};
    if (process_start(&vm->process, &ps, err) < 0)
        return NULL;
    launch_clear(&l); // QEMU alone holds its ends now: their closing tells us something
    l = (struct launch){0};
    (void)fcntl(vm->process.errors, F_SETFL, O_NONBLOCK);
    vm->console_open = vm->stderr_open = true;
    vm->qmp = qmp_new_take(STEAL_FD(qmp), session);
    qmp_set_wait(vm->qmp, wait_for_qmp, vm);
    if (qmp_handshake(vm->qmp, spec->qmp_timeout_ms ? spec->qmp_timeout_ms : 10000, err) < 0) {
        if (spec->ret_answered)
            *spec->ret_answered = vm_ended(vm) && WIFEXITED(vm_status(vm)) && !vm_status(vm);
        return NULL;
    }
    return STEAL(vm);
}

void vm_free(struct vm *vm)
{
    if (!vm)
        return;
    int saved = errno;
    process_clear(&vm->process);
    qmp_free(vm->qmp);
    if (vm->console_fd >= 0)
        close(vm->console_fd);
    for (size_t i = 0; i < vm->n_ports; i++) {
        free(vm->ports[i].name);
        close(vm->ports[i].fd);
    }
    console_clear(&vm->console);
    console_clear(&vm->errors);
    free(vm);
    errno = saved;
}

struct qmp *vm_qmp(struct vm *vm)
{
    return vm->qmp;
}

pid_t vm_pid(const struct vm *vm)
{
    return vm->process.pid;
}

int vm_port(const struct vm *vm, const char *name)
{
    if (!strcmp(name, "console"))
        return vm->console_fd;
    for (size_t i = 0; i < vm->n_ports; i++)
        if (!strcmp(vm->ports[i].name, name))
            return vm->ports[i].fd;
    return -1;
}

void vm_on_console(struct vm *vm, vm_console_fn *fn, void *arg)
{
    vm->on_console = fn;
    vm->on_console_arg = arg;
}

void vm_on_event(struct vm *vm, qmp_event_fn *fn, void *arg)
{
    qmp_on_event(vm->qmp, fn, arg);
}

void vm_ignore_cancel(struct vm *vm)
{
    vm->ignore_cancel = true;
}

char *vm_console_text(const struct vm *vm, unsigned lines)
{
    return console_last_lines(&vm->console, lines);
}

void vm_may_end(struct vm *vm)
{
    vm->may_end = true;
}

/* The same, but with `asked` session_hurry ends it. */
static int wait_end(struct vm *vm, int timeout_ms, bool asked, struct error **err)
{
    long long deadline = now_ms() + timeout_ms;
    bool cancel = vm->ignore_cancel;
    vm->ignore_cancel = vm->ending = true;
    int rc = 1;
    while (!process_ended(&vm->process) && rc > 0 && !(asked && session_hurry(vm->session)))
        rc = vm_wait(vm, NULL, 0, deadline, NULL);
    vm->ignore_cancel = cancel;
    if (process_ended(&vm->process)) {
        take_in_all(vm);
        return 0;
    }
    vm->ending = false;
    return error_set(err, ERR_BUSY, "the VM did not end in %.1f s", timeout_ms / 1000.0);
}

int vm_wait_end(struct vm *vm, int timeout_ms, struct error **err)
{
    return wait_end(vm, timeout_ms, false, err);
}

int vm_quit(struct vm *vm, int timeout_ms, struct error **err)
{
    if (vm_ended(vm))
        return 0;
    vm_ignore_cancel(vm);
    int share = timeout_ms / 3 + 1;
    if (qmp_command(vm->qmp, "quit", NULL, share, NULL, NULL) == 0 &&
        vm_wait_end(vm, share, NULL) == 0)
        return 0;
    if (vm_ended(vm))
        return 0;
    process_kill(&vm->process, SIGTERM);
    if (vm_wait_end(vm, share, NULL) < 0) {
        process_kill(&vm->process, SIGKILL);
        (void)process_wait(&vm->process, -1, NULL);
    }
    return error_set(err, ERR_GUEST, "QEMU did not take the command to quit and was killed");
}

int vm_powerdown(struct vm *vm, int timeout_ms, struct error **err)
{
    enum { AGAIN_MS = 4000 };
    long long deadline = now_ms() + timeout_ms;
    vm_ignore_cancel(vm);
    while (!vm_ended(vm) && !session_hurry(vm->session)) {
        long long left = deadline - now_ms();
        if (left < 0 || qmp_command(vm->qmp, "system_powerdown", NULL, 5000, NULL, NULL) < 0 ||
            wait_end(vm, left < AGAIN_MS ? (int)left : AGAIN_MS, true, NULL) == 0)
            break;
    }
    if (vm_ended(vm))
        return 0;
    (void)vm_quit(vm, 6000, NULL);
    if (session_hurry(vm->session))
        return error_set(err, ERR_GUEST, "the VM was stopped without asking the guest");
    return error_set(err, ERR_GUEST, "the guest did not power off in %.1f s and was stopped",
                     timeout_ms / 1000.0);
}
