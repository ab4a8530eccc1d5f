// SPDX-License-Identifier: MIT
// RUN --mount: its comma-separated fields are kept as words, each under its one name. What they
// mean is read when all of them are known: at once where no variable is in them, else in the build.
// The same code reads both times; the first time it reports every mistake as a diagnostic.
#include "imagefile/parser.h"

#include "base/alloc.h"
#include "base/nearest.h"

#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

static const char *const types[] = {
    [MOUNT_CACHE] = "cache", [MOUNT_SECRET] = "secret", [MOUNT_BIND] = "bind",
    [MOUNT_TMPFS] = "tmpfs", [MOUNT_SSH] = "ssh",       NULL};
static const char *const sharings[] = {
    [SHARING_SHARED] = "shared", [SHARING_PRIVATE] = "private", [SHARING_LOCKED] = "locked", NULL};

enum {
    C = 1 << MOUNT_CACHE,
    S = 1 << MOUNT_SECRET,
    B = 1 << MOUNT_BIND,
    T = 1 << MOUNT_TMPFS,
    A = 1 << MOUNT_SSH,
};

static const struct {
    const char *name, *alias, *second_alias;
    unsigned types; /* which have it */
} fields[MOUNT_FIELDS] = {
    [MOUNT_TYPE] = {"type", NULL, NULL, C | S | B | T | A},
    [MOUNT_TARGET] = {"target", "dst", "destination", C | S | B | T | A},
    [MOUNT_ID] = {"id", NULL, NULL, C | S | A},
    [MOUNT_SOURCE] = {"source", "src", NULL, S | B},
    [MOUNT_FROM] = {"from", NULL, NULL, B},
    [MOUNT_ENV] = {"env", NULL, NULL, S},
    [MOUNT_MODE] = {"mode", NULL, NULL, C | S | A},
    [MOUNT_UID] = {"uid", NULL, NULL, C | S | A},
    [MOUNT_GID] = {"gid", NULL, NULL, C | S | A},
    [MOUNT_SIZE] = {"size", NULL, NULL, T},
    [MOUNT_SHARING] = {"sharing", NULL, NULL, C},
    [MOUNT_REQUIRED] = {"required", NULL, NULL, S | A},
    [MOUNT_READONLY] = {"readonly", "ro", NULL, C | B},
    [MOUNT_READWRITE] = {"readwrite", "rw", NULL, C | B},
};

/* MOUNT_FIELDS: there is none of this name. Letters of either case, as in Dockerfile. */
static enum mount_field find_field(struct str key)
{
    AUTO_FREE char *name = str_dup(key);
    for (size_t i = 0; i < MOUNT_FIELDS; i++)
        if (!strcasecmp(name, fields[i].name) ||
            (fields[i].alias && !strcasecmp(name, fields[i].alias)) ||
            (fields[i].second_alias && !strcasecmp(name, fields[i].second_alias)))
            return (enum mount_field)i;
    return MOUNT_FIELDS;
}

/* One mount while it is read. */
struct reading {
    struct parser *p; /* NULL in the build */
    const struct imagefile *f;
    const struct run_mount *m;
    char *values[MOUNT_FIELDS]; /* NULL: not given, or not known yet */
    struct mount_spec *spec;
    struct error **err;
    bool bad;
};

__attribute__((format(printf, 4, 5))) static void problem(struct reading *r, struct span at,
                                                          const char *help, const char *fmt, ...)
{
    char text[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (r->p) {
        struct diag *d = parse_error(r->p, at, "%s", text);
        if (help)
            diag_help(d, "%s", help);
    } else if (!r->bad) { // an error tells the first one
        unsigned line, column;
        source_place(&r->f->source, at.start, &line, &column);
        error_set(r->err, ERR_USER, "%s", text);
        error_at(r->err, r->f->source.path, line, column);
        if (help)
            error_hint(r->err, "%s", help);
    }
    r->bad = true;
}

/* The number of a name; -1: it is not one of them. */
static int name_number(const char *text, const char *const *names)
{
    for (int i = 0; names[i]; i++)
        if (!strcasecmp(text, names[i]))
            return i;
    return -1;
}

bool read_bool(const char *text, bool *ret)
{
    static const char *const on[] = {"1", "t", "T", "TRUE", "true", "True"};
    static const char *const off[] = {"0", "f", "F", "FALSE", "false", "False"};
    for (size_t i = 0; i < sizeof on / sizeof *on; i++) {
        if (!strcmp(text, on[i]) || !strcmp(text, off[i])) {
            *ret = !strcmp(text, on[i]);
            return true;
        }
    }
    return false;
}

bool id_too_large(struct str text)
{
    uint64_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        n = n > UINT32_MAX ? n : n * 10 + (uint64_t)(text.ptr[i] - '0');
    }
    return n >= UINT32_MAX; // which is -1
}

