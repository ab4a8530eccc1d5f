// SPDX-License-Identifier: MIT
// One function for each instruction but RUN (parse_run.c), over the joined text that the lexer
// gave, and what they share: words, flags, JSON lists, name=value pairs.
#include "imagefile/parser.h"

#include "base/json.h"
#include "base/nearest.h"
#include "base/url.h"

#include <stdint.h>
#include <strings.h>

DEFINE_VECTOR(word_list, struct word);

static struct words keep_words(struct imagefile *f, struct word_list *list)
{
    struct words w = {arena_copy(f->arena, list->ptr, list->len * sizeof *list->ptr), list->len};
    word_list_clear(list);
    return w;
}

struct word parse_word(struct parser *p, const struct logical *l, struct str raw,
                       enum word_mode mode)
{
    struct word w = {.raw = raw, .mode = mode, .span = lex_span(l, raw)};
    expand_check(p->f, &w, &p->f->diags);
    return w;
}

struct span keyword_span(const struct logical *l)
{
    return (struct span){l->keyword_at, l->keyword_at + l->keyword.len};
}

void say_form(struct diag *d, const struct instruction *in)
{
    diag_help(d, "the form is %s%s%s", in->name, *in->form ? " " : "", in->form);
}

static void report_flag(struct parser *p, const struct instruction *in, struct span at,
                        struct str name)
{
    struct str clip = str_clip(name);
    struct diag *d = parse_error(p, at, "%s has no flag '--" STR_FMT "'", in->name, STR_ARG(clip));
    const char *names[12] = {0};
    CLEANUP(buf_clear) struct buf all = BUF_INIT;
    for (size_t i = 0; in->flags && in->flags[i].name; i++) {
        names[i] = in->flags[i].name;
        buf_addf(&all, "%s--%s", i ? ", " : "", names[i]);
    }
    const char *near = nearest_name(name, names);
    if (near)
        diag_help(d, "did you mean --%s?", near);
    else if (all.len)
        diag_help(d, "the flags of %s are %s", in->name, all.data);
    else
        diag_help(d, "%s takes no flags", in->name);
}

void parse_flags(struct parser *p, const struct logical *l, struct imagefile_step *s,
                 struct str *rest, take_flag *take)
{
    const struct instruction *in = l->instruction;
    unsigned given = 0; // bit i: flags[i] was there
    for (struct str word, before = *rest; lex_word(rest, true, &word); before = *rest) {
        if (word.len < 2 || word.ptr[0] != '-' || word.ptr[1] != '-') {
            *rest = before;
            return;
        }
        if (word.len == 2) // "--" ends the flags
            return;
        const char *eq = memchr(word.ptr, '=', word.len);
        struct str name = {word.ptr + 2, (eq ? (size_t)(eq - word.ptr) : word.len) - 2};
        struct span at = lex_span(l, (struct str){word.ptr, name.len + 2});
        const struct flag *flag = instruction_flag(in, name);
        if (!flag) {
            report_flag(p, in, at, name);
        } else if (!eq && !(flag->traits & FLAG_BARE)) {
            diag_help(parse_error(p, at, "the flag --%s needs a value", flag->name),
                      "the form is %s", flag->form);
        } else if (given & 1U << (flag - in->flags) && !(flag->traits & FLAG_REPEATS)) {
            parse_error(p, at, "the flag --%s is given twice", flag->name);
        } else {
            given |= 1U << (flag - in->flags);
            take(p, l, s, flag, eq ? (struct str){eq + 1, word.len - name.len - 3} : STR("true"));
        }
    }
}

bool parse_list(struct parser *p, const struct logical *l, struct str text, enum word_mode mode,
                struct words *ret, bool *ret_bad)
{
    text = str_trim(text);
    *ret_bad = false;
    if (!text.len || text.ptr[0] != '[')
        return false;
    json_auto_t *list = json_loadb(text.ptr, text.len, 0, NULL);
    if (!list)
        return false;
    struct word_list words = {0};
    struct span at = lex_span(l, text);
    size_t i;
    json_t *item;
    json_array_foreach (list, i, item) {
        if (!json_is_string(item)) {
            parse_error(p, at, "the list may contain only strings");
            *ret_bad = true;
            word_list_clear(&words);
            return false;
        }
        struct str raw = {json_string_value(item), json_string_length(item)};
        struct word *w = word_list_push(&words);
        *w = (struct word){arena_str(p->f->arena, raw), mode, at};
        expand_check(p->f, w, &p->f->diags);
    }
    *ret = keep_words(p->f, &words);
    return true;
}

