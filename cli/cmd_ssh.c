// SPDX-License-Identifier: MIT
//
// kiln ssh: a shell in a VM that runs, or a command line for the guest's shell, as ssh(1) has it.
// kiln exec: one program with just these arguments.
#include "base/alloc.h"
#include "base/buf.h"
#include "cli/fleet_file.h"
#include "cli/ssh_options.h"
#include "cli/vm_live.h"
#include "vm/ssh_keep.h"
#include "vm/ssh_program.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TTY_OPTION \
    { \
        "tty", 't', NULL, "Give the program a terminal", NULL \
    }
static const struct option_spec ssh_options[] = {
    LOGIN_OPTIONS,
    TTY_OPTION,
    SSH_PROGRAM_OPTIONS,
    {"ssh-command", 0, "CMD", "The command, as transient's users give it", "cmd"},
    {"file", 0, "FILE", "Without NAME: the VMFile that has it [default: " VMFILE "]", NULL},
    {"name", 0, "NAME", "The VM; as NAME without the option", NULL},
    {0},
};
/* -i is docker's here, not ssh's. */
static const struct option_spec exec_options[] = {
    LOGIN_OPTIONS_WITH(0),
    {"interactive", 'i', NULL, "For docker's users: standard input always reaches the guest", NULL},
    TTY_OPTION,
    {"env", 'e', "NAME[=VALUE]",
     "Set a variable for the program; without a value, to that of kiln's", NULL},
    {"workdir", 'w', "DIR", "Run the program in this folder of the guest", NULL},
    SSH_PROGRAM_OPTIONS,
    {0},
};

/* Without a name: the one VM of the VMFile. Owned; NULL with *err. */
static char *find_name(const struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(fleet_file_clear) struct fleet_file file = {0};
    CLEANUP(error_freep) struct error *why = NULL;
    if (args_has(a, "name") || a->n_pos)
        return xstrdup(args_has(a, "name") ? args_get(a, "name") : a->pos[0]);
    if (fleet_file_open(s, a, &file, &why) < 0) {
        if (why->kind == ERR_NOT_FOUND && !args_has(a, "file")) {
            error_set(err, ERR_USAGE, "which VM? There is no " VMFILE " here");
            error_hint(err, "kiln ssh NAME; 'kiln ps' lists the VMs that run");
        } else {
            error_propagate(err, STEAL(why));
        }
        return NULL;
    }
    for (size_t i = 0; file.n_chosen == 1 && i < file.fleet->n_vms; i++)
        if (file.chosen[i])
            return xstrdup(file.fleet->vms[i].name);
    error_set(err, ERR_USAGE, "which VM? '%s' has %zu", file.path, file.n_chosen);
    error_hint(err, "kiln ssh NAME; 'kiln status' lists them");
    return NULL;
}

/* What stands before a program of exec: cd DIR && env NAME=VALUE… */
static void add_surroundings(const struct args *a, struct buf *ret)
{
    const char *dir = args_get(a, "workdir"), *given;
    CLEANUP(strv_clear) struct strv env = {0};
    for (size_t i = 0; (given = args_nth(a, "env", i)); i++) {
        const char *value = strchr(given, '=') ? NULL : getenv(given);
        if (strchr(given, '='))
            strv_add(&env, given);
        else if (value)
            strv_addf(&env, "%s=%s", given, value);
    }
    if (dir) {
        buf_adds(ret, "cd -- ");
        buf_add_shell_word(ret, dir);
        buf_adds(ret, " &&");
    }
    if (env.len) {
        buf_adds(ret, ret->len ? " env" : "env");
        buf_add_shell_words(ret, (const char *const *)env.ptr);
    }
}

static void make_command(const struct args *a, bool quote, struct buf *ret)
{
    if (quote)
        add_surroundings(a, ret);
    if (quote)
        buf_add_shell_words(ret, (const char *const *)a->pos + 1);
    size_t first = !quote && args_has(a, "name") ? 0 : 1;
    for (size_t i = first; !quote && i < a->n_pos; i++)
        buf_addf(ret, "%s%s", i > first ? " " : "", a->pos[i]);
    if (!quote && args_has(a, "ssh-command"))
        buf_addf(ret, "%s", args_get(a, "ssh-command"));
}

