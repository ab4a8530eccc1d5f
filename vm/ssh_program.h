/* SPDX-License-Identifier: MIT
 *
 * OpenSSH's ssh in place of the built-in client, for a session with options of ssh_config(5), such as
 * ControlMaster or LocalForward. The guest was waited for, and its user found out, by vm_login.
 *
 *     // given struct session *session; struct strv options; struct vm_ssh_options login; int status;
 *     struct ssh_program p = {.options = &options, .login = &login, .command = "uname -a"};
 *     ssh_program_check(session, NULL, &options, &err);   // before anything is started
 *     ssh_program_run(session, &p, &status, &err);
 */
#ifndef VM_SSH_PROGRAM_H
#define VM_SSH_PROGRAM_H

#include "base/error.h"
#include "base/vector.h"
#include "vm/ssh.h"

#include <stdbool.h>

struct session;

/* Everything is borrowed. */
struct ssh_program {
    const char *name;                   /* NULL = "ssh" */
    const struct strv *options;         /* "Key=value", for -o; they win over ours */
    const struct vm_ssh_options *login; /* port, user, key_file, vm_key, wait, wait_arg */
    const char *command;                /* for the guest's shell; NULL = a login shell */
    bool tty;                           /* the command gets a terminal */
};

/* ERR_NOT_FOUND: the program is not there; ERR_USAGE: it does not take one of the options, with the most
 * similar one that it takes. One that is not called ssh is not asked. */
int ssh_program_check(const struct session *s, const char *name, const struct strv *options,
                      struct error **err);

/* Runs it with our standard streams. *ret_status is its exit status: the command's, or 255 when ssh
 * failed; 128 + n if signal n killed it. -1: as `wait` says, which sees the VM's end. */
int ssh_program_run(const struct session *s, const struct ssh_program *p, int *ret_status,
                    struct error **err);

/* The value of the first option of that name, letters of either case; owned, NULL = there is none. */
char *ssh_option(const struct strv *options, const char *name);

#endif
