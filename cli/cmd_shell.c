// SPDX-License-Identifier: MIT
#include "base/alloc.h"
#include "base/session.h"
#include "builder/build/shell.h"
#include "cli/build_ui.h"
#include "cli/command.h"
#include "cli/registry_options.h"
#include "cli/signals.h"
#include "cli/vm_find.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct option_spec options[] = {
    {"command", 'c', "CMD", "Run this with /bin/sh -c instead of an interactive shell", NULL},
    {"user", 'u', "USER[:GROUP]", "Run as this user of the image", NULL},
    PULL_OPTION,
    REGISTRY_FETCH_OPTIONS,
    {"accel", 0, "auto|kvm|tcg", "Accelerator of the builder VM", NULL},
    {"memory", 'm', "SIZE", "Memory of the builder VM", NULL},
    {"cpus", 0, "N", "CPUs of the builder VM", NULL},
    {0},
};

/* As a command run here would: its two streams stay apart. */
static void raw_output(void *arg, int stream, const char *bytes, size_t n)
{
    FILE *out = stream == 2 ? stderr : stdout;
    (void)arg;
    fwrite(bytes, 1, n, out);
    if (fflush(out) != 0 && stream != 2)
        signals_output_failed(errno);
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    const char *command = args_get(a, "command");
    char **words = a->words ? a->words : a->n_rest ? a->rest : NULL;
    const char *const shell[] = {"/bin/sh", "-c", command, NULL};
    struct shell_options o = {
        .ref = a->pos[0], .user = args_get(a, "user"), .terminal = !command && !words};
    long long cpus = 0;
    if (args_pull(a, &o.pull, err) < 0 || registry_options_take(a, &o.transfer, err) < 0 ||
        args_memory(a, &o.memory_mb, err) < 0 || args_accel(a, &o.accel, err) < 0 ||
        args_num(a, "cpus", 1, 256, &cpus, err) < 0)
        return -1;
    o.cpus = (unsigned)cpus;
    o.argv = command ? shell : (const char *const *)words;
    if (o.terminal && (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))) {
        error_set(err, ERR_USER, "a shell needs a terminal");
        return error_hint(err, "-c CMD runs one command without one");
    }
    CLEANUP(build_shown_clear) struct build_shown shown = {0};
    int status = 0;
    if (build_shown_init(&shown, s, "plain", err) < 0)
        return -1;
    s->events.output = raw_output;
    if (shell_run(s, &o, &status, err) < 0)
        return vm_find_instead(s, a->pos[0], "'kiln exec %s COMMAND' runs a command in it", err);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

const struct command cmd_shell = {
    .name = "shell",
    .summary = "A throw-away shell in an image, or in the state after a step",
    .usage = "[options] NAME[@STEP|@failed] [COMMAND…]",
    .detail =
        "The image's disk is in a builder VM (its own services do not run). Whatever is\n"
        "changed is gone when the shell ends. STEP is a number as 'kiln image history' shows it.\n",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .flags = CMD_REST | CMD_COMMAND,
    .run = run,
};