static int log_in(struct session *s, const struct args *a, bool quote, struct error **err)
{
    CLEANUP(vm_live_clear) struct vm_live live = VM_LIVE_INIT;
    CLEANUP(buf_clear) struct buf command = BUF_INIT;
    int status = 0;
    if (args_has(a, "tty") && !isatty(STDIN_FILENO))
        return error_set(err, ERR_USAGE, "argument --tty: standard input is not a terminal");
    AUTO_FREE char *name = quote ? xstrdup(a->pos[0]) : find_name(s, a, err);
    if (!name || vm_live_await(s, a, name, &live, err) < 0 ||
        vm_live_check_halted(&live.vm, err) < 0 || ssh_options_take(a, &live.spec, err) < 0 ||
        ssh_options_check(s, &live.spec, err) < 0)
        return -1;
    make_command(a, quote, &command);
    bool program = ssh_options_any(&live.spec);
    bool plain = command.len && !program && !args_has(a, "tty") && !args_has(a, "user") &&
                 !args_has(a, "ssh-key"); // as anybody would do next
    int rc = plain ? vm_ssh_kept_run(s, live.vm.dir, command.data, &status, err) : 0;
    if (rc)
        return rc < 0 ? -1 : status;
    CLEANUP(vm_ssh_freep) struct vm_ssh *ssh = vm_live_login(s, a, &live, err);
    if (!ssh)
        return -1;
    struct ssh_program p = {live.spec.ssh.program, &live.spec.ssh.options, &live.login,
                            command.len ? command.data : NULL, args_has(a, "tty")};
    rc = program              ? ssh_program_run(s, &p, &status, err)
         : !command.len       ? vm_ssh_console(ssh, &status, err)
         : args_has(a, "tty") ? vm_ssh_run_tty(ssh, command.data, &status, err)
                              : vm_ssh_run(ssh, command.data, &status, err);
    if (plain && rc == 0)
        vm_ssh_keep_take(STEAL(ssh), live.vm.dir);
    return rc < 0 ? -1 : status;
}

static int run_ssh(struct session *s, const struct args *a, struct error **err)
{
    if (a->n_pos > 1 && args_has(a, "ssh-command"))
        return error_set(err, ERR_USAGE, "'%s': not with --ssh-command", a->pos[1]);
    return log_in(s, a, false, err);
}

static int run_exec(struct session *s, const struct args *a, struct error **err)
{
    AUTO_FREE char *word = shell_word(a->pos[0]);
    if (a->n_pos < 2)
        return error_set(err, ERR_USAGE, "exec needs a command: kiln exec %s uname -a", word);
    return args_names(a, "env", err) < 0 ? -1 : log_in(s, a, true, err);
}

const struct command cmd_ssh = {
    .name = "ssh",
    .summary = "Log in to a VM that runs",
    .usage = "[options] [NAME [options] [COMMAND...]]",
    .detail =
        "Without a command, a login shell on a terminal. With one, the words are joined by blanks "
        "for\n"
        "the guest's shell, and its exit status becomes kiln's. NAME may be left out where a "
        "VMFile has\none VM.\n",
    .options = ssh_options,
    .max_args = SIZE_MAX,
    .flags = CMD_WORDS | CMD_LATE,
    .run = run_ssh,
};

const struct command cmd_exec = {
    .name = "exec",
    .summary = "Run a program in a VM that runs",
    .usage = "[options] NAME PROGRAM [ARGUMENT...]",
    .detail =
        "Over SSH, with these arguments as they are: sh -c '...' for a command line. Its exit "
        "status\n"
        "becomes kiln's. Options of kiln stand before NAME.\n",
    .options = exec_options,
    .min_args = 1,
    .max_args = SIZE_MAX,
    .flags = CMD_WORDS,
    .run = run_exec,
};
