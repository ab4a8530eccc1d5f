// SPDX-License-Identifier: MIT
//
// A channel is pumped by one loop (relay). The library hands over what came by callbacks, so
// nothing waits in its buffers unseen; it is held in two of ours and written only when poll says
// that our stdout or stderr takes it. The library's socket is read only when they are empty, and
// stdin only when what was read before is sent, so memory is bounded.
#include "base/alloc.h"
#include "base/buf.h"
#include "base/session.h"
#include "base/terminal.h"
#include "vm/ssh_private.h"

#include <libssh/callbacks.h>

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* RFC 4254, 6.10: signal names without "SIG". */
static int signal_number(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } table[] = {{"ABRT", SIGABRT}, {"ALRM", SIGALRM}, {"FPE", SIGFPE},   {"HUP", SIGHUP},
                 {"ILL", SIGILL},   {"INT", SIGINT},   {"KILL", SIGKILL}, {"PIPE", SIGPIPE},
                 {"QUIT", SIGQUIT}, {"SEGV", SIGSEGV}, {"TERM", SIGTERM}, {"USR1", SIGUSR1},
                 {"USR2", SIGUSR2}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (name && !strcmp(table[i].name, name))
            return table[i].number;
    return SIGKILL;
}

struct relay {
    struct vm_ssh *ssh;
    ssh_event event; /* the library's own poll, to let it take in what came */
    ssh_channel channel;
    struct ssh_channel_callbacks_struct callbacks;
    int fds[3];        /* what stands for stdin, stdout, stderr; borrowed */
    int status;        /* exit status, -1 = not yet known */
    struct buf in;     /* from our stdin, not yet sent */
    struct buf out[2]; /* from the channel, not yet written to stdout, stderr */
    bool in_end;       /* our stdin has ended */
    bool in_told;      /* and the channel knows */
    bool out_gone[2];  /* nobody reads our stdout or stderr any more: drop */
    struct terminal terminal;
};

/* A command that nobody waits for any more hears of it as if its terminal had gone. A server that only
 * sees the channel close may let it go on (dropbear), or what does not write (OpenSSH). */
static void hang_up(struct relay *r)
{
    enum { END_MS = 1000, LOOK_MS = 50 };
    if (!r->ssh->started || r->status >= 0 || !ssh_channel_is_open(r->channel))
        return;
    (void)ssh_channel_request_send_signal(r->channel, "HUP");
    if (!r->ssh->reused)
        return;
    // until the guest has closed the channel: what the library still says about it could come after
    // that, for which dropbear ends the connection
    r->out_gone[0] = r->out_gone[1] = true;
    for (long long until = now_ms() + END_MS; !ssh_channel_is_closed(r->channel);) {
        if (now_ms() > until || ssh_event_dopoll(r->event, LOOK_MS) == SSH_ERROR) {
            r->ssh->in_use = true;
            return;
        }
    }
}

static void relay_clear(struct relay *r)
{
    terminal_restore(&r->terminal);
    if (r->channel) {
        hang_up(r);
        (void)ssh_remove_channel_callbacks(r->channel, &r->callbacks);
        ssh_channel_free(r->channel);
    }
    if (r->event) {
        (void)ssh_event_remove_session(r->event, r->ssh->lib);
        ssh_event_free(r->event);
    }
    buf_clear(&r->in);
    buf_clear(&r->out[0]);
    buf_clear(&r->out[1]);
}

static void on_exit_signal(ssh_session lib, ssh_channel channel, const char *name, int core,
                           const char *message, const char *lang, void *arg)
{
    (void)lib, (void)channel, (void)core, (void)message, (void)lang;
    struct relay *r = arg;
    r->status = 128 + signal_number(name);
}

static void on_exit_status(ssh_session lib, ssh_channel channel, int status, void *arg)
{
    (void)lib, (void)channel;
    struct relay *r = arg;
    r->status = status & 0xff;
}

static int on_data(ssh_session lib, ssh_channel channel, void *data, uint32_t n, int is_stderr,
                   void *arg)
{
    (void)lib, (void)channel;
    struct relay *r = arg;
    if (!r->out_gone[is_stderr])
        buf_add(&r->out[is_stderr], data, n);
    return (int)n;
}

