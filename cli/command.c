// SPDX-License-Identifier: MIT
//
// Finds the command whose name is the longest prefix of the words given ("image build DIR"), and runs
// it with its arguments (args.c).
#include "cli/command.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/printable.h"
#include "cli/args.h"
#include "cli/config.h"
#include "cli/json_result.h"
#include "cli/signals.h"
#include "cli/version.h"
#include "cli/vm_warm.h"
#include "cli/words.h"
#include "vm/accel.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct option_spec common_options[] = {
    {"verbose", 'v', NULL, "More output; twice: QMP and agent traffic too", NULL},
    {"image-backend", 0, "DIR", "Where finished images are [default: ~/.local/share/kiln/backend]",
     NULL},
    {"vmstore", 0, "DIR", "Where named VMs are [default: ~/.local/share/kiln/vmstore]", NULL},
    {"help", 'h', NULL, "Show this help", NULL},
    {0},
};

void print_note(const char *what, const char *text)
{
    fputs(what, stderr);
    printable_print(stderr, text);
    fputc('\n', stderr);
}

void print_error(const struct error *err)
{
    if (err->kind == ERR_REPORTED)
        return;
    if (err->kind == ERR_CANCELLED) { // where it was then is nothing new to whoever did it
        if (signals_caught() != SIGPIPE)
            fputs("interrupted\n", stderr);
        return;
    }
    if (err->loc.path) {
        printable_print(stderr, err->loc.path);
        if (err->loc.line)
            fprintf(stderr, ":%u", err->loc.line);
        if (err->loc.line && err->loc.column)
            fprintf(stderr, ":%u", err->loc.column);
        fputs(": ", stderr);
    }
    print_note("error: ", err->message);
    if (err->hint)
        print_note("hint: ", err->hint);
}

static void print_options(const struct option_spec *o)
{
    for (; o->name; o++) {
        CLEANUP(buf_clear) struct buf left = BUF_INIT;
        if (o->letter)
            buf_addf(&left, "-%c, ", o->letter);
        buf_addf(&left, "--%s", o->name);
        for (const char *p = o->alias; p && *p; p += strcspn(p, ","), p += *p == ',')
            buf_addf(&left, ", %s%.*s", strcspn(p, ",") > 1 ? "--" : "-", (int)strcspn(p, ","), p);
        if (o->value)
            buf_addf(&left, option_value_optional(o) ? "%s" : " %s", o->value);
        if (left.len > 28)
            printf("  %s\n  %-28s  %s\n", left.data, "", o->help);
        else
            printf("  %-28s  %s\n", left.data, o->help);
    }
}

static void print_command_help(const struct command *c)
{
    CLEANUP(buf_clear) struct buf also = BUF_INIT;
    words_add_aliases(&also, c);
    printf("Usage: kiln %s %s\n\n%s%s\n", c->name, c->usage ? c->usage : "[options]", c->summary,
           also.len ? also.data : "");
    if (c->detail)
        printf("\n%s", c->detail);
    puts("\nOptions:");
    if (c->options)
        print_options(c->options);
    print_options(common_options);
    // one page tells of all `kiln system` commands, of all `kiln ci`, and of all `kiln libvirt`
    bool shared = !strncmp(c->name, "system ", 7) || !strncmp(c->name, "ci ", 3) ||
                  !strncmp(c->name, "libvirt ", 8);
    AUTO_FREE char *page = xstrndup(c->name, shared ? strcspn(c->name, " ") : strlen(c->name));
    for (char *p = page; *p; p++)
        if (*p == ' ')
            *p = '-';
    printf("\nSee also: man kiln-%s\n", page);
}

/* Help for kiln itself (group "") or for a group such as "image". */
static void print_group_help(const char *group)
{
    size_t n = strlen(group);
    if (n)
        printf("Usage: kiln %s COMMAND [options]\n\nCommands:\n", group);
    else
        puts(
            "Usage: kiln [options] COMMAND [options]\n\n"
            "docker build, for virtual machines: an Imagefile becomes a bootable disk image, and\n"
            "every step is a cached qcow2 layer.\n\nCommands:");
    for (const struct command *const *c = commands; *c; c++)
        if (!n || (!strncmp((*c)->name, group, n) && (*c)->name[n] == ' ')) {
            CLEANUP(buf_clear) struct buf also = BUF_INIT;
            words_add_aliases(&also, *c);
            printf("  %-18s %s%s\n", (*c)->name, (*c)->summary, also.len ? also.data : "");
        }
    puts("\nOptions, before or after the command:");
    print_options(common_options);
    if (!n)
        printf("  %-28s  %s\n", "--version", "Print the version");
    puts("\n'kiln COMMAND --help' tells more, 'kiln help imagefile' shows the language.");
}

static bool is_group(const char *word)
{
    size_t n = strlen(word);
    for (const struct command *const *c = commands; *c; c++)
        if (!strncmp((*c)->name, word, n) && (*c)->name[n] == ' ')
            return true;
    return false;
}

