// SPDX-License-Identifier: MIT
// RUN: its flags, --mount with its comma-separated fields, the list form, and the script of the
// shell form, into which here-documents are put back as the shell wants to read them.
#include "imagefile/parser.h"

static const char *const mount_types[] = {[MOUNT_CACHE] = "cache",
                                          [MOUNT_SECRET] = "secret",
                                          [MOUNT_BIND] = "bind",
                                          [MOUNT_TMPFS] = "tmpfs",
                                          NULL};

/* Which fields a type has; others are errors. */
static const char *const mount_keys[][10] = {
    [MOUNT_CACHE] = {"type", "target", "id", "sharing", "mode", "uid", "gid", NULL},
    [MOUNT_SECRET] = {"type", "target", "id", "required", "env", "mode", "uid", "gid", NULL},
    [MOUNT_BIND] = {"type", "target", "source", "from", "readonly", NULL},
    [MOUNT_TMPFS] = {"type", "target", "size", NULL},
};

/* Dockerfile has several names for some fields. */
static struct str canonical(struct str key)
{
    if (str_is(key, "dst") || str_is(key, "destination"))
        return STR("target");
    if (str_is(key, "src"))
        return STR("source");
    if (str_is(key, "ro"))
        return STR("readonly");
    return key;
}

static bool is_one_of(struct str s, const char *const *names)
{
    for (; *names; names++)
        if (str_is(s, *names))
            return true;
    return false;
}

static bool next_field(struct str *rest, struct str *key, struct str *value)
{
    if (!rest->len)
        return false;
    const char *comma = memchr(rest->ptr, ',', rest->len);
    size_t n = comma ? (size_t)(comma - rest->ptr) : rest->len;
    const char *eq = memchr(rest->ptr, '=', n);
    *key = (struct str){rest->ptr, eq ? (size_t)(eq - rest->ptr) : n};
    *value = eq ? (struct str){eq + 1, n - key->len - 1} : (struct str){NULL, 0};
    rest->ptr += n + (comma != NULL);
    rest->len -= n + (comma != NULL);
    return true;
}

/* The type decides about the other fields, wherever it stands; without one it is bind, as in
 * Dockerfile. */
static bool find_type(struct parser *p, const struct logical *l, struct str text,
                      enum mount_type *ret)
{
    struct str key, value;
    *ret = MOUNT_BIND;
    while (next_field(&text, &key, &value)) {
        if (!str_is(key, "type") || !value.ptr)
            continue;
        for (size_t i = 0; mount_types[i]; i++) {
            if (str_is(value, mount_types[i])) {
                *ret = (enum mount_type)i;
                return true;
            }
        }
        struct str clip = str_clip(value);
        diag_help(parse_error(p, lex_span(l, value.len ? value : key),
                              "unknown mount type '" STR_FMT "'", STR_ARG(clip)),
                  "the types are cache, secret, bind, tmpfs");
        return false;
    }
    return true;
}

static void report_key(struct parser *p, const struct logical *l, struct str key,
                       enum mount_type type)
{
    CLEANUP(buf_clear) struct buf all = BUF_INIT;
    for (const char *const *k = mount_keys[type]; *k; k++)
        buf_addf(&all, "%s%s", k == mount_keys[type] ? "" : ", ", *k);
    struct str clip = str_clip(key);
    diag_help(parse_error(p, lex_span(l, key), "a mount of type %s has no field '" STR_FMT "'",
                          mount_types[type], STR_ARG(clip)),
              "its fields are %s", all.data);
}

static void set_sharing(struct parser *p, const struct logical *l, struct run_mount *m,
                        struct str value)
{
    static const char *const names[] = {[SHARING_SHARED] = "shared",
                                        [SHARING_PRIVATE] = "private",
                                        [SHARING_LOCKED] = "locked",
                                        NULL};
    for (size_t i = 0; names[i]; i++) {
        if (str_is(value, names[i])) {
            m->sharing = (enum mount_sharing)i;
            return;
        }
    }
    struct str clip = str_clip(value);
    diag_help(parse_error(p, lex_span(l, value), "unknown sharing '" STR_FMT "'", STR_ARG(clip)),
              "it is shared, private or locked");
}

/* Bytes of "100m", "1g", "4096"; false: it is no size. */
static bool read_size(struct str text, uint64_t *ret)
{
    static const char units[] = "kmgt";
    uint64_t n = 0;
    size_t i = 0;
    for (; i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9' && i < 12; i++)
        n = n * 10 + (uint64_t)(text.ptr[i] - '0');
    const char *unit = i + 1 == text.len ? strchr(units, text.ptr[i] | 0x20) : NULL;
    unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
    if (!n || (i < text.len && !unit) || n >> (60 - shift))
        return false;
    *ret = n << shift;
    return true;
}

/* Digits below `base`, up to `most` of them. */
static bool are_digits(struct str text, char base, size_t most)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] < '0' || text.ptr[i] >= '0' + base)
            return false;
    return text.len && text.len <= most;
}

