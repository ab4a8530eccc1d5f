// SPDX-License-Identifier: MIT
//
// Requests and their answers over the agent's port. Frames are taken out of one buffer in place;
// whole frames that have arrived are all handled before the buffer is moved, so 100 MB of output
// cost no more than being read. Sending reads too: the agent may have output to give before it can
// take more.
#include "builder/worker/internal.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/session.h"
#include "base/terminal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

/* One request under way. */
struct call {
    struct builder_vm *vm;
    uint32_t id;
    int type; /* enum agent_type */
    const char *what;
    long long deadline;
    runner_output_fn *output;
    void *output_arg;
    struct message *reply;
    struct relay *relay; /* of an EXEC with sockets; else NULL */
    bool done;
};

static const char *type_name(int type)
{
    static const char *const names[] = {
        "hello",  "ping",   "disk",    "partition", "mount",     "umount", "exec",    "input",
        "resize", "signal", "receive", "copy",      "mkdir",     "freeze", "os",      "read",
        "format", "unpack", "survey",  "grow",      "appliance", "adopt",  "shutdown"};
    int i = type - AGENT_HELLO;
    return i >= 0 && i < (int)(sizeof names / sizeof *names) ? names[i] : "request";
}

static int io_error(struct builder_vm *vm, struct error **err)
{
    const char *path = vm->slots[vm->io_slot].path;
    path = path ? path : "(a placeholder)";
    if (!vm->io_nospace) {
        error_set(err, ERR_SYSTEM, "QEMU cannot read or write the disk '%s': %s", path,
                  vm->io_reason ? vm->io_reason : "input/output error");
        return -1;
    }
    CLEANUP(buf_clear) struct buf room = BUF_INIT;
    buf_add_size(&room, free_bytes(path));
    error_set(err, ERR_SYSTEM, "no space left for '%s' (%s free)", path, room.data);
    if (err && *err)
        (*err)->errnum = ENOSPC;
    const char *cache = vm->session->cache;
    if (cache && !strncmp(path, cache, strlen(cache)))
        return error_hint(err,
                          "make room there, or choose another cache folder with XDG_CACHE_HOME");
    return error_hint(err,
                      "make room there, 'kiln prune' removes layers that are not used, or "
                      "choose another place with --image-backend");
}

/* After a panic the VM resets itself, which QEMU takes for its end: say what it was. */
static int name_panic(struct builder_vm *vm, struct error **err)
{
    AUTO_FREE char *console = vm_console_text(vm->vm, 200);
    const char *panic = strstr(console, "Kernel panic");
    if (panic && err && *err && (*err)->kind == ERR_GUEST)
        error_wrap(err, "%.*s", (int)strcspn(panic, "\n"), panic);
    return -1;
}

int builder_vm_wait(struct builder_vm *vm, struct pollfd *fds, size_t n, long long deadline,
                    struct error **err)
{
    struct pollfd f[BUILDER_VM_FDS + 1];
    _Static_assert(BUILDER_VM_FDS + 1 <= VM_WAIT_FDS, "vm_wait takes them");
    assert(n <= BUILDER_VM_FDS);
    memcpy(f, fds, n * sizeof *fds);
    f[n] = builder_vm_pulse_fd(vm);
    int rc = vm_wait(vm->vm, f, n + 1, builder_vm_pulse_deadline(vm, deadline), err);
    for (size_t i = 0; i < n; i++)
        fds[i].revents = f[i].revents;
    if (rc >= 0 && vm->io_slot >= 0)
        return io_error(vm, err);
    if (rc >= 0 && builder_vm_pulse(vm, err) < 0)
        return -1;
    if (rc == 0)
        return deadline < 0 || now_ms() < deadline;
    vm->lost |= rc < 0;
    return rc < 0 ? name_panic(vm, err) : rc;
}

/* WARN: a line for the user. */
static void warn(struct call *c, const struct message *m)
{
    struct str text;
    if (message_get(m, AGENT_TAG_MESSAGE, &text))
        session_notice(c->vm->session, STR_FMT, STR_ARG(text));
}

static int fail(const struct message *m, struct error **err)
{
    struct str text = STR("the builder VM's agent failed"), hint;
    (void)message_get(m, AGENT_TAG_MESSAGE, &text);
    error_set(err, ERR_GUEST, STR_FMT, STR_ARG(text));
    if (err && *err)
        (*err)->errnum = (int)message_num(m, AGENT_TAG_ERRNO, 0);
    if (message_get(m, AGENT_TAG_HINT, &hint))
        error_hint(err, STR_FMT, STR_ARG(hint));
    return -1;
}