bool looks_like_list(struct str text)
{
    if (text.len < 2 || text.ptr[0] != '[')
        return false;
    struct str rest = str_trim((struct str){text.ptr + 1, text.len - 1});
    return rest.len && (rest.ptr[0] == '"' || rest.ptr[0] == '\'' || rest.ptr[0] == ']');
}

static bool balanced(struct str raw)
{
    char quote = 0;
    for (size_t i = 0; i < raw.len; i++) {
        char c = raw.ptr[i];
        if (c == '\\' && quote != '\'')
            i++;
        else if (quote ? c == quote : c == '"' || c == '\'')
            quote = quote ? 0 : c;
    }
    return !quote;
}

/* A word of an instruction whose words end at every blank. A lone quote inside is an ordinary byte
 * (transient has no quotes), but one that begins a word was meant to hold blanks. */
static struct word plain_word(struct parser *p, const struct logical *l, struct str raw)
{
    if (balanced(raw))
        return parse_word(p, l, raw, WORD_SHELL);
    if ((raw.ptr[0] == '"' || raw.ptr[0] == '\'') && l->instruction->traits & TRAIT_JSON)
        diag_help(parse_error(p, lex_span(l, raw), "unterminated quote in this word"),
                  "for names with blanks, use the list form: %s [\"a b\", \"/dest/\"]",
                  l->instruction->name);
    return parse_word(p, l, raw, WORD_VARS);
}

bool imagefile_platform_ours(const char *text)
{
    static const char *const ours[] = {"",
                                       "linux/amd64",
                                       "linux/x86_64",
                                       "linux/x86-64",
                                       "amd64",
                                       "linux/amd64/v1",
                                       "linux/amd64/v2",
                                       "linux/amd64/v3",
                                       "local",
                                       NULL};
    for (const char *const *p = ours; *p; p++)
        if (!strcasecmp(text, *p))
            return true;
    return false;
}

static void take_from_flag(struct parser *p, const struct logical *l, struct imagefile_step *s,
                           const struct flag *flag, struct str value)
{
    (void)flag;
    s->from.platform = parse_word(p, l, value, WORD_SHELL);
    AUTO_FREE char *text = str_dup(value);
    if (!memchr(value.ptr, '$', value.len) && !strpbrk(text, "'\"\\") &&
        !imagefile_platform_ours(text))
        diag_help(parse_error(p, s->from.platform.span, "unsupported platform '%.60s'", text),
                  "the builder VM and its images are linux/amd64");
}

static void parse_from(struct parser *p, const struct logical *l, struct imagefile_step *s)
{
    struct str rest = l->text, words[4];
    size_t n = 0;
    parse_flags(p, l, s, &rest, take_from_flag);
    while (n < 4 && lex_word(&rest, false, &words[n]))
        n++;
    if (!n) {
        say_form(parse_error(p, keyword_span(l), "FROM needs an image"), l->instruction);
        return;
    }
    size_t errors = p->f->diags.errors;
    s->from.image = plain_word(p, l, words[0]);
    if (p->f->diags.errors != errors)
        return; // where the word ends is a guess
    if (n == 2 || n > 3 ||
        (n == 3 && !(words[1].len == 2 && !strncasecmp(words[1].ptr, "AS", 2)))) {
        say_form(parse_error(p, lex_span(l, words[1]),
                             "FROM accepts an image and, after AS, a stage name"),
                 l->instruction);
        return;
    }
    if (n < 3)
        return;
    char *name = arena_copy(p->f->arena, words[2].ptr, words[2].len);
    bool good = true;
    for (size_t i = 0; i < words[2].len; i++) {
        char c = name[i];
        if (c >= 'A' && c <= 'Z')
            c = name[i] = (char)(c | 0x20);
        bool letter = c >= 'a' && c <= 'z';
        good = good && (letter || (i && ((c >= '0' && c <= '9') || strchr("-_.", c))));
    }
    s->from.as = (struct str){name, words[2].len};
    struct str clip = str_clip(words[2]);
    if (!good || str_is(s->from.as, "scratch"))
        diag_help(parse_error(p, lex_span(l, words[2]), "invalid stage name '" STR_FMT "'",
                              STR_ARG(clip)),
                  "use a letter, then letters, digits, '-', '_' or '.'; 'scratch' is reserved");
}

