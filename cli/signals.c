// SPDX-License-Identifier: MIT
//
// The self-pipe: the handler notes the signal and writes a byte into a pipe whose other end is
// cancel_fd, so that every poll loop wakes. The byte is never read: the descriptor stays readable.
// The third signal ends the process, for when a wait does not look. SIGUSR1 is `kiln stop --kill`'s word
// for SIGQUIT, which a shell lets its background jobs ignore.
#include "cli/signals.h"

#include "base/session.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

static struct interrupt interrupt = {.wake_fd = -1};
static atomic_int output_errno;
static volatile sig_atomic_t times;

static void on_signal(int sig)
{
    if (++times >= 3)
        _exit(128 + sig);
    session_interrupt(&(struct session){.interrupt = &interrupt}, sig == SIGUSR1 ? SIGQUIT : sig);
}

int signals_catch(struct session *s, struct error **err)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return error_errno(err, "cannot make a pipe");
    s->cancel_fd = fds[0];
    s->interrupt = &interrupt;
    atomic_store(&interrupt.wake_fd, fds[1]);
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&act.sa_mask);
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1};
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

int signals_caught(void)
{
    return atomic_load(&interrupt.signal);
}

void signals_reader_gone(void)
{
    session_interrupt(&(struct session){.interrupt = &interrupt}, SIGPIPE);
}

void signals_output_failed(int errnum)
{
    int none = 0;
    if (errnum == EPIPE)
        signals_reader_gone();
    else
        atomic_compare_exchange_strong(&output_errno, &none, errnum);
}

void signals_flush_output(void)
{
    if (fflush(stdout) != 0 && errno != EPIPE)
        signals_output_failed(errno);
}

int signals_output_errno(void)
{
    int errnum = atomic_load(&output_errno);
    return errnum ? errnum : EIO;
}
