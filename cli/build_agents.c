// SPDX-License-Identifier: MIT
//
// ssh-agent is set-group-ID, and the kernel forgets at the start of such a program that it shall die
// with its parent: setpriv takes that bit's meaning away, which only keeps debuggers out.
#include "cli/build_agents.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/session.h"
#include "cli/command.h"
#include "vm/folder_socket.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { START_MS = 20 * 1000 };

void build_agents_clear(struct build_agents *a)
{
    for (size_t i = 0; i < a->n_processes; i++)
        process_clear(&a->processes[i]);
    working_clear(&a->work);
    strv_clear(&a->texts);
    free(a->processes);
    free(a->ptr);
    *a = (struct build_agents)BUILD_AGENTS_INIT;
}

static int check_socket(const char *id, const char *path, struct error **err)
{
    const char *slash = strrchr(path, '/');
    AUTO_FREE char *dir = slash ? xstrndup(path, (size_t)(slash - path) + 1) : xstrdup(".");
    AUTO_CLOSE int fd = folder_socket_connect(dir, slash ? slash + 1 : path, err);
    if (fd >= 0)
        return 0;
    error_wrap(err, "argument --ssh: the ssh-agent '%s'", id);
    return error_hint(err, "eval $(ssh-agent) starts one, ssh-add gives it your key");
}

/* Waits for its first line: then it listens. */
static int await_line(const struct session *s, struct process *p, struct error **err)
{
    struct pollfd f[] = {{p->out, POLLIN, 0}, {s->cancel_fd, POLLIN, 0}};
    char line[256];
    int n = poll(f, 2, START_MS);
    if (session_cancelled(s))
        return error_set(err, ERR_CANCELLED, "interrupted");
    if (n <= 0 || read(p->out, line, sizeof line) <= 0)
        return error_set(err, ERR_SYSTEM, "ssh-agent did not start");
    return 0;
}

static int start_agent(const struct session *s, struct build_agents *a, const char *socket,
                       struct error **err)
{
    a->processes = xreallocarray(a->processes, a->n_processes + 1, sizeof *a->processes);
    struct process *p = &a->processes[a->n_processes++];
    *p = (struct process)PROCESS_INIT;
    struct process_spec spec = {
        .argv = ARGV("setpriv", "--no-new-privs", "ssh-agent", "-D", "-a", socket),
        .in = PROCESS_NULL,
        .out = PROCESS_PIPE,
        .errors = PROCESS_INHERIT,
        .own_session = true};
    if (process_start(p, &spec, err) < 0 || await_line(s, p, err) < 0)
        return error_hint(err, "apt-get install openssh-client util-linux");
    return 0;
}

static int add_key(const struct session *s, const char *socket, const char *key, struct error **err)
{
    CLEANUP(strv_clear) struct strv env = {0};
    for (size_t i = 0; s->env && s->env[i]; i++)
        if (strncmp(s->env[i], "SSH_AUTH_SOCK=", 14) != 0)
            strv_add(&env, s->env[i]);
    strv_addf(&env, "SSH_AUTH_SOCK=%s", socket);
    strv_add(&env, "SSH_ASKPASS_REQUIRE=never");
    if (process_run_env(s, ARGV("ssh-add", "-q", "--", key), env.ptr, NULL, err) == 0)
        return 0;
    if (session_cancelled(s))
        return -1;
    struct stat st;
    error_wrap(err, "argument --ssh: key '%s'", key);
    if (stat(key, &st) == 0 && st.st_mode & 077)
        return error_hint(err, "chmod 600 %s", key);
    return error_hint(
        err, "a key with a passphrase goes into an agent first: ssh-add, then --ssh default");
}