static void parse_disk_words(struct parser *p, const struct logical *l, struct imagefile_step *s)
{
    struct word_list words = {0};
    struct str rest = l->text, raw;
    bool quotes = l->instruction->traits & TRAIT_QUOTES;
    parse_flags(p, l, s, &rest, NULL);
    while (lex_word(&rest, quotes, &raw))
        *word_list_push(&words) =
            quotes ? parse_word(p, l, raw, WORD_SHELL) : plain_word(p, l, raw);
    if (!words.len)
        say_form(parse_error(p, keyword_span(l), "%s needs values", l->instruction->name),
                 l->instruction);
    s->words = keep_words(p->f, &words);
    if (s->words.len)
        disk_check(p->f, s);
}

static void take_copy_flag(struct parser *p, const struct logical *l, struct imagefile_step *s,
                           const struct flag *flag, struct str value)
{
    struct copy_args *c = &s->copy;
    struct word w = {.raw = value};
    if (!(flag->traits & FLAG_BARE && str_is(value, "true"))) // that may stand for no value at all
        w = parse_word(p, l, value, WORD_SHELL);
    if (!value.len) {
        diag_help(parse_error(p, w.span, "the flag --%s needs a value", flag->name),
                  "the form is %s", flag->form);
    } else if (!strcmp(flag->name, "from")) {
        c->from = w;
    } else if (!strcmp(flag->name, "chown")) {
        c->chown = w;
    } else if (!strcmp(flag->name, "chmod")) {
        c->chmod = w;
        CLEANUP(error_freep) struct error *err = NULL;
        AUTO_FREE char *text = str_dup(value);
        if (!memchr(value.ptr, '$', value.len) && !strpbrk(text, "'\"\\") &&
            imagefile_mode(p->f, &w, text, &err) < 0)
            diag_help(parse_error(p, w.span, "%s", err->message), "%s", err->hint);
    } else if (!strcmp(flag->name, "platform")) {
        c->platform = w;
    } else if (!strcmp(flag->name, "checksum")) {
        c->checksum = w;
    } else if (flag->traits & FLAG_BARE) {
        AUTO_FREE char *text = str_dup(value);
        bool on = false;
        if (!read_bool(text, &on))
            parse_error(p, w.span, "--%s must be true or false", flag->name);
        if (!strcmp(flag->name, "unpack"))
            c->unpack = on;
        else if (!strcmp(flag->name, "parents"))
            c->parents = on;
        else if (!strcmp(flag->name, "keep-git-dir"))
            c->keep_git_dir = on; // and --link changes nothing
    } else {
        struct words *list = &c->excludes;
        list->ptr = arena_grow(p->f->arena, list->ptr, list->len, sizeof w);
        list->ptr[list->len++] = w;
    }
}

bool imagefile_is_git(struct str s)
{
    const char *fragment = memchr(s.ptr, '#', s.len);
    struct str url = {s.ptr, fragment ? (size_t)(fragment - s.ptr) : s.len};
    return str_starts(s, "git@") || str_starts(s, "git://") || str_starts(s, "ssh://") ||
           (str_is_url(s) && url.len > 4 && !memcmp(url.ptr + url.len - 4, ".git", 4));
}