void args_say(const struct args *a, const char *fmt, ...)
{
    va_list ap;
    if (a->result || args_has(a, "quiet"))
        return;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    signals_flush_output(); // in order with errors
}

int args_each(const struct session *s, const struct args *a, args_each_fn *fn, struct error **err)
{
    CLEANUP(error_freep) struct error *last = NULL;
    json_t *done = a->result ? json_array() : NULL;
    if (done)
        (void)json_object_set_new(a->result, "done", done);
    for (size_t i = 0; i < a->n_pos && !session_cancelled(s); i++) {
        struct error *one = NULL;
        if (fn(s, a, a->pos[i], &one) == 0) {
            json_array_append_new(done, json_string(a->pos[i]));
            continue;
        }
        if (last)
            print_error(last);
        error_free(last);
        last = one;
    }
    return last ? error_propagate(err, STEAL(last)) : 0;
}

int command_exit_status(const struct error *err)
{
    if (err->status)
        return err->status;
    switch (err->kind) {
    case ERR_USAGE:
        return 2;
    case ERR_CANCELLED:
        return 128 + (signals_caught() ? signals_caught() : 2);
    case ERR_USER:
    case ERR_NOT_FOUND:
    case ERR_EXISTS:
    case ERR_BUSY:
    case ERR_SYSTEM:
    case ERR_GUEST:
    case ERR_KILLED:
    case ERR_REPORTED:
        break;
    }
    return 1;
}

static void set_path(char **where, const char *value)
{
    if (!value)
        return;
    free(*where);
    *where = xstrdup(value);
}

/* A reader that has gone (kiln … | head) is not an error to tell: the exit status is that of a program
 * which SIGPIPE ended. */
static int flush_stdout(int rc, struct error **err)
{
    bool failed = fflush(stdout) != 0;
    if (!failed && !ferror(stdout))
        return rc;
    int saved = failed ? errno : signals_output_errno();
    struct pollfd out = {.fd = STDOUT_FILENO};
    if (saved == EPIPE || (poll(&out, 1, 0) > 0 && out.revents & POLLERR))
        return 128 + SIGPIPE;
    errno = saved;
    return error_errno(err, "cannot write to standard output");
}

/* What to do when kiln's own folders are full or can't be written; an error that knows better has
 * its own hint. */
static int hint_at_place(const struct session *s, struct error **err)
{
    if (!err || !*err)
        return -1;
    if ((*err)->errnum == EFBIG)
        return error_hint(
            err, "files may not become larger here: 'ulimit -f unlimited' lifts the limit");
    const char *m = (*err)->message;
    bool ours = (s->backend && strstr(m, s->backend)) || (s->cache && strstr(m, s->cache)) ||
                (s->data && strstr(m, s->data));
    bool full = (*err)->errnum == ENOSPC || (*err)->errnum == EDQUOT;
    if (full && s->cache && strstr(m, s->cache))
        return error_hint(
            err, "make room there; XDG_CACHE_HOME or KILN_HOME chooses another cache folder");
    switch (ours ? (*err)->errnum : 0) {
    case ENOSPC:
    case EDQUOT:
        return error_hint(err, "make room: 'kiln prune --all' removes layers that nothing needs");
    case EROFS:
    case EACCES:
    case EPERM:
    case ENOENT:
    case ENOTDIR:
        return error_hint(err, "KILN_HOME chooses another folder for images and caches");
    default:
        return -1;
    }
}

/* `before`: the options that stood before the command. */
static int verbosity(const struct args *a)
{
    int n = 0;
    while (args_nth(a, "verbose", (size_t)n))
        n++;
    return n;
}

static void show_notice(void *arg, const char *line)
{
    (void)arg;
    print_note("", line);
}

static void show_warning(void *arg, const char *text)
{
    (void)arg;
    printable_print(stderr, text);
}

static int run_found(const struct command *c, struct args *before, int argc, char **argv,
                     struct error **err)
{
    CLEANUP(args_clear) struct args a = *before;
    *before = (struct args){0};
    a.command = c;
    if (args_take_all(&a, argc, argv, err) < 0)
        return error_hint(err, "'kiln %s --help' lists the options", c->name);
    if (args_has(&a, "help")) {
        print_command_help(c);
        return flush_stdout(0, err);
    }
    CLEANUP(session_clear) struct session s = SESSION_INIT;
    if (c->flags & CMD_NO_HOME)
        (void)session_init(&s, environ, NULL);
    else if (session_init(&s, environ, err) < 0)
        return -1;
    if (signals_catch(&s, err) < 0)
        return -1;
    s.verbosity = verbosity(&a);
    s.log = stderr;
    s.events = (struct session_events){.notice = show_notice, .warning = show_warning};
    if (config_apply(&s, &a, err) < 0)
        return -1;
    set_path(&s.backend, args_get(&a, "image-backend"));
    set_path(&s.vmstore, args_get(&a, "vmstore"));
    a.result = json_result_new(&a);
    int rc = c->run(&s, &a, err);
    if (c->flags & CMD_IMAGES)
        vm_warm_tidy(&s);
    if (rc < 0)
        (void)hint_at_place(&s, err);
    json_result_print(&a, rc < 0 && err ? *err : NULL);
    return rc < 0 ? -1 : flush_stdout(rc, err);
}

