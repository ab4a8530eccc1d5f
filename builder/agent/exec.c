// SPDX-License-Identifier: MIT
// EXEC: the request becomes a struct sandbox, a process in new namespaces carries it out, and this
// side moves bytes: what the command writes goes to the host as soon as it can be read (the pipes
// hold the command back when the host does not take it), INPUT goes to the command.
#include "builder/agent/exec.h"

#include "builder/agent/exec_request.h"
#include "builder/agent/leftover.h"
#include "builder/agent/network.h"
#include "builder/agent/pulse.h"
#include "builder/agent/sys.h"
#include "builder/agent/tree.h"
#include "builder/agent/warm.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum {
    OUTPUT_BYTES = 32 * 1024 - PORT_OUTPUT_ROOM,
    PIPE_BYTES = 256 * 1024,
    /* Output that comes right after a frame is gathered for so long: a program that writes line by
     * line fast does not cost a frame a line. The first line after a pause goes out at once. */
    GATHER_NS = 2000000,
    KILL_WAIT_MS = 3000,
};

struct run {
    struct agent *agent;
    struct sandbox *box;
    pid_t pid;    /* the first process of the namespaces */
    int out, err; /* read ends; with a terminal, out is its master */
    int in;       /* write end of stdin; -1 = none or closed */
    int control;  /* to the first process */
    bool tty, failed;
    bool input_ended; /* stdin is to be closed when `input` is empty */
    struct buf input; /* not yet taken by the command */
    int64_t sent;     /* when output was last sent, ns */
    int status;
    struct sandbox_report failure;
    char *room; /* PORT_OUTPUT_ROOM and OUTPUT_BYTES bytes */
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(STEAL_FD(*fd));
}

