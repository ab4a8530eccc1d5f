// SPDX-License-Identifier: MIT
//
// RUN: its key, its environment and the EXEC request; its mounts are in mount.c. Secrets go
// to the guest's memory only; their bytes are struck out of what the command prints before it
// reaches the log or the screen.
#include "base/alloc.h"
#include "base/process.h"
#include "base/session.h"
#include "base/terminal.h"
#include "builder/build/mask.h"
#include "builder/build/private.h"

#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* A RUN once everything is expanded. */
struct run {
    struct strv argv;
    struct str script; /* what the command has at RUNNER_SCRIPT; len 0 = nothing */
    struct mounts *mounts;
    struct mask *mask; /* NULL = there is no secret */
};

static void run_clear(struct run *r)
{
    mounts_free(r->mounts);
    mask_free(r->mask);
    strv_clear(&r->argv);
}

/* What the kernel takes as one argument, with its NUL (MAX_ARG_STRLEN of execve(2)). */
enum { ARGUMENT_MAX = 128 * 1024 };

/* Whether the words, such as "/bin/bash -o pipefail -c", take a text for a POSIX shell. */
static bool is_posix_shell(const struct strv *shell)
{
    static const char *const names[] = {"sh",  "ash",  "bash", "dash", "ksh",
                                        "zsh", "mksh", "yash", NULL};
    const char *last = shell->ptr[shell->len - 1];
    bool found = false;
    for (size_t i = 0; i + 1 < shell->len; i++) {
        const char *slash = strrchr(shell->ptr[i], '/');
        for (const char *const *n = names; *n; n++)
            found |= !strcmp(slash ? slash + 1 : shell->ptr[i], *n);
    }
    return found && last[0] == '-' && last[strlen(last) - 1] == 'c';
}

/* A text too long for an argument is a file, which the shell reads into itself: nothing that the
 * script can see is different, its $0 neither. */
static int add_script(struct run *r, struct str script, struct error **err)
{
    if (script.len < ARGUMENT_MAX) {
        strv_add_take(&r->argv, str_dup(script));
        return 0;
    }
    if (!is_posix_shell(&r->argv)) {
        error_set(err, ERR_USER, "a RUN of %zu bytes is too long for what SHELL names ('%s')",
                  script.len, r->argv.ptr[0]);
        return error_hint(err,
                          "a here-document that begins with #! is run as a program, "
                          "however long");
    }
    strv_add(&r->argv, ". " RUNNER_SCRIPT);
    r->script = script;
    return 0;
}

static int add_argv(struct stage_run *st, const struct imagefile_step *step, struct run *r,
                    struct error **err)
{
    const struct run_args *a = &step->run;
    if (step->json) {
        for (size_t i = 0; i < a->argv.len; i++)
            strv_add_take(&r->argv, str_dup(a->argv.ptr[i].raw));
        return 0;
    }
    if (a->shebang) {
        strv_add(&r->argv, RUNNER_SCRIPT);
        r->script = a->script;
        return 0;
    }
    if (!st->config.shell.len) {
        strv_add(&r->argv, "/bin/sh");
        strv_add(&r->argv, "-c");
    }
    for (size_t i = 0; i < st->config.shell.len; i++)
        strv_add(&r->argv, st->config.shell.ptr[i]);
    return add_script(r, a->script, err);
}

/* Whether the command is a text for a shell whose name says what it does with one. */
static bool is_shell_form(const struct imagefile_step *step, const struct run *r)
{
    if (step->json || step->run.shebang)
        return false;
    struct strv words = {.ptr = r->argv.ptr, .len = r->argv.len - 1};
    return is_posix_shell(&words);
}

static bool no_network(const struct stage_run *st, const struct imagefile_step *step)
{
    return step->run.network == NETWORK_NONE || st->build->o->no_network;
}

/* What two RUNs may differ in and still be the same step: secrets and cache mounts, the proxy, the
 * accelerator, memory. All else is in. */
static struct key *run_key(const struct stage_run *st, const struct imagefile_step *step,
                           const struct run *r)
{
    struct key *key = key_begin(st->disk.id);
    CLEANUP(buf_clear) struct buf argv = BUF_INIT;
    for (size_t i = 0; i < r->argv.len; i++) {
        buf_adds(&argv, r->argv.ptr[i]);
        buf_addc(&argv, '\0');
    }
    buf_add_str(&argv, r->script);
    key_field(key, "step", argv.data, argv.len);
    key_field(key, "WORKDIR", config_workdir(&st->config), strlen(config_workdir(&st->config)));
    if (st->config.user)
        key_field(key, "USER", st->config.user, strlen(st->config.user));
    for (size_t i = 0; i < st->config.env.len; i++) {
        AUTO_FREE char *name = xasprintf("ENV %s", st->config.env.ptr[i].name);
        key_field(key, name, st->config.env.ptr[i].value, strlen(st->config.env.ptr[i].value));
    }
    for (size_t i = 0; i < st->args.len; i++) {
        AUTO_FREE char *name = xasprintf("ARG %s", st->args.ptr[i].name);
        if (!settings_get(&st->config.env, st->args.ptr[i].name))
            key_field(key, name, st->args.ptr[i].value, strlen(st->args.ptr[i].value));
    }
    if (no_network(st, step))
        key_field(key, "--network", "none", 4);
    if (step->run.security == SECURITY_INSECURE)
        key_field(key, "--security", "insecure", 8);
    key_optional(key, "--add-host", st->build->o->hosts);
    mounts_put_key(r->mounts, key);
    return key;
}

