// SPDX-License-Identifier: MIT
// RUN: its flags (mounts are in mount.c), the list form, and the script of the shell form, into which
// here-documents are put back as the shell wants to read them.
#include "imagefile/parser.h"

static void take_run_flag(struct parser *p, const struct logical *l, struct imagefile_step *s,
                          const struct flag *flag, struct str value)
{
    if (!strcmp(flag->name, "mount")) {
        parse_mount(p, l, &s->run, value);
        return;
    }
    bool network = !strcmp(flag->name, "network");
    const char *usual = network ? "default" : "sandbox", *other = network ? "none" : "insecure";
    if (network && str_is(value, other))
        s->run.network = NETWORK_NONE;
    else if (str_is(value, other))
        s->run.security = SECURITY_INSECURE;
    else if (!str_is(value, usual))
        diag_help(parse_error(p, lex_span(l, value.len ? value : l->text),
                              "unknown %s '" STR_FMT "'", flag->name, STR_ARG(str_clip(value))),
                  "use %s or %s", usual, other);
}

/* The command and, for the shell to read, its here-documents. */
static struct str script_of(struct parser *p, const struct logical *l, struct str command,
                            struct run_args *run)
{
    if (!l->n_heredocs)
        return command;
    if (l->n_heredocs == 1 && command.ptr[0] == '<' &&
        lex_heredoc_word(command, true, NULL) == command.len) {
        run->shebang = str_starts(l->heredocs[0].body, "#!");
        return l->heredocs[0].body;
    }
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    buf_add_str(&b, command);
    buf_addc(&b, '\n');
    for (size_t i = 0; i < l->n_heredocs; i++) {
        buf_add_str(&b, l->heredocs[i].body);
        buf_add_str(&b, l->heredocs[i].delimiter);
        buf_addc(&b, '\n');
    }
    return arena_str(p->f->arena, buf_str(&b));
}

void parse_run(struct parser *p, const struct logical *l, struct imagefile_step *s)
{
    struct str rest = l->text;
    bool bad;
    s->run.script = STR("");
    parse_flags(p, l, s, &rest, take_run_flag);
    rest = str_trim(rest);
    if (!rest.len) {
        diag_help(parse_error(p, (struct span){l->keyword_at, l->keyword_at + l->keyword.len},
                              "RUN needs a command"),
                  "the form is RUN %s", l->instruction->form);
        return;
    }
    s->json = parse_list(p, l, rest, WORD_LITERAL, &s->run.argv, &bad);
    if (s->json && !s->run.argv.len)
        parse_error(p, lex_span(l, rest), "the list needs a program");
    if (!s->json && !bad)
        s->run.script = script_of(p, l, rest, &s->run);
}
