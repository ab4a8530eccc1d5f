// SPDX-License-Identifier: MIT
//
// fork and exec with a close-on-exec pipe that brings back why the exec failed. Between the two
// only async-signal-safe calls are made. One thread forks for all others and lives as long as the
// process: PR_SET_PDEATHSIG fires when the thread that forked ends, not when the process does.
#include "base/process.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

char *process_find(const char *name)
{
    if (strchr(name, '/'))
        return access(name, X_OK) == 0 ? xstrdup(name) : NULL;
    const char *env = getenv("PATH"); // library-clean: as execvp does
    AUTO_FREE char *path = xasprintf("%s:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin",
                                     env && *env ? env : "/usr/bin:/bin");
    for (char *save = NULL, *dir = strtok_r(path, ":", &save); dir;
         dir = strtok_r(NULL, ":", &save)) {
        AUTO_FREE char *file = path_join(dir, name);
        if (access(file, X_OK) == 0)
            return STEAL(file);
    }
    return NULL;
}

/* One standard stream: sets *child to the descriptor the child is to have, *ours to our end of a
 * pipe. */
static int open_stream(int mode, int std, int *child, int *ours)
{
    *ours = -1;
    if (mode == PROCESS_INHERIT) {
        *child = std;
    } else if (mode == PROCESS_NULL) {
        *child = open("/dev/null", O_RDWR | O_CLOEXEC);
    } else if (mode == PROCESS_PIPE) {
        int fds[2];
        if (pipe2(fds, O_CLOEXEC) < 0)
            return -1;
        *child = fds[std == 0 ? 0 : 1];
        *ours = fds[std == 0 ? 1 : 0];
    } else {
        *child = mode;
    }
    return *child < 0 ? -1 : 0;
}

static void close_stream(int mode, int child)
{
    if ((mode == PROCESS_NULL || mode == PROCESS_PIPE) && child >= 0)
        close(child);
}

static __attribute__((noreturn)) void child_main(const struct process_spec *spec, const char *file,
                                                 const int std[3], pid_t parent, int report)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL); // library-clean: of the child
    if (!spec->outlives) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(127);
    }
    if (spec->own_session)
        setsid();
    int fd[3];
    for (int i = 0; i < 3; i++) // out of the way of 0..2 first
        fd[i] = std[i] > 2 ? std[i] : fcntl(std[i], F_DUPFD_CLOEXEC, 3);
    for (int i = 0; i < 3; i++)
        if (fd[i] < 0 || dup2(fd[i], i) < 0)
            goto failed;
    for (size_t i = 0; i < spec->n_keep; i++)
        if (fcntl(spec->keep[i], F_SETFD, 0) < 0)
            goto failed;
    if (spec->cwd && chdir(spec->cwd) < 0)
        goto failed;
    execve(file, spec->argv, spec->env ? spec->env : environ);
failed:;
    int e = errno;
    if (write(report, &e, sizeof e) < 0)
        _exit(126);
    _exit(127);
}

/* One fork that a thread waits for. */
struct order {
    const struct process_spec *spec;
    const char *file;
    const int *std;
    int report;
    pid_t pid; /* -1: it failed with errnum */
    int errnum;
    bool done;
    struct order *next;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t ordered, done;
    struct order *orders;
    pid_t owner; /* the process whose thread serves the orders; a fork of ours has none */
} forker = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, 0};

static void fork_child(struct order *o)
{
    pid_t self = getpid();
    o->pid = fork();
    if (o->pid == 0)
        child_main(o->spec, o->file, o->std, self, o->report);
    o->errnum = errno;
}

static void *serve_orders(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&forker.lock);
    for (;;) {
        while (!forker.orders)
            pthread_cond_wait(&forker.ordered, &forker.lock);
        struct order *o = forker.orders;
        forker.orders = o->next;
        fork_child(o);
        o->done = true;
        pthread_cond_broadcast(&forker.done);
    }
    return NULL;
}

