// SPDX-License-Identifier: MIT
//
// A process a VM and not a thread: what is called prints to stdout and stderr, starts programs and
// waits for signals as the commands do that it belongs to. A signal to us is passed on to all of them;
// one that is left behind by our own end is told by the kernel.
#include "cli/fleet_run.h"

#include "base/alloc.h"
#include "base/printable.h"
#include "cli/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { AT_ONCE = 8 };

enum worker_state { WAITING, RUNNING, DONE, FAILED, LEFT_OUT };

struct worker {
    const struct fleet_vm *vm;
    enum worker_state state;
    pid_t pid;
    int from; /* its output; -1 = none */
    struct buf line;
    int status;
};

struct fleet_runner {
    const struct fleet_work *work;
    fleet_fn *fn;
    enum fleet_order order;
    struct worker *workers; /* a slot for each VM of the file */
    size_t n, running;
    int width; /* of the longest name */
    bool told; /* the workers, that we were interrupted */
    int status;
};

static void runner_clear(struct fleet_runner *r)
{
    for (size_t i = 0; i < r->n; i++) {
        buf_clear(&r->workers[i].line);
        auto_closep(&r->workers[i].from);
    }
    free(r->workers);
}

/* In the new process; does not return. */
static void work(const struct fleet_runner *r, const struct fleet_vm *vm, int out, pid_t parent)
{
    CLEANUP(error_freep) struct error *err = NULL;
    CLEANUP(error_freep) struct error *why = NULL;
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent || null < 0 || dup2(null, STDIN_FILENO) < 0 ||
        dup2(out, STDOUT_FILENO) < 0 || dup2(out, STDERR_FILENO) < 0)
        _exit(1);
    setvbuf(stdout, NULL, _IOLBF, 0);
    int rc = signals_catch(r->work->session, &why) < 0 ? -1 : r->fn(r->work, vm, &err);
    (void)fflush(stdout);
    if (rc < 0 && err)
        print_error(err);
    (void)fflush(stderr);
    _exit(rc < 0 ? err ? command_exit_status(err) : 1 : 0);
}

static int begin(struct fleet_runner *r, struct worker *w, struct error **err)
{
    int fds[2];
    pid_t us = getpid();
    if (pipe2(fds, O_CLOEXEC) < 0)
        return error_errno(err, "cannot make a pipe");
    signals_flush_output();
    w->pid = fork();
    if (w->pid == 0)
        work(r, w->vm, fds[1], us);
    close(fds[1]);
    if (w->pid < 0) {
        close(fds[0]);
        return error_errno(err, "cannot start a process");
    }
    w->from = fds[0];
    w->state = RUNNING;
    r->running++;
    return 0;
}

static void print_line(const struct fleet_runner *r, struct worker *w)
{
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    const char *last = memrchr(w->line.data, '\r', w->line.len); // a bar that was drawn over
    struct str text = buf_str(&w->line);
    if (last && last[1])
        text = (struct str){last + 1, text.len - (size_t)(last + 1 - text.ptr)};
    while (text.len && text.ptr[text.len - 1] == '\r')
        text.len--;
    printable_add(&out, text.ptr, text.len);
    printf("%-*s | %s\n", r->width, w->vm->name, out.data);
    buf_reset(&w->line);
}

/* What came; false at its end. */
static bool take_output(const struct fleet_runner *r, struct worker *w)
{
    char chunk[16 * 1024];
    ssize_t n = read(w->from, chunk, sizeof chunk);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return true;
    for (const char *at = chunk, *end = chunk + (n > 0 ? n : 0); at < end;) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        buf_add(&w->line, at, (size_t)((lf ? lf : end) - at));
        if (lf)
            print_line(r, w);
        at = lf ? lf + 1 : end;
    }
    if (n <= 0 && w->line.len)
        print_line(r, w);
    signals_flush_output();
    return n > 0;
}

static void finish(struct fleet_runner *r, struct worker *w)
{
    int status = 0;
    close(STEAL_FD(w->from));
    while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR)
        ;
    w->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    w->state = w->status ? FAILED : DONE;
    if (w->status && !r->status)
        r->status = w->status;
    r->running--;
}

static struct worker *worker_of(const struct fleet_runner *r, const char *name)
{
    const struct fleet_vm *vms = r->work->file->fleet->vms;
    return &r->workers[fleet_find(r->work->file->fleet, name) - vms];
}