/* Bytes of "100m", "1.5g", "1GiB", "4096"; false: it is not a size. */
static bool read_size(const char *text, uint64_t *ret)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    double n = 0, digit = 1;
    for (end = (char *)text; *end >= '0' && *end <= '9'; end++)
        n = n * 10 + (*end - '0');
    if (*end == '.')
        for (end++; *end >= '0' && *end <= '9'; end++)
            n += (*end - '0') * (digit /= 10);
    end += *end == ' ';
    const char *units = "kmgtp", *unit = *end ? strchr(units, *end | 0x20) : NULL;
    for (const char *u = units; unit && u <= unit; u++)
        n *= 1024;
    end += unit != NULL;
    end += unit && (*end | 0x20) == 'i';
    end += (*end | 0x20) == 'b';
    if (*end || n < 1 || n >= (double)(1ull << 60))
        return false;
    *ret = (uint64_t)n;
    return true;
}

/* Digits below `base`, up to `most` of them. */
static bool are_digits(const char *text, char base, size_t most)
{
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        if (text[i] < '0' || text[i] >= '0' + base)
            return false;
    return n && n <= most;
}

/* Takes the value of a field; what it should have been, or NULL when all is well. */
static const char *read_value(struct mount_spec *spec, enum mount_field field, const char *text)
{
    bool on = true;
    int number;
    switch (field) {
    case MOUNT_TYPE:
    case MOUNT_FIELDS:
    case MOUNT_TARGET:
    case MOUNT_ID:
    case MOUNT_SOURCE:
    case MOUNT_FROM:
    case MOUNT_ENV:
        return *text ? NULL : "a value";
    case MOUNT_MODE:
        return are_digits(text, 8, *text == '0' ? 5 : 4) ? NULL : "octal, such as 0700";
    case MOUNT_UID:
    case MOUNT_GID:
        return !are_digits(text, 10, strlen(text)) ? "a number"
               : id_too_large(str_of(text))        ? "at most 4294967294"
                                                   : NULL;
    case MOUNT_SIZE:
        return read_size(text, &spec->size) ? NULL : "a size, such as 100m or 1g";
    case MOUNT_SHARING:
        number = name_number(text, sharings);
        spec->sharing = number < 0 ? SHARING_SHARED : (enum mount_sharing)number;
        return number < 0 ? "shared, private or locked" : NULL;
    case MOUNT_REQUIRED:
        return read_bool(text, &spec->required) ? NULL : "true or false";
    case MOUNT_READONLY:
        return read_bool(text, &spec->read_only) ? NULL : "true or false";
    case MOUNT_READWRITE:
        if (!read_bool(text, &on))
            return "true or false";
        spec->read_only = !on;
        return NULL;
    }
    return NULL;
}

/* The type decides about the other fields; without one it is bind, as in Dockerfile. */
static bool read_type(struct reading *r)
{
    const char *text = r->values[MOUNT_TYPE];
    if (word_given(&r->m->fields[MOUNT_TYPE]) && !text)
        return false; // a variable
    int number = text ? name_number(text, types) : MOUNT_BIND;
    if (number < 0) {
        const char *near = nearest_name(str_of(text), types);
        AUTO_FREE char *help = near ? xasprintf("did you mean %s?", near)
                                    : xstrdup("the types are cache, secret, ssh, bind, tmpfs");
        problem(r, r->m->fields[MOUNT_TYPE].span, help, "unknown mount type '%.60s'", text);
        return false;
    }
    r->spec->type = (enum mount_type)number;
    r->spec->read_only = r->spec->type == MOUNT_BIND;
    return true;
}

