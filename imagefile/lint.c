// SPDX-License-Identifier: MIT
// Warnings about what is legal but seldom meant. Commands are looked at as text, cut at ; & | and
// line ends, which finds the usual cases and guesses nothing about the rest.
#include "imagefile/parser.h"

#include <strings.h>

#define warn(f, rule, at, ...) diag_warn(&(f)->diags, &(f)->source, RULE_##rule, at, __VA_ARGS__)

static bool is_word_char(char c)
{
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Where a command of a script begins and ends; *op is what ended it: '|', ';' or 0. "&&" and "||"
 * count as ';', so only a single '|' is a pipe. */
static bool next_command(struct str *rest, struct str *ret, char *op)
{
    if (!rest->len)
        return false;
    char quote = 0;
    size_t i = 0;
    for (; i < rest->len; i++) {
        char c = rest->ptr[i];
        if (quote) {
            quote = c == quote ? 0 : quote;
            continue;
        }
        if (c == '\'' || c == '"')
            quote = c;
        else if (c && strchr(";&|\n", c))
            break;
    }
    *ret = str_trim((struct str){rest->ptr, i});
    size_t n = i < rest->len;
    *op = '\0';
    if (n) {
        bool twice = i + 1 < rest->len && rest->ptr[i + 1] == rest->ptr[i];
        *op = rest->ptr[i] == '|' && !twice ? '|' : ';';
        n += twice;
    }
    rest->ptr += i + n;
    rest->len -= i + n;
    return true;
}

/* The program of a command, without its folder, after sudo, env and assignments. */
static struct str program_of(struct str command, struct str *ret_args)
{
    struct str word = {"", 0};
    while (lex_word(&command, true, &word)) {
        if (memchr(word.ptr, '=', word.len) || str_is(word, "sudo") || str_is(word, "env") ||
            str_is(word, "exec") || str_is(word, "-E"))
            continue;
        const char *slash = memrchr(word.ptr, '/', word.len);
        *ret_args = command;
        if (!slash)
            return word;
        return (struct str){slash + 1, word.len - (size_t)(slash + 1 - word.ptr)};
    }
    *ret_args = (struct str){"", 0};
    return (struct str){"", 0};
}

static bool is_shell(struct str s)
{
    return str_is(s, "sh") || str_is(s, "bash") || str_is(s, "dash") || str_is(s, "zsh") ||
           str_is(s, "ash") || str_is(s, "ksh");
}

static bool has_arg(struct str args, const char *name)
{
    struct str word;
    while (lex_word(&args, true, &word))
        if (str_is(word, name))
            return true;
    return false;
}

static bool is_apt(struct str program)
{
    return str_is(program, "apt-get") || str_is(program, "apt");
}

static void lint_run(struct imagefile *f, const struct imagefile_step *s)
{
    struct str rest = s->run.script, command, args;
    struct span at = {s->span.start, s->span.end};
    bool updates = false, installs = false, fetched = false, piped = false;
    char op = '\0';
    while (next_command(&rest, &command, &op)) {
        struct str program = program_of(command, &args);
        updates |= is_apt(program) && has_arg(args, "update");
        installs |= is_apt(program) && !has_arg(args, "update");
        piped |= fetched && is_shell(program);
        fetched = op == '|' && (str_is(program, "curl") || str_is(program, "wget") || fetched);
    }
    const char *manager =
        memmem(s->run.script.ptr, s->run.script.len, "apt-get", 7) ? "apt-get" : "apt";
    if (updates && !installs)
        diag_help(warn(f, APT_UPDATE_ALONE, at,
                       "'%s update' alone: later steps install from an outdated list in the cache",
                       manager),
                  "combine it with the install: RUN %s update && %s install -y …", manager,
                  manager);
    if (piped)
        diag_help(warn(f, PIPED_SCRIPT, at, "a script from the network is run unchecked"),
                  "ADD --checksum=sha256:… the file, then RUN it");
    if (!s->json && s->run.script.len > 1 && s->run.script.ptr[0] == '[' &&
        (s->run.script.ptr[1] == '"' || s->run.script.ptr[1] == '\''))
        diag_help(warn(f, MALFORMED_LIST, at,
                       "this looks like the list form but is not JSON: the shell will run it"),
                  "use double quotes and commas: RUN [\"program\", \"argument\"]");
}

/* Is `part` one of the words of `name`, which '_', '-' and '.' separate? */
static bool has_part(struct str name, const char *part)
{
    size_t n = strlen(part);
    for (size_t i = 0; i + n <= name.len; i++) {
        bool starts = !i || strchr("_-.", name.ptr[i - 1]);
        bool ends = i + n == name.len || strchr("_-.", name.ptr[i + n]);
        if (starts && ends && !strncasecmp(name.ptr + i, part, n))
            return true;
    }
    return false;
}

static bool ends_with(struct str name, const char *part)
{
    size_t n = strlen(part);
    return name.len >= n && has_part((struct str){name.ptr + name.len - n, n}, part) &&
           (name.len == n || strchr("_-.", name.ptr[name.len - n - 1]));
}

static bool has_one_of(struct str name, const char *const *parts)
{
    for (; *parts; parts++)
        if (has_part(name, *parts))
            return true;
    return false;
}

/* PASSWORD_FILE names a file that holds one, which is what one should do. */
static bool looks_secret(struct str name)
{
    static const char *const parts[] = {"password", "passwd",     "passphrase", "secret",
                                        "token",    "apikey",     "credential", "credentials",
                                        "privkey",  "privatekey", "pw",         NULL};
    static const char *const keys[] = {"api", "private", "access", "auth",
                                       "ssh", "secret",  "deploy", NULL};
    static const char *const open[] = {"public", "pub",  "gpg",  "pgp",    "host",
                                       "cache",  "sort", "hash", "signed", NULL};
    if (has_part(name, "public") || ends_with(name, "file"))
        return false;
    return has_one_of(name, parts) || (has_part(name, "key") && has_one_of(name, keys)) ||
           ends_with(name, "auth") ||
           (ends_with(name, "key") && name.len > 3 && !has_one_of(name, open));
}

static void lint_secret(struct imagefile *f, const struct imagefile_step *s)
{
    for (size_t i = 0; i < s->pairs.len; i++) {
        const struct word *name = &s->pairs.ptr[i].name;
        if (!looks_secret(name->raw))
            continue;
        struct str clip = str_clip(name->raw);
        diag_help(warn(f, SECRETS_IN_ARG_OR_ENV, name->span,
                       "'" STR_FMT "' looks like a secret; %s", STR_ARG(clip),
                       s->op == OP_ARG ? "an ARG is kept in the layers' records"
                                       : "an ENV is kept in the image's metadata"),
                  "use RUN --mount=type=secret,id=… and --secret");
    }
}

static void lint_copy(struct imagefile *f, const struct imagefile_step *s)
{
    struct str dest = s->copy.dest.raw;
    bool folder =
        !dest.len || memchr(dest.ptr, '$', dest.len) || strchr("/.\"'", dest.ptr[dest.len - 1]);
    if (s->copy.n_sources > 1 && !folder)
        diag_help(warn(f, DESTINATION_NOT_FOLDER, s->copy.dest.span,
                       "several sources: the destination is treated as a folder"),
                  "end it with '/'");
    if (s->op != OP_ADD)
        return;
    for (size_t i = 0; i < s->copy.n_sources && !word_given(&s->copy.checksum); i++)
        if (s->copy.sources[i].url)
            diag_help(warn(f, UNCHECKED_URL, s->copy.sources[i].path.span,
                           "a URL without a checksum may change"),
                      "write ADD --checksum=sha256:<64 hex digits>");
}

/* Relative, and nothing absolute before it in its stage or below. */
static void lint_workdir(struct imagefile *f, const struct imagefile_step *s, bool *based)
{
    struct str dir = s->word.raw;
    char c = dir.len > 1 && (dir.ptr[0] == '"' || dir.ptr[0] == '\'') ? dir.ptr[1] : dir.ptr[0];
    if (c == '/' || c == '$')
        *based = true;
    else if (!*based)
        diag_help(warn(f, WORKDIR_RELATIVE_PATH, s->word.span,
                       "relative WORKDIR: its location depends on the base image"),
                  "write an absolute path");
}

struct names {
    const struct imagefile *f;
    size_t room;
    size_t *slots; /* 1 + index into `list`; 0 = free */
    struct name {
        struct str name;
        struct span at;
        bool used;
    } * list;
    size_t len;
};

static struct name *find(struct names *n, struct str name, bool add)
{
    size_t hash = 5381;
    for (size_t i = 0; i < name.len; i++)
        hash = hash * 33 + (unsigned char)name.ptr[i];
    size_t slot = hash % n->room;
    while (n->slots[slot] && !str_eq(n->list[n->slots[slot] - 1].name, name))
        slot = (slot + 1) % n->room;
    if (n->slots[slot])
        return &n->list[n->slots[slot] - 1];
    if (!add)
        return NULL;
    n->list[n->len].name = name;
    n->slots[slot] = ++n->len;
    return &n->list[n->len - 1];
}

/* Every identifier in a text counts as a use: for RUN only the shell knows better. */
static void use_all(struct names *n, struct str text)
{
    for (size_t i = 0, end; i < text.len; i = end + 1) {
        for (end = i; end < text.len && is_word_char(text.ptr[end]); end++)
            ;
        struct name *found = end > i ? find(n, (struct str){text.ptr + i, end - i}, false) : NULL;
        if (found)
            found->used = true;
    }
}

static void use_step(struct names *n, const struct imagefile_step *s)
{
    const struct source *src = &n->f->source;
    for (size_t i = 0; i < s->n_heredocs; i++)
        use_all(n, s->heredocs[i].body);
    if (s->op != OP_ARG) {
        use_all(n, (struct str){src->text + s->span.start, s->span.end - s->span.start});
        return;
    }
    for (size_t i = 0; i < s->pairs.len; i++)
        use_all(n, s->pairs.ptr[i].value.raw);
}

enum { STAGES_MAX = 1000 }; // whoever has more is not asked what they need of one another

/* For each stage, the one that its FROM names, or NO_STAGE. */
static size_t *stage_bases(const struct imagefile *f)
{
    size_t *bases = xcalloc(f->n_stages + 1, sizeof *bases);
    for (size_t i = 0; i < f->n_stages; i++) {
        size_t first = f->stages[i].first;
        bases[i] = f->n_stages > STAGES_MAX
                       ? NO_STAGE
                       : imagefile_find_stage(f, f->steps[first].from.image.raw, first, false);
    }
    return bases;
}

/* For each stage, where its last RUN stands, the RUNs of the stages that begin from it included:
 * every ARG above it is in its environment. */
static size_t *last_runs(const struct imagefile *f, const size_t *bases)
{
    size_t *last = xcalloc(f->n_stages + 1, sizeof *last);
    for (size_t i = 0; i < f->n_steps; i++)
        if (f->steps[i].op == OP_RUN && f->steps[i].stage != NO_STAGE)
            last[f->steps[i].stage] = i;
    for (size_t i = f->n_stages; i-- > 0;)
        if (bases[i] != NO_STAGE && last[i] > last[bases[i]])
            last[bases[i]] = last[i];
    return last;
}

/* ARGs that no later text mentions and no RUN has in its environment. */
static void lint_unused_args(struct imagefile *f, const size_t *bases)
{
    size_t total = 0;
    for (size_t i = 0; i < f->n_steps; i++)
        total += f->steps[i].op == OP_ARG ? f->steps[i].pairs.len : 0;
    struct names n = {.f = f, .room = 2 * total + 1};
    AUTO_FREE size_t *slots = n.slots = xcalloc(n.room, sizeof *slots);
    AUTO_FREE struct name *list = n.list = xcalloc(total + 1, sizeof *list);
    AUTO_FREE size_t *last = last_runs(f, bases);
    for (size_t i = 0; i < f->n_steps; i++) {
        const struct imagefile_step *s = &f->steps[i];
        use_step(&n, s);
        for (size_t j = 0; s->op == OP_ARG && j < s->pairs.len; j++) {
            struct name *name = find(&n, s->pairs.ptr[j].name.raw, true);
            if (!name->at.end)
                name->at = s->pairs.ptr[j].name.span;
            name->used |= s->stage != NO_STAGE && (f->n_stages > STAGES_MAX || last[s->stage] > i);
        }
    }
    for (size_t i = 0; i < n.len; i++) {
        struct str name = n.list[i].name, clip = str_clip(name);
        bool skip = n.list[i].used || is_predefined_arg(name);
        if (!skip)
            diag_help(warn(f, UNUSED_ARG, n.list[i].at, "the ARG '" STR_FMT "' is never used",
                           STR_ARG(clip)),
                      "remove it, or use $" STR_FMT " below it", STR_ARG(clip));
    }
}

static void use_stage(const struct imagefile *f, bool *used, const struct word *w, size_t step,
                      bool by_number)
{
    if (!word_given(w))
        return;
    if (memchr(w->raw.ptr, '$', w->raw.len)) {
        memset(used, true, f->n_stages); // any of them may be meant
        return;
    }
    size_t stage = imagefile_find_stage(f, w->raw, step, by_number);
    if (stage != NO_STAGE)
        used[stage] = true;
}

/* A stage that is not the last one and that no other uses. It may still be a --target. */
static void lint_unused_stages(struct imagefile *f)
{
    if (f->n_stages < 2 || f->n_stages > STAGES_MAX)
        return;
    AUTO_FREE bool *used = xcalloc(f->n_stages, sizeof *used);
    for (size_t i = 0; i < f->n_steps; i++) {
        const struct imagefile_step *s = &f->steps[i];
        if (s->op == OP_FROM)
            use_stage(f, used, &s->from.image, i, false);
        if (s->op == OP_COPY)
            use_stage(f, used, &s->copy.from, i, true);
        for (size_t j = 0; s->op == OP_RUN && j < s->run.n_mounts; j++)
            use_stage(f, used, &s->run.mounts[j].fields[MOUNT_FROM], i, true);
    }
    for (size_t i = 0; i + 1 < f->n_stages; i++) {
        const struct imagefile_step *from = &f->steps[f->stages[i].first];
        struct str clip = str_clip(f->stages[i].name);
        if (used[i])
            continue;
        if (clip.len)
            diag_help(warn(f, UNUSED_STAGE, from->span, "nothing uses the stage '" STR_FMT "'",
                           STR_ARG(clip)),
                      "it is built only with --target " STR_FMT, STR_ARG(clip));
        else
            diag_help(
                warn(f, UNUSED_STAGE, from->span, "nothing uses this stage, which has no name"),
                "name it with AS and COPY --from it, or remove it");
    }
}

/* What cannot be seen is seldom meant, unless quotes stand around it. */
static void lint_invisible(struct imagefile *f, const struct imagefile_step *s)
{
    struct invisible what;
    char quote = 0;
    for (size_t at = s->span.start, seen = at; at < s->span.end; at += what.len) {
        struct str rest = {f->source.text + at, s->span.end - at};
        if (!find_invisible(rest, &what))
            return;
        at += what.at;
        for (; seen < at; seen++) {
            char c = f->source.text[seen];
            if (c == '\n')
                quote = 0;
            else if (quote ? c == quote : c == '"' || c == '\'')
                quote = quote ? 0 : c;
        }
        // the CR of CR LF is a line's end
        if (quote || what.letter ||
            (rest.ptr[what.at] == '\r' && at + 1 < f->source.len &&
             strchr("\r\n", f->source.text[at + 1])))
            continue;
        diag_help(warn(f, INVISIBLE_CHARACTER, ((struct span){at, at + what.len}),
                       "invisible character: %s", what.name),
                  "%s", what.advice);
        return; // one an instruction is enough
    }
}

void imagefile_lint(struct imagefile *f)
{
    AUTO_FREE size_t *bases = stage_bases(f);
    AUTO_FREE bool *based = xcalloc(f->n_stages + 1, sizeof *based); // has an absolute WORKDIR
    for (size_t i = 0; i < f->n_steps; i++) {
        const struct imagefile_step *s = &f->steps[i];
        lint_invisible(f, s);
        if (s->op == OP_FROM && bases[s->stage] != NO_STAGE)
            based[s->stage] = based[bases[s->stage]];
        if (s->op == OP_RUN)
            lint_run(f, s);
        else if (s->op == OP_ARG || s->op == OP_ENV)
            lint_secret(f, s);
        else if (s->op == OP_ADD || s->op == OP_COPY)
            lint_copy(f, s);
        else if (s->op == OP_WORKDIR)
            lint_workdir(f, s, &based[s->stage == NO_STAGE ? f->n_stages : s->stage]);
    }
    lint_unused_args(f, bases);
    lint_unused_stages(f);
    diags_sort(&f->diags);
}