/* Output through the mask that strikes out secrets. */
struct masked {
    struct build *b;
    struct mask *mask;
};

static void masked_output(void *arg, int stream, const char *bytes, size_t n)
{
    struct masked *m = arg;
    CLEANUP(buf_clear) struct buf clean = BUF_INIT;
    mask_add(m->mask, stream, bytes, n, &clean);
    if (clean.len)
        build_output(m->b, stream, clean.data, clean.len);
}

static void flush_mask(struct masked *m)
{
    for (int stream = 1; stream <= 2; stream++) {
        CLEANUP(buf_clear) struct buf rest = BUF_INIT;
        mask_flush(m->mask, stream, &rest);
        if (rest.len)
            build_output(m->b, stream, rest.data, rest.len);
    }
}

static int exec(struct build *b, struct run *r, const struct runner_exec *e, int *status,
                struct error **err)
{
    AUTO_FREE char *changed = NULL;
    struct masked out = {b, r->mask};
    struct runner_wait w = step_wait(b);
    if (r->mask)
        w = (struct runner_wait){w.deadline_ms, masked_output, &out};
    int rc = runner_exec(b->target.runner, e, w, status, &changed, err);
    if (r->mask)
        flush_mask(&out);
    if (changed) {
        session_debug(b->s, 1, "the builder VM is not used again, the step changed %s", changed);
        b->target.spent = true;
    }
    return rc;
}

/* What is known of a failure by what the command printed last; NULL = nothing. The log is the
 * masked one. */
static const char *hint_for_output(int log)
{
    static const struct {
        const char *text, *hint;
    } known[] = {
        // systemd 252 and before; 253 and later
        {"System has not been booted with systemd",
         "systemd does not run during a build: 'systemctl enable' without --now is enough, the "
         "service starts when the VM boots"},
        {"--now cannot be used when systemd is not running",
         "'systemctl enable' without --now is enough: the service starts when the VM boots"},
    };
    char tail[16 * 1024];
    struct stat st;
    if (log < 0 || fstat(log, &st) < 0)
        return NULL;
    off_t at = st.st_size > (off_t)sizeof tail ? st.st_size - (off_t)sizeof tail : 0;
    ssize_t n = pread(log, tail, sizeof tail, at);
    for (size_t i = 0; n > 0 && i < sizeof known / sizeof *known; i++)
        if (memmem(tail, (size_t)n, known[i].text, strlen(known[i].text)))
            return known[i].hint;
    return NULL;
}

int run_command(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                struct run *r, struct error **err)
{
    CLEANUP(runner_exec_clear) struct runner_exec e = {0};
    for (size_t i = 0; i < r->argv.len; i++)
        runner_exec_arg(&e, r->argv.ptr[i]);
    environment_put(b->s, b->o, &st->config, &st->args, &e);
    for (size_t i = 0; i < b->o->n_nameservers; i++)
        strv_add(&e.nameservers, b->o->nameservers[i]);
    e.script = r->script;
    if (b->o->hosts)
        runner_exec_mount(&e, &(struct runner_exec_mount){.type = RUNNER_HOSTS,
                                                          .target = "/etc/hosts",
                                                          .mode = "0644",
                                                          .secret = str_of(b->o->hosts)});
    bool insecure = step->run.security == SECURITY_INSECURE;
    int otherwise = is_shell_form(step, r) ? RUNNER_SHELL : 0;
    e.flags =
        (insecure ? RUNNER_INSECURE : 0) | (no_network(st, step) ? RUNNER_NO_NETWORK : otherwise);
    int status = 0;
    if (mounts_attach(b, r->mounts, &e, err) < 0)
        return -1;
    long long start = now_us();
    int rc = exec(b, r, &e, &status, err);
    b->target.spent |= insecure;
    session_timing(b->s, "exec", now_us() - start);
    if (rc < 0 || mounts_detach(b, r->mounts, err) < 0)
        return -1;
    if (status == 0)
        return 0;
    AUTO_FREE char *how = process_failed_text(status);
    error_set(err, ERR_GUEST, "step %zu (" STR_FMT ") %s", b->step, STR_ARG(step->text), how);
    const char *hint = hint_for_output(b->log.fd);
    if (!hint && (WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status) - 128) == SIGKILL)
        hint = "the kernel does that when memory runs out: --memory gives the builder VM more";
    return hint ? error_hint(err, "%s", hint) : -1;
}

int step_run(struct build *b, struct stage_run *st, const struct imagefile_step *step,
             struct error **err)
{
    CLEANUP(run_clear) struct run r = {.script = {"", 0}};
    if (add_argv(st, step, &r, err) < 0)
        return -1;
    r.mounts = mounts_new(b, st, &step->run, err);
    if (!r.mounts)
        return -1;
    const struct build_secret *secret;
    for (size_t i = 0; (secret = mounts_secret(r.mounts, &i));) {
        r.mask = r.mask ? r.mask : mask_new();
        mask_secret(r.mask, secret->bytes, secret->len);
    }
    struct key *key = run_key(st, step, &r);
    return step_layer(b, st, step, key, (struct str){"", 0},
                      (struct work){.kind = WORK_RUN, .run = &r}, err);
}
