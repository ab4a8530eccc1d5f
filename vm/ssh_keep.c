// SPDX-License-Identifier: MIT
//
// Whoever wants a command run connects and sends it in one message with three descriptors. The keeper
// answers TAKEN, and later how it went; a connection that ends without TAKEN is the answer of a keeper
// that is busy. A terminal is not handed over: read by a process in the background it would lose keys
// when its user has stopped kiln with Ctrl-Z, so kiln reads it and passes on what it got.
#include "vm/ssh_keep.h"

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/leave.h"
#include "base/lock.h"
#include "base/session.h"
#include "vm/folder_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    IDLE_MS = 300000,
    REQUEST_S = 5,       /* for a request to arrive */
    CHANNEL_MS = 5000,   /* for the guest to open a channel; then the connection counts as dead */
    COMMAND_MAX = 65536, /* bytes; what is longer takes a connection of its own */
    WAITED_MAX = 8
};

enum answer { TAKEN, NOT_STARTED, STATUS, FAILED };

struct message {
    enum answer answer;
    int status; /* STATUS */
    int errnum; /* FAILED: of the error, and its text */
    char why[240];
};

/* --- the keeper --- */

struct service {
    struct vm_ssh *ssh;
    int listener, client;
};

/* A client that comes while another is served is turned away: it does better alone. */
static void turn_away(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
}

/* A vm_ssh_wait_fn that ends when the client is gone. */
static int wait_served(void *arg, struct pollfd *fds, size_t n, long long deadline,
                       struct error **err)
{
    const struct service *s = arg;
    struct pollfd f[WAITED_MAX + 2];
    long long left = deadline < 0 ? -1 : deadline - now_ms();
    memcpy(f, fds, n * sizeof *fds);
    f[n] = (struct pollfd){.fd = s->client, .events = POLLIN};
    f[n + 1] = (struct pollfd){.fd = s->listener, .events = POLLIN};
    int ready = poll(f, n + 2, deadline < 0 ? -1 : left < 0 ? 0 : (int)left);
    for (size_t i = 0; i < n; i++)
        fds[i].revents = ready > 0 ? f[i].revents : 0;
    if (ready > 0 && f[n].revents)
        return error_set(err, ERR_CANCELLED, "the client has gone");
    if (ready > 0 && f[n + 1].revents)
        turn_away(s->listener);
    return ready > 0 || deadline < 0 || now_ms() < deadline;
}

/* The command, owned, and the descriptors that came with it; NULL. */
static char *take_request(int fd, int ret_fds[3])
{
    AUTO_FREE char *command = xcalloc(1, COMMAND_MAX + 1);
    union {
        char bytes[CMSG_SPACE(3 * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct timeval patience = {.tv_sec = REQUEST_S};
    struct iovec part = {command, COMMAND_MAX};
    struct msghdr m = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof control.bytes};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ssize_t n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
    struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
    if (!c || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(3 * sizeof(int)))
        return NULL;
    memcpy(ret_fds, CMSG_DATA(c), 3 * sizeof(int));
    size_t have = (size_t)n;
    while (command[have - 1] && have < COMMAND_MAX &&
           (n = recv(fd, command + have, COMMAND_MAX - have, 0)) > 0)
        have += (size_t)n;
    return command[have - 1] ? NULL : STEAL(command);
}

static void answer(int client, struct message m)
{
    (void)send(client, &m, sizeof m, MSG_NOSIGNAL);
}

static void answer_failed(int client, const struct error *why)
{
    struct message m = {.answer = FAILED, .errnum = why->errnum};
    (void)snprintf(m.why, sizeof m.why, "%s", why->message);
    answer(client, m);
}

/* One command; false: the connection is of no use any more. */
static bool serve(struct vm_ssh *ssh, int listener)
{
    AUTO_CLOSE int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    struct service service = {ssh, listener, client};
    CLEANUP(error_freep) struct error *err = NULL;
    int fds[3] = {-1, -1, -1}, status = 0;
    AUTO_FREE char *command = client >= 0 ? take_request(client, fds) : NULL;
    if (command) {
        answer(client, (struct message){.answer = TAKEN});
        vm_ssh_reuse(ssh, wait_served, &service, CHANNEL_MS);
        if (vm_ssh_run_on(ssh, command, fds, &status, &err) == 0)
            answer(client, (struct message){.answer = STATUS, .status = status});
        else if (!vm_ssh_started(ssh))
            answer(client, (struct message){.answer = NOT_STARTED});
        else
            answer_failed(client, err);
    }
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return !err || vm_ssh_started(ssh);
}

static void keep(struct vm_ssh *ssh, int listener)
{
    long long until = now_ms() + IDLE_MS;
    while (vm_ssh_idle(ssh) && now_ms() < until) {
        struct pollfd f[] = {{.fd = vm_ssh_fd(ssh), .events = POLLIN},
                             {.fd = listener, .events = POLLIN}};
        if (poll(f, 2, (int)(until - now_ms())) < 0 && errno != EINTR)
            return;
        if (!f[1].revents)
            continue;
        if (!serve(ssh, listener))
            return;
        until = now_ms() + IDLE_MS;
    }
}

void vm_ssh_keep_take(struct vm_ssh *given, const char *dir)
{
    CLEANUP(vm_ssh_freep) struct vm_ssh *ssh = given;
    AUTO_FREE char *path = path_join(dir, "ssh.lock"), *name = path_join(dir, "ssh.sock");
    AUTO_CLOSE int lock = lock_try(path, LOCK_EXCLUSIVE, NULL);
    AUTO_CLOSE int listener = lock < 0 ? -1 : folder_socket_listen(dir, "ssh.sock", NULL);
    if (listener < 0)
        return;
    pid_t pid = fork();
    if (pid == 0) {
        leave_caller("kiln-ssh", (const int[]){lock, listener, vm_ssh_fd(ssh)}, 3);
        keep(ssh, listener);
        (void)unlink(name);
        vm_ssh_free(ssh);
        _exit(0);
    }
    if (pid > 0)
        vm_ssh_disown(ssh);
}

/* --- who uses it --- */

/* The terminal's input on its way to the keeper. */
struct feed {
    int pipe; /* -1 = stdin was handed over, or has ended */
    char bytes[4096];
    size_t n;
};

static void feed_clear(struct feed *f)
{
    auto_closep(&f->pipe);
}

static int send_request(const struct session *s, int fd, const char *command, int in)
{
    int fds[3] = {in, s->out, s->errors};
    union {
        char bytes[CMSG_SPACE(sizeof fds)];
        struct cmsghdr align;
    } control = {{0}};
    size_t len = strlen(command) + 1;
    struct iovec part = {(char *)command, len};
    struct msghdr m = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof control.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    *c = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fds)};
    memcpy(CMSG_DATA(c), fds, sizeof fds);
    return sendmsg(fd, &m, MSG_NOSIGNAL) == (ssize_t)len ? 0 : -1;
}

