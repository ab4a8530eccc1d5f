// SPDX-License-Identifier: MIT
// One pass over the instructions that the lexer gives. A step with mistakes is reported and left
// out, the next instruction is read as if nothing had happened, and what all of them together must
// obey (order.c) is checked at the end over the list of what was seen.
#include "imagefile/parser.h"

#include <strings.h>

DEFINE_VECTOR(steps, struct imagefile_step);
DEFINE_VECTOR(stages, struct imagefile_stage);

/* One line for people: the keyword in capitals, joined lines one blank apart, no control bytes. */
static struct str display_text(struct arena *a, const struct logical *l)
{
    const char *name = l->instruction->name;
    size_t n = strlen(name);
    char *out = arena_alloc(a, n + l->text.len + l->n_pieces + 2);
    memcpy(out, name, n);
    for (size_t i = 0; i < l->n_pieces; i++) {
        size_t from = l->pieces[i].in_text;
        size_t until = i + 1 < l->n_pieces ? l->pieces[i + 1].in_text : l->text.len;
        struct str part = str_trim((struct str){l->text.ptr + from, until - from});
        // A word that was broken by a bare backslash stays one word.
        bool glued =
            i && from && !strchr(" \t", l->text.ptr[from - 1]) && !strchr(" \t", l->text.ptr[from]);
        if (part.len && !glued)
            out[n++] = ' ';
        for (size_t j = 0; j < part.len; j++) {
            unsigned char c = (unsigned char)part.ptr[j];
            out[n++] = c < 0x20 || c == 0x7f ? ' ' : (char)c;
        }
    }
    out[n] = '\0';
    return (struct str){out, n};
}

static void report_unknown(struct parser *p, struct str keyword, struct span at)
{
    struct str name = str_clip(keyword);
    struct invisible what;
    if (find_invisible(keyword, &what)) {
        at = (struct span){at.start + what.at, at.start + what.at + what.len};
        diag_help(
            parse_error(p, at, "invisible character in the instruction's name: %s", what.name),
            "%s", what.advice);
        return;
    }
    struct diag *d = parse_error(p, at, "unknown instruction '" STR_FMT "'", STR_ARG(name));
    AUTO_FREE char *advice = d ? instruction_advice(keyword) : NULL;
    diag_help(d, "%s", advice);
}

static void open_stage(struct imagefile *f, struct stages *stages, const struct imagefile_step *s,
                       size_t at)
{
    if (stages->len)
        stages->ptr[stages->len - 1].end = at;
    *stages_push(stages) = (struct imagefile_stage){
        .name = s->from.as,
        .first = at,
        .scratch = s->from.image.raw.len == 7 && !strncasecmp(s->from.image.raw.ptr, "scratch", 7),
    };
    f->stages = stages->ptr;
    f->n_stages = stages->len;
}

static void read_instruction(struct parser *p, const struct logical *l, struct steps *steps,
                             struct stages *stages)
{
    struct imagefile *f = p->f;
    struct seen *seen = seens_push(&p->seen);
    seen->at = (struct span){l->keyword_at, l->keyword_at + l->keyword.len};
    seen->stage = stages->len - 1; // NO_STAGE while there is none
    seen->step = NO_STEP;
    seen->op = OP_COUNT;
    if (!l->instruction) {
        if (!l->too_long)
            report_unknown(p, l->keyword, seen->at);
        return;
    }
    seen->op = l->instruction->op;
    struct imagefile_step *s = steps_push(steps);
    s->op = seen->op;
    s->stage = seen->stage;
    s->span = (struct span){l->keyword_at, l->end > seen->at.end ? l->end : seen->at.end};
    source_place(&f->source, l->keyword_at, &s->line, &s->column);
    size_t errors = f->diags.errors;
    if (!l->too_long)
        parse_step(p, l, s);
    bool good = f->diags.errors == errors && !l->too_long;
    if (s->op == OP_FROM)
        open_stage(f, stages, s, steps->len - 1); // a stage begins, good or bad
    s->stage = seen->stage = stages->len - 1;
    if (good)
        s->text = display_text(f->arena, l);
    if (good || s->op == OP_FROM)
        seen->step = steps->len - 1;
    else
        steps->len--;
}

static void read_all(struct parser *p)
{
    struct imagefile *f = p->f;
    struct steps steps = {0};
    struct stages stages = {0};
    struct lexer lx = {.source = &f->source, .arena = f->arena, .diags = &f->diags};
    for (struct logical l;;) {
        size_t errors = f->diags.errors;
        if (!lex_next(&lx, &l))
            break;
        // A here-document without an end is the instruction's mistake.
        bool bad = f->diags.errors != errors;
        read_instruction(p, &l, &steps, &stages);
        if (bad && steps.len && p->seen.ptr[p->seen.len - 1].step == steps.len - 1 &&
            steps.ptr[steps.len - 1].op != OP_FROM) {
            p->seen.ptr[p->seen.len - 1].step = NO_STEP;
            steps.len--;
        }
    }
    if (stages.len)
        stages.ptr[stages.len - 1].end = steps.len;
    f->steps = steps.ptr; // by far the largest piece: not copied, imagefile_free frees it
    f->n_steps = steps.len;
    f->stages = arena_copy(f->arena, stages.ptr, stages.len * sizeof *stages.ptr);
    f->n_stages = stages.len;
    stages_clear(&stages);
}

