// SPDX-License-Identifier: MIT
//
// Raw mode and resizing on a pseudo-terminal.
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include "base/terminal.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void raw_mode_ends_with_the_scope(void **state)
{
    (void)state;
    int master, slave;
    struct termios before, during, after;
    assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
    assert_int_equal(tcgetattr(slave, &before), 0);
    assert_true(before.c_lflag & ECHO);
    {
        CLEANUP(terminal_restore) struct terminal t = TERMINAL_INIT;
        assert_int_equal(terminal_raw(&t, slave, NULL), 0);
        assert_int_equal(tcgetattr(slave, &during), 0);
        assert_false(during.c_lflag & (ECHO | ICANON | ISIG));
    }
    assert_int_equal(tcgetattr(slave, &after), 0);
    assert_int_equal(before.c_lflag, after.c_lflag);
    assert_int_equal(before.c_iflag, after.c_iflag);
    assert_int_equal(before.c_oflag, after.c_oflag);
    assert_memory_equal(before.c_cc, after.c_cc, sizeof before.c_cc);
    close(master);
    close(slave);
}

static void a_new_size_is_told_once(void **state)
{
    (void)state;
    int master, slave;
    unsigned columns = 0, rows = 0;
    struct winsize size = {.ws_col = 132, .ws_row = 43};
    assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
    terminal_size(slave, &columns, &rows);
    assert_true(columns == 80 && rows == 24); // a pty starts with 0 x 0: not known
    CLEANUP(terminal_restore) struct terminal t = TERMINAL_INIT;
    assert_int_equal(terminal_raw(&t, slave, NULL), 0);
    assert_false(terminal_take_resize(&t, &columns, &rows));
    assert_int_equal(ioctl(master, TIOCSWINSZ, &size), 0);
    assert_int_equal(raise(SIGWINCH), 0); // the kernel sends it to a foreground group only
    assert_int_equal(poll(&(struct pollfd){.fd = t.winch_fd, .events = POLLIN}, 1, 2000), 1);
    assert_true(terminal_take_resize(&t, &columns, &rows));
    assert_true(columns == 132 && rows == 43);
    assert_false(terminal_take_resize(&t, &columns, &rows));
    close(master);
    close(slave);
}

static void *wait_for_end(void *pipe_fd)
{
    char c;
    return read(*(int *)pipe_fd, &c, 1) < 0 ? pipe_fd : NULL;
}

/* A process-wide SIGWINCH may be taken by any thread, one started before raw mode too. */
static void no_thread_swallows_a_new_size(void **state)
{
    (void)state;
    int master, slave, fds[2];
    unsigned columns, rows;
    pthread_t other;
    assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(pthread_create(&other, NULL, wait_for_end, &fds[0]), 0);
    CLEANUP(terminal_restore) struct terminal t = TERMINAL_INIT;
    assert_int_equal(terminal_raw(&t, slave, NULL), 0);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(kill(getpid(), SIGWINCH), 0);
        assert_int_equal(poll(&(struct pollfd){.fd = t.winch_fd, .events = POLLIN}, 1, 2000), 1);
        assert_true(terminal_take_resize(&t, &columns, &rows));
    }
    close(fds[1]);
    pthread_join(other, NULL);
    close(fds[0]);
    close(master);
    close(slave);
}

static void what_is_no_terminal_is_left_alone(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    CLEANUP(terminal_restore) struct terminal t = TERMINAL_INIT;
    assert_int_equal(terminal_raw(&t, fds[0], NULL), 0);
    assert_int_equal(t.fd, -1);
    assert_int_equal(t.winch_fd, -1);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(raw_mode_ends_with_the_scope),
        cmocka_unit_test(a_new_size_is_told_once),
        cmocka_unit_test(no_thread_swallows_a_new_size),
        cmocka_unit_test(what_is_no_terminal_is_left_alone),
    };
    return cmocka_run_group_tests_name("terminal", tests, NULL, NULL);
}