static int broken(struct call *c, struct error **err, const char *how)
{
    c->vm->out_of_step = c->vm->lost = true;
    error_set(err, ERR_GUEST, "protocol error from the builder agent: %s", how);
    return vm_add_console(c->vm->vm, err);
}

static int take_frame(struct call *c, const struct frame *f, const char *payload,
                      struct error **err)
{
    // a view: message_get and message_next only read
    const struct message m = {.bytes = {.data = (char *)payload, .len = f->length}};
    if (!message_valid(&m))
        return broken(c, err, "a damaged message");
    if (f->type == AGENT_WARN) {
        warn(c, &m);
        return 0;
    }
    if (f->id != c->id)
        return 0; // the end of a request whose deadline was over
    struct str data;
    switch (f->type) {
    case AGENT_OUTPUT:
        if (c->output && message_get(&m, AGENT_TAG_DATA, &data))
            c->output(c->output_arg, (int)message_num(&m, AGENT_TAG_STREAM, 1), data.ptr, data.len);
        return 0;
    case AGENT_RELAY:
        if (c->relay)
            relay_take(c->relay, &m);
        return 0;
    case AGENT_DONE:
        if (c->reply) {
            buf_reset(&c->reply->bytes);
            buf_add(&c->reply->bytes, payload, f->length);
        }
        c->done = true;
        return 0;
    case AGENT_FAIL:
        c->done = true;
        return fail(&m, err);
    default:
        return broken(c, err, "a frame of unknown type");
    }
}

/* Handles every whole frame that is there. */
static int take_frames(struct call *c, struct error **err)
{
    struct buf *in = &c->vm->received;
    size_t at = 0;
    int rc = 0;
    while (rc == 0 && in->len - at >= AGENT_FRAME_HEADER) {
        struct frame f;
        if (!frame_decode((const unsigned char *)in->data + at, &f) || f.length > AGENT_FRAME_MAX) {
            rc = broken(c, err, "not a frame");
            break;
        }
        if (in->len - at - AGENT_FRAME_HEADER < f.length)
            break;
        at += AGENT_FRAME_HEADER;
        rc = take_frame(c, &f, in->data + at, err);
        at += f.length;
    }
    buf_consume(in, at);
    return rc;
}

/* Takes in what the port has, at most a few frames' worth. */
static int receive(struct call *c, struct error **err)
{
    struct buf *in = &c->vm->received;
    buf_reserve(in, AGENT_FRAME_MAX);
    ssize_t n = read(vm_port(c->vm->vm, "agent"), in->data + in->len, AGENT_FRAME_MAX);
    if (n > 0) {
        in->len += (size_t)n;
        in->data[in->len] = '\0';
        return take_frames(c, err);
    }
    return n < 0 && errno != EAGAIN && errno != EINTR
               ? error_errno(err, "cannot read from the builder VM")
               : 0;
}

static int too_late(struct call *c, struct error **err);

/* Sends one frame, receiving meanwhile. */
static int send_frame(struct call *c, int type, const struct message *m, struct error **err)
{
    size_t length = m ? m->bytes.len : 0;
    struct frame f = {.length = (uint32_t)length, .id = c->id, .type = (uint16_t)type};
    if (length > AGENT_REQUEST_MAX)
        return error_set(err, ERR_USER, "'%s' is too long a request (%zu bytes)", c->what, length);
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    unsigned char head[AGENT_FRAME_HEADER];
    frame_encode(&f, head);
    buf_add(&out, head, sizeof head);
    if (m)
        buf_add(&out, m->bytes.data, m->bytes.len);
    int fd = vm_port(c->vm->vm, "agent");
    for (size_t at = 0; at < out.len;) {
        ssize_t n = write(fd, out.data + at, out.len - at);
        if (n > 0) {
            at += (size_t)n;
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN && errno != EPIPE)
            return error_errno(err, "cannot write to the builder VM");
        // EPIPE: QEMU is ending, and the wait will tell how
        c->vm->out_of_step |= at > 0;
        struct pollfd p = {.fd = fd, .events = POLLIN | (n < 0 && errno == EPIPE ? 0 : POLLOUT)};
        int rc = builder_vm_wait(c->vm, &p, 1, c->deadline, err);
        if (rc < 0)
            return -1;
        if (rc == 0)
            return too_late(c, err);
        if (p.revents & POLLIN && receive(c, err) < 0)
            return -1;
    }
    c->vm->out_of_step = false;
    return 0;
}

