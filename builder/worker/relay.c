// SPDX-License-Identifier: MIT
//
// Nothing here waits, but for an agent whose queue of clients is full. What the guest sends is kept until whole messages are there; what it may ask goes
// on to the agent, the rest is answered here. A guest that asks faster than the agent answers is cut off.
#include "builder/worker/relay.h"

#include "base/alloc.h"
#include "base/session.h"
#include "builder/agent/protocol.h"
#include "builder/worker/ssh_agent.h"
#include "vm/folder_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 16 * 1024, KEPT_MAX = 1 << 20 };

/* A client in the guest. */
struct line {
    uint64_t channel;
    int fd;            /* -1: there is no agent for it */
    struct buf in;     /* of the guest, not yet a whole message */
    struct buf out;    /* for the agent */
    struct buf answer; /* for the guest: of ours */
    bool ended;        /* the guest sends no more */
    bool closed;       /* the guest is to be told that it is over */
    bool told;         /* it is */
};
DEFINE_VECTOR(lines, struct line);

struct relay {
    const struct session *session;
    const struct strv *sockets;
    struct lines lines;
    uint64_t newest; /* the highest channel so far: the guest counts them up */
    bool warned;
};

struct relay *relay_new(const struct session *s, const struct strv *sockets)
{
    struct relay *r = xcalloc(1, sizeof *r);
    *r = (struct relay){.session = s, .sockets = sockets};
    return r;
}

static void clear(struct line *l)
{
    if (l->fd >= 0)
        close(STEAL_FD(l->fd));
    buf_clear(&l->in);
    buf_clear(&l->out);
    buf_clear(&l->answer);
}

void relay_free(struct relay *r)
{
    if (!r)
        return;
    vec_foreach (struct line *, l, &r->lines)
        clear(l);
    lines_clear(&r->lines);
    free(r);
}

static int reach(struct relay *r, uint64_t number)
{
    CLEANUP(error_freep) struct error *why = NULL;
    const char *path = number < r->sockets->len ? r->sockets->ptr[number] : "";
    const char *slash = strrchr(path, '/');
    AUTO_FREE char *dir = slash ? xstrndup(path, (size_t)(slash - path) + 1) : xstrdup(".");
    int fd = folder_socket_connect(dir, slash ? slash + 1 : path, &why);
    if (fd >= 0) {
        (void)fcntl(fd, F_SETFL, O_NONBLOCK);
        return fd;
    }
    AUTO_FREE char *text = xasprintf("the ssh-agent cannot be reached: %s", why->message);
    if (!r->warned)
        session_warning(r->session, text);
    r->warned = true;
    return -1;
}

static size_t connected(const struct relay *r)
{
    size_t n = 0;
    vec_foreach (const struct line *, l, &r->lines)
        n += l->fd >= 0;
    return n;
}

static struct line *line_of(struct relay *r, const struct message *m)
{
    uint64_t channel = message_num(m, AGENT_TAG_CHANNEL, 0);
    vec_foreach (struct line *, l, &r->lines)
        if (l->channel == channel)
            return l;
    if (channel <= r->newest) // it is over; this was on its way
        return NULL;
    r->newest = channel;
    bool full = connected(r) >= RELAY_FDS;
    int fd = full ? -1 : reach(r, message_num(m, AGENT_TAG_NUMBER, UINT64_MAX));
    struct line *l = lines_push(&r->lines);
    *l = (struct line){.channel = channel,
                       .fd = fd,
                       .in = BUF_INIT,
                       .out = BUF_INIT,
                       .answer = BUF_INIT,
                       .closed = fd < 0};
    return l;
}

static void send_out(struct line *l)
{
    if (l->out.len) {
        ssize_t n = send(l->fd, l->out.data, l->out.len, MSG_NOSIGNAL);
        if (n > 0)
            buf_consume(&l->out, (size_t)n);
        else if (errno != EAGAIN && errno != EINTR)
            l->closed = true;
    }
    if (l->ended && !l->out.len)
        (void)shutdown(l->fd, SHUT_WR);
}

static void judge(struct line *l)
{
    size_t n = 0;
    enum ssh_judgement j;
    while ((j = ssh_agent_judge(l->in.data, l->in.len, &n)) == SSH_ALLOWED || j == SSH_REFUSED) {
        if (j == SSH_ALLOWED)
            buf_add(&l->out, l->in.data, n);
        else
            buf_add(&l->answer, SSH_AGENT_FAILURE, SSH_AGENT_FAILURE_LENGTH);
        buf_consume(&l->in, n);
    }
    l->closed |= j == SSH_DAMAGED || l->out.len > KEPT_MAX || l->answer.len > KEPT_MAX;
}

void relay_take(struct relay *r, const struct message *m)
{
    struct line *l = line_of(r, m);
    struct str data;
    if (!l || l->closed)
        return;
    if (message_get(m, AGENT_TAG_DATA, &data) && data.len)
        buf_add_str(&l->in, data);
    else
        l->ended = true;
    judge(l);
    if (!l->closed)
        send_out(l);
}

/* What a line has for the guest now. */
static bool answer(struct line *l, struct message *ret)
{
    char chunk[CHUNK];
    ssize_t n = 0;
    if (!l->closed && l->out.len)
        send_out(l);
    message_clear(ret);
    message_put_num(ret, AGENT_TAG_CHANNEL, l->channel);
    if (l->answer.len && !l->closed) {
        message_put(ret, AGENT_TAG_DATA, l->answer.data, l->answer.len);
        buf_reset(&l->answer);
        return true;
    }
    if (!l->closed) {
        n = read(l->fd, chunk, sizeof chunk);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return false;
    }
    if (n > 0)
        message_put(ret, AGENT_TAG_DATA, chunk, (size_t)n);
    else
        l->told = true;
    return true;
}

bool relay_next(struct relay *r, struct message *ret)
{
    for (size_t i = 0; i < r->lines.len; i++) {
        struct line *l = &r->lines.ptr[i];
        if (!answer(l, ret))
            continue;
        if (l->told) {
            clear(l);
            *l = r->lines.ptr[--r->lines.len];
        }
        return true;
    }
    return false;
}

size_t relay_poll(const struct relay *r, struct pollfd *f)
{
    size_t n = 0;
    vec_foreach (const struct line *, l, &r->lines)
        if (l->fd >= 0)
            f[n++] = (struct pollfd){l->fd, (short)(POLLIN | (l->out.len ? POLLOUT : 0)), 0};
    return n;
}
