/* SPDX-License-Identifier: MIT
 *
 * What ssh.c (finding the server, the login) and ssh_run.c (commands) share. Nobody else includes it.
 */
#ifndef VM_SSH_PRIVATE_H
#define VM_SSH_PRIVATE_H

#include "vm/ssh.h"

#include <libssh/libssh.h>

#include <stdbool.h>

struct vm_ssh {
    struct vm_ssh_options o;
    ssh_session lib;
    long long began; /* of the login, by now_ms(); 0 = it is over */
    int channel_ms;  /* how long a channel may take to open */
    bool started;    /* the last command was asked for */
    bool reused;     /* others run theirs after this one */
    bool in_use;     /* a command that was given up has not ended */
    long long until; /* end of what is run, by now_ms(); -1 = none */
};

/* As o.wait, and o.waiting hears of a login. */
int vm_ssh_wait_for(const struct vm_ssh *ssh, struct pollfd *fds, size_t n, long long deadline,
                    struct error **err);
/* Until the library's socket can be used: 1; 0 at the deadline; -1. */
int vm_ssh_wait_for_socket(struct vm_ssh *ssh, long long deadline, struct error **err);
/* Both return -1. The library's last error, after `what` failed: ERR_GUEST. */
int vm_ssh_lib_error(struct vm_ssh *ssh, const char *what, struct error **err);
int vm_ssh_took_too_long(const struct vm_ssh *ssh, struct error **err);

/* Repeats `call` (its result into rc) as long as it gives `again`; -1 leaves the function. */
#define until_done(ssh, rc, again, call, err) \
    while (((rc) = (call)) == (again)) { \
        int waited_ = vm_ssh_wait_for_socket(ssh, (ssh)->o.deadline, err); \
        if (waited_ == 0) \
            return vm_ssh_took_too_long(ssh, err); \
        if (waited_ < 0) \
            return -1; \
    }

#endif