static bool has_output(const struct relay *r)
{
    return r->out[0].len || r->out[1].len;
}

static int give_input(struct relay *r, struct error **err)
{
    if (r->in.len) {
        int n = ssh_channel_write(r->channel, r->in.data, (uint32_t)r->in.len);
        if (n == SSH_ERROR && !ssh_channel_is_eof(r->channel))
            return vm_ssh_lib_error(r->ssh, "the connection broke", err);
        buf_consume(&r->in, n > 0 ? (size_t)n : n == SSH_ERROR ? r->in.len : 0);
    }
    if (r->in_end && !r->in.len && !r->in_told) {
        (void)ssh_channel_send_eof(r->channel);
        r->in_told = true;
    }
    return 0;
}

/* Whether the output is the user's own, not a file or a pipe of ours. */
static bool is_users(const struct relay *r)
{
    return r->fds[1] == r->ssh->o.session->out;
}

static void read_stdin(struct relay *r)
{
    char chunk[16 * 1024];
    ssize_t n = read(r->fds[0], chunk, sizeof chunk);
    if (n > 0)
        buf_add(&r->in, chunk, (size_t)n);
    else if (n == 0 || (errno != EINTR && errno != EAGAIN))
        r->in_end = true;
}

/* poll said that at least PIPE_BUF bytes do not block. */
static int write_output(struct relay *r, int i, struct error **err)
{
    size_t n = r->out[i].len < 4096 ? r->out[i].len : 4096;
    ssize_t wrote = write(r->fds[1 + i], r->out[i].data, n);
    if (wrote < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (wrote < 0 && (errno != EPIPE || (i == 0 && !is_users(r))))
        return error_errno(err, "cannot write to standard %s", i ? "error" : "output");
    if (wrote < 0) {
        if (i == 0)
            session_interrupt(r->ssh->o.session, SIGPIPE);
        r->out_gone[i] = true;
        wrote = (ssize_t)r->out[i].len;
    }
    buf_consume(&r->out[i], (size_t)wrote);
    return 0;
}

static int wait_relay(struct relay *r, struct error **err)
{
    enum { LIB, IN, OUT, ERRORS, WINCH, ALL };
    struct pollfd f[ALL] = {
        [LIB] = {.fd = has_output(r) ? -1 : ssh_get_fd(r->ssh->lib), .events = POLLIN},
        [IN] = {.fd = r->in_end || r->in.len ? -1 : r->fds[0], .events = POLLIN},
        [OUT] = {.fd = r->out[0].len ? r->fds[1] : -1, .events = POLLOUT},
        [ERRORS] = {.fd = r->out[1].len ? r->fds[2] : -1, .events = POLLOUT},
        [WINCH] = {.fd = r->terminal.winch_fd, .events = POLLIN},
    };
    if (ssh_get_poll_flags(r->ssh->lib) & SSH_WRITE_PENDING)
        f[LIB].events |= POLLOUT;
    int rc = vm_ssh_wait_for(r->ssh, f, ALL, r->ssh->until, err);
    if (rc <= 0)
        return rc < 0 ? -1 : error_set(err, ERR_GUEST, "it took too long");
    if (f[IN].revents)
        read_stdin(r);
    if ((f[OUT].revents && write_output(r, 0, err) < 0) ||
        (f[ERRORS].revents && write_output(r, 1, err) < 0))
        return -1;
    unsigned columns, rows;
    if (f[WINCH].revents && terminal_take_resize(&r->terminal, &columns, &rows))
        (void)ssh_channel_change_pty_size(r->channel, (int)columns, (int)rows);
    return 0;
}

static int relay_run(struct relay *r, int *ret_status, struct error **err)
{
    for (;;) {
        if (give_input(r, err) < 0)
            return -1;
        // takes in and calls back; an error shows in the state, looked at below
        if (!has_output(r))
            (void)ssh_event_dopoll(r->event, 0);
        bool closed = ssh_channel_is_closed(r->channel) || !ssh_is_connected(r->ssh->lib);
        bool ended = closed || (ssh_channel_is_eof(r->channel) && r->status >= 0);
        if (ended && !has_output(r))
            break;
        if (wait_relay(r, err) < 0)
            return -1;
    }
    if (r->status < 0)
        return error_set(err, ERR_GUEST,
                         "SSH: the connection ended before the command's status "
                         "came");
    *ret_status = r->status;
    return 0;
}

static int open_channel(struct relay *r, bool pty, struct error **err)
{
    struct vm_ssh *ssh = r->ssh;
    int rc;
    r->channel = ssh_channel_new(ssh->lib);
    if (!r->channel)
        return vm_ssh_lib_error(ssh, "no channel", err);
    until_done(ssh, rc, SSH_AGAIN, ssh_channel_open_session(r->channel), err);
    if (rc != SSH_OK)
        return vm_ssh_lib_error(ssh, "no channel", err);
    if (!pty)
        return 0;
    unsigned columns, rows;
    const char *term = session_setting(ssh->o.session, "TERM");
    terminal_size(r->fds[0], &columns, &rows);
    until_done(
        ssh, rc, SSH_AGAIN,
        ssh_channel_request_pty_size(r->channel, term ? term : "vt100", (int)columns, (int)rows),
        err);
    return rc == SSH_OK ? 0 : vm_ssh_lib_error(ssh, "no pseudo-terminal", err);
}

static int run(struct vm_ssh *ssh, const char *command, bool tty, const int fds[3], int *ret_status,
               struct error **err)
{
    CLEANUP(relay_clear)
    struct relay r = {.ssh = ssh,
                      .fds = {fds[0], fds[1], fds[2]},
                      .status = -1,
                      .in = BUF_INIT,
                      .out = {BUF_INIT, BUF_INIT},
                      .terminal = TERMINAL_INIT};
    r.callbacks =
        (struct ssh_channel_callbacks_struct){.userdata = &r,
                                              .channel_data_function = on_data,
                                              .channel_exit_status_function = on_exit_status,
                                              .channel_exit_signal_function = on_exit_signal};
    ssh_callbacks_init(&r.callbacks);
    ssh->started = false;
    ssh->o.deadline = now_ms() + ssh->channel_ms; // the login is done; this is for the channel
    // without one the end of our stdin ends the shell, as for ssh
    bool pty = tty && isatty(fds[0]);
    if (open_channel(&r, pty, err) < 0)
        return -1;
    ssh_set_channel_callbacks(r.channel, &r.callbacks);
    int rc;
    ssh->started = true;
    until_done(ssh, rc, SSH_AGAIN,
               command ? ssh_channel_request_exec(r.channel, command)
                       : ssh_channel_request_shell(r.channel),
               err);
    if (rc != SSH_OK)
        return vm_ssh_lib_error(ssh, command ? "the command was refused" : "no shell", err);
    r.event = ssh_event_new();
    if (!r.event || ssh_event_add_session(r.event, ssh->lib) != SSH_OK)
        return vm_ssh_lib_error(ssh, "no event loop", err);
    if (pty && terminal_raw(&r.terminal, fds[0], err) < 0)
        return -1;
    return relay_run(&r, ret_status, err);
}

void vm_ssh_limit(struct vm_ssh *ssh, int timeout_ms)
{
    ssh->until = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
}

static int run_for_user(struct vm_ssh *ssh, const char *command, bool tty, int *ret_status,
                        struct error **err)
{
    const struct session *s = ssh->o.session;
    return run(ssh, command, tty, (const int[3]){s->in, s->out, s->errors}, ret_status, err);
}

int vm_ssh_run(struct vm_ssh *ssh, const char *command, int *ret_status, struct error **err)
{
    return run_for_user(ssh, command, false, ret_status, err);
}

int vm_ssh_run_tty(struct vm_ssh *ssh, const char *command, int *ret_status, struct error **err)
{
    return run_for_user(ssh, command, true, ret_status, err);
}

int vm_ssh_run_on(struct vm_ssh *ssh, const char *command, const int fds[3], int *ret_status,
                  struct error **err)
{
    return run(ssh, command, false, fds, ret_status, err);
}

int vm_ssh_console(struct vm_ssh *ssh, int *ret_status, struct error **err)
{
    return run_for_user(ssh, NULL, true, ret_status, err);
}
