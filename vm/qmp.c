// SPDX-License-Identifier: MIT
//
// Bytes are collected until a newline; the line is parsed as one JSON object and told apart by its
// key: QMP (greeting), event, return or error. One command is under way at a time, so one slot
// holds the answer; ids count up, an answer with an older id belongs to a command whose caller gave
// up and is passed over, any other id is a breach of the protocol. Reading and writing never block
// (MSG_DONTWAIT); all waiting is done by the wait function.
#include "vm/qmp.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/session.h"
#include "base/vector.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

struct event {
    char *name;
    json_t *data; /* NULL = none */
};
DEFINE_VECTOR(events, struct event);

struct qmp {
    int fd;
    const struct session *session;
    struct buf in;
    size_t scanned; /* bytes of `in` known to hold no newline */
    bool closed, greeted;
    char *version;
    json_int_t last_id; /* of the command sent last */
    json_t *answer;     /* to last_id: the whole object; NULL = not yet */
    struct events events;
    qmp_event_fn *on_event;
    void *on_event_arg;
    qmp_wait_fn *wait;
    void *wait_arg;
};

static int plain_wait(void *arg, int fd, short events, long long deadline, struct error **err)
{
    const struct qmp *q = arg;
    struct pollfd f[] = {{.fd = fd, .events = events},
                         {.fd = q->session ? q->session->cancel_fd : -1, .events = POLLIN}};
    long long left = deadline - now_ms();
    int n = poll(f, 2, left < 0 ? 0 : left > 60000 ? 60000 : (int)left);
    if (n < 0 && errno != EINTR)
        return error_errno(err, "cannot wait for QEMU");
    if (n <= 0)
        return now_ms() < deadline;
    if (f[1].revents)
        return error_set(err, ERR_CANCELLED, "interrupted");
    return 1;
}

struct qmp *qmp_new_take(int fd, const struct session *session)
{
    struct qmp *q = xcalloc(1, sizeof *q);
    q->fd = fd;
    q->session = session;
    q->version = xstrdup("");
    buf_init(&q->in);
    q->wait = plain_wait;
    q->wait_arg = q;
    return q;
}

void qmp_free(struct qmp *q)
{
    if (!q)
        return;
    int saved = errno;
    if (q->fd >= 0)
        close(q->fd);
    qmp_forget_events(q);
    events_clear(&q->events);
    buf_clear(&q->in);
    json_decref(q->answer);
    free(q->version);
    free(q);
    errno = saved;
}

void qmp_ignore_interruption(struct qmp *q)
{
    q->session = NULL;
}

int qmp_fd(const struct qmp *q)
{
    return q->fd;
}

bool qmp_closed(const struct qmp *q)
{
    return q->closed;
}

const char *qmp_qemu_version(const struct qmp *q)
{
    return q->version;
}

void qmp_on_event(struct qmp *q, qmp_event_fn *fn, void *arg)
{
    q->on_event = fn;
    q->on_event_arg = arg;
}

void qmp_set_wait(struct qmp *q, qmp_wait_fn *fn, void *arg)
{
    q->wait = fn ? fn : plain_wait;
    q->wait_arg = fn ? arg : q;
}

static void drop_event(struct qmp *q, size_t i)
{
    struct event *e = &q->events.ptr[i];
    free(e->name);
    json_decref(e->data);
    memmove(e, e + 1, (q->events.len - i - 1) * sizeof *e);
    q->events.len--;
}

void qmp_forget_events(struct qmp *q)
{
    while (q->events.len)
        drop_event(q, q->events.len - 1);
}

static int take_greeting(struct qmp *q, const json_t *qmp, struct error **err)
{
    if (q->greeted)
        return error_set(err, ERR_GUEST, "QMP: a second greeting");
    q->greeted = true;
    const json_t *v = json_object_get(json_object_get(qmp, "version"), "qemu");
    free(q->version);
    q->version = xasprintf("%lld.%lld.%lld", (long long)json_int(v, "major", 0),
                           (long long)json_int(v, "minor", 0), (long long)json_int(v, "micro", 0));
    return 0;
}

static void take_event(struct qmp *q, const char *name, json_t *data)
{
    if (q->on_event)
        q->on_event(q->on_event_arg, name, data);
    if (q->events.len == QMP_EVENTS_KEPT)
        drop_event(q, 0);
    struct event *e = events_push(&q->events);
    e->name = xstrdup(name);
    e->data = json_incref(data);
}

