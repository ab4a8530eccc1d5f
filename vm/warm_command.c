// SPDX-License-Identifier: MIT
//
// The user's command in a restored guest, over a port of virtio-serial (vm/wake.h has the frames). Our
// input is read only when what was read before is sent, and the port only when what came is written, so
// memory is bounded.
#include "vm/warm.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/session.h"
#include "vm/vm.h"
#include "vm/wake.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

bool vm_warm_command_fits(const struct vm_run_options *o, const json_t *note)
{
    const struct vm_spec *spec = o->spec;
    const char *user = json_str(note, "user"), *asked = json_str(note, "asked");
    const char *wanted = spec->ssh.user;
    bool same = wanted ? user && !strcmp(user, wanted) : user && !asked;
    return same && spec->session == VM_SSH_COMMAND && spec->command && !spec->tty &&
           strlen(spec->command) < COMMAND_MAX && !spec->shares.len && !o->entered && !o->leaving &&
           !spec->ssh.key && !spec->ssh.program && !spec->ssh.options.len;
}

struct talk {
    const struct session *session;
    int port;
    struct buf to, from; /* of the port */
    struct buf out[2];   /* for our stdout and stderr */
    bool in_end, out_gone[2];
    bool ended;
    int status;
};

static void talk_clear(struct talk *t)
{
    buf_clear(&t->to);
    buf_clear(&t->from);
    buf_clear(&t->out[0]);
    buf_clear(&t->out[1]);
}

static void add_frame(struct buf *to, uint32_t kind, const void *data, size_t n)
{
    struct command_frame f = {kind, (uint32_t)n};
    buf_add(to, &f, sizeof f);
    buf_add(to, data, n);
}

static int take_frame(struct talk *t, const struct command_frame *f, const char *data,
                      struct error **err)
{
    int i = f->kind == COMMAND_ERRORS, status;
    if (f->kind == COMMAND_STATUS && f->n == sizeof status) {
        memcpy(&status, data, sizeof status);
        t->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        t->ended = true;
    } else if (f->kind != COMMAND_OUTPUT && f->kind != COMMAND_ERRORS) {
        return error_set(err, ERR_GUEST, "the restored guest answers nonsense");
    } else if (!t->out_gone[i]) {
        buf_add(&t->out[i], data, f->n);
    }
    return 0;
}

static int take_in(struct talk *t, struct error **err)
{
    char chunk[COMMAND_PART];
    ssize_t n = read(t->port, chunk, sizeof chunk);
    if (n == 0)
        t->port = -1; // QEMU ends: the wait says how
    if (n > 0)
        buf_add(&t->from, chunk, (size_t)n);
    struct command_frame f;
    while (t->from.len >= sizeof f) {
        memcpy(&f, t->from.data, sizeof f);
        if (f.n > COMMAND_PART)
            return error_set(err, ERR_GUEST, "the restored guest answers nonsense");
        if (t->from.len < sizeof f + f.n)
            break;
        if (take_frame(t, &f, t->from.data + sizeof f, err) < 0)
            return -1;
        buf_consume(&t->from, sizeof f + f.n);
    }
    return 0;
}

static void read_stdin(struct talk *t)
{
    char chunk[16 * 1024];
    ssize_t n = read(t->session->in, chunk, sizeof chunk);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    t->in_end = n <= 0;
    add_frame(&t->to, COMMAND_INPUT, chunk, n > 0 ? (size_t)n : 0);
}

static void send_out(struct talk *t)
{
    ssize_t n = write(t->port, t->to.data, t->to.len);
    if (n > 0)
        buf_consume(&t->to, (size_t)n);
}

/* poll said that at least PIPE_BUF bytes do not block. */
static int write_output(struct talk *t, int i, struct error **err)
{
    size_t n = t->out[i].len < 4096 ? t->out[i].len : 4096;
    ssize_t wrote = write(i ? t->session->errors : t->session->out, t->out[i].data, n);
    if (wrote < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (wrote < 0 && errno != EPIPE)
        return error_errno(err, "cannot write to standard %s", i ? "error" : "output");
    if (wrote < 0 && !i)
        session_interrupt(t->session, SIGPIPE);
    t->out_gone[i] |= wrote < 0;
    buf_consume(&t->out[i], wrote < 0 ? t->out[i].len : (size_t)wrote);
    return 0;
}

static int turn(struct talk *t, vm_ssh_wait_fn *wait, void *wait_arg, struct error **err)
{
    enum { PORT, IN, OUT, ERRORS, ALL };
    bool full = t->out[0].len || t->out[1].len;
    struct pollfd f[ALL] = {
        [PORT] = {.fd = t->port,
                  .events = (short)((full ? 0 : POLLIN) | (t->to.len ? POLLOUT : 0))},
        [IN] = {.fd = t->in_end || t->to.len ? -1 : t->session->in, .events = POLLIN},
        [OUT] = {.fd = t->out[0].len ? t->session->out : -1, .events = POLLOUT},
        [ERRORS] = {.fd = t->out[1].len ? t->session->errors : -1, .events = POLLOUT},
    };
    if (!f[PORT].events)
        f[PORT].fd = -1;
    if (wait(wait_arg, f, ALL, -1, err) < 0)
        return -1;
    if (f[PORT].revents & POLLOUT)
        send_out(t);
    if (f[PORT].revents & ~POLLOUT && take_in(t, err) < 0)
        return -1;
    if (f[IN].revents)
        read_stdin(t);
    for (int i = 0; i < 2; i++)
        if (f[OUT + i].revents && write_output(t, i, err) < 0)
            return -1;
    return 0;
}

int vm_warm_command(const struct session *s, const struct vm_run_options *o, struct vm *vm,
                    vm_ssh_wait_fn *wait, void *wait_arg, int *ret_status, struct error **err)
{
    CLEANUP(talk_clear)
    struct talk t = {.session = s,
                     .port = vm_port(vm, "command"),
                     .to = BUF_INIT,
                     .from = BUF_INIT,
                     .out = {BUF_INIT, BUF_INIT}};
    const char *command = o->spec->command;
    add_frame(&t.to, COMMAND_RUN, command, strlen(command) + 1);
    while (!t.ended || t.out[0].len || t.out[1].len)
        if (turn(&t, wait, wait_arg, err) < 0)
            return -1;
    *ret_status = t.status;
    return 0;
}
