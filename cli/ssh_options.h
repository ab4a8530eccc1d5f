/* SPDX-License-Identifier: MIT
 *
 * --ssh-option and --ssh-bin-name: OpenSSH's ssh with options of its own (vm/ssh_program.h).
 *
 *     // given struct args *args; struct vm_spec *spec; struct session *session;
 *     ssh_options_take(args, spec, &err);
 *     ssh_options_check(session, spec, &err);
 */
#ifndef CLI_SSH_OPTIONS_H
#define CLI_SSH_OPTIONS_H

#include "cli/command.h"
#include "vm/spec.h"

/* Puts them before those of spec->ssh.options, as the first one counts for ssh. User and IdentityFile become
 * the spec's user and key, unless the arguments name these. ERR_USAGE: not KEY=VALUE. */
int ssh_options_take(const struct args *a, struct vm_spec *spec, struct error **err);
/* ERR_NOT_FOUND, ERR_USAGE: as ssh_program_check. */
int ssh_options_check(const struct session *s, const struct vm_spec *spec, struct error **err);
/* Whether the program is wanted. */
bool ssh_options_any(const struct vm_spec *spec);

/* Rows of a command's table of options. */
// clang-format off
#define SSH_PROGRAM_OPTIONS \
    {"ssh-option", 'o', "KEY=VALUE", "Use OpenSSH's ssh, with this option of ssh_config(5)", NULL}, \
    {"ssh-bin-name", 0, "PROGRAM", "Use this ssh instead of the built-in client", NULL}
// clang-format on

#endif