static int run_command(const struct command *c, struct args *before, int argc, char **argv,
                       struct error **err)
{
    const char *status = getenv("SYSTEM_FAILURE_EXIT_CODE");
    long n = status ? strtol(status, NULL, 10) : 0;
    int rc = run_found(c, before, argc, argv, err);
    if (rc < 0 && c->flags & CMD_CI_JOB && err && *err && !(*err)->status)
        (*err)->status = n > 0 && n < 256 ? (int)n : 2;
    return rc;
}

/* The options before the command, which must be common ones; returns how many words they took, -1
 * on error. */
static int take_before(struct args *a, int argc, char **argv, struct error **err)
{
    static const struct command none = {.name = ""};
    a->command = &none;
    int i = 0;
    while (i < argc && argv[i][0] == '-' && argv[i][1]) {
        if (!strcmp(argv[i], "-V"))
            argv[i] = (char *)"--version";
        if (!strcmp(argv[i], "--version"))
            return i;
        const char *next = i + 1 < argc ? argv[i + 1] : NULL;
        int took = args_take(a, argv[i], next, err);
        if (took < 0)
            return error_hint(err, "'kiln --help' lists the commands and their options");
        i += 1 + took;
    }
    return i;
}

/* The command that the longest part of the words names, by its own name or another's. */
static const struct command *find_command(char **argv, int argc, int *ret_words, char **ret_option)
{
    const struct command *best = NULL;
    for (const struct command *const *c = commands; *c; c++) {
        int n = words_match((*c)->name, argv, argc);
        if (n > *ret_words) {
            best = *c;
            *ret_words = n;
        }
    }
    for (const struct word_alias *a = word_aliases; a->words; a++) {
        int n = words_match(a->words, argv, argc);
        for (const struct command *const *c = commands; n > *ret_words && *c; c++) {
            if (strcmp((*c)->name, a->command) != 0)
                continue;
            best = *c;
            *ret_words = n;
            *ret_option = (char *)a->option;
        }
    }
    return best;
}

static int dispatch(int argc, char **argv, struct error **err)
{
    CLEANUP(args_clear) struct args before = {0};
    int i = 1 + take_before(&before, argc - 1, argv + 1, err);
    if (i == 0)
        return -1;
    if (i < argc && (!strcmp(argv[i], "--version") || !strcmp(argv[i], "version"))) {
        bool json = i + 1 < argc && !strcmp(argv[i + 1], "--json");
        if (take_before(&before, argc - i - 1 - json, argv + i + 1 + json, err) < 0)
            return -1;
        if (json)
            version_print_json();
        else
            version_print(verbosity(&before));
        return flush_stdout(0, err);
    }
    if (i == argc) {
        print_group_help("");
        return flush_stdout(0, err);
    }
    char *option = NULL;
    int words = 0;
    const struct command *found = find_command(argv + i, argc - i, &words, &option);
    if (found) {
        if (option)
            argv[i + --words] = option; // takes the place of the command's last word
        return run_command(found, &before, argc - i - words, argv + i + words, err);
    }
    AUTO_FREE char *inner = i + 1 < argc ? xasprintf("%s %s", argv[i], argv[i + 1]) : NULL;
    if (inner && is_group(inner) &&
        (i + 2 == argc || args_has(&before, "help") || !strcmp(argv[i + 2], "--help") ||
         !strcmp(argv[i + 2], "-h"))) {
        print_group_help(inner);
        return 0;
    }
    if (!is_group(argv[i]))
        return words_no_command(argv + i, argc - i, false, err);
    if (i + 1 == argc || args_has(&before, "help") || !strcmp(argv[i + 1], "--help") ||
        !strcmp(argv[i + 1], "-h")) {
        print_group_help(argv[i]);
        return 0;
    }
    return words_no_command(argv + i, argc - i, true, err);
}

int command_help(char **words, size_t n, struct error **err)
{
    char help[] = "--help";
    AUTO_FREE char **argv = xcalloc(n + 3, sizeof *argv);
    for (size_t i = 0; i < n; i++)
        argv[i + 1] = words[i];
    argv[n + 1] = help;
    return dispatch((int)n + 2, argv, err);
}

int command_main(int argc, char **argv)
{
    CLEANUP(error_freep) struct error *err = NULL;
    int rc = dispatch(argc, argv, &err);
    if (rc >= 0)
        return rc;
    if (!err)
        return 1;
    print_error(err);
    return command_exit_status(err);
}
