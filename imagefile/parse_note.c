// SPDX-License-Identifier: MIT
// The instructions of Dockerfile that are about running a container. A virtual machine boots its own
// system, so what they say is kept in the metadata, for programs and people, and a note tells so.
#include "imagefile/parser.h"

#include <stdlib.h>
#include <strings.h>

static const char *const advice[OP_COUNT] = {
    [OP_CMD] = "a virtual machine boots its own init: enable a service in a RUN",
    [OP_ENTRYPOINT] = "a virtual machine boots its own init: enable a service in a RUN",
    [OP_EXPOSE] =
        "the port is open if a service listens: 'kiln run -P' forwards a free port of 127.0.0.1 to "
        "it",
    [OP_VOLUME] =
        "a virtual machine keeps its files on its own disk: 'kiln create' makes a persistent one",
    [OP_HEALTHCHECK] = "kiln does not run it: use a timer of the image's init",
    [OP_STOPSIGNAL] = "a virtual machine is powered off, not signalled",
    [OP_MAINTAINER] = "it is kept as the label 'maintainer'",
};

/* The whole text as one word. */
static void take_text(struct parser *p, const struct logical *l, struct imagefile_step *s)
{
    struct str text = str_trim(l->text);
    struct word w = {text, WORD_LITERAL, lex_span(l, text)};
    s->words = (struct words){arena_copy(p->f->arena, &w, sizeof w), 1};
}

static void take_words(struct parser *p, const struct logical *l, struct imagefile_step *s)
{
    struct str rest = l->text, raw;
    struct words *list = &s->words;
    while (lex_word(&rest, true, &raw)) {
        list->ptr = arena_grow(p->f->arena, list->ptr, list->len, sizeof *list->ptr);
        list->ptr[list->len++] = parse_word(p, l, raw, WORD_SHELL);
    }
}

static bool read_port(const char **text, unsigned long *ret)
{
    char *end;
    if (**text < '0' || **text > '9')
        return false;
    *ret = strtoul(*text, &end, 10);
    *text = end;
    return *ret <= 65535;
}

bool imagefile_port_valid(const char *text)
{
    unsigned long first, last;
    if (!read_port(&text, &first))
        return false;
    last = first;
    if (*text == '-') {
        text++;
        if (!read_port(&text, &last))
            return false;
    }
    return last >= first && (!*text || !strcasecmp(text, "/tcp") || !strcasecmp(text, "/udp") ||
                             !strcasecmp(text, "/sctp"));
}

static void check_ports(struct parser *p, const struct imagefile_step *s)
{
    for (size_t i = 0; i < s->words.len; i++) {
        const struct word *w = &s->words.ptr[i];
        CLEANUP(buf_clear) struct buf out = BUF_INIT;
        if (memchr(w->raw.ptr, '$', w->raw.len) ||
            imagefile_expand(p->f, w, NULL, &out, NULL) < 0 || imagefile_port_valid(out.data))
            continue;
        struct str clip = str_clip(w->raw);
        diag_help(parse_error(p, w->span, "invalid port '" STR_FMT "'", STR_ARG(clip)),
                  "write a number, or a range, and /tcp or /udp: 80 7000-7010/udp");
    }
}

void parse_note(struct parser *p, const struct logical *l, struct imagefile_step *s)
{
    bool bad = false, list = s->op == OP_CMD || s->op == OP_ENTRYPOINT || s->op == OP_VOLUME;
    size_t errors = p->f->diags.errors;
    if (!str_trim(l->text).len) {
        say_form(parse_error(p, keyword_span(l), "%s needs a value", l->instruction->name),
                 l->instruction);
        return;
    }
    s->json = list && parse_list(p, l, l->text, s->op == OP_VOLUME ? WORD_VARS : WORD_LITERAL,
                                 &s->words, &bad);
    if (bad)
        return;
    if (!s->json && (s->op == OP_EXPOSE || s->op == OP_VOLUME || s->op == OP_STOPSIGNAL))
        take_words(p, l, s);
    else if (!s->json)
        take_text(p, l, s);
    if (s->op == OP_EXPOSE)
        check_ports(p, s);
    if (p->f->diags.errors == errors)
        diag_help(
            diag_warn(&p->f->diags, &p->f->source,
                      s->op == OP_MAINTAINER ? RULE_MAINTAINER_DEPRECATED : RULE_CONTAINER_ONLY,
                      keyword_span(l), "%s is only kept in the image's metadata",
                      l->instruction->name),
            "%s", advice[s->op]);
}