/* mode, uid, gid and size; false: the field is none of them. */
static bool set_number(struct parser *p, const struct logical *l, struct run_mount *m,
                       struct str name, struct str value)
{
    struct str clip = str_clip(value);
    const char *what = NULL;
    if (str_is(name, "size") && !read_size(value, &m->size))
        what = "size, such as 100m or 1g";
    else if (str_is(name, "mode") && !are_digits(m->mode = value, 8, value.ptr[0] == '0' ? 5 : 4))
        what = "mode, which is octal, such as 0700";
    else if (str_is(name, "uid") && !are_digits(m->uid = value, 10, 9))
        what = "user's number";
    else if (str_is(name, "gid") && !are_digits(m->gid = value, 10, 9))
        what = "group's number";
    if (what)
        parse_error(p, lex_span(l, value), "'" STR_FMT "' is no %s", STR_ARG(clip), what);
    return str_is(name, "size") || str_is(name, "mode") || str_is(name, "uid") ||
           str_is(name, "gid");
}

static void set_field(struct parser *p, const struct logical *l, struct run_mount *m,
                      struct str key, struct str value, enum word_mode mode)
{
    struct str name = canonical(key), clip = str_clip(value);
    if (!is_one_of(name, mount_keys[m->type])) {
        report_key(p, l, key, m->type);
        return;
    }
    if (str_is(name, "required") || str_is(name, "readonly")) {
        bool on = !value.ptr || str_is(value, "true");
        if (!on && !str_is(value, "false"))
            parse_error(p, lex_span(l, value), "'" STR_FMT "' is not true or false", STR_ARG(clip));
        else if (!on && str_is(name, "readonly"))
            parse_error(p, lex_span(l, value), "a bind mount is always read-only");
        m->required = on && str_is(name, "required");
        return;
    }
    if (!value.len) {
        parse_error(p, lex_span(l, key), "the field '" STR_FMT "' needs a value", STR_ARG(key));
        return;
    }
    if (str_is(name, "sharing")) {
        set_sharing(p, l, m, value);
        return;
    }
    if (str_is(name, "type") || set_number(p, l, m, name, value))
        return;
    struct word w = parse_word(p, l, value, mode);
    if (str_is(name, "target"))
        m->target = w;
    else if (str_is(name, "id"))
        m->id = w;
    else if (str_is(name, "source"))
        m->source = w;
    else if (str_is(name, "env"))
        m->env = w;
    else
        m->from = w;
}

/* Without id a secret is named by the last part of its target. */
static void name_secret(struct run_mount *m)
{
    m->id = m->target;
    const char *slash = memrchr(m->id.raw.ptr, '/', m->id.raw.len);
    if (!slash)
        return;
    m->id.raw.len -= (size_t)(slash + 1 - m->id.raw.ptr);
    m->id.raw.ptr = slash + 1;
}

static void take_mount(struct parser *p, const struct logical *l, struct imagefile_step *s,
                       struct str text)
{
    struct run_mount m = {.span = lex_span(l, text)};
    enum word_mode mode = WORD_SHELL;
    if (text.len >= 2 && (text.ptr[0] == '"' || text.ptr[0] == '\'') &&
        text.ptr[text.len - 1] == text.ptr[0]) {
        text = (struct str){text.ptr + 1, text.len - 2};
        mode = WORD_VARS; // the quotes stood around the whole
    }
    if (!find_type(p, l, text, &m.type))
        return;
    struct str key, value;
    size_t errors = p->f->diags.errors;
    for (struct str rest = text; next_field(&rest, &key, &value);)
        set_field(p, l, &m, key, value, mode);
    if (p->f->diags.errors != errors)
        return;
    if (m.type == MOUNT_SECRET && !word_given(&m.id) && word_given(&m.target))
        name_secret(&m);
    if (m.type == MOUNT_SECRET && !m.id.raw.len)
        diag_help(parse_error(p, m.span, "a secret mount needs an id"),
                  "write --mount=type=secret,id=NAME and build with --secret id=NAME,src=FILE");
    if (m.type != MOUNT_SECRET && !word_given(&m.target))
        diag_help(parse_error(p, m.span, "a %s mount needs a target", mount_types[m.type]),
                  "write --mount=type=%s,target=/path", mount_types[m.type]);
    struct run_args *run = &s->run;
    run->mounts = arena_grow(p->f->arena, run->mounts, run->n_mounts, sizeof m);
    run->mounts[run->n_mounts++] = m;
}

static void take_run_flag(struct parser *p, const struct logical *l, struct imagefile_step *s,
                          const struct flag *flag, struct str value)
{
    if (!strcmp(flag->name, "mount")) {
        take_mount(p, l, s, value);
        return;
    }
    if (str_is(value, "none"))
        s->run.network = NETWORK_NONE;
    else if (!str_is(value, "default"))
        diag_help(parse_error(p, lex_span(l, value.len ? value : l->text),
                              "unknown network '" STR_FMT "'", STR_ARG(str_clip(value))),
                  "it is default or none");
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
