// SPDX-License-Identifier: MIT
// Frames in, handlers called, answers out. A handler's error becomes FAIL; nothing that the host
// sends ends the agent.
#include "builder/agent/agent.h"

#include "base/mode.h"
#include "builder/agent/rehearse.h"
#include "builder/agent/sys.h"

#include <fcntl.h>
#include <linux/random.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>

static void fail(struct agent *a, uint32_t id, const struct error *e)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    message_puts(&m, AGENT_TAG_MESSAGE, e->message);
    message_puts(&m, AGENT_TAG_HINT, e->hint);
    if (e->errnum)
        message_put_num(&m, AGENT_TAG_ERRNO, (uint64_t)e->errnum);
    if (m.bytes.len > AGENT_FRAME_MAX) {
        message_clear(&m);
        message_puts(&m, AGENT_TAG_MESSAGE, "it failed, with a message too long to send");
    }
    port_send(&a->port, id, AGENT_FAIL, &m);
}

void agent_warn(struct agent *a, const char *fmt, ...)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    message_put(&m, AGENT_TAG_MESSAGE, text.data, text.len);
    port_send(&a->port, a->id, AGENT_WARN, &m);
}

void agent_output(struct agent *a, int stream, const char *bytes, size_t n)
{
    char room[PORT_OUTPUT_ROOM + 16 * 1024];
    while (n) {
        size_t part = sizeof room - PORT_OUTPUT_ROOM;
        if (part > n)
            part = n;
        memcpy(room + PORT_OUTPUT_ROOM, bytes, part);
        port_send_output(&a->port, a->id, stream, room, part);
        bytes += part;
        n -= part;
    }
}

int agent_string(const struct request *rq, unsigned tag, char **ret, struct error **err)
{
    struct str s;
    *ret = NULL;
    if (!message_get(&rq->fields, tag, &s))
        return 0;
    if (memchr(s.ptr, '\0', s.len))
        return error_set(err, ERR_GUEST, "a NUL byte in field %u", tag);
    *ret = str_dup(s);
    return 0;
}

int agent_mode(const struct request *rq, char **ret, struct error **err)
{
    mode_t ignored;
    if (agent_string(rq, AGENT_TAG_MODE, ret, err) < 0)
        return -1;
    if (!*ret || mode_apply(*ret, 0, false, &ignored))
        return 0;
    error_set(err, ERR_USER, "'%s' is not a mode", *ret);
    free(STEAL(*ret));
    return -1;
}

int agent_path(const struct request *rq, unsigned tag, char **ret, struct error **err)
{
    if (agent_string(rq, tag, ret, err) < 0)
        return -1;
    if (*ret && (*ret)[0] == '/')
        return 0;
    error_set(err, ERR_GUEST, "'%s' is not an absolute path", *ret ? *ret : "");
    free(STEAL(*ret));
    return -1;
}

int agent_slot(struct agent *a, const struct request *rq, struct slot **ret, int *ret_number,
               struct error **err)
{
    uint64_t n = message_num(&rq->fields, AGENT_TAG_SLOT, AGENT_DISK_TARGET);
    if (n >= AGENT_DISKS)
        return error_set(err, ERR_GUEST, "no disk slot %llu", (unsigned long long)n);
    if (!a->slots[n].disk[0])
        return error_set(err, ERR_GUEST, "the builder VM has no disk with the serial 'kiln%d'",
                         (int)n);
    *ret = &a->slots[n];
    if (ret_number)
        *ret_number = (int)n;
    return 0;
}

// The pool takes the bytes and counts them, and the generator in use starts again from it.
static void add_entropy(struct str bytes)
{
    enum { MOST = 256 };
    _Alignas(struct rand_pool_info) char room[sizeof(struct rand_pool_info) + MOST];
    struct rand_pool_info *pool = (void *)room;
    AUTO_CLOSE int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    size_t n = bytes.len < MOST ? bytes.len : MOST;
    memcpy(pool->buf, bytes.ptr, n);
    pool->entropy_count = (int)n * 8;
    pool->buf_size = (int)n;
    if (ioctl(fd, RNDADDENTROPY, pool) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0)
        sys_log("entropy: %s", strerror(errno));
}

static int hello(struct agent *a, const struct request *rq, struct message *reply,
                 struct error **err)
{
    uint64_t version = message_num(&rq->fields, AGENT_TAG_VERSION, 0);
    uint64_t now = message_num(&rq->fields, AGENT_TAG_TIME, 0);
    struct timespec t = {(time_t)(now / 1000000000), (long)(now % 1000000000)};
    struct str entropy;
    struct utsname u;
    if (version != AGENT_PROTOCOL_VERSION)
        return error_set(err, ERR_GUEST, "the agent speaks protocol %d, kiln %llu",
                         AGENT_PROTOCOL_VERSION, (unsigned long long)version);
    if (now && clock_settime(CLOCK_REALTIME, &t) < 0)
        return error_errno(err, "cannot set the clock");
    if (message_get(&rq->fields, AGENT_TAG_ENTROPY, &entropy))
        add_entropy(entropy);
    uname(&u);
    message_put_num(reply, AGENT_TAG_VERSION, AGENT_PROTOCOL_VERSION);
    message_puts(reply, AGENT_TAG_RELEASE, u.release);
    uint64_t flags = message_num(&rq->fields, AGENT_TAG_FLAGS, 0);
    a->cold_shell = flags & AGENT_WARM_SHELL;
    if (flags & AGENT_REHEARSE)
        rehearse();
    return 0;
}

