// SPDX-License-Identifier: MIT
#include "builder/build/environment.h"

#include "base/terminal.h"
#include "imagefile/imagefile.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *build_arg(const struct session *s, const struct build_options *o, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = o->n_build_args; i-- > 0;) {
        const char *given = o->build_args[i];
        if (!strncmp(given, name, n) && given[n] == '=')
            return given + n + 1;
        if (!strcmp(given, name))
            return session_env(s, name);
    }
    return NULL;
}

/* As in Dockerfile: from --build-arg or kiln's own environment, seen by RUN without an ARG, no part of
 * any key. */
static const char *const proxy_vars[][2] = {{"http_proxy", "HTTP_PROXY"},
                                            {"https_proxy", "HTTPS_PROXY"},
                                            {"ftp_proxy", "FTP_PROXY"},
                                            {"no_proxy", "NO_PROXY"},
                                            {"all_proxy", "ALL_PROXY"}};

/* A --build-arg for one of the two spellings is for both. */
static void put_proxies(const struct session *s, const struct build_options *o,
                        const struct config *c, const struct settings *args, struct runner_exec *e)
{
    for (size_t i = 0; i < sizeof proxy_vars / sizeof *proxy_vars; i++) {
        for (size_t j = 0; j < 2; j++) {
            const char *name = proxy_vars[i][j], *v = o ? build_arg(s, o, name) : NULL;
            v = v || !o ? v : build_arg(s, o, proxy_vars[i][!j]);
            v = v ? v : session_env(s, name);
            if (v && *v && !settings_get(&c->env, name) && !(args && settings_get(args, name)))
                runner_exec_env(e, name, v);
        }
    }
}

void environment_put(const struct session *s, const struct build_options *o, const struct config *c,
                     const struct settings *args, struct runner_exec *e)
{
    if (!settings_get(&c->env, "PATH"))
        runner_exec_env(e, "PATH", imagefile_default_path);
    runner_exec_env(e, "SYSTEMD_OFFLINE", "1");
    runner_exec_env(e, "DM_DISABLE_UDEV",
                    "1"); // device mapper makes its nodes itself, and waits for nobody
    put_proxies(s, o, c, args, e);
    for (size_t i = 0; args && i < args->len; i++)
        if (!settings_get(&c->env, args->ptr[i].name))
            runner_exec_env(e, args->ptr[i].name, args->ptr[i].value);
    for (size_t i = 0; i < c->env.len; i++)
        runner_exec_env(e, c->env.ptr[i].name, c->env.ptr[i].value);
    e->cwd = xstrdup(config_workdir(c));
    e->user = c->user ? xstrdup(c->user) : NULL;
}

void environment_put_shell(const struct session *s, struct runner_exec *e)
{
    const char *term = session_setting(s, "TERM");
    terminal_size(s->in, &e->columns, &e->rows);
    runner_exec_arg(e, "/bin/sh");
    e->term = xstrdup(term ? term : "linux");
}
