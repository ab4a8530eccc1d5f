// SPDX-License-Identifier: MIT
// Nothing here waits: what a client does not take at once is kept, up to a limit. A line is closed
// when both sides have said that no more comes, or when one of them has gone.
#include "builder/agent/sockets.h"

#include "builder/agent/sys.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CHUNK = 16 * 1024, OUT_MAX = 1 << 20 };

static void path_of(size_t number, struct sockaddr_un *ret)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(ret->sun_path, sizeof ret->sun_path, "/tmp/socket%zu", number);
}

char *sockets_listen(struct sockets *s, struct error **err)
{
    struct sockaddr_un at;
    path_of(s->listening.len, &at);
    if (s->listening.len == SOCKETS_MAX) {
        error_set(err, ERR_USER, "a RUN takes at most %d mounts of type ssh", SOCKETS_MAX);
        return NULL;
    }
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unlink(at.sun_path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 16) < 0) {
        error_errno(err, "cannot listen on '%s'", at.sun_path);
        return NULL;
    }
    *sockets_fds_push(&s->listening) = STEAL_FD(fd);
    return xstrdup(at.sun_path);
}

static void close_line(struct sockets_line *l)
{
    if (l->fd >= 0)
        close(STEAL_FD(l->fd));
    buf_clear(&l->out);
}

static void forget_closed(struct sockets *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->lines.len; i++)
        if (s->lines.ptr[i].fd >= 0)
            s->lines.ptr[n++] = s->lines.ptr[i];
    s->lines.len = n;
}

size_t sockets_poll(struct sockets *s, struct pollfd *f)
{
    size_t n = 0;
    forget_closed(s);
    bool room = s->lines.len < SOCKETS_LINES;
    for (size_t i = 0; i < s->listening.len; i++)
        f[n++] = (struct pollfd){room ? s->listening.ptr[i] : -1, POLLIN, 0};
    vec_foreach (const struct sockets_line *, l, &s->lines) {
        short want = (short)((l->read_ended ? 0 : POLLIN) | (l->out.len ? POLLOUT : 0));
        f[n++] = (struct pollfd){l->fd, want, 0};
    }
    return n;
}

static void answer_host(const struct sockets_line *l, struct agent *a, const char *bytes, size_t n)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    message_put_num(&m, AGENT_TAG_CHANNEL, l->channel);
    message_put_num(&m, AGENT_TAG_NUMBER, l->socket);
    if (n)
        message_put(&m, AGENT_TAG_DATA, bytes, n);
    port_send(&a->port, a->id, AGENT_RELAY, &m);
}

static void accept_line(struct sockets *s, size_t number)
{
    int fd = accept4(s->listening.ptr[number], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0)
        *sockets_lines_push(&s->lines) =
            (struct sockets_line){.socket = number, .fd = fd, .out = BUF_INIT};
}

static void read_line(struct sockets *s, struct sockets_line *l, struct agent *a)
{
    char chunk[CHUNK];
    ssize_t n = read(l->fd, chunk, sizeof chunk);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (!l->channel) // only now: the host takes a number below the newest it has seen for one that is over
        l->channel = ++s->channels;
    answer_host(l, a, chunk, n > 0 ? (size_t)n : 0);
    l->read_ended = n <= 0;
    if (n < 0 || (l->read_ended && l->write_ended && !l->out.len))
        close_line(l);
}

static void write_line(struct sockets_line *l)
{
    if (l->out.len) {
        ssize_t n = send(l->fd, l->out.data, l->out.len, MSG_NOSIGNAL);
        if (n > 0)
            buf_consume(&l->out, (size_t)n);
        else if (errno != EAGAIN && errno != EINTR)
            buf_reset(&l->out); // the client has gone: reading will say so
    }
    if (l->write_ended && !l->out.len)
        close_line(l);
}

void sockets_pump(struct sockets *s, struct agent *a, const struct pollfd *f, size_t n)
{
    size_t first = s->listening.len;
    for (size_t i = first; i < n; i++) {
        struct sockets_line *l = &s->lines.ptr[i - first];
        if (l->fd >= 0 && f[i].revents & POLLOUT)
            write_line(l);
        if (l->fd >= 0 && !l->read_ended && f[i].revents & ~POLLOUT)
            read_line(s, l, a);
        else if (l->fd >= 0 && f[i].revents & (POLLHUP | POLLERR))
            close_line(l);
    }
    for (size_t i = 0; i < first && i < n; i++)
        if (f[i].revents)
            accept_line(s, i);
}

void sockets_take(struct sockets *s, const struct message *m)
{
    uint64_t channel = message_num(m, AGENT_TAG_CHANNEL, 0);
    struct str data;
    vec_foreach (struct sockets_line *, l, &s->lines) {
        if (l->channel != channel || l->fd < 0)
            continue;
        if (message_get(m, AGENT_TAG_DATA, &data) && data.len)
            buf_add_str(&l->out, data);
        else
            l->write_ended = true;
        if (l->out.len > OUT_MAX)
            close_line(l);
        else
            write_line(l);
        return;
    }
}

void sockets_clear(struct sockets *s)
{
    vec_foreach (struct sockets_line *, l, &s->lines)
        close_line(l);
    for (size_t i = 0; i < s->listening.len; i++) {
        struct sockaddr_un at;
        path_of(i, &at);
        close(s->listening.ptr[i]);
        unlink(at.sun_path);
    }
    sockets_lines_clear(&s->lines);
    sockets_fds_clear(&s->listening);
}