static int take_answer(struct qmp *q, json_t *object, struct error **err)
{
    const json_t *id = json_object_get(object, "id");
    // A line that QEMU could not parse is answered without an id: it was ours, the only one.
    json_int_t n = json_is_integer(id) ? json_integer_value(id) : id ? -1 : q->last_id;
    if (n > 0 && n < q->last_id)
        return 0;
    if (n != q->last_id || n == 0 || q->answer)
        return error_set(err, ERR_GUEST, "QMP: an answer to a command that was not sent");
    q->answer = json_incref(object);
    return 0;
}

static int take_line(struct qmp *q, const char *line, size_t n, struct error **err)
{
    while (n && (line[n - 1] == '\r' || line[n - 1] == ' '))
        n--;
    if (!n)
        return 0;
    session_debug(q->session, 2, "qmp< %.*s", (int)n, line);
    json_error_t e;
    json_auto_t *object = json_loadb(line, n, JSON_REJECT_DUPLICATES, &e);
    if (!json_is_object(object))
        return error_set(err, ERR_GUEST, "QMP: QEMU did not send a JSON object: %s",
                         object ? "it is something else" : e.text);
    json_t *greeting = json_object_get(object, "QMP");
    const char *event = json_str(object, "event");
    if (greeting)
        return take_greeting(q, greeting, err);
    if (event) {
        take_event(q, event, json_object_get(object, "data"));
        return 0;
    }
    if (json_object_get(object, "return") || json_object_get(object, "error"))
        return take_answer(q, object, err);
    return error_set(err, ERR_GUEST,
                     "QMP: a message that is neither a greeting, an event nor an answer");
}

int qmp_feed(struct qmp *q, const void *bytes, size_t n, struct error **err)
{
    buf_add(&q->in, bytes, n);
    size_t done = 0;
    int rc = 0;
    while (rc == 0) {
        char *from = q->in.data + q->scanned;
        char *nl = memchr(from, '\n', q->in.len - q->scanned);
        if (!nl)
            break;
        rc = take_line(q, q->in.data + done, (size_t)(nl - q->in.data) - done, err);
        q->scanned = done = (size_t)(nl - q->in.data) + 1;
    }
    buf_consume(&q->in, done);
    q->scanned = q->in.len;
    if (rc == 0 && q->in.len > QMP_LINE_MAX) {
        buf_clear(&q->in);
        q->scanned = 0;
        return error_set(err, ERR_GUEST, "QMP: QEMU sent a line of more than %d MiB",
                         QMP_LINE_MAX >> 20);
    }
    return rc;
}