/* Words of COPY and ADD; the ones that begin a here-document are taken as they are. */
static struct words copy_words(struct parser *p, const struct logical *l, struct str rest)
{
    struct word_list words = {0};
    struct str raw;
    while (lex_word(&rest, false, &raw)) {
        if (l->n_heredocs && lex_heredoc(&rest, &raw, false, NULL))
            *word_list_push(&words) = (struct word){raw, WORD_LITERAL, lex_span(l, raw)};
        else
            *word_list_push(&words) = plain_word(p, l, raw);
    }
    return keep_words(p->f, &words);
}

static void set_sources(struct parser *p, const struct logical *l, struct imagefile_step *s,
                        const struct words *words)
{
    struct copy_args *c = &s->copy;
    size_t next_heredoc = 0;
    c->n_sources = words->len - 1;
    c->sources = arena_array(p->f->arena, c->n_sources, sizeof *c->sources);
    c->dest = words->ptr[c->n_sources];
    for (size_t i = 0; i < words->len; i++) {
        const struct word *w = &words->ptr[i];
        bool heredoc = !s->json && w->mode == WORD_LITERAL && next_heredoc < l->n_heredocs;
        if (i == c->n_sources) {
            if (heredoc)
                diag_help(parse_error(p, w->span, "%s needs a destination", l->instruction->name),
                          "name the file after the here-document: COPY <<EOF /etc/motd");
            break;
        }
        c->sources[i] =
            (struct copy_source){.path = *w, .git = s->op == OP_ADD && imagefile_is_git(w->raw)};
        c->sources[i].url = s->op == OP_ADD && str_is_url(w->raw) && !c->sources[i].git;
        c->sources[i].container = s->op == OP_ADD && str_is_container(w->raw);
        if (heredoc) {
            c->sources[i].heredoc = &l->heredocs[next_heredoc++];
            c->sources[i].path.raw = c->sources[i].heredoc->delimiter;
            expand_check_heredoc(p->f, c->sources[i].heredoc, &p->f->diags);
        }
    }
}

/* Of a git repository the first digits of a commit, else of a file. */
static void check_checksum(struct parser *p, const struct copy_args *c)
{
    struct str value = c->checksum.raw;
    bool git = c->n_sources == 1 && c->sources[0].git, hex = value.len >= 7;
    for (size_t i = 0; i < value.len; i++)
        hex = hex && strchr("0123456789abcdef", value.ptr[i]);
    if (!word_given(&c->checksum) || memchr(value.ptr, '$', value.len))
        return;
    if (git && !hex)
        diag_help(parse_error(p, c->checksum.span, "invalid checksum, expected a commit"),
                  "git rev-parse HEAD prints its digits");
    else if (!git && !(value.len == 71 && str_starts(value, "sha256:")))
        diag_help(
            parse_error(p, c->checksum.span, "invalid checksum, expected sha256:<64 hex digits>"),
            "sha256sum FILE prints the digits");
}

/* What does not go with container images, or needs one. */
static void check_containers(struct parser *p, const struct imagefile_step *s)
{
    const struct copy_args *c = &s->copy;
    const struct copy_source *image = NULL;
    bool may_be = false;
    for (size_t i = 0; i < c->n_sources; i++) {
        struct str raw = c->sources[i].path.raw;
        image = c->sources[i].container ? &c->sources[i] : image;
        may_be = may_be || memchr(raw.ptr, '$', raw.len);
        if (s->op == OP_COPY && !word_given(&c->from) && str_is_container(raw))
            diag_help(
                parse_error(p, c->sources[i].path.span, "COPY does not unpack container images"),
                "use ADD");
    }
    if (word_given(&c->platform) && !image && !may_be)
        diag_help(parse_error(p, c->platform.span, "--platform is for container images only"),
                  "such as ADD --platform=linux/amd64 oci://HOST/IMAGE:TAG /");
    if (image && c->excludes.len)
        diag_help(parse_error(p, c->excludes.ptr[0].span,
                              "--exclude cannot be combined with a container image"),
                  "remove what is not wanted in a RUN");
    if (image && c->unpack == 0)
        diag_help(parse_error(p, image->path.span, "a container image is always unpacked"),
                  "remove --unpack=false");
}

