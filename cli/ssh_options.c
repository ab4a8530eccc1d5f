// SPDX-License-Identifier: MIT
#include "cli/ssh_options.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/login_name.h"
#include "base/session.h"
#include "vm/ssh_program.h"

#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* Whether the option is there, which other commands call by another of its names. */
static bool given(const struct args *a, const char *name)
{
    return args_has(a, command_option(a->command, name)->name);
}

/* What %d, %u, %i and %% stand for in ssh_config(5); false: a token of the connection's. */
static bool add_token(struct buf *out, char token, const char *home)
{
    const struct passwd *me = token == 'u' ? getpwuid(getuid()) : NULL;
    if (token == 'd')
        buf_adds(out, home);
    else if (token == 'i')
        buf_addf(out, "%u", (unsigned)getuid());
    else if (me)
        buf_adds(out, me->pw_name);
    else if (token == '%')
        buf_addc(out, '%');
    else
        return false;
    return true;
}

/* ${NAME} of the environment at p: its end; NULL: not set, which ssh does not take. */
static const char *add_variable(struct buf *out, const char *p)
{
    const char *end = strchr(p, '}');
    AUTO_FREE char *name = end ? xstrndup(p + 2, (size_t)(end - p) - 2) : NULL;
    const char *value = name ? getenv(name) : NULL;
    if (!value)
        return NULL;
    buf_adds(out, value);
    return end;
}

/* The file that a value of IdentityFile names, owned; NULL: none, or one that only ssh can tell. */
static char *key_file(const char *text)
{
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    const char *home = getenv("HOME");
    size_t n = strlen(text);
    bool quoted = n > 1 && *text == '"' && text[n - 1] == '"';
    AUTO_FREE char *value = xstrndup(text + quoted, n - 2 * quoted);
    const char *p = value;
    if (!strcasecmp(value, "none"))
        return NULL;
    if (home && !strncmp(value, "~/", 2)) {
        buf_adds(&out, home);
        p++;
    }
    for (; *p; p++)
        if (p[0] == '$' && p[1] == '{') {
            if (!(p = add_variable(&out, p)))
                return NULL;
        } else if (*p != '%')
            buf_addc(&out, *p);
        else if (!add_token(&out, *++p, home ? home : ""))
            return NULL;
    return buf_detach(&out, NULL);
}

static int take_key(const char *text, struct vm_spec *spec, struct error **err)
{
    AUTO_FREE char *file = key_file(text);
    if (!file)
        return 0;
    AUTO_FREE char *path = realpath(file, NULL); // as `start` may run in another directory
    if (!path || access(path, R_OK) < 0)
        return error_errno(err, "argument --ssh-option: cannot read the SSH key '%s'", file);
    vm_spec_set(&spec->ssh.key, path);
    return 0;
}

/* The built-in client, which waits for the guest, has to get in, too. */
static int take_login(const struct args *a, const struct strv *options, struct vm_spec *spec,
                      struct error **err)
{
    AUTO_FREE char *user = ssh_option(options, "User");
    AUTO_FREE char *key = ssh_option(options, "IdentityFile");
    if (user && !is_user_name(user)) {
        error_set(err, ERR_USAGE, "argument --ssh-option: '%.60s' can't be the name of a user",
                  user);
        return error_hint(err, "%s", USER_NAME_RULE);
    }
    if (user && !given(a, "ssh-user"))
        vm_spec_set(&spec->ssh.user, user);
    return key && !given(a, "ssh-key") ? take_key(key, spec, err) : 0;
}

static int check_form(const char *text, struct error **err)
{
    static const char between[] = "= \t";
    size_t name = strcspn(text, between);
    if (name && text[name] && text[name + strspn(text + name, between)])
        return 0;
    error_set(err, ERR_USAGE, "argument --ssh-option: '%s' is not KEY=VALUE", text);
    return error_hint(err, "-o ForwardAgent=yes; 'man ssh_config' has the options");
}

int ssh_options_take(const struct args *a, struct vm_spec *spec, struct error **err)
{
    CLEANUP(strv_clear) struct strv options = {0};
    const char *text, *program = args_get(a, "ssh-bin-name");
    for (size_t i = 0; (text = args_nth(a, "ssh-option", i)); i++) {
        if (check_form(text, err) < 0)
            return -1;
        strv_add(&options, text);
    }
    if (program)
        vm_spec_set(&spec->ssh.program, program);
    if (take_login(a, &options, spec, err) < 0)
        return -1;
    vec_foreach (char **, before, &spec->ssh.options)
        strv_add(&options, *before);
    strv_clear(&spec->ssh.options);
    spec->ssh.options = options;
    options = (struct strv){0};
    return 0;
}

bool ssh_options_any(const struct vm_spec *spec)
{
    return spec->ssh.program || spec->ssh.options.len;
}

int ssh_options_check(const struct session *s, const struct vm_spec *spec, struct error **err)
{
    return ssh_options_any(spec) ? ssh_program_check(s, spec->ssh.program, &spec->ssh.options, err)
                                 : 0;
}