static const char *own_socket(const struct session *s, struct build_agents *a, struct error **err)
{
    AUTO_FREE char *parent = path_join(s->cache ? s->cache : "/tmp", "ssh");
    if (!a->work.dir) {
        working_sweep(parent);
        if (working_open(&a->work, parent, err) < 0)
            return NULL;
    }
    strv_addf(&a->texts, "%s/%zu", a->work.dir, a->n_processes);
    const char *path = a->texts.ptr[a->texts.len - 1];
    if (strlen(path) <= 107) // sun_path, unix(7)
        return path;
    error_set(err, ERR_USER, "'%s' is too long for a socket", path);
    error_hint(err, "choose a shorter cache folder with XDG_CACHE_HOME");
    return NULL;
}

/* The files are keys. */
static const char *take_keys(const struct session *s, struct build_agents *a, char *keys,
                             struct error **err)
{
    const char *socket = own_socket(s, a, err);
    if (!socket || start_agent(s, a, socket, err) < 0)
        return NULL;
    for (char *save = NULL, *k = strtok_r(keys, ",", &save); k; k = strtok_r(NULL, ",", &save))
        if (add_key(s, socket, k, err) < 0)
            return NULL;
    return socket;
}

/* Whether the list is one socket; -1: a file of it is not there. */
static int is_socket(const char *list, struct error **err)
{
    AUTO_FREE char *copy = xstrdup(list);
    bool any = false, other = false;
    for (char *save = NULL, *p = strtok_r(copy, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
        struct stat st;
        if (stat(p, &st) < 0) {
            error_errno(err, "argument --ssh: '%s'", p);
            return *p == '~' ? error_hint(err, "the shell does not expand ~ after =: write $HOME")
                             : -1;
        }
        *(S_ISSOCK(st.st_mode) ? &any : &other) = true;
    }
    if (any && (other || strchr(list, ',')))
        return error_set(err, ERR_USAGE, "argument --ssh: '%s': give either one socket, or keys",
                         list);
    return any;
}

/* Of the environment. With --serve that is what the client's ssh has forwarded. */
static const char *usual_socket(const struct session *s, const char *id, struct error **err)
{
    const char *socket = session_setting(s, "SSH_AUTH_SOCK");
    if (socket && *socket)
        return socket;
    error_set(err, ERR_USER, "argument --ssh: the ssh-agent '%s': SSH_AUTH_SOCK is not set", id);
    if (session_setting(s, "SSH_CONNECTION"))
        error_hint(err, "sshd forwards an agent if sshd_config has AllowAgentForwarding yes");
    else
        error_hint(
            err, "start an agent: eval $(ssh-agent) && ssh-add; or give a key: --ssh %s=FILE", id);
    return NULL;
}

static int take(const struct session *s, const char *text, struct build_agents *a,
                struct error **err)
{
    size_t n = strcspn(text, "=");
    AUTO_FREE char *list = xstrdup(text[n] ? text + n + 1 : "");
    strv_add_take(&a->texts, n ? xstrndup(text, n) : xstrdup("default"));
    const char *id = a->texts.ptr[a->texts.len - 1];
    for (size_t i = 0; i < a->len; i++)
        if (!strcmp(a->ptr[i].id, id))
            return error_set(err, ERR_USAGE, "argument --ssh: '%s' is given twice", id);
    int socket = *list ? is_socket(list, err) : 1;
    if (socket < 0)
        return -1;
    const char *path = !socket ? take_keys(s, a, list, err)
                       : *list ? list
                               : usual_socket(s, id, err);
    if (!path || (socket && check_socket(id, path, err) < 0))
        return -1;
    char *real = realpath(path, NULL);
    if (!real)
        return error_errno(err, "argument --ssh: '%s'", path);
    strv_add_take(&a->texts, real);
    a->ptr = xreallocarray(a->ptr, a->len + 1, sizeof *a->ptr);
    a->ptr[a->len++] = (struct build_ssh){id, a->texts.ptr[a->texts.len - 1]};
    return 0;
}

int build_agents_take(const struct session *s, const struct args *a, struct build_agents *ret,
                      struct error **err)
{
    const char *text;
    for (size_t i = 0; (text = args_nth(a, "ssh", i)); i++)
        if (take(s, text, ret, err) < 0)
            return -1;
    return 0;
}
