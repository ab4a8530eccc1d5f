// SPDX-License-Identifier: MIT
//
// The first value of an option counts for ssh, so ours stand behind the user's. A VM's key that is in no
// file is lent by /proc/<our number>/fd: ssh closes descriptors that it inherits.
#include "vm/ssh_program.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/nearest.h"
#include "base/process.h"
#include "base/session.h"
#include "vm/ssh_key.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *program(const char *name)
{
    return name ? name : "ssh";
}

static void add_options(struct strv *argv, const struct strv *options)
{
    vec_foreach (char **, o, options) {
        strv_add(argv, "-o");
        strv_add(argv, *o);
    }
}

/* Name and value stand apart by '=' or blanks. */
static const char *value_of(const char *option, const char *name)
{
    size_t n = strlen(name);
    const char *p = option + strspn(option, " \t");
    if (strncasecmp(p, name, n) != 0 || !p[n] || !strchr("= \t", p[n]))
        return NULL;
    p += n;
    return p + strspn(p, "= \t");
}

char *ssh_option(const struct strv *options, const char *name)
{
    vec_foreach (char **, o, options) {
        const char *value = value_of(*o, name);
        if (value)
            return xstrdup(value);
    }
    return NULL;
}

/* What `ssh -G` prints of the settings without options: their names are those it knows. */
static void suggest(const struct session *s, const char *path, const char *option,
                    struct error **err)
{
    CLEANUP(buf_clear) struct buf said = BUF_INIT;
    CLEANUP(strv_clear) struct strv names = {0};
    AUTO_FREE char *name = xstrndup(option, strcspn(option, "= \t"));
    if (process_run(s, ARGV(path, "-G", "-F", "/dev/null", "127.0.0.1"), &said, NULL) < 0)
        return;
    for (char *save = NULL, *line = strtok_r(said.data, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save))
        strv_add_take(&names, xstrndup(line, strcspn(line, " ")));
    const char *near = nearest_name(str_of(name), (const char *const *)names.ptr);
    if (near && strcasecmp(near, name) != 0)
        (void)error_hint(err, "did you mean '%s'? 'man ssh_config' has them all", near);
    else
        (void)error_hint(err, "'man ssh_config' has the options and their values");
}

/* The last line that ssh wrote, without its "command-line line 0: "; owned. */
static char *complaint(const struct error *why)
{
    const char *last = strrchr(why->message, '\n'), *text = last ? last + 1 : why->message;
    const char *where = strstr(text, "line 0: ");
    text = where ? where + strlen("line 0: ") : text + strspn(text, " ");
    return xstrndup(text, strcspn(text, "\r"));
}

static int check_option(const struct session *s, const char *path, const char *option,
                        struct error **err)
{
    CLEANUP(error_freep) struct error *why = NULL;
    if (process_run(s, ARGV(path, "-G", "-F", "/dev/null", "-o", option, "127.0.0.1"), NULL,
                    &why) == 0)
        return 0;
    if (why->kind != ERR_SYSTEM)
        return error_propagate(err, STEAL(why));
    AUTO_FREE char *what = complaint(why);
    error_set(err, ERR_USAGE, "argument --ssh-option: '%s': %s", option, what);
    suggest(s, path, option, err);
    return -1;
}

int ssh_program_check(const struct session *s, const char *name, const struct strv *options,
                      struct error **err)
{
    AUTO_FREE char *path = process_find(program(name));
    if (!path) {
        error_set(err, ERR_NOT_FOUND, "program '%s' not found", program(name));
        return name ? error_hint(err, "--ssh-bin-name names the ssh to use")
                    : error_hint(err,
                                 "--ssh-option is for OpenSSH's: apt-get install "
                                 "openssh-client");
    }
    const char *slash = strrchr(path, '/');
    if (strcmp(slash ? slash + 1 : path, "ssh") != 0)
        return 0;
    vec_foreach (char **, o, options)
        if (check_option(s, path, *o, err) < 0)
            return -1;
    return 0;
}

/* A file in memory that only we may read; -1. */
static int lend_key(const char *text)
{
    AUTO_CLOSE int fd = memfd_create("key", MFD_CLOEXEC);
    size_t n = strlen(text);
    bool whole = fd >= 0 && fchmod(fd, 0600) == 0 && write_all(fd, text, n) == 0 &&
                 (text[n - 1] == '\n' || write_all(fd, "\n", 1) == 0);
    return whole ? STEAL_FD(fd) : -1;
}

static void add_key(struct strv *argv, const char *path)
{
    if (access(path, R_OK) < 0)
        return;
    strv_add(argv, "-i");
    strv_add(argv, path);
}

static void make_argv(const struct session *s, const struct ssh_program *p, int key,
                      struct strv *argv)
{
    static const char *const ours[] = {"StrictHostKeyChecking=no",
                                       "UserKnownHostsFile=/dev/null",
                                       "GlobalKnownHostsFile=/dev/null",
                                       "BatchMode=yes",
                                       "LogLevel=ERROR",
                                       "ConnectTimeout=30"};
    strv_add(argv, program(p->name));
    add_options(argv, p->options);
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        strv_add(argv, "-o");
        strv_add(argv, ours[i]);
    }
    if (p->login->key_file)
        add_key(argv, p->login->key_file);
    if (key >= 0) {
        AUTO_FREE char *lent = xasprintf("/proc/%ld/fd/%d", (long)getpid(), key);
        add_key(argv, lent);
    }
    AUTO_FREE char *own = p->login->key_file ? NULL : vm_ssh_own_key_path(s);
    if (own)
        add_key(argv, own);
    if (p->tty)
        strv_add(argv, "-t");
    strv_add(argv, "-p");
    strv_addf(argv, "%u", p->login->port);
    strv_addf(argv, "%s@%s", p->login->user, vm_ssh_host(p->login));
    if (p->command) {
        strv_add(argv, "--");
        strv_add(argv, p->command);
    }
}

static void tell(const struct session *s, const struct strv *argv)
{
    CLEANUP(buf_clear) struct buf line = BUF_INIT;
    buf_add_shell_words(&line, (const char *const *)argv->ptr);
    session_debug(s, 1, "ssh: %s", line.data);
}

int ssh_program_run(const struct session *s, const struct ssh_program *p, int *ret_status,
                    struct error **err)
{
    const struct vm_ssh_options *l = p->login;
    AUTO_CLOSE int key = l->vm_key && !l->key_file ? lend_key(l->vm_key) : -1;
    CLEANUP(strv_clear) struct strv argv = {0};
    CLEANUP(process_clear) struct process child = PROCESS_INIT;
    make_argv(s, p, key, &argv);
    tell(s, &argv);
    struct process_spec spec = {.argv = argv.ptr, .in = s->in, .out = s->out, .errors = s->errors};
    if (process_start(&child, &spec, err) < 0)
        return -1;
    while (!process_ended(&child)) {
        struct pollfd f = {.fd = child.pidfd, .events = POLLIN};
        if (l->wait(l->wait_arg, &f, 1, -1, err) < 0) {
            process_kill(&child, SIGTERM); // it puts the terminal back
            (void)process_wait(&child, 2000, NULL);
            return -1;
        }
    }
    *ret_status =
        WIFSIGNALED(child.status) ? 128 + WTERMSIG(child.status) : WEXITSTATUS(child.status);
    return 0;
}