/* With the lock held. Signals are for the other threads. */
static bool have_forker(void)
{
    if (forker.owner == getpid())
        return true;
    sigset_t all, old;
    pthread_t thread;
    // after a fork of ours the conditions still count the parent's thread as waiting
    forker.ordered = forker.done = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    forker.orders = NULL;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    bool made = pthread_create(&thread, NULL, serve_orders, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (made)
        pthread_detach(thread);
    forker.owner = made ? getpid() : 0;
    return made;
}

/* Where no thread can be made, this one forks. */
static void order_fork(struct order *o)
{
    pthread_mutex_lock(&forker.lock);
    if (have_forker()) {
        o->next = forker.orders;
        forker.orders = o;
        pthread_cond_signal(&forker.ordered);
        while (!o->done)
            pthread_cond_wait(&forker.done, &forker.lock);
    } else {
        fork_child(o);
    }
    pthread_mutex_unlock(&forker.lock);
    errno = o->errnum;
}

int process_start(struct process *p, const struct process_spec *spec, struct error **err)
{
    AUTO_FREE char *file = process_find(spec->argv[0]);
    if (!file)
        return error_set(err, ERR_NOT_FOUND, "program '%s' not found", spec->argv[0]);
    int modes[3] = {spec->in, spec->out, spec->errors};
    int child[3] = {-1, -1, -1}, ours[3] = {-1, -1, -1}, report[2] = {-1, -1};
    pid_t pid = -1;
    int failed = 0;
    for (int i = 0; i < 3 && !failed; i++)
        failed = open_stream(modes[i], i, &child[i], &ours[i]) < 0;
    if (!failed)
        failed = pipe2(report, O_CLOEXEC) < 0;
    if (!failed) {
        struct order o = {.spec = spec, .file = file, .std = child, .report = report[1]};
        order_fork(&o);
        pid = o.pid;
        failed = pid < 0;
    }
    int saved = errno;
    for (int i = 0; i < 3; i++)
        close_stream(modes[i], child[i]);
    if (report[1] >= 0)
        close(report[1]);
    if (!failed) {
        int e = 0;
        if (read_all(report[0], &e, sizeof e) == (ssize_t)sizeof e) {
            waitpid(pid, NULL, 0);
            saved = e;
            failed = 1;
        }
    }
    if (report[0] >= 0)
        close(report[0]);
    if (failed) {
        for (int i = 0; i < 3; i++)
            if (ours[i] >= 0)
                close(ours[i]);
        errno = saved;
        return error_errno(err, "cannot start '%s'", spec->argv[0]);
    }
    *p = (struct process){.pid = pid, .in = ours[0], .out = ours[1], .errors = ours[2]};
    p->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (p->pidfd < 0) {
        error_errno(err, "cannot watch process %d", (int)pid);
        process_clear(p);
        return -1;
    }
    return 0;
}

bool process_ended(struct process *p)
{
    if (!p->pid)
        return true;
    int status;
    pid_t got = waitpid(p->pid, &status, WNOHANG);
    if (got != p->pid)
        return false;
    p->status = status;
    p->pid = 0;
    return true;
}

int process_wait(struct process *p, int timeout_ms, struct error **err)
{
    long long end = now_ms() + timeout_ms;
    while (!process_ended(p)) {
        int left = -1;
        if (timeout_ms >= 0) {
            long long ms = end - now_ms();
            if (ms <= 0)
                return error_set(err, ERR_BUSY, "process %d did not exit within %.1f s",
                                 (int)p->pid, timeout_ms / 1000.0);
            left = (int)ms;
        }
        struct pollfd f = {.fd = p->pidfd, .events = POLLIN};
        (void)poll(&f, 1, left);
    }
    return 0;
}

void process_kill(struct process *p, int sig)
{
    if (p->pid)
        kill(p->pid, sig);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void process_forget(struct process *p)
{
    int saved = errno;
    p->pid = 0;
    close_fd(&p->pidfd);
    close_fd(&p->in);
    close_fd(&p->out);
    close_fd(&p->errors);
    errno = saved;
}

void process_clear(struct process *p)
{
    int saved = errno;
    if (p->pid && !process_ended(p)) {
        kill(p->pid, SIGKILL);
        while (waitpid(p->pid, &p->status, 0) < 0 && errno == EINTR)
            ;
    }
    process_forget(p);
    errno = saved;
}

char *process_status_text(int st)
{
    if (WIFSIGNALED(st))
        return xasprintf("killed by signal %d (%s)", WTERMSIG(st), strsignal(WTERMSIG(st)));
    return xasprintf("exit status %d", WEXITSTATUS(st));
}

char *process_failed_text(int st)
{
    AUTO_FREE char *how = process_status_text(st);
    return xasprintf("%s %s", WIFSIGNALED(st) ? "was" : "failed with", how);
}

/* Reads what is there into b; false at the end of the stream. Keeps the last `keep` bytes. */
static bool drain(int fd, struct buf *b, size_t keep)
{
    char chunk[16 * 1024];
    ssize_t n = read(fd, chunk, sizeof chunk);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    buf_add(b, chunk, (size_t)n);
    if (b->len > 2 * keep)
        buf_consume(b, b->len - keep);
    return n > 0;
}

int process_run(const struct session *s, char *const *argv, struct buf *out, struct error **err)
{
    return process_run_env(s, argv, NULL, out, err);
}

int process_run_env(const struct session *s, char *const *argv, char *const *env, struct buf *out,
                    struct error **err)
{
    return process_run_spec(s, &(struct process_spec){.argv = argv, .env = env}, out, err);
}

int process_run_spec(const struct session *s, const struct process_spec *given, struct buf *out,
                     struct error **err)
{
    enum { OUT_LIMIT = 64 << 20, ERRORS_KEPT = 2000 };
    CLEANUP(process_clear) struct process p = PROCESS_INIT;
    CLEANUP(buf_clear) struct buf dropped = BUF_INIT, errors = BUF_INIT;
    struct process_spec spec = *given;
    char *const *argv = spec.argv;
    spec.in = PROCESS_NULL;
    spec.out = spec.errors = PROCESS_PIPE;
    if (s && s->verbosity >= 2) {
        CLEANUP(buf_clear) struct buf line = BUF_INIT;
        for (char *const *a = argv; *a; a++)
            buf_addf(&line, " %s", *a);
        session_debug(s, 2, "run:%s", line.data);
    }
    if (process_start(&p, &spec, err) < 0)
        return -1;
    while (p.out >= 0 || p.errors >= 0) {
        struct pollfd f[] = {{.fd = p.out, .events = POLLIN},
                             {.fd = p.errors, .events = POLLIN},
                             {.fd = s ? s->cancel_fd : -1, .events = POLLIN}};
        if (poll(f, 3, -1) < 0)
            continue;
        if (f[2].revents)
            return error_set(err, ERR_CANCELLED, "interrupted");
        if (f[0].revents && !drain(p.out, out ? out : &dropped, out ? OUT_LIMIT : 0))
            close_fd(&p.out);
        if (f[1].revents && !drain(p.errors, &errors, ERRORS_KEPT))
            close_fd(&p.errors);
    }
    if (process_wait(&p, -1, err) < 0)
        return -1;
    if (p.status == 0)
        return 0;
    AUTO_FREE char *how = process_failed_text(p.status);
    while (errors.len && errors.data[errors.len - 1] == '\n')
        errors.data[--errors.len] = '\0';
    return error_set(err, ERR_SYSTEM, "%s %s%s%s", argv[0], how, errors.len ? ": " : "",
                     errors.data);
}
