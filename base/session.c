// SPDX-License-Identifier: MIT
#include "base/session.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/printable.h"

#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char *session_env(const struct session *s, const char *name)
{
    size_t n = strlen(name);
    for (char *const *e = s ? s->env : NULL; e && *e; e++)
        if (!strncmp(*e, name, n) && (*e)[n] == '=')
            return *e + n + 1;
    return NULL;
}

const char *session_setting(const struct session *s, const char *name)
{
    const char *v = session_env(s, name);
    return v && *v ? v : NULL;
}

static char *below(const struct session *s, const char *variable, const char *name)
{
    const char *v = session_setting(s, variable);
    return v ? path_join(v, name) : NULL;
}

static void find_tables(struct session *s)
{
    char *own = below(s, "XDG_CONFIG_HOME", "kiln/images.d");
    own = own ? own : below(s, "HOME", ".config/kiln/images.d");
    if (own)
        strv_add_take(&s->tables, own);
    strv_add(&s->tables, "/etc/kiln/images.d");
    AUTO_FREE char *program = realpath("/proc/self/exe", NULL);
    if (!program)
        return;
    AUTO_FREE char *bin = path_parent(program), *prefix = path_parent(bin);
    strv_add_take(&s->tables, path_join(prefix, "share/kiln/images.d"));
    strv_add_take(&s->tables, path_join(bin, "share/kiln/images.d"));
}

int session_init(struct session *s, char *const *env, struct error **err)
{
    *s = (struct session)SESSION_INIT;
    s->env = env;
    find_tables(s);
    const char *home = session_setting(s, "KILN_HOME");
    if (home)
        s->data = xstrdup(home);
    if (!s->data)
        s->data = below(s, "XDG_DATA_HOME", "kiln");
    if (!s->data)
        s->data = below(s, "HOME", ".local/share/kiln");
    s->cache = below(s, "KILN_HOME", "cache");
    if (!s->cache)
        s->cache = below(s, "XDG_CACHE_HOME", "kiln");
    if (!s->cache)
        s->cache = below(s, "HOME", ".cache/kiln");
    if (!s->data || !s->cache) {
        error_set(err, ERR_USER, "cannot locate the image store: HOME is not set");
        return error_hint(err, "set KILN_HOME to a folder");
    }
    const char *backend = home ? NULL : session_setting(s, "TRANSIENT_BACKEND");
    const char *vmstore = home ? NULL : session_setting(s, "TRANSIENT_VMSTORE");
    s->backend = backend ? xstrdup(backend) : path_join(s->data, "backend");
    s->vmstore = vmstore ? xstrdup(vmstore) : path_join(s->data, "vmstore");
    return 0;
}

void session_clear(struct session *s)
{
    free(s->backend);
    free(s->vmstore);
    free(s->cache);
    free(s->data);
    strv_clear(&s->tables);
    *s = (struct session)SESSION_INIT;
}

void session_interrupt(const struct session *s, int signal)
{
    struct interrupt *i = s->interrupt;
    int none = 0;
    if (!i)
        return;
    if (!atomic_compare_exchange_strong(&i->signal, &none, signal) && signal == SIGQUIT)
        atomic_store(&i->signal, signal);
    int fd = atomic_load(&i->wake_fd);
    if (fd >= 0 && write(fd, "", 1) < 0)
        return; // the pipe is full: it is readable already
}

int session_cancel_signal(const struct session *s)
{
    return s && s->interrupt ? atomic_load(&s->interrupt->signal) : 0;
}

bool session_cancelled(const struct session *s)
{
    return session_cancel_signal(s) != 0;
}

bool session_hurry(const struct session *s)
{
    return session_cancel_signal(s) == SIGQUIT;
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

void session_terminal(const struct session *s, bool taken)
{
    if (s && s->events.terminal)
        s->events.terminal(s->events.arg, taken);
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