static void check_fields(struct reading *r)
{
    enum mount_type type = r->spec->type;
    CLEANUP(buf_clear) struct buf help = BUF_INIT;
    for (size_t i = 0; i < MOUNT_FIELDS; i++)
        if (fields[i].types & 1U << type)
            buf_addf(&help, "%s%s", help.len ? ", " : "its fields are ", fields[i].name);
    for (size_t i = 0; i < MOUNT_FIELDS; i++) {
        if (!word_given(&r->m->fields[i]) || fields[i].types & 1U << type)
            continue;
        bool fills = type == MOUNT_CACHE && (i == MOUNT_FROM || i == MOUNT_SOURCE);
        problem(r, r->m->keys[i],
                fills ? "a cache starts as an empty folder: fill it in the RUN" : help.data,
                "a mount of type %s has no field '%s'", types[type], fields[i].name);
    }
}

/* A secret's id is also called source; without either it is the last part of the target. */
static void name_secret(struct reading *r)
{
    struct mount_spec *spec = r->spec;
    const struct word *w = r->m->fields;
    if (word_given(&w[MOUNT_ID]) && word_given(&w[MOUNT_SOURCE]))
        problem(r, r->m->keys[MOUNT_SOURCE], "give one of them",
                "a secret's source is the same field as its id, but both are given");
    else if (!word_given(&w[MOUNT_ID]) && !word_given(&w[MOUNT_SOURCE]) &&
             !word_given(&w[MOUNT_TARGET]))
        problem(r, r->m->span,
                "write --mount=type=secret,id=NAME and build with --secret id=NAME,src=FILE",
                "a secret mount needs an id");
    if (!spec->id)
        spec->id = STEAL(spec->source);
    if (!spec->id && spec->target) {
        const char *slash = strrchr(spec->target, '/');
        spec->id = xstrdup(slash ? slash + 1 : spec->target);
    }
}

