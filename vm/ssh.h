/* SPDX-License-Identifier: MIT
 *
 * SSH (libssh) into a VM through a port on loopback, or at its address on a bridge of the host.
 *
 *     // given struct vm *vm; unsigned port; int status;
 *     struct vm_ssh_options o = {.session = session, .user = "vagrant", .port = port,
 *                                .deadline = now_ms() + 90000,
 *                                .wait = vm_ssh_wait_vm, .wait_arg = vm};
 *     CLEANUP(vm_ssh_freep) struct vm_ssh *ssh = vm_ssh_open(&o, &err);
 *     vm_ssh_run(ssh, "uname -a", &status, &err);
 *
 * The host key is not checked and nothing is written to known_hosts: the other end is a throw-away
 * VM of our own, reached over loopback or a bridge of this host, and every VM of an image may have another key.
 * ~/.ssh/config is not read.
 *
 * Every wait goes through the caller's wait function, so a VM that dies ends it at once.
 */
#ifndef VM_SSH_H
#define VM_SSH_H

#include "base/error.h"
#include "base/vector.h"

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

struct session;
struct vm_ssh;

/* As vm_wait: 1 something happened, 0 deadline (-1 = none), -1 error. */
typedef int vm_ssh_wait_fn(void *arg, struct pollfd *fds, size_t n, long long deadline,
                           struct error **err);

struct vm_ssh_options {
    const struct session *session; /* borrowed; its data folder holds kiln's own key */
    const char *host;              /* IPv4 address; NULL = 127.0.0.1 */
    unsigned port;
    const char *user;
    /* A private key to use, and no other. NULL: vm_key if there is one, kiln's own key, then the
     * ssh-agent's, then ~/.ssh/id_ed25519, id_ecdsa, id_rsa. A server that asks for a password is
     * given "vagrant" if the user is vagrant: so the boxes of that name are made. */
    const char *key_file;
    const char *vm_key; /* text of the VM's own private key; NULL = none */
    const struct strv
        *options;         /* of ssh_config(5), "Ciphers=aes256-ctr": those that choose algorithms
                                   hold for the login, others do nothing; NULL = none */
    char **ret_banner;    /* what the server called itself, owned, also when the login is refused
                             (*ret_banner is replaced); NULL = not asked */
    long long deadline;   /* for the login, on now_ms()'s scale */
    vm_ssh_wait_fn *wait; /* NULL: polls the fds and the session's cancel_fd */
    void *wait_arg;       /* borrowed until vm_ssh_free */
    /* Called again and again during the login with the milliseconds that it has taken, with -1 when
     * it is over. NULL = nobody listens. */
    void (*waiting)(void *wait_arg, long long ms);
    const char *late_hint; /* what to try when the deadline passes; NULL = run's options */
};
/* Where the server is, as text. */
const char *vm_ssh_host(const struct vm_ssh_options *o);
int vm_ssh_wait_vm(void *vm, struct pollfd *fds, size_t n, long long deadline, struct error **err);

/*
 * Connects and logs in. Until the deadline it tries again and again, as a VM that boots refuses
 * connections, or (QEMU's user network) accepts them and says nothing. NULL: ERR_GUEST (no SSH
 * server in time; no key is accepted, which has errnum EACCES; with what was tried), ERR_USER (key
 * file), or what the wait gives.
 */
struct vm_ssh *vm_ssh_open(const struct vm_ssh_options *o, struct error **err);
void vm_ssh_free(struct vm_ssh *ssh); /* disconnects; NULL is fine */
DEFINE_CLEANUP(struct vm_ssh, vm_ssh_free);

/*
 * Runs a command with the session's three streams. *ret_status is its exit status; 128 + n if it
 * was killed by signal n. -1: the connection or the VM went away before the status came, or stdout or
 * stderr cannot be written to (with errnum). A command that is given up so, or as the wait failed, gets
 * SIGHUP. Where nobody reads stdout any more, SIGPIPE interrupts the session.
 */
int vm_ssh_run(struct vm_ssh *ssh, const char *command, int *ret_status, struct error **err);
/* The same on a pseudo-terminal if the input is a terminal, as vm_ssh_console. */
int vm_ssh_run_tty(struct vm_ssh *ssh, const char *command, int *ret_status, struct error **err);
/* vm_ssh_run with three other descriptors, which stay the caller's. If nobody
 * reads what stands for stdout, that ends it: -1, errnum EPIPE. */
int vm_ssh_run_on(struct vm_ssh *ssh, const char *command, const int fds[3], int *ret_status,
                  struct error **err);
/* What is run from now on may take timeout_ms in all, -1 = any time: then it is ERR_GUEST. */
void vm_ssh_limit(struct vm_ssh *ssh, int timeout_ms);
/* A login shell on a pseudo-terminal. If the input is a terminal it is in raw mode meanwhile, and
 * changes of its size are passed on. */
int vm_ssh_console(struct vm_ssh *ssh, int *ret_status, struct error **err);

/* For a connection that goes on in another process or for another command (vm/ssh_keep.h). */
int vm_ssh_fd(const struct vm_ssh *ssh); /* its socket */
/* Takes in what came; false: the connection has ended, or a command that was given up goes on in it. */
bool vm_ssh_idle(struct vm_ssh *ssh);
/* The next command waits by this, and channel_ms for its channel. */
void vm_ssh_reuse(struct vm_ssh *ssh, vm_ssh_wait_fn *wait, void *wait_arg, int channel_ms);
/* Whether the guest was asked to run the last command: it may have begun. */
bool vm_ssh_started(const struct vm_ssh *ssh);
/* Another process has the connection: vm_ssh_free does not end it. */
void vm_ssh_disown(struct vm_ssh *ssh);

/*
 * kiln's own key pair, <data>/ssh/id_ed25519 (0600) and .pub: made on first use. Returns the public
 * key as one line for authorized_keys, without the newline; owned. Two processes that are first at
 * the same time get the same key. NULL: ERR_SYSTEM, ERR_USER (the file there is no key).
 */
char *vm_ssh_own_key(const struct session *s, struct error **err);

#endif
