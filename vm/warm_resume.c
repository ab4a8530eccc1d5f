// SPDX-License-Identifier: MIT
//
// A copy of a saved guest goes on: the state is loaded, and before anybody uses it the program that waits
// sets its clock and feeds its random pool. A copy in the background gets one end of three socket pairs;
// ours are closed when it has been told everything.
#include "vm/warm.h"

#include "base/alloc.h"
#include "base/json.h"
#include "base/session.h"
#include "vm/migrate.h"
#include "vm/qmp.h"
#include "vm/vm.h"
#include "vm/wake.h"
#include "vm/warm_link.h"
#include "vm/warm_private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    ANSWER_MS = 10000,
    EXACT_MS = 50, /* the clock is this exact, if a request can be answered so fast */
    TRIES = 8
};

const char *const warm_ports[VM_WARM_PORTS] = {"wake", "wakeport", "command"};

struct warm_link warm_link_of(struct vm *vm)
{
    return (struct warm_link){.vm = vm,
                              .wake = vm_port(vm, "wake"),
                              .wakeport = vm_port(vm, "wakeport"),
                              .command = vm_port(vm, "command")};
}

int warm_wake_port(const struct warm_link *l, const json_t *note)
{
    return json_flag(note, "port") ? l->wakeport : l->wake;
}

/* As vm_wait; the end of a QEMU in the background shows at the port. */
static int wait_port(const struct warm_link *l, int fd, long long deadline, struct error **err)
{
    struct pollfd f[] = {{.fd = fd, .events = POLLIN},
                         {.fd = l->vm ? -1 : l->session->cancel_fd, .events = POLLIN}};
    if (l->vm)
        return vm_wait(l->vm, f, 1, deadline, err);
    long long left = deadline - now_ms();
    if (left > 0 && poll(f, 2, (int)left) > 0 && f[1].revents)
        return error_set(err, ERR_CANCELLED, "interrupted");
    return now_ms() < deadline;
}

int warm_receive(const struct warm_link *l, int fd, void *to, size_t n, long long deadline,
                 struct error **err)
{
    for (size_t have = 0; have < n;) {
        ssize_t got = read(fd, (char *)to + have, n - have);
        if (got > 0) {
            have += (size_t)got;
            continue;
        }
        if (got == 0 || (errno != EAGAIN && errno != EINTR))
            return 0;
        int rc = wait_port(l, fd, deadline, err);
        if (rc <= 0)
            return rc;
    }
    return 1;
}

static int ask(int port, uint32_t what, struct error **err)
{
    struct wake_request r = {.mark = {'k', 'i', 'l', 'n'}, .what = what};
    struct timespec now;
    if (what & WAKE_SEED && getrandom(r.seed, sizeof r.seed, 0) != (ssize_t)sizeof r.seed)
        return error_errno(err, "cannot get random bytes");
    (void)clock_gettime(CLOCK_REALTIME, &now);
    r.seconds = now.tv_sec;
    r.nanoseconds = now.tv_nsec;
    ssize_t n = send(port, &r, sizeof r, MSG_NOSIGNAL);
    explicit_bzero(r.seed, sizeof r.seed);
    return n == (ssize_t)sizeof r ? 0 : error_set(err, ERR_GUEST, "the guest takes no message");
}

/* The answer takes as long as the clock may be behind, so on a busy host it is set again. */
static int wake(const struct session *s, const struct warm_link *l, int port, struct error **err)
{
    for (int i = 0; i < TRIES; i++) {
        struct wake_answer a;
        long long began = now_ms();
        if (ask(port, i ? WAKE_CLOCK : WAKE_CLOCK | WAKE_SEED, err) < 0)
            return -1;
        int rc = warm_receive(l, port, &a, sizeof a, began + WARM_MS, err);
        if (rc <= 0)
            return rc < 0 ? -1 : error_set(err, ERR_GUEST, "the restored guest does not answer");
        if (memcmp(a.mark, "done", 4) != 0)
            return error_set(err, ERR_GUEST, "the restored guest answers nonsense");
        if (a.clock || a.entropy || a.reseed)
            return error_set(err, ERR_GUEST,
                             "the restored guest refuses the time or random bytes: %s",
                             strerror(a.clock     ? a.clock
                                      : a.entropy ? a.entropy
                                                  : a.reseed));
        session_debug(s, 1, "warm: the guest has its time after %lld ms", now_ms() - began);
        if (now_ms() - began <= EXACT_MS)
            break;
    }
    return ask(port, WAKE_END, err);
}