/* What is known of a mount: *r->spec, or problems. */
static void read_mount(struct reading *r)
{
    bool typed = read_type(r);
    if (typed)
        check_fields(r);
    for (size_t i = 0; i < MOUNT_FIELDS; i++) {
        const char *text = r->values[i], *wanted;
        if (text && (wanted = read_value(r->spec, (enum mount_field)i, text)))
            problem(r, r->m->fields[i].span, NULL, "%s '%.60s' is not %s", fields[i].name, text,
                    wanted);
    }
    const struct {
        enum mount_field field;
        char **to;
    } texts[] = {{MOUNT_TARGET, &r->spec->target}, {MOUNT_ID, &r->spec->id},
                 {MOUNT_SOURCE, &r->spec->source}, {MOUNT_FROM, &r->spec->from},
                 {MOUNT_ENV, &r->spec->env},       {MOUNT_MODE, &r->spec->mode},
                 {MOUNT_UID, &r->spec->uid},       {MOUNT_GID, &r->spec->gid}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        *texts[i].to = STEAL(r->values[texts[i].field]);
    if (typed && r->spec->type == MOUNT_SECRET && !r->bad)
        name_secret(r);
    if (typed && r->spec->type == MOUNT_SSH && !r->spec->id)
        r->spec->id = xstrdup("default");
    const char *target = r->spec->target;
    if (target && !target[strspn(target, "/")])
        problem(r, r->m->fields[MOUNT_TARGET].span, "give it a folder as target",
                "a mount can't stand in the place of '/'");
}

static void reading_clear(struct reading *r)
{
    for (size_t i = 0; i < MOUNT_FIELDS; i++)
        free(r->values[i]);
}

void mount_spec_clear(struct mount_spec *s)
{
    free(s->target);
    free(s->id);
    free(s->source);
    free(s->from);
    free(s->env);
    free(s->mode);
    free(s->uid);
    free(s->gid);
    *s = (struct mount_spec){0};
}

int imagefile_mount(const struct imagefile *f, const struct run_mount *m,
                    const struct imagefile_vars *vars, struct mount_spec *ret, struct error **err)
{
    CLEANUP(reading_clear) struct reading r = {.f = f, .m = m, .spec = ret, .err = err};
    *ret = (struct mount_spec){0};
    for (size_t i = 0; i < MOUNT_FIELDS; i++) {
        CLEANUP(buf_clear) struct buf out = BUF_INIT;
        if (!word_given(&m->fields[i]))
            continue;
        if (imagefile_expand(f, &m->fields[i], vars, &out, err) < 0)
            return -1;
        r.values[i] = xstrdup(out.data);
    }
    read_mount(&r);
    if (r.bad)
        mount_spec_clear(ret);
    return r.bad ? -1 : 0;
}

/* The same for what is known before the build: words without variables. */
static void check_mount(struct parser *p, const struct run_mount *m)
{
    CLEANUP(mount_spec_clear) struct mount_spec spec = {0};
    CLEANUP(reading_clear) struct reading r = {.p = p, .f = p->f, .m = m, .spec = &spec};
    for (size_t i = 0; i < MOUNT_FIELDS; i++) {
        const struct word *w = &m->fields[i];
        CLEANUP(buf_clear) struct buf out = BUF_INIT;
        if (!word_given(w) || memchr(w->raw.ptr, '$', w->raw.len) ||
            imagefile_expand(p->f, w, NULL, &out, NULL) < 0)
            continue;
        r.values[i] = xstrdup(out.data);
    }
    read_mount(&r);
}

static bool next_field(struct str *rest, struct str *key, struct str *value)
{
    if (!rest->len)
        return false;
    struct str field = str_cut(rest, ',');
    size_t n = field.len;
    *key = str_cut(&field, '=');
    *value = key->len < n ? field : (struct str){NULL, 0};
    return true;
}

static void report_key(struct parser *p, struct span at, struct str key)
{
    const char *names[MOUNT_FIELDS + 1] = {0};
    for (size_t i = 0; i < MOUNT_FIELDS; i++)
        names[i] = fields[i].name;
    const char *near = nearest_name(key, names);
    struct str clip = str_clip(key);
    struct diag *d = parse_error(p, at, "unknown mount field '" STR_FMT "'", STR_ARG(clip));
    if (near)
        diag_help(d, "did you mean %s?", near);
}

static void take_field(struct parser *p, const struct logical *l, struct run_mount *m,
                       struct str key, struct str value, enum word_mode mode)
{
    enum mount_field field = find_field(key);
    struct span at = lex_span(l, key);
    if (field == MOUNT_FIELDS) {
        report_key(p, at, key);
        return;
    }
    bool flag = field == MOUNT_REQUIRED || field == MOUNT_READONLY || field == MOUNT_READWRITE;
    m->keys[field] = at;
    if (value.len)
        m->fields[field] = parse_word(p, l, value, mode);
    else if (flag && !value.ptr)
        m->fields[field] = (struct word){STR("true"), WORD_LITERAL, at};
    else
        parse_error(p, at, "the field '%s' needs a value", fields[field].name);
}

void parse_mount(struct parser *p, const struct logical *l, struct run_args *run, struct str text)
{
    struct run_mount m = {.span = lex_span(l, text)};
    enum word_mode mode = WORD_SHELL;
    if (text.len >= 2 && (text.ptr[0] == '"' || text.ptr[0] == '\'') &&
        text.ptr[text.len - 1] == text.ptr[0]) {
        text = (struct str){text.ptr + 1, text.len - 2};
        mode = WORD_VARS; // the quotes stood around the whole
    }
    struct str key, value;
    size_t errors = p->f->diags.errors;
    if (!text.len)
        diag_help(parse_error(p, m.span, "--mount needs a value"),
                  "write --mount=type=cache,target=/path");
    while (next_field(&text, &key, &value))
        take_field(p, l, &m, key, value, mode);
    if (p->f->diags.errors == errors)
        check_mount(p, &m);
    run->mounts = arena_grow(p->f->arena, run->mounts, run->n_mounts, sizeof m);
    run->mounts[run->n_mounts++] = m;
}
