// SPDX-License-Identifier: MIT
//
// Raw mode is cfmakeraw. SIGWINCH has a handler that writes to an eventfd: it works whichever
// thread the kernel gives the signal to. (A signalfd needs the signal blocked in every thread; in
// one that was started before, it is ignored and lost.) Restoring waits until what was written has
// been shown (TCSADRAIN). There is no other way to hear of a new size, so this is the one handler that
// a library function installs, and only while the terminal is in raw mode.
#include "base/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* The winch_fd of the terminal in raw mode; -1 = none. */
static volatile sig_atomic_t resized_fd = -1;

static void on_resize(int sig)
{
    (void)sig;
    int saved = errno, fd = resized_fd;
    if (fd >= 0)
        (void)eventfd_write(fd, 1);
    errno = saved;
}

int terminal_raw(struct terminal *t, int fd, struct error **err)
{
    if (!isatty(fd))
        return 0;
    if (tcgetattr(fd, &t->saved) < 0)
        return error_errno(err, "cannot get the terminal attributes");
    struct termios raw = t->saved;
    cfmakeraw(&raw);
    if (tcsetattr(fd, TCSADRAIN, &raw) < 0)
        return error_errno(err, "cannot set the terminal attributes");
    t->fd = fd;
    t->winch_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    resized_fd = t->winch_fd;
    struct sigaction act = {.sa_handler = on_resize, .sa_flags = SA_RESTART};
    sigemptyset(&act.sa_mask);
    if (t->winch_fd >= 0 && sigaction(SIGWINCH, &act, NULL) == 0) // library-clean
        return 0;
    error_errno(err, "cannot track the terminal size");
    terminal_restore(t);
    return -1;
}

void terminal_restore(struct terminal *t)
{
    int saved = errno;
    if (t->fd >= 0) {
        (void)tcsetattr(t->fd, TCSADRAIN, &t->saved);
        signal(SIGWINCH, SIG_DFL); // library-clean
        resized_fd = -1;
    }
    if (t->winch_fd >= 0)
        close(t->winch_fd);
    t->fd = t->winch_fd = -1;
    errno = saved;
}

void terminal_size(int fd, unsigned *ret_columns, unsigned *ret_rows)
{
    struct winsize w;
    bool known = ioctl(fd, TIOCGWINSZ, &w) == 0 && w.ws_col && w.ws_row;
    *ret_columns = known ? w.ws_col : 80;
    *ret_rows = known ? w.ws_row : 24;
}

bool terminal_take_resize(struct terminal *t, unsigned *ret_columns, unsigned *ret_rows)
{
    eventfd_t count;
    bool any = t->winch_fd >= 0 && eventfd_read(t->winch_fd, &count) == 0;
    if (any)
        terminal_size(t->fd, ret_columns, ret_rows);
    return any;
}
