// SPDX-License-Identifier: MIT
//
// Raw mode is cfmakeraw. SIGWINCH is blocked and read through a signalfd, so there is no handler
// and no global. Restoring waits until what was written has been shown (TCSADRAIN).
#include "base/terminal.h"

#include <errno.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

int terminal_raw(struct terminal *t, int fd, struct error **err)
{
    if (!isatty(fd))
        return 0;
    if (tcgetattr(fd, &t->saved) < 0)
        return error_errno(err, "cannot read the terminal's modes");
    struct termios raw = t->saved;
    cfmakeraw(&raw);
    if (tcsetattr(fd, TCSADRAIN, &raw) < 0)
        return error_errno(err, "cannot set the terminal's modes");
    t->fd = fd;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGWINCH);
    sigprocmask(SIG_BLOCK, &set, NULL);
    t->winch_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (t->winch_fd >= 0)
        return 0;
    error_errno(err, "cannot watch the terminal's size");
    terminal_restore(t);
    return -1;
}

void terminal_restore(struct terminal *t)
{
    int saved = errno;
    if (t->fd >= 0) {
        (void)tcsetattr(t->fd, TCSADRAIN, &t->saved);
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGWINCH);
        sigprocmask(SIG_UNBLOCK, &set, NULL);
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
    struct signalfd_siginfo info;
    bool any = false;
    while (t->winch_fd >= 0 && read(t->winch_fd, &info, sizeof info) == (ssize_t)sizeof info)
        any = true;
    if (any)
        terminal_size(t->fd, ret_columns, ret_rows);
    return any;
}