static void pass_on(const struct session *s, struct feed *f, const struct pollfd *in,
                    const struct pollfd *out)
{
    if (in->revents) {
        ssize_t n = read(s->in, f->bytes, sizeof f->bytes);
        f->n = n > 0 ? (size_t)n : 0;
        if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
            auto_closep(&f->pipe);
    }
    if (out->revents && f->n) {
        // POLLOUT: PIPE_BUF bytes do not block
        if (write(f->pipe, f->bytes, f->n) < 0)
            auto_closep(&f->pipe);
        f->n = 0;
    }
}

/* Waits for the next message: 1, 0 = the keeper has gone, -1 *err. */
static int next_message(const struct session *s, int fd, struct feed *f, struct message *ret,
                        struct error **err)
{
    for (;;) {
        struct pollfd p[] = {{.fd = fd, .events = POLLIN},
                             {.fd = s->cancel_fd, .events = POLLIN},
                             {.fd = f->pipe >= 0 && !f->n ? s->in : -1, .events = POLLIN},
                             {.fd = f->n ? f->pipe : -1, .events = POLLOUT}};
        if (poll(p, 4, -1) < 0 && errno != EINTR)
            return error_errno(err, "cannot wait for the command's end");
        if (p[1].revents)
            return error_set(err, ERR_CANCELLED, "interrupted");
        if (p[0].revents)
            return recv(fd, ret, sizeof *ret, MSG_WAITALL) == (ssize_t)sizeof *ret;
        pass_on(s, f, &p[2], &p[3]);
    }
}

/* A terminal stays ours: *ret is what to hand over, to be closed if it is not s->in. */
static int input(const struct session *s, struct feed *f, int *ret)
{
    int ends[2];
    *ret = s->in;
    if (!isatty(s->in))
        return 0;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    *ret = ends[0];
    f->pipe = ends[1];
    return 0;
}

static int failed(const struct session *s, struct message *m, struct error **err)
{
    if (m->errnum == EPIPE) {
        session_interrupt(s, SIGPIPE);
        return error_set(err, ERR_CANCELLED, "interrupted");
    }
    m->why[sizeof m->why - 1] = '\0';
    return error_set(err, ERR_GUEST, "%s", m->why);
}

int vm_ssh_kept_run(const struct session *s, const char *dir, const char *command, int *ret_status,
                    struct error **err)
{
    AUTO_CLOSE int fd = folder_socket_connect(dir, "ssh.sock", NULL);
    CLEANUP(feed_clear) struct feed feed = {.pipe = -1};
    struct message m = {.answer = NOT_STARTED};
    int in;
    if (fd < 0 || strlen(command) >= COMMAND_MAX || input(s, &feed, &in) < 0)
        return 0;
    int sent = send_request(s, fd, command, in);
    if (in != s->in)
        close(in);
    struct feed none = {.pipe = -1};
    int rc = sent < 0 ? 0 : next_message(s, fd, &none, &m, err);
    if (rc <= 0 || m.answer != TAKEN)
        return rc < 0 ? -1 : 0;
    session_debug(s, 1, "ssh: over the connection that is kept open");
    rc = next_message(s, fd, &feed, &m, err);
    if (rc < 0)
        return -1;
    if (rc == 0)
        m = (struct message){.answer = FAILED,
                             .why = "SSH: the connection ended before the command's status came"};
    if (m.answer == STATUS)
        *ret_status = m.status;
    return m.answer == NOT_STARTED ? 0 : m.answer == STATUS ? 1 : failed(s, &m, err);
}