static void check_copy(struct parser *p, const struct logical *l, struct imagefile_step *s)
{
    struct copy_args *c = &s->copy;
    for (size_t i = 0; i < c->n_sources && s->op == OP_COPY && !word_given(&c->from); i++)
        if (!c->sources[i].heredoc && str_is_url(c->sources[i].path.raw))
            diag_help(parse_error(p, c->sources[i].path.span, "COPY does not download URLs"),
                      "use ADD --checksum=sha256:<64 hex digits>");
    check_checksum(p, c);
    for (size_t i = 0; i < c->n_sources && word_given(&c->from); i++)
        if (c->sources[i].heredoc)
            parse_error(p, c->sources[i].path.span,
                        "a here-document cannot be combined with --from");
    check_containers(p, s);
    if (word_given(&c->checksum) &&
        (c->n_sources != 1 ||
         (!c->sources[0].url && !c->sources[0].git && !c->sources[0].container &&
          !memchr(c->sources[0].path.raw.ptr, '$', c->sources[0].path.raw.len))))
        diag_help(
            parse_error(p, c->checksum.span,
                        "--checksum needs exactly one http, https or git URL or container image"),
            "%s has no such source", l->instruction->name);
}

static void parse_copy(struct parser *p, const struct logical *l, struct imagefile_step *s)
{
    struct str rest = l->text;
    struct words words = {0};
    bool bad;
    s->copy.unpack = -1;
    parse_flags(p, l, s, &rest, take_copy_flag);
    s->json = parse_list(p, l, rest, WORD_VARS, &words, &bad);
    if (bad)
        return;
    if (!s->json && looks_like_list(str_trim(rest))) {
        diag_help(parse_error(p, lex_span(l, str_trim(rest)), "this is not a JSON list of strings"),
                  "write %s [\"a b\", \"/dest/\"] with double quotes and commas",
                  l->instruction->name);
        return;
    }
    if (!s->json)
        words = copy_words(p, l, rest);
    if (words.len < 2) {
        say_form(parse_error(p, words.len ? words.ptr[0].span : keyword_span(l),
                             "%s needs a source and a destination", l->instruction->name),
                 l->instruction);
        return;
    }
    set_sources(p, l, s, &words);
    check_copy(p, l, s);
}

/* Cuts "name=value" at its first '='. false: there is none. */
static bool split_pair(struct str raw, struct str *name, struct str *value)
{
    const char *eq = memchr(raw.ptr, '=', raw.len);
    *name = (struct str){raw.ptr, eq ? (size_t)(eq - raw.ptr) : raw.len};
    *value = eq ? (struct str){eq + 1, raw.len - name->len - 1} : (struct str){NULL, 0};
    return eq;
}

DEFINE_VECTOR(pairs, struct pair);

static void keep_pairs(struct parser *p, struct imagefile_step *s, struct pairs *pairs)
{
    s->pairs.ptr = arena_copy(p->f->arena, pairs->ptr, pairs->len * sizeof *pairs->ptr);
    s->pairs.len = pairs->len;
    pairs_clear(pairs);
}

static void parse_pairs(struct parser *p, const struct logical *l, struct imagefile_step *s)
{
    struct pairs pairs = {0};
    struct str rest = l->text, raw, name, value;
    for (bool first = true; lex_word(&rest, true, &raw); first = false) {
        bool has_value = split_pair(raw, &name, &value);
        if (!has_value && first && str_trim(rest).len) {
            value = str_trim(rest); // the old form: "ENV name the whole rest"
            rest.len = 0;
        } else if (!has_value || !name.len) {
            struct str clip = str_clip(raw);
            diag_help(
                parse_error(p, lex_span(l, raw),
                            has_value ? "'" STR_FMT "' has no name" : "'" STR_FMT "' has no value",
                            STR_ARG(clip)),
                "write name=value, and quote a value with blanks");
            continue;
        }
        size_t errors = p->f->diags.errors;
        struct pair *pair = pairs_push(&pairs);
        pair->name = parse_word(p, l, name, WORD_SHELL);
        pair->value = parse_word(p, l, value, WORD_SHELL);
        if (p->f->diags.errors != errors)
            break; // where the next word begins is a guess
    }
    if (!l->text.len)
        say_form(parse_error(p, keyword_span(l), "%s needs name=value", l->instruction->name),
                 l->instruction);
    keep_pairs(p, s, &pairs);
}