int qmp_readable(struct qmp *q, struct error **err)
{
    char chunk[16 * 1024];
    while (!q->closed) {
        ssize_t n = recv(q->fd, chunk, sizeof chunk, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return 0;
        if (n <= 0) {
            q->closed = true;
            break;
        }
        if (qmp_feed(q, chunk, (size_t)n, err) < 0)
            return -1;
        if ((size_t)n < sizeof chunk)
            return 0; // nobody keeps us here by sending without end
    }
    return error_set(err, ERR_GUEST, "QEMU closed its control connection");
}

/* QEMU closed its end. Whoever waits for us may know more: how it died. */
static int broken_off(struct qmp *q, short events, long long deadline, struct error **err)
{
    if (q->wait(q->wait_arg, q->fd, events, deadline, err) < 0)
        return -1;
    return error_set(err, ERR_GUEST, "QEMU closed its control connection");
}

/* One wait and what came of it: 1, 0 at the deadline, -1. */
static int turn(struct qmp *q, short events, long long deadline, struct error **err)
{
    int rc = q->wait(q->wait_arg, q->fd, events, deadline, err);
    if (rc <= 0)
        return rc;
    CLEANUP(error_freep) struct error *e = NULL;
    // the wait may have taken it in already; then there is just nothing to read
    if (!q->closed && qmp_readable(q, &e) == 0)
        return 1;
    return q->closed ? broken_off(q, events, deadline, err) : error_propagate(err, STEAL(e));
}

static int send_text(struct qmp *q, const char *text, size_t n, long long deadline,
                     struct error **err)
{
    while (n) {
        ssize_t sent = send(q->fd, text, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            text += sent;
            n -= (size_t)sent;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno == EPIPE || errno == ECONNRESET)
            return error_set(err, ERR_GUEST, "QEMU closed its control connection");
        if (errno != EAGAIN && errno != EWOULDBLOCK)
            return error_errno(err, "cannot write to QEMU");
        int rc = turn(q, POLLIN | POLLOUT, deadline, err);
        if (rc < 0)
            return -1;
        if (rc == 0)
            return error_set(err, ERR_GUEST, "QEMU does not take commands any more");
    }
    return 0;
}

static int answer_error(const char *name, const json_t *answer, struct error **err)
{
    const char *desc = json_str(json_object_get(answer, "error"), "desc");
    return error_set(err, ERR_SYSTEM, "QMP %s: %s", name, desc ? desc : "failed");
}

int qmp_command(struct qmp *q, const char *name, json_t *args, int timeout_ms, json_t **reply,
                struct error **err)
{
    long long deadline = now_ms() + timeout_ms;
    json_auto_t *command = json_pack("{s:s, s:I}", "execute", name, "id", ++q->last_id);
    if (args)
        json_object_set_new(command, "arguments", args);
    AUTO_FREE char *text = json_dumps(command, JSON_COMPACT);
    if (!text)
        return error_set(err, ERR_USER, "QMP %s: an argument is not UTF-8", name);
    session_debug(q->session, 2, "qmp> %s", text);
    json_decref(q->answer);
    q->answer = NULL;
    size_t n = strlen(text);
    text[n] = '\n'; // in place of the NUL: the length is known
    int rc = send_text(q, text, n + 1, deadline, err);
    text[n] = '\0';
    if (rc < 0)
        return error_wrap(err, "QMP %s", name);
    while (!q->answer) {
        struct error *e = NULL;
        rc = turn(q, POLLIN, deadline, &e);
        if (q->answer) { // an answer, then the end: so it is with "quit"
            error_free(e);
            break;
        }
        if (rc < 0)
            return error_propagate(err, e);
        if (rc == 0)
            return error_set(err, ERR_GUEST, "QMP %s: no answer in %.1f s", name,
                             timeout_ms / 1000.0);
    }
    json_auto_t *answer = STEAL(q->answer);
    json_t *value = json_object_get(answer, "return");
    if (!value)
        return answer_error(name, answer, err);
    if (reply)
        *reply = json_incref(value);
    return 0;
}

int qmp_callf(struct qmp *q, int timeout_ms, json_t **reply, struct error **err, const char *name,
              const char *fmt, ...)
{
    va_list ap;
    json_error_t e;
    va_start(ap, fmt);
    json_t *args = json_vpack_ex(&e, 0, fmt, ap);
    va_end(ap);
    if (!args)
        return error_set(err, ERR_USER, "QMP %s: an argument cannot be sent: %s", name, e.text);
    return qmp_command(q, name, args, timeout_ms, reply, err);
}

int qmp_handshake(struct qmp *q, int timeout_ms, struct error **err)
{
    long long deadline = now_ms() + timeout_ms;
    while (!q->greeted) {
        int rc = turn(q, POLLIN, deadline, err);
        if (rc < 0)
            return -1;
        if (rc == 0 && !q->greeted)
            return error_set(err, ERR_GUEST, "QEMU's QMP did not answer in %.1f s",
                             timeout_ms / 1000.0);
    }
    long long left = deadline - now_ms();
    return qmp_command(q, "qmp_capabilities", NULL, left > 100 ? (int)left : 100, NULL, err);
}

int qmp_wait_event(struct qmp *q, const char *event, int timeout_ms, json_t **ret_data,
                   struct error **err)
{
    long long deadline = now_ms() + timeout_ms;
    for (;;) {
        for (size_t i = 0; i < q->events.len; i++) {
            if (strcmp(q->events.ptr[i].name, event))
                continue;
            if (ret_data)
                *ret_data = STEAL(q->events.ptr[i].data);
            drop_event(q, i);
            return 0;
        }
        int rc = timeout_ms > 0 ? turn(q, POLLIN, deadline, err) : 0;
        if (rc < 0)
            return -1;
        if (rc == 0)
            return error_set(err, ERR_GUEST, "QMP event %s did not come in %.1f s", event,
                             timeout_ms / 1000.0);
    }
}

// It travels with a newline, which QMP passes over; getfd then takes what came last (SCM_RIGHTS, unix(7)).
// On the command line a number would do, but there no capability can be set first.
int qmp_lend(struct qmp *q, int fd, const char *name, struct error **err)
{
    enum { LEND_MS = 10000 };
    union {
        char bytes[CMSG_SPACE(sizeof fd)];
        struct cmsghdr align;
    } control = {{0}};
    char text[] = "\n";
    struct iovec newline = {text, 1};
    struct msghdr m = {.msg_iov = &newline,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof control.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    if (sendmsg(q->fd, &m, MSG_NOSIGNAL) != 1)
        return error_errno(err, "cannot send QEMU a descriptor");
    return qmp_callf(q, LEND_MS, NULL, err, "getfd", "{s:s}", "fdname", name);
}