/* Whether w may begin: those it waits for are done. One that failed leaves it out. */
static bool is_ready(const struct fleet_runner *r, struct worker *w)
{
    bool ready = true;
    for (size_t i = 0; r->order == FLEET_IN_ORDER && i < w->vm->n_after; i++) {
        const struct worker *other = worker_of(r, w->vm->after[i]);
        if (other->state == FAILED || other->state == LEFT_OUT) {
            printf("%-*s | left out, as '%s' failed\n", r->width, w->vm->name, other->vm->name);
            w->state = LEFT_OUT;
            return false;
        }
        ready &= other->state == DONE;
    }
    for (size_t i = 0; r->order == FLEET_REVERSED && i < r->n; i++)
        for (size_t j = 0; j < r->workers[i].vm->n_after; j++)
            if (worker_of(r, r->workers[i].vm->after[j]) == w)
                ready &= r->workers[i].state != WAITING && r->workers[i].state != RUNNING;
    return ready;
}

static bool skip_done(const struct fleet_runner *r, struct worker *w)
{
    if (!r->work->is_done || !r->work->is_done(r->work, w->vm))
        return false;
    printf("%-*s | running, unchanged\n", r->width, w->vm->name);
    w->state = DONE;
    return true;
}

static int begin_ready(struct fleet_runner *r, struct error **err)
{
    for (bool again = true; again;) {
        again = false;
        for (size_t i = 0; i < r->n && r->running < AT_ONCE; i++) {
            struct worker *w = &r->workers[i];
            if (w->state != WAITING || session_cancelled(r->work->session))
                continue;
            if (is_ready(r, w) && !skip_done(r, w) && begin(r, w, err) < 0)
                return -1;
            again |= w->state == LEFT_OUT || w->state == DONE;
        }
    }
    return 0;
}

/* A signal to us alone is for all of them: what they have begun they end as a command of its own does. */
static void pass_on(struct fleet_runner *r)
{
    r->told = true;
    for (size_t i = 0; i < r->n; i++)
        if (r->workers[i].state == RUNNING)
            (void)kill(r->workers[i].pid, SIGTERM);
}

/* Until one has said something, or has ended. */
static int listen(struct fleet_runner *r, struct error **err)
{
    AUTO_FREE struct pollfd *p = xcalloc(r->n + 1, sizeof *p);
    for (size_t i = 0; i < r->n; i++)
        p[i] = (struct pollfd){.fd = r->workers[i].from, .events = POLLIN};
    p[r->n] = (struct pollfd){.fd = r->told ? -1 : r->work->session->cancel_fd, .events = POLLIN};
    if (poll(p, r->n + 1, -1) < 0)
        return errno == EINTR ? 0 : error_errno(err, "cannot wait for the VMs");
    if (p[r->n].revents)
        pass_on(r);
    for (size_t i = 0; i < r->n; i++)
        if (p[i].revents && !take_output(r, &r->workers[i]))
            finish(r, &r->workers[i]);
    return 0;
}

int fleet_run(const struct fleet_work *work_, fleet_fn *fn, enum fleet_order order,
              struct error **err)
{
    const struct fleet *f = work_->file->fleet;
    CLEANUP(runner_clear)
    struct fleet_runner r = {.work = work_, .fn = fn, .order = order, .n = f->n_vms};
    r.workers = xcalloc(r.n, sizeof *r.workers);
    for (size_t i = 0; i < r.n; i++) {
        bool chosen = work_->file->chosen[i];
        int width = chosen ? (int)strlen(f->vms[i].name) : 0;
        r.workers[i] = (struct worker){
            .vm = &f->vms[i], .state = chosen ? WAITING : DONE, .from = -1, .line = BUF_INIT};
        r.width = width > r.width ? width : r.width;
    }
    int rc = begin_ready(&r, err);
    while (rc == 0 && r.running)
        if ((rc = listen(&r, err)) == 0)
            rc = begin_ready(&r, err);
    while (r.running) // after an error: nobody is left behind
        if (listen(&r, NULL) < 0)
            break;
    if (rc == 0 && session_cancelled(work_->session))
        return error_set(err, ERR_CANCELLED, "interrupted");
    return rc < 0 ? -1 : r.status;
}
