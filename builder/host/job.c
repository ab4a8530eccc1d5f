// SPDX-License-Identifier: MIT
//
// The stream goes through a socket: kiln makes it (decompresses, hashes) while the program writes.
#include "builder/host/job.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/process.h"
#include "base/session.h"
#include "builder/ext4/job.h"

#include <endian.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern const char ext4_blob[], ext4_blob_end[];

enum { PIECE = 256 * 1024 };

/* The program as a file; -1. */
static int program_file(struct error **err)
{
    AUTO_CLOSE int fd = memfd_create("kiln-ext4", MFD_CLOEXEC);
    // cppcheck-suppress comparePointers ; the two ends of one array
    size_t n = (size_t)(ext4_blob_end - ext4_blob);
    if (fd < 0 || write_all(fd, ext4_blob, n) < 0)
        return error_errno(err, "cannot make the program");
    // a file that is open for writing cannot be run
    AUTO_FREE char *path = xasprintf("/proc/self/fd/%d", fd);
    int again = open(path, O_RDONLY | O_CLOEXEC);
    return again < 0 ? error_errno(err, "cannot open '%s'", path) : again;
}

/* The descriptors of a chain. */
struct opened {
    int *fds;
    size_t n;
};

static void opened_clear(struct opened *o)
{
    for (size_t i = 0; i < o->n; i++)
        close(o->fds[i]);
    free(o->fds);
}

static int open_files(struct job *job, struct opened *o, struct error **err)
{
    o->fds = xcalloc(job->files->len + job->n_keep + 1, sizeof *o->fds);
    for (size_t i = 0; i < job->files->len; i++) {
        bool top = i + 1 == job->files->len;
        int fd = open(job->files->ptr[i], (top ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
            return error_errno(err, "cannot open '%s'", job->files->ptr[i]);
        o->fds[o->n++] = fd;
        message_put_num(&job->message, JOB_FILE, (uint64_t)fd);
    }
    return 0;
}

/* What the program is waited for with. */
struct wait {
    const struct session *s;
    struct process *p;
    long long deadline; /* by now_ms; 0 = none */
};

static int left_ms(const struct wait *w)
{
    long long left = w->deadline - now_ms();
    return !w->deadline ? -1 : left < 0 ? 0 : (int)left;
}

/* Until fd can be written to (or read from), or the program has something to say: 1, 0. */
static int wait_for(const struct wait *w, int fd, short events, struct error **err)
{
    for (;;) {
        struct pollfd p[3] = {{.fd = fd, .events = events},
                              {.fd = w->p->out, .events = POLLIN},
                              {.fd = w->s->cancel_fd, .events = POLLIN}};
        int ms = left_ms(w), got = poll(p, 3, ms);
        if (session_cancelled(w->s))
            return error_set(err, ERR_CANCELLED, "interrupted");
        if (!got && !ms)
            return error_set(err, ERR_GUEST, "the step took too long");
        if (got < 0 && errno != EINTR)
            return error_errno(err, "cannot wait for the program");
        if (got > 0 && p[1].revents)
            return 0;
        if (got > 0 && p[0].revents)
            return 1;
    }
}

/* 0: all is sent, or the program has ended. */
static int send_bytes(const struct wait *w, int fd, const char *bytes, size_t n, struct error **err)
{
    while (n) {
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            bytes += sent;
            n -= (size_t)sent;
            continue;
        }
        if (errno != EAGAIN && errno != EINTR)
            return 0; // it says why
        int got = wait_for(w, fd, POLLOUT, err);
        if (got <= 0)
            return got;
    }
    return 1;
}

static int send_all(const struct wait *w, int fd, const struct job *job,
                    const struct runner_stream *from, struct error **err)
{
    uint32_t n = htole32((uint32_t)job->message.bytes.len);
    AUTO_FREE char *piece = xmalloc(PIECE);
    int got = send_bytes(w, fd, (const char *)&n, sizeof n, err);
    if (got > 0)
        got = send_bytes(w, fd, job->message.bytes.data, job->message.bytes.len, err);
    while (got > 0 && from) {
        ssize_t made = from->produce(from->arg, piece, PIECE);
        if (made <= 0)
            break;
        got = send_bytes(w, fd, piece, (size_t)made, err);
        if (got >= 0 && session_cancelled(w->s))
            return error_set(err, ERR_CANCELLED, "interrupted");
    }
    return got < 0 ? -1 : 0;
}

static int hear(const struct wait *w, struct buf *said, struct error **err)
{
    enum { SAID_MAX = 4096 };
    for (;;) {
        char bytes[1024];
        if (wait_for(w, -1, 0, err) < 0)
            return -1;
        ssize_t n = read(w->p->out, bytes, sizeof bytes);
        if (n < 0)
            return error_errno(err, "cannot read what the program says");
        if (!n || said->len > SAID_MAX)
            return 0;
        buf_add(said, bytes, (size_t)n);
    }
}

static int ended(struct process *p, const struct buf *said, struct error **err)
{
    enum { END_MS = 10 * 1000 };
    if (process_wait(p, END_MS, err) < 0)
        return -1;
    if (!p->status)
        return 0;
    if (said->len)
        return error_set(err,
                         WIFEXITED(p->status) && WEXITSTATUS(p->status) == JOB_ABORTED ? ERR_GUEST
                                                                                       : ERR_USER,
                         "%s", said->data);
    AUTO_FREE char *text = process_failed_text(p->status);
    return error_set(err, ERR_SYSTEM, "its program %s", text);
}

static int run_with(const struct session *s, struct job *job, const int *keep, size_t n_keep,
                    const struct runner_stream *from, struct runner_wait w, struct error **err)
{
    int ends[2];
    CLEANUP(process_clear) struct process p = PROCESS_INIT;
    CLEANUP(buf_clear) struct buf said = BUF_INIT;
    AUTO_CLOSE int program = program_file(err);
    if (program < 0)
        return -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return error_errno(err, "cannot make a socket");
    AUTO_CLOSE int ours = ends[0];
    AUTO_CLOSE int theirs = ends[1];
    AUTO_FREE char *path = xasprintf("/proc/self/fd/%d", program);
    struct process_spec spec = {.argv = (char *const *)ARGV(path),
                                .env = (char *const *)ARGV("LC_ALL=C"),
                                .in = theirs,
                                .out = PROCESS_PIPE,
                                .errors = PROCESS_NULL,
                                .keep = keep,
                                .n_keep = n_keep,
                                .own_session = true};
    (void)setsockopt(ours, SOL_SOCKET, SO_SNDBUF, &(int){1 << 20}, sizeof(int));
    if (process_start(&p, &spec, err) < 0)
        return -1;
    close(STEAL_FD(theirs));
    struct wait wait = {s, &p, w.deadline_ms < 0 ? 0 : now_ms() + w.deadline_ms};
    if (send_all(&wait, ours, job, from, err) < 0)
        return -1;
    close(STEAL_FD(ours));
    return hear(&wait, &said, err) < 0 ? -1 : ended(&p, &said, err);
}

int job_run(const struct session *s, struct job *job, const struct runner_stream *from,
            struct runner_wait w, struct error **err)
{
    CLEANUP(opened_clear) struct opened o = {0};
    if (open_files(job, &o, err) < 0)
        return -1;
    AUTO_FREE int *keep = xcalloc(o.n + job->n_keep, sizeof *keep);
    memcpy(keep, o.fds, o.n * sizeof *keep);
    for (size_t i = 0; i < job->n_keep; i++)
        keep[o.n + i] = job->keep[i];
    return run_with(s, job, keep, o.n + job->n_keep, from, w, err);
}