static bool is_identifier(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (!(c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
              (i && c >= '0' && c <= '9')))
            return false;
    }
    return s.len;
}

static void parse_arg(struct parser *p, const struct logical *l, struct imagefile_step *s)
{
    struct pairs pairs = {0};
    struct str rest = l->text, raw, name, value;
    while (lex_word(&rest, true, &raw)) {
        bool has_value = split_pair(raw, &name, &value);
        struct str clip = str_clip(name);
        if (!is_identifier(name)) {
            diag_help(parse_error(p, lex_span(l, name.len ? name : raw),
                                  "invalid variable name '" STR_FMT "'", STR_ARG(clip)),
                      "use letters, digits and '_', not starting with a digit");
            continue;
        }
        struct pair *pair = pairs_push(&pairs);
        pair->name = parse_word(p, l, name, WORD_LITERAL);
        if (has_value)
            pair->value = parse_word(p, l, value, WORD_SHELL);
    }
    if (!l->text.len)
        say_form(parse_error(p, keyword_span(l), "ARG needs a name"), l->instruction);
    keep_pairs(p, s, &pairs);
}

/* WORKDIR and USER: the whole text is one word; a name of a user has no blanks. */
static void parse_single(struct parser *p, const struct logical *l, struct imagefile_step *s)
{
    struct str rest = l->text, raw;
    parse_flags(p, l, s, &rest, NULL);
    rest = str_trim(rest);
    if (!rest.len) {
        say_form(parse_error(p, keyword_span(l), "%s needs a value", l->instruction->name),
                 l->instruction);
        return;
    }
    s->word = parse_word(p, l, rest, WORD_SHELL);
    if (s->op == OP_USER && lex_word(&rest, true, &raw) && (rest = str_trim(rest)).len)
        say_form(parse_error(p, lex_span(l, rest), "USER accepts one name"), l->instruction);
}

static void parse_shell(struct parser *p, const struct logical *l, struct imagefile_step *s)
{
    bool bad;
    s->json = parse_list(p, l, l->text, WORD_LITERAL, &s->words, &bad);
    if (bad)
        return;
    if (!s->json || !s->words.len)
        diag_help(parse_error(p, l->text.len ? lex_span(l, l->text) : keyword_span(l),
                              "SHELL needs a JSON list of strings"),
                  "write SHELL [\"/bin/bash\", \"-c\"]");
}

static void parse_inspect(struct parser *p, const struct logical *l, struct imagefile_step *s)
{
    (void)s;
    if (l->text.len)
        parse_error(p, lex_span(l, l->text), "INSPECT takes no arguments");
}

void parse_step(struct parser *p, const struct logical *l, struct imagefile_step *s)
{
    static void (*const parsers[OP_COUNT])(struct parser *, const struct logical *,
                                           struct imagefile_step *) = {
        [OP_FROM] = parse_from,       [OP_DISK] = parse_disk_words,
        [OP_COPY] = parse_copy,       [OP_PARTITION] = parse_disk_words,
        [OP_ADD] = parse_copy,        [OP_RUN] = parse_run,
        [OP_ARG] = parse_arg,         [OP_ENV] = parse_pairs,
        [OP_WORKDIR] = parse_single,  [OP_USER] = parse_single,
        [OP_SHELL] = parse_shell,     [OP_LABEL] = parse_pairs,
        [OP_INSPECT] = parse_inspect, [OP_CMD] = parse_note,
        [OP_ENTRYPOINT] = parse_note, [OP_EXPOSE] = parse_note,
        [OP_VOLUME] = parse_note,     [OP_HEALTHCHECK] = parse_note,
        [OP_STOPSIGNAL] = parse_note, [OP_MAINTAINER] = parse_note,
    };
    s->heredocs = l->heredocs;
    s->n_heredocs = l->n_heredocs;
    parsers[s->op](p, l, s);
}