/* A text that is none is refused whole. */
static bool is_text(struct imagefile *f)
{
    struct source *s = &f->source;
    const char *nul = memchr(s->text, '\0', s->len), *cr = memchr(s->text, '\r', s->len);
    if (!nul && cr && cr + 1 < s->text + s->len && !memchr(s->text, '\n', s->len)) {
        size_t end = (size_t)(cr - s->text);
        diag_help(diag_add(&f->diags, s, DIAG_ERROR, (struct span){end, end + 1},
                           "CR-only line endings (as on old Macs) are not supported"),
                  "save the file with LF line endings");
        return false;
    }
    if (!nul)
        return true;
    size_t at = (size_t)(nul - s->text);
    bool wide = s->len >= 2 && (!memcmp(s->text, "\xff\xfe", 2) || !memcmp(s->text, "\xfe\xff", 2));
    struct diag *d = diag_add(&f->diags, s, DIAG_ERROR, (struct span){at, at + 1},
                              "NUL byte: this is not a text file");
    diag_help(d, wide ? "it looks like UTF-16: save it as UTF-8" : "an Imagefile is UTF-8 text");
    return false;
}

struct imagefile *imagefile_parse_checked(const char *path, const char *text, size_t len,
                                          const char *check)
{
    struct arena *a = arena_new();
    struct imagefile *f = arena_alloc(a, sizeof *f);
    bool too_long = len > IMAGEFILE_MAX;
    if (too_long)
        len = 0;
    f->arena = a;
    source_init(&f->source, arena_str(a, str_of(path)).ptr, arena_copy(a, text, len), len);
    struct parser p = {.f = f};
    if (too_long) {
        diag_add(&f->diags, &f->source, DIAG_ERROR, (struct span){0, 0},
                 "the Imagefile is larger than %u MiB", IMAGEFILE_MAX >> 20);
    } else if (is_text(f)) {
        rules_read_directives(&f->source, &f->diags, check);
        read_all(&p);
        check_order(&p);
    }
    seens_clear(&p.seen);
    diags_sort(&f->diags);
    return f;
}

void imagefile_free(struct imagefile *f)
{
    if (!f)
        return;
    source_clear(&f->source);
    diags_clear(&f->diags);
    free(f->steps);
    arena_free(f->arena);
}

static bool same_name(struct str a, struct str b)
{
    return a.len == b.len && !strncasecmp(a.ptr, b.ptr, a.len);
}

size_t imagefile_find_stage(const struct imagefile *f, struct str name, size_t from_step,
                            bool by_number)
{
    size_t n = 0; // stages whose FROM is above the step
    while (n < f->n_stages && f->stages[n].first < from_step)
        n++;
    // The stage that the step itself belongs to is not an earlier one.
    if (n && from_step < f->n_steps && f->steps[from_step].op != OP_FROM)
        n--;
    for (size_t i = n; i-- > 0;)
        if (f->stages[i].name.len && same_name(f->stages[i].name, name))
            return i;
    if (!by_number || !name.len || name.len > 6)
        return NO_STAGE;
    size_t number = 0;
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] < '0' || name.ptr[i] > '9')
            return NO_STAGE;
        number = number * 10 + (size_t)(name.ptr[i] - '0');
    }
    return number < n ? number : NO_STAGE;
}

bool is_predefined_arg(struct str name)
{
    static const char *const names[] = {"http_proxy", "https_proxy", "ftp_proxy", "no_proxy",
                                        "all_proxy"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (same_name(name, str_of(names[i])))
            return true;
    return false;
}

bool imagefile_declares(const struct imagefile *f, struct str name)
{
    if (is_predefined_arg(name) || str_is(name, IMAGEFILE_CHECK_ARG))
        return true;
    for (size_t i = 0; i < IMAGEFILE_PLATFORM_ARGS; i++)
        if (str_is(name, imagefile_platform_args[i].name))
            return true;
    for (size_t i = 0; i < f->n_steps; i++) {
        const struct imagefile_step *s = &f->steps[i];
        for (size_t j = 0; s->op == OP_ARG && j < s->pairs.len; j++)
            if (str_eq(s->pairs.ptr[j].name.raw, name))
                return true;
    }
    return false;
}

void imagefile_warn(struct imagefile *f, enum rule rule, struct span at, const char *help,
                    const char *fmt, ...)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&b, fmt, ap);
    va_end(ap);
    struct diag *d = diag_warn(&f->diags, &f->source, rule, at, "%s", b.data);
    if (help)
        diag_help(d, "%s", help);
    diags_sort(&f->diags);
}

struct imagefile *imagefile_parse(const char *path, const char *text, size_t len)
{
    return imagefile_parse_checked(path, text, len, NULL);
}
