// SPDX-License-Identifier: MIT
//
// kiln console: the serial console of a VM in the background. One writes (a lock beside the socket
// says who), others read along in the log.
#include "base/alloc.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/terminal.h"
#include "cli/vm_live.h"
#include "cli/vm_log.h"
#include "vm/detached.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

enum { LEAVE = 0x1d }; /* Ctrl-] */

/* 1: what the user typed went to the guest; 0: he leaves, or his input has ended. */
static int pass_input(int console, bool terminal, struct error **err)
{
    char chunk[1024];
    ssize_t n = read(STDIN_FILENO, chunk, sizeof chunk);
    if (n < 0 && errno == EINTR)
        return 1;
    const char *leave = n > 0 && terminal ? memchr(chunk, LEAVE, (size_t)n) : NULL;
    size_t keep = leave ? (size_t)(leave - chunk) : n > 0 ? (size_t)n : 0;
    if (keep && write_all(console, chunk, keep) < 0)
        return error_errno(err, "cannot write to the console");
    return n > 0 && !leave;
}

/* 1; 0: QEMU has ended. */
static int pass_output(int console, struct error **err)
{
    char chunk[16 * 1024];
    ssize_t n = read(console, chunk, sizeof chunk);
    if (n > 0 && write_all(STDOUT_FILENO, chunk, (size_t)n) < 0)
        return error_errno(err, "cannot write to standard output");
    return n > 0 || (n < 0 && errno == EINTR);
}

/* The end of an input that is not a terminal does not end it: `echo reboot | kiln console web` shows
 * what comes of it, until the VM ends or the user interrupts. */
static int join(const struct session *s, int console, struct error **err)
{
    CLEANUP(terminal_restore) struct terminal t = TERMINAL_INIT;
    bool terminal = isatty(STDIN_FILENO), open = true;
    if (terminal_raw(&t, STDIN_FILENO, err) < 0)
        return -1;
    for (int rc = 1; rc > 0;) {
        struct pollfd f[] = {{.fd = console, .events = POLLIN},
                             {.fd = open ? STDIN_FILENO : -1, .events = POLLIN},
                             {.fd = s->cancel_fd, .events = POLLIN}};
        if (poll(f, 3, -1) < 0 && errno != EINTR)
            return error_errno(err, "cannot wait for the console");
        if (f[2].revents)
            return error_set(err, ERR_CANCELLED, "interrupted");
        if (f[0].revents && (rc = pass_output(console, err)) <= 0)
            return rc;
        if (f[1].revents) {
            rc = pass_input(console, terminal, err);
            open = rc > 0;
            rc = rc == 0 && !terminal ? 1 : rc;
        }
        if (rc < 0)
            return -1;
    }
    return 0;
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(vm_live_clear) struct vm_live live = VM_LIVE_INIT;
    CLEANUP(error_freep) struct error *busy = NULL;
    if (vm_live_open(s, a->pos[0], &live, err) < 0)
        return -1;
    if (!vm_is_detached(live.vm.dir))
        return error_set(err, ERR_USER, "the console of VM '%s' belongs to the kiln that runs it",
                         live.vm.name);
    AUTO_FREE char *path = path_join(live.vm.dir, "console.lock");
    AUTO_CLOSE int lock = lock_try(path, LOCK_EXCLUSIVE, &busy);
    if (lock < 0 && busy->kind != ERR_BUSY)
        return error_propagate(err, STEAL(busy));
    if (lock < 0) {
        print_note("", "somebody else writes on this console; reading along, Ctrl-C ends it");
        return vm_log_show(s, &live.vm, VM_CONSOLE_LOG, 20, true, err);
    }
    AUTO_CLOSE int console = vm_detached_console(live.vm.dir, err);
    if (console < 0)
        return -1;
    if (isatty(STDIN_FILENO))
        print_note("", "Ctrl-] leaves the console, the VM runs on");
    return join(s, console, err);
}

const struct command cmd_console = {
    .name = "console",
    .summary = "Join the serial console of a VM in the background",
    .usage = "NAME",
    .detail = "Ctrl-] leaves it. One can write at a time; others read along.\n",
    .options = common_options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