/* Ends the command that is late, so that the VM can be used further. */
static int stop_command(struct call *c)
{
    enum { END_MS = 15 * 1000 };
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    message_put_num(&m, AGENT_TAG_NUMBER, SIGKILL);
    c->deadline = now_ms() + END_MS;
    c->type = AGENT_SIGNAL; // this has one try
    if (c->vm->out_of_step || send_frame(c, AGENT_SIGNAL, &m, NULL) < 0)
        return -1;
    while (!c->done) {
        struct pollfd p = {.fd = vm_port(c->vm->vm, "agent"), .events = POLLIN};
        if (builder_vm_wait(c->vm, &p, 1, c->deadline, NULL) <= 0 ||
            (p.revents && receive(c, NULL) < 0 && !c->done))
            return -1;
    }
    return 0;
}

static int too_late(struct call *c, struct error **err)
{
    if (c->type == AGENT_EXEC && stop_command(c) == 0)
        return error_set(err, ERR_GUEST, "the command did not end in time");
    c->vm->lost = true;
    error_set(err, ERR_GUEST, "the builder VM did not answer '%s' in time", c->what);
    return vm_add_console(c->vm->vm, err);
}

static int begin(struct call *c, int type, const struct message *request, struct error **err)
{
    if (!c->vm->vm)
        return error_set(err, ERR_GUEST, "the builder VM has ended");
    if (c->vm->out_of_step)
        return error_set(err, ERR_GUEST, "the builder VM's agent is out of step");
    c->id = ++c->vm->next_id;
    c->type = type;
    c->what = type_name(type);
    session_debug(c->vm->session, 2, "agent <- %u %s", c->id, c->what);
    return send_frame(c, type, request, err);
}

/* What the host's sockets say to clients in the guest. */
static int send_relayed(struct call *c, struct error **err)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    while (!c->done && relay_next(c->relay, &m))
        if (send_frame(c, AGENT_INPUT, &m, err) < 0)
            return -1;
    return 0;
}

static int await(struct call *c, struct error **err)
{
    while (!c->done) {
        struct pollfd p[BUILDER_VM_FDS] = {{.fd = vm_port(c->vm->vm, "agent"), .events = POLLIN}};
        size_t n = 1 + (c->relay ? relay_poll(c->relay, p + 1) : 0);
        int rc = builder_vm_wait(c->vm, p, n, c->deadline, err);
        if (rc < 0)
            return -1;
        if (p[0].revents && receive(c, err) < 0)
            return -1;
        if (rc == 0 && !c->done)
            return too_late(c, err);
        if (c->relay && send_relayed(c, err) < 0)
            return -1;
    }
    session_debug(c->vm->session, 2, "agent -> %u done", c->id);
    return 0;
}

int builder_vm_call(struct builder_vm *vm, int type, const struct message *request, int deadline_ms,
                    runner_output_fn *output, void *output_arg, struct message *reply,
                    struct error **err)
{
    struct call c = {.vm = vm,
                     .deadline = deadline_ms < 0 ? -1 : now_ms() + deadline_ms,
                     .output = output,
                     .output_arg = output_arg,
                     .reply = reply};
    return begin(&c, type, request, err) < 0 ? -1 : await(&c, err);
}

int builder_vm_exec(struct builder_vm *vm, const struct message *request, struct runner_wait w,
                    const struct strv *sockets, struct message *reply, struct error **err)
{
    CLEANUP(relay_freep)
    struct relay *relay = sockets->len ? relay_new(vm->session, sockets) : NULL;
    struct call c = {.vm = vm,
                     .deadline = w.deadline_ms < 0 ? -1 : now_ms() + w.deadline_ms,
                     .output = w.output,
                     .output_arg = w.output_arg,
                     .reply = reply,
                     .relay = relay};
    return begin(&c, AGENT_EXEC, request, err) < 0 ? -1 : await(&c, err);
}

