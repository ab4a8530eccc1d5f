// SPDX-License-Identifier: MIT
//
// `login` and `logout`. The password is never an argument: others see those.
#include "base/alloc.h"
#include "base/buf.h"
#include "cli/command.h"
#include "cli/registry_options.h"
#include "registry/credentials.h"

#include <openssl/crypto.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static const struct option_spec done_options[] = {JSON_OPTION, {0}};

enum { LINE_MAX_BYTES = 64 << 10 };

static const struct option_spec login_options[] = {
    {"username", 'u', "USER", "The user [default: asked for]", "user"},
    {"password-stdin", 0, NULL, "Read the password from standard input", NULL},
    {"no-validate", 0, NULL, "Keep them without asking the registry", NULL},
    REGISTRY_OPTIONS,
    JSON_OPTION,
    {0},
};

/* A line of standard input without its end; what is typed is shown if `echo`. Owned. */
static char *read_line(bool echo)
{
    struct termios old, quiet;
    bool tty = !echo && tcgetattr(STDIN_FILENO, &old) == 0;
    CLEANUP(buf_clear) struct buf line = BUF_INIT;
    if (tty) {
        quiet = old;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    }
    for (char c; line.len < LINE_MAX_BYTES && read(STDIN_FILENO, &c, 1) == 1 && c != '\n';)
        buf_addc(&line, c);
    if (tty) {
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);
        fputc('\n', stderr);
    }
    while (line.len && line.data[line.len - 1] == '\r')
        line.data[--line.len] = '\0';
    return line.len ? buf_detach(&line, NULL) : NULL;
}

static int ask(const struct args *a, char **user, char **password, struct error **err)
{
    bool piped = args_has(a, "password-stdin"), tty = isatty(STDIN_FILENO);
    const char *given = args_get(a, "username");
    if (!piped && !tty) {
        error_set(err, ERR_USAGE, "no terminal to ask for the password");
        return error_hint(err, "--password-stdin reads it from standard input");
    }
    if (piped && !given)
        return error_set(err, ERR_USAGE, "--password-stdin needs --username");
    if (!given)
        fputs("Username: ", stderr);
    *user = given ? xstrdup(given) : read_line(true);
    if (!*user || !**user || strchr(*user, ':'))
        return error_set(err, ERR_USER, "the user name is empty or has a ':'");
    if (!piped)
        fputs("Password: ", stderr);
    *password = read_line(false);
    return *password ? 0 : error_set(err, ERR_USER, "the password is empty");
}

static int validate(const struct session *s, const struct args *a, const char *user,
                    const char *password, struct error **err)
{
    CLEANUP(registry_freep) struct registry *r = NULL;
    struct reference ref = {.host = a->pos[0]};
    struct registry_options o = registry_options_of(a);
    o.user = user;
    o.password = password;
    if (registry_open(s, &ref, &o, &r, err) < 0)
        return -1;
    return registry_ping(r, err);
}

static void wipe(char **secret)
{
    if (*secret)
        OPENSSL_cleanse(*secret, strlen(*secret));
    free(*secret);
}

static int run_login(struct session *s, const struct args *a, struct error **err)
{
    AUTO_FREE char *user = NULL;
    __attribute__((cleanup(wipe))) char *password = NULL;
    const char *host = a->pos[0];
    if (reference_check_host(host, err) < 0 || ask(a, &user, &password, err) < 0)
        return -1;
    if (!args_has(a, "no-validate") && validate(s, a, user, password, err) < 0)
        return -1;
    if (credentials_store(s, host, user, password, err) < 0)
        return -1;
    (void)json_object_set_new(a->result, "host", json_string(host));
    (void)json_object_set_new(a->result, "user", json_string(user));
    fprintf(stderr, "Logged in to %s as %s\n", host, user);
    return 0;
}

static int run_logout(struct session *s, const struct args *a, struct error **err)
{
    const char *host = a->pos[0];
    if (reference_check_host(host, err) < 0)
        return -1;
    int had = credentials_forget(s, host, err);
    if (had < 0)
        return -1;
    (void)json_object_set_new(a->result, "host", json_string(host));
    (void)json_object_set_new(a->result, "had_login", json_boolean(had));
    fprintf(stderr, had ? "Logged out of %s\n" : "kiln has no login for %s\n", host);
    return 0;
}

const struct command cmd_login = {
    .name = "login",
    .summary = "Keep user and password for a registry",
    .usage = "[options] HOST",
    .detail =
        "They are checked first, and kept in ~/.config/kiln/auth.json, which only you can "
        "read. Logins\nof docker, podman and skopeo are used too, and need no login here.\n",
    .options = login_options,
    .min_args = 1,
    .max_args = 1,
    .flags = CMD_RESULT,
    .run = run_login,
};

const struct command cmd_logout = {
    .name = "logout",
    .summary = "Forget user and password for a registry",
    .usage = "HOST",
    .min_args = 1,
    .max_args = 1,
    .options = done_options,
    .flags = CMD_RESULT,
    .run = run_logout,
};
