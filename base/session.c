// SPDX-License-Identifier: MIT
//
// Signals go the way of the self-pipe: the handler notes the signal and writes a byte into a pipe
// whose other end is cancel_fd, so that every poll loop wakes. The byte is never read: the
// descriptor stays readable. The third signal ends the process, for when a wait does not look.
#include "base/session.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/printable.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <time.h>
#include <unistd.h>

/* Only the signal handler writes these. */
static volatile sig_atomic_t caught, caught_times, wake_fd = -1;

static char *from_env(const char *env, const char *below)
{
    const char *v = getenv(env);
    return v && *v ? path_join(v, below) : NULL;
}

int session_init(struct session *s, struct error **err)
{
    *s = (struct session){.cancel_fd = -1, .log = stderr};
    const char *home = getenv("KILN_HOME");
    if (home && *home)
        s->data = xstrdup(home);
    if (!s->data)
        s->data = from_env("XDG_DATA_HOME", "kiln");
    if (!s->data)
        s->data = from_env("HOME", ".local/share/kiln");
    s->cache = from_env("KILN_HOME", "cache");
    if (!s->cache)
        s->cache = from_env("XDG_CACHE_HOME", "kiln");
    if (!s->cache)
        s->cache = from_env("HOME", ".cache/kiln");
    if (!s->data || !s->cache) {
        error_set(err, ERR_USER, "cannot tell where to keep images: HOME is not set");
        return error_hint(err, "set KILN_HOME to a folder");
    }
    s->backend = path_join(s->data, "backend");
    s->vmstore = path_join(s->data, "vmstore");
    return 0;
}

void session_clear(struct session *s)
{
    free(s->backend);
    free(s->vmstore);
    free(s->cache);
    free(s->data);
    if (s->cancel_fd >= 0) {
        int other = wake_fd;
        wake_fd = -1;
        close(other);
        close(s->cancel_fd);
    }
    *s = (struct session){.cancel_fd = -1};
}

static void on_signal(int sig)
{
    if (++caught_times >= 3)
        _exit(128 + sig);
    caught = sig;
    if (wake_fd >= 0 && write(wake_fd, "", 1) < 0)
        return; // the pipe is full: it is readable already
}

int session_catch_signals(struct session *s, struct error **err)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return error_errno(err, "cannot make a pipe");
    s->cancel_fd = fds[0];
    wake_fd = fds[1];
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&act.sa_mask);
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction old;
        // nohup and background jobs of a plain sh ignore some of these: keep it so
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN)
            continue;
        if (sigaction(signals[i], &act, NULL) < 0)
            return error_errno(err, "cannot catch signals");
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); // "File too large" where the limit is met, not an end without a word
    return 0;
}

void session_reader_gone(void)
{
    if (caught)
        return;
    caught = SIGPIPE;
    if (wake_fd >= 0 && write(wake_fd, "", 1) < 0)
        return; // as in on_signal
}

bool session_cancelled(const struct session *s)
{
    (void)s;
    return caught != 0;
}

int session_cancel_signal(void)
{
    return caught;
}

bool session_hurry(void)
{
    return caught == SIGQUIT;
}

void session_debug(const struct session *s, int level, const char *fmt, ...)
{
    if (!s || s->verbosity < level || !s->log)
        return;
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&b, fmt, ap);
    va_end(ap);
    printable_print(s->log, b.data);
    fputc('\n', s->log);
    fflush(s->log);
}

void session_notice(const struct session *s, const char *fmt, ...)
{
    if (!s || !s->events.notice)
        return;
    CLEANUP(buf_clear) struct buf line = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&line, fmt, ap);
    va_end(ap);
    s->events.notice(s->events.arg, line.data);
}

void session_warning(const struct session *s, const char *text)
{
    if (s && s->events.warning)
        s->events.warning(s->events.arg, text);
}

void session_output(const struct session *s, int stream, const char *bytes, size_t n)
{
    if (s && s->events.output)
        s->events.output(s->events.arg, stream, bytes, n);
}

void session_progress(const struct session *s, const char *what, uint64_t done, uint64_t total,
                      bool end)
{
    if (s && s->events.progress)
        s->events.progress(s->events.arg, what, done, total, end);
}

void session_timing(const struct session *s, const char *what, long long us)
{
    double ms = (double)us / 1000;
    session_debug(s, 1, "time: %s %.1f ms", what, ms);
    if (s && s->events.timing)
        s->events.timing(s->events.arg, what, ms);
}

long long now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (long long)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

long long now_ms(void)
{
    return now_us() / 1000;
}
