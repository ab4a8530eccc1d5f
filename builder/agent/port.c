// SPDX-License-Identifier: MIT
//
// Input is taken in as it comes, and frames are cut from it where they lie; `taken` is what has been
// given out. POLLHUP means that nobody has the host's end open: what was half received is dropped,
// and the wait is for SIGIO, bounded, since the signal can come just before it.
#include "builder/agent/port.h"

#include "builder/agent/protocol.h"
#include "builder/agent/sys.h"

#include <dirent.h>
#include <endian.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum {
    READ_SIZE = 64 * 1024,
    /* What the host may send ahead while we are busy; it waits when this is full. */
    IN_MAX = 4 << 20,
};

static int find(const char *name)
{
    CLEANUP(buf_clear) struct buf path = BUF_INIT;
    DIR *d = opendir("/sys/class/virtio-ports");
    int fd = -1;
    for (struct dirent *e; d && fd < 0 && (e = readdir(d));) {
        char text[64];
        buf_reset(&path);
        buf_addf(&path, "/sys/class/virtio-ports/%s/name", e->d_name);
        if (e->d_name[0] == '.' || sys_read(path.data, text, sizeof text) < 0 ||
            strcmp(text, name) != 0)
            continue;
        buf_reset(&path);
        buf_addf(&path, "/dev/%s", e->d_name);
        fd = open(path.data, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    }
    if (d)
        closedir(d);
    return fd;
}

int port_open(struct port *p, const char *name, int timeout_ms)
{
    int64_t end = sys_now_ms() + timeout_ms;
    int fd;
    while ((fd = find(name)) < 0) {
        if (sys_now_ms() > end) {
            errno = ENODEV;
            return -1;
        }
        sys_sleep_ms(2);
    }
    // blocked, so that it can be waited for
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    sigprocmask(SIG_BLOCK, &set, NULL);
    fcntl(fd, F_SETOWN, getpid());
    fcntl(fd, F_SETFL, O_NONBLOCK | O_ASYNC);
    port_use(p, fd);
    return 0;
}

void port_use(struct port *p, int fd)
{
    *p = (struct port)PORT_INIT;
    p->fd = fd;
}

void port_clear(struct port *p)
{
    buf_clear(&p->in);
    p->fd = -1;
}

static void drop_input(struct port *p)
{
    buf_reset(&p->in);
    p->taken = 0;
}

static void wait_for_sigio(int ms)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    sigtimedwait(&set, NULL, &(struct timespec){ms / 1000, (long)(ms % 1000) * 1000000});
}

bool port_wait(struct port *p, int timeout_ms)
{
    int64_t end = sys_now_ms() + timeout_ms;
    for (;;) {
        int left = timeout_ms < 0 ? -1 : CLAMP_MS(end - sys_now_ms());
        struct pollfd f = {p->fd, POLLIN, 0};
        int n = poll(&f, 1, left);
        if (n == 0)
            return false;
        if (n < 0)
            continue;
        if (f.revents & POLLIN && !(f.revents & POLLHUP))
            return true;
        if (p->connected)
            drop_input(p);
        p->connected = false;
        if (left == 0)
            return false;
        // the signal can come before the wait: so the wait is bounded
        wait_for_sigio(left < 0 || left > 50 ? 50 : left);
    }
}

// How much may be taken in: a frame that has begun may be longer than IN_MAX.
static size_t in_max(const struct port *p)
{
    struct frame f;
    if (p->in.len - p->taken < AGENT_FRAME_HEADER ||
        !frame_decode((const unsigned char *)p->in.data + p->taken, &f))
        return IN_MAX;
    size_t whole = p->taken + AGENT_FRAME_HEADER + f.length;
    return whole > IN_MAX ? whole : IN_MAX;
}

bool port_fill(struct port *p)
{
    if (p->taken) {
        buf_consume(&p->in, p->taken);
        p->taken = 0;
    }
    while (p->in.len < in_max(p)) {
        buf_reserve(&p->in, READ_SIZE);
        ssize_t n = read(p->fd, p->in.data + p->in.len, READ_SIZE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n <= 0) {
            p->connected = false;
            return false;
        }
        p->connected = true;
        p->in.len += (size_t)n;
        p->in.data[p->in.len] = '\0';
    }
    return true;
}

bool port_has_frame(const struct port *p)
{
    struct frame f;
    const char *at = p->in.data + p->taken;
    size_t have = p->in.len - p->taken;
    return have >= AGENT_FRAME_HEADER &&
           (!frame_decode((const unsigned char *)at, &f) || have - AGENT_FRAME_HEADER >= f.length);
}

bool port_next(struct port *p, struct frame *ret_frame, struct message *ret)
{
    const char *at = p->in.data + p->taken;
    size_t have = p->in.len - p->taken;
    if (have < AGENT_FRAME_HEADER)
        return false;
    if (!frame_decode((const unsigned char *)at, ret_frame)) {
        sys_log("a damaged frame: %zu bytes dropped", have);
        drop_input(p);
        return false;
    }
    if (have - AGENT_FRAME_HEADER < ret_frame->length)
        return false;
    buf_reset(&ret->bytes);
    buf_add(&ret->bytes, at + AGENT_FRAME_HEADER, ret_frame->length);
    p->taken += AGENT_FRAME_HEADER + ret_frame->length;
    return true;
}

static void send_bytes(struct port *p, const char *bytes, size_t n)
{
    while (n) {
        ssize_t done = write(p->fd, bytes, n);
        if (done > 0) {
            bytes += done;
            n -= (size_t)done;
            continue;
        }
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0 && errno != EAGAIN)
            return;
        short events = p->in.len < in_max(p) ? POLLIN | POLLOUT : POLLOUT;
        struct pollfd f = {p->fd, events, 0};
        poll(&f, 1, -1);
        if (f.revents & POLLHUP)
            return;
        if (f.revents & POLLIN && !port_fill(p))
            return;
    }
}

void port_send(struct port *p, uint32_t id, int type, const struct message *m)
{
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    unsigned char head[AGENT_FRAME_HEADER];
    frame_encode(&(struct frame){(uint32_t)m->bytes.len, id, (uint16_t)type}, head);
    buf_reserve(&out, sizeof head + m->bytes.len);
    buf_add(&out, head, sizeof head);
    buf_add(&out, m->bytes.data, m->bytes.len);
    send_bytes(p, out.data, out.len);
}

static char *put_field_head(char *at, unsigned tag, size_t n)
{
    uint16_t halves[2] = {htole16((uint16_t)tag), 0};
    uint32_t length = htole32((uint32_t)n);
    memcpy(at, halves, sizeof halves);
    memcpy(at + 4, &length, sizeof length);
    return at + 8;
}

void port_send_output(struct port *p, uint32_t id, int stream, char *room, size_t n)
{
    uint64_t number = htole64((uint64_t)stream);
    uint32_t length = (uint32_t)(PORT_OUTPUT_ROOM - AGENT_FRAME_HEADER + n);
    frame_encode(&(struct frame){length, id, AGENT_OUTPUT}, (unsigned char *)room);
    char *at = put_field_head(room + AGENT_FRAME_HEADER, AGENT_TAG_STREAM, sizeof number);
    memcpy(at, &number, sizeof number);
    put_field_head(at + sizeof number, AGENT_TAG_DATA, n);
    send_bytes(p, room, PORT_OUTPUT_ROOM + n);
}