static int load(const struct session *s, struct vm_warm *w, struct qmp *q,
                const struct warm_link *l, struct error **err)
{
    long long began = now_us();
    const json_t *note = w->saved->note;
    AUTO_CLOSE int fd = open(w->saved->state, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, "cannot read '%s'", w->saved->state);
    w->loading = true;
    if (vm_migrate(s, q, VM_MIGRATE_IN, fd, true, err) < 0 ||
        qmp_command(q, "cont", NULL, ANSWER_MS, NULL, err) < 0 ||
        (!json_object_get(note, "lacking") && wake(s, l, warm_wake_port(l, note), err) < 0))
        return -1;
    session_timing(s, "warm-resume", now_us() - began);
    return 0;
}

static void end_command(int port)
{
    struct command_frame f = {.kind = COMMAND_END};
    (void)send(port, &f, sizeof f, MSG_NOSIGNAL);
}

int vm_warm_resume(const struct session *s, const struct vm_run_options *o, struct vm *vm,
                   struct error **err)
{
    struct vm_warm *w = o->warm;
    const struct warm_link link = warm_link_of(vm);
    if (load(s, w, vm_qmp(vm), &link, err) < 0)
        return -1;
    w->resumed = true;
    w->command = vm_warm_command_fits(o, w->saved->note);
    if (!w->command)
        end_command(link.command);
    saved_clear(w->saved); // QEMU has its files open: they may be removed
    if (o->spec->session == VM_SERIAL && vm_port(vm, "console") >= 0 &&
        write(vm_port(vm, "console"), "\n", 1) < 0) // whoever asks for a login asks again
        session_debug(s, 1, "warm: the console takes nothing");
    return 0;
}

/* --- in the background --- */

void vm_warm_ports_clear(struct vm_warm_ports *p)
{
    for (size_t i = 0; i < VM_WARM_PORTS; i++) {
        auto_closep(&p->ours[i]);
        auto_closep(&p->theirs[i]);
    }
}

int vm_warm_ports_open(struct vm_warm_ports *p, struct strv *args, struct error **err)
{
    for (size_t i = 0; i < VM_WARM_PORTS; i++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
            return error_errno(err, "cannot make a socket pair");
        p->ours[i] = pair[0];
        p->theirs[i] = pair[1];
        (void)fcntl(pair[0], F_SETFL, O_NONBLOCK);
        strv_add(args, "-chardev");
        strv_addf(args, "socket,id=%s,fd=%d", warm_ports[i], pair[1]);
    }
    return 0;
}

int vm_warm_resume_detached(const struct session *s, struct vm_warm *w, struct qmp *q,
                            const struct vm_warm_ports *p, struct error **err)
{
    const struct warm_link link = {s, NULL, p->ours[0], p->ours[1], p->ours[2]};
    if (load(s, w, q, &link, err) < 0)
        return -1;
    end_command(link.command);
    w->resumed = true;
    return 0;
}

static bool has_chardev(struct qmp *qmp, const char *wanted)
{
    json_auto_t *all = NULL;
    size_t i;
    json_t *v;
    (void)qmp_command(qmp, "query-chardev", NULL, ANSWER_MS, &all, NULL);
    json_array_foreach (all, i, v) {
        const char *label = json_str(v, "label");
        if (label && !strcmp(label, wanted))
            return true;
    }
    return false;
}

bool vm_warm_is(struct qmp *qmp)
{
    return has_chardev(qmp, "wakeport");
}

bool vm_warm_was(struct qmp *qmp)
{
    return vm_warm_is(qmp) || has_chardev(qmp, "wakeport" WARM_AGAIN);
}