static void run_clear(struct run *r)
{
    close_fd(&r->out);
    close_fd(&r->err);
    close_fd(&r->in);
    close_fd(&r->control);
    if (r->pid > 0) {
        kill(r->pid, SIGKILL); // and with it all that is in its PID namespace
        while (waitpid(r->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    buf_clear(&r->input);
    free(r->room);
}

// Moving bytes.

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

// All that is there; false when the pipe has ended. EIO is what a terminal gives when nobody has it
// open.
static bool take_output(struct run *r, int fd, int stream)
{
    for (;;) {
        ssize_t n = read(fd, r->room + PORT_OUTPUT_ROOM, OUTPUT_BYTES);
        if (n <= 0)
            return n < 0 && (errno == EINTR || errno == EAGAIN);
        port_send_output(&r->agent->port, r->agent->id, stream, r->room, (size_t)n);
        r->sent = now_ns();
        if (n < OUTPUT_BYTES)
            return true;
    }
}

static void give_input(struct run *r)
{
    int fd = r->tty ? r->out : r->in;
    if (fd >= 0 && r->input.len) {
        ssize_t n = write(fd, r->input.data, r->input.len);
        if (n > 0)
            buf_consume(&r->input, (size_t)n);
        else if (errno != EAGAIN && errno != EINTR)
            buf_reset(&r->input); // nobody reads it any more
    }
    if (!r->input.len && r->input_ended)
        close_fd(&r->in);
}

static void take_frame(void *arg, int type, const struct message *m)
{
    struct run *r = arg;
    struct str data;
    if (type == AGENT_INPUT && message_num(m, AGENT_TAG_CHANNEL, 0)) {
        sockets_take(&r->box->sockets, m);
    } else if (type == AGENT_INPUT && message_get(m, AGENT_TAG_DATA, &data) && data.len) {
        buf_add_str(&r->input, data);
        give_input(r);
    } else if (type == AGENT_INPUT) {
        r->input_ended = true;
        if (r->tty)
            buf_addc(&r->input, 4); // what a terminal has for it: Ctrl-D
        give_input(r);
    } else if (type == AGENT_RESIZE && r->tty && r->out >= 0) {
        struct winsize size = {.ws_row = (unsigned short)message_num(m, AGENT_TAG_ROWS, 24),
                               .ws_col = (unsigned short)message_num(m, AGENT_TAG_COLUMNS, 80)};
        ioctl(r->out, TIOCSWINSZ, &size);
    } else if (type == AGENT_SIGNAL) {
        int number = (int)message_num(m, AGENT_TAG_NUMBER, 0);
        (void)send(r->control, &number, sizeof number, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
}

static void take_report(struct run *r)
{
    struct sandbox_report in;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec io = {&in, sizeof in};
    struct msghdr m = {.msg_iov = &io,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof control.bytes};
    ssize_t n = recvmsg(r->control, &m, MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n != (ssize_t)sizeof in) {
        close_fd(&r->control);
        return;
    }
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (in.event == SANDBOX_TERMINAL && c && c->cmsg_type == SCM_RIGHTS)
        memcpy(&r->out, CMSG_DATA(c), sizeof r->out);
    if (in.event == SANDBOX_CHANGED && !r->box->changed)
        r->box->changed = xstrdup(in.message);
    if (in.event == SANDBOX_STATUS)
        r->status = in.value;
    if (in.event == SANDBOX_FAILED) {
        r->failed = true;
        r->failure = in;
    }
}

static bool wants_input(const struct run *r)
{
    return r->input.len && (r->tty ? r->out : r->in) >= 0;
}

static void pump(struct run *r)
{
    enum { OWN = 5 };
    struct port *port = &r->agent->port;
    struct sockets *sockets = &r->box->sockets;
    r->status = -1;
    while (r->control >= 0 || r->out >= 0 || r->err >= 0) {
        if (port_has_frame(port)) // came in with the request, or while output was sent
            agent_poll(r->agent, take_frame, r);
        short in = r->tty && wants_input(r) ? POLLIN | POLLOUT : POLLIN;
        int64_t gather = r->tty || r->control < 0 ? 0 : r->sent + GATHER_NS - now_ns();
        struct pollfd f[OWN + SOCKETS_FDS] = {{gather > 0 ? -1 : r->out, in, 0},
                                              {gather > 0 ? -1 : r->err, POLLIN, 0},
                                              {r->control, POLLIN, 0},
                                              {r->tty || !wants_input(r) ? -1 : r->in, POLLOUT, 0},
                                              {port->fd, POLLIN, 0}};
        size_t n = sockets_poll(sockets, f + OWN);
        struct timespec left = {0, gather};
        if (ppoll(f, OWN + n, gather > 0 ? &left : NULL, NULL) < 0)
            continue;
        if (f[4].revents & POLLHUP) {
            kill(r->pid, SIGKILL); // nobody is there to hear of it
            return;
        }
        sockets_pump(sockets, r->agent, f + OWN, n);
        if (f[4].revents)
            agent_poll(r->agent, take_frame, r);
        if (f[3].revents || f[0].revents & POLLOUT)
            give_input(r);
        if (f[0].revents & ~POLLOUT && !take_output(r, r->out, 1))
            close_fd(&r->out);
        if (f[1].revents && !take_output(r, r->err, 2))
            close_fd(&r->err);
        if (f[2].revents)
            take_report(r);
    }
}

static int open_pipes(struct run *r, struct sandbox *s, bool with_stdin, struct error **err)
{
    int control[2], out[2], errs[2], in[2] = {-1, -1};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) < 0)
        return error_errno(err, "cannot make a socket");
    r->control = control[0];
    s->control = control[1];
    s->in = s->out = s->errors = -1;
    if (s->tty)
        return 0;
    if (pipe2(out, O_CLOEXEC) < 0 || pipe2(errs, O_CLOEXEC) < 0 ||
        (with_stdin && pipe2(in, O_CLOEXEC) < 0))
        return error_errno(err, "cannot make a pipe");
    // /dev/stdout and its like are opened again, by whatever user the command is or becomes
    fchmod(out[0], 0666);
    fchmod(errs[0], 0666);
    if (with_stdin)
        fchmod(in[0], 0666);
    fcntl(out[0], F_SETPIPE_SZ, PIPE_BYTES);
    fcntl(out[0], F_SETFL, O_NONBLOCK); // our end only: the command's has a description of its own
    fcntl(errs[0], F_SETFL, O_NONBLOCK);
    r->out = out[0];
    r->err = errs[0];
    r->in = in[1];
    s->out = out[1];
    s->errors = errs[1];
    s->in = with_stdin ? in[0] : open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (with_stdin)
        fcntl(r->in, F_SETFL, O_NONBLOCK);
    return 0;
}

static void close_theirs(struct sandbox *s)
{
    close_fd(&s->in);
    close_fd(&s->out);
    close_fd(&s->errors);
    close_fd(&s->control);
}

static int start(struct run *r, struct sandbox *s, struct error **err)
{
    // as fork, into new namespaces
    long pid = syscall(SYS_clone, sandbox_clone_flags(s) | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0) {
        close_fd(&r->control);
        close_fd(&r->out);
        close_fd(&r->err);
        close_fd(&r->in);
        close(r->agent->port.fd);
        sandbox_main(s);
    }
    r->pid = (pid_t)pid;
    close_theirs(s);
    return pid < 0 ? error_errno(err, "cannot start a process for the command") : 0;
}

int exec_sandbox(struct agent *a, struct sandbox *s, bool with_stdin, int *ret_status,
                 struct error **err)
{
    CLEANUP(run_clear)
    struct run r = {.agent = a,
                    .box = s,
                    .out = -1,
                    .err = -1,
                    .in = -1,
                    .control = -1,
                    .tty = s->tty,
                    .input = BUF_INIT,
                    .room = xmalloc(PORT_OUTPUT_ROOM + OUTPUT_BYTES)};
    if (open_pipes(&r, s, with_stdin, err) < 0 || start(&r, s, err) < 0)
        return -1;
    pump(&r);
    if (r.failed) {
        error_set(err, ERR_USER, "%s", r.failure.message);
        if (*err)
            (*err)->errnum = r.failure.value;
        return r.failure.hint[0] ? error_hint(err, "%s", r.failure.hint) : -1;
    }
    if (r.status < 0)
        return error_set(err, ERR_GUEST, "the command's first process was killed");
    *ret_status = r.status;
    return 0;
}

static int carry_out(struct agent *a, const struct request *rq, struct message *reply,
                     struct error **err)
{
    CLEANUP(sandbox_clear) struct sandbox s = {.tree = AGENT_TREE "0"};
    AUTO_FREE char *cwd = NULL, *hostname = NULL;
    int status = 0;
    AUTO_CLOSE int root = tree_open(a, AGENT_DISK_TARGET, err);
    if (root < 0 || exec_read_request(a, rq, root, &s, &cwd, &hostname, err) < 0)
        return -1;
    s.volumes = a->slots[AGENT_DISK_TARGET].volumes;
    s.file_systems = &a->slots[AGENT_DISK_TARGET].mounts;
    bool with_stdin = message_num(&rq->fields, AGENT_TAG_FLAGS, 0) & AGENT_STDIN;
    bool host = !s.no_network && network_proxy_on_host(&s.env);
    if (host)
        network_reach_host(true);
    changes_forget(&a->changes);
    int done = exec_sandbox(a, &s, with_stdin, &status, err);
    leftovers_remove(a);
    s.changed = s.changed ? s.changed : changes_seen(&a->changes);
    if (host)
        network_reach_host(false);
    if (done < 0)
        return -1;
    message_put_num(reply, AGENT_TAG_STATUS, (uint64_t)(unsigned)status);
    message_puts(reply, AGENT_TAG_CHANGED, s.changed);
    return 0;
}

// The pid of the shell that is run ahead, or 0.
static pid_t warm(struct agent *a, const struct request *rq)
{
    struct str shell;
    if (!a->cold_shell || !(message_num(&rq->fields, AGENT_TAG_FLAGS, 0) & AGENT_SHELL) ||
        !message_get(&rq->fields, AGENT_TAG_ARG, &shell))
        return 0;
    a->cold_shell = false;
    AUTO_FREE char *path = str_dup(shell);
    return warm_start(&a->slots[AGENT_DISK_TARGET], path);
}

// Whatever the command got to run outside of its namespaces (a helper that the kernel starts for
// it, say) ends as well. The call reaches every process but us, whether it forks meanwhile or not;
// helpers of the kernel's are nobody's children, so only ours can be waited for.
static void kill_others(void)
{
    int64_t end = sys_now_ms() + KILL_WAIT_MS;
    kill(-1, SIGKILL);
    while (waitpid(-1, NULL, WNOHANG) >= 0 && sys_now_ms() < end)
        sys_sleep_ms(1);
}

int agent_exec(struct agent *a, const struct request *rq, struct message *reply, struct error **err)
{
    pid_t shell = warm(a, rq);
    int done = carry_out(a, rq, reply, err);
    warm_end(shell);
    kill_others();
    pulse_start(); // it was one of them
    exec_drop_unpacked(a);
    return done;
}