int builder_vm_hello(struct builder_vm *vm, int flags, int timeout_ms, struct error **err)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT, reply = MESSAGE_INIT;
    unsigned char entropy[64];
    if (getrandom(entropy, sizeof entropy, 0) != (ssize_t)sizeof entropy)
        return error_errno(err, "cannot get random bytes");
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec < 0) { // no kernel takes that, the guest's neither
        error_set(err, ERR_USER, "the clock of this machine is before 1970");
        return error_hint(err, "set it: date -s, or timedatectl set-ntp true");
    }
    message_put_num(&m, AGENT_TAG_VERSION, AGENT_PROTOCOL_VERSION);
    message_put_num(&m, AGENT_TAG_TIME, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
    message_put(&m, AGENT_TAG_ENTROPY, entropy, sizeof entropy);
    // what is done ahead is for another processor, where translation is slow
    bool ahead = vm->machine.accel == ACCEL_TCG && vm->machine.cpus > 1;
    message_put_num(&m, AGENT_TAG_FLAGS, ahead ? (uint64_t)flags | AGENT_WARM_SHELL : 0);
    if (builder_vm_call(vm, AGENT_HELLO, &m, timeout_ms, NULL, NULL, &reply, err) < 0)
        return -1;
    uint64_t version = message_num(&reply, AGENT_TAG_VERSION, 0);
    if (version != AGENT_PROTOCOL_VERSION)
        return error_set(err, ERR_GUEST, "the builder VM's agent speaks version %llu, not %d",
                         (unsigned long long)version, AGENT_PROTOCOL_VERSION);
    struct str release;
    if (message_get(&reply, AGENT_TAG_RELEASE, &release))
        snprintf(vm->release, sizeof vm->release, STR_FMT, STR_ARG(release));
    return 0;
}

/* stdout of a terminal session. */
static void show(void *arg, int stream, const char *bytes, size_t n)
{
    const struct session *s = arg;
    (void)write_all(stream == 2 ? s->errors : s->out, bytes, n);
}

static int send_size(struct call *c, unsigned columns, unsigned rows, struct error **err)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    message_put_num(&m, AGENT_TAG_ROWS, rows);
    message_put_num(&m, AGENT_TAG_COLUMNS, columns);
    return send_frame(c, AGENT_RESIZE, &m, err);
}

/* What the user typed goes to the guest; *open becomes false at the end of the input. */
static int send_input(struct call *c, bool *open, struct error **err)
{
    char chunk[4096];
    ssize_t n = read(c->vm->session->in, chunk, sizeof chunk);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    if (n > 0)
        message_put(&m, AGENT_TAG_DATA, chunk, (size_t)n);
    *open = n > 0;
    return send_frame(c, AGENT_INPUT, &m, err);
}

static int pump(struct call *c, struct terminal *t, struct error **err)
{
    bool open = true;
    while (!c->done) {
        struct pollfd f[] = {{.fd = vm_port(c->vm->vm, "agent"), .events = POLLIN},
                             {.fd = open ? c->vm->session->in : -1, .events = POLLIN},
                             {.fd = t->winch_fd, .events = POLLIN}};
        unsigned columns, rows;
        if (builder_vm_wait(c->vm, f, 3, -1, err) < 0)
            return -1;
        if (f[0].revents && receive(c, err) < 0)
            return -1;
        if (!c->done && f[1].revents && send_input(c, &open, err) < 0)
            return -1;
        if (!c->done && f[2].revents && terminal_take_resize(t, &columns, &rows) &&
            send_size(c, columns, rows, err) < 0)
            return -1;
    }
    return 0;
}

static int on_terminal(struct builder_vm *vm, const struct message *request, int *ret_status,
                       struct error **err)
{
    CLEANUP(message_clear) struct message reply = MESSAGE_INIT;
    struct call c = {.vm = vm,
                     .deadline = -1,
                     .output = show,
                     .output_arg = (void *)vm->session,
                     .reply = &reply};
    CLEANUP(terminal_restore) struct terminal t = TERMINAL_INIT;
    if (terminal_raw(&t, vm->session->in, err) < 0 || begin(&c, AGENT_EXEC, request, err) < 0)
        return -1;
    if (t.winch_fd >= 0) {
        unsigned columns, rows;
        terminal_size(vm->session->in, &columns, &rows);
        if (send_size(&c, columns, rows, err) < 0)
            return -1;
    }
    if (pump(&c, &t, err) < 0)
        return -1;
    *ret_status = (int)message_num(&reply, AGENT_TAG_STATUS, 0);
    return 0;
}

int builder_vm_terminal(struct builder_vm *vm, const struct message *request, int *ret_status,
                        struct error **err)
{
    session_terminal(vm->session, true);
    int rc = on_terminal(vm, request, ret_status, err);
    session_terminal(vm->session, false);
    return rc;
}