static int ping(struct agent *a, const struct request *rq, struct message *reply,
                struct error **err)
{
    (void)a, (void)rq, (void)reply, (void)err;
    return 0;
}

// Whatever cannot be unmounted in good order is lost with the VM: the host has been told already.
static int shut_down(struct agent *a, const struct request *rq, struct message *reply,
                     struct error **err)
{
    (void)rq, (void)reply;
    CLEANUP(error_freep) struct error *ignored = NULL;
    struct request every = {.id = rq->id, .type = AGENT_UMOUNT, .fields = MESSAGE_INIT};
    (void)err;
    for (int i = 0; i < AGENT_DISKS; i++) {
        CLEANUP(message_clear) struct message m = MESSAGE_INIT;
        message_put_num(&m, AGENT_TAG_SLOT, (uint64_t)i);
        every.fields = m;
        if (a->slots[i].mounts.len && agent_umount(a, &every, reply, &ignored) < 0)
            sys_log("shutdown: %s", ignored->message);
        error_free(STEAL(ignored));
    }
    sync();
    a->stop = true;
    return 0;
}

static const struct {
    int type;
    bool thaw; /* it may write to the target, and would wait for ever if that were frozen */
    agent_handler *run;
} handlers[] = {
    {AGENT_HELLO, false, hello},         {AGENT_PING, false, ping},
    {AGENT_DISK, false, agent_disk},     {AGENT_PARTITION, true, agent_partition},
    {AGENT_MOUNT, true, agent_mount},    {AGENT_UMOUNT, false, agent_umount},
    {AGENT_EXEC, true, agent_exec},      {AGENT_RECEIVE, true, agent_receive},
    {AGENT_COPY, true, agent_copy},      {AGENT_MKDIR, true, agent_mkdir},
    {AGENT_FREEZE, false, agent_freeze}, {AGENT_OS, true, agent_os},
    {AGENT_SURVEY, false, agent_survey}, {AGENT_READ, false, agent_read},
    {AGENT_FORMAT, true, agent_format},  {AGENT_UNPACK, true, agent_unpack},
    {AGENT_GROW, true, agent_grow},      {AGENT_APPLIANCE, false, agent_appliance},
    {AGENT_ADOPT, false, agent_adopt},   {AGENT_SHUTDOWN, false, shut_down},
};

static int carry_out(struct agent *a, const struct request *rq, struct message *reply,
                     struct error **err)
{
    if (!message_valid(&rq->fields))
        return error_set(err, ERR_GUEST, "a damaged request of type %d", rq->type);
    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++) {
        if (handlers[i].type != rq->type)
            continue;
        if (handlers[i].thaw && agent_thaw(a, err) < 0)
            return -1;
        return handlers[i].run(a, rq, reply, err);
    }
    return error_set(err, ERR_GUEST, "unknown request type %d", rq->type);
}

static void answer(struct agent *a, const struct request *rq)
{
    CLEANUP(error_freep) struct error *err = NULL;
    CLEANUP(message_clear) struct message reply = MESSAGE_INIT;
    // what belongs to an EXEC that has ended
    if (rq->type == AGENT_INPUT || rq->type == AGENT_RESIZE || rq->type == AGENT_SIGNAL)
        return;
    a->id = rq->id;
    while (waitpid(-1, NULL, WNOHANG) > 0) // what lost its parent has become ours
        ;
    if (carry_out(a, rq, &reply, &err) < 0)
        fail(a, rq->id, err);
    else
        port_send(&a->port, rq->id, AGENT_DONE, &reply);
}

bool agent_poll(struct agent *a, agent_frame_fn *running, void *arg)
{
    struct frame f;
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    bool there = port_fill(&a->port);
    while (port_next(&a->port, &f, &m)) {
        if (f.type == AGENT_PING) {
            CLEANUP(message_clear) struct message none = MESSAGE_INIT;
            port_send(&a->port, f.id, AGENT_DONE, &none);
        } else if (f.id == a->id) {
            if (running)
                running(arg, f.type, &m);
        } else if (f.type >= AGENT_HELLO) {
            CLEANUP(error_freep) struct error *err = NULL;
            error_set(&err, ERR_GUEST, "the agent is busy with request %u", a->id);
            fail(a, f.id, err);
        }
    }
    return there;
}

void agent_serve(struct agent *a)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    while (!a->stop) {
        struct frame f;
        port_wait(&a->port, -1);
        if (!port_fill(&a->port))
            continue;
        while (!a->stop && port_next(&a->port, &f, &m)) {
            struct request rq = {.id = f.id, .type = f.type, .fields = m};
            answer(a, &rq);
        }
    }
}
