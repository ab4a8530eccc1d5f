// SPDX-License-Identifier: MIT
// The table of names, and the parser directives: as in Dockerfile, the first line that is not
// "# name=value" ends them. What they skip is a bit mask in struct diags.
#include "imagefile/rules.h"

#include "base/alloc.h"
#include "base/nearest.h"
#include "imagefile/lex.h"

#include <string.h>
#include <strings.h>

static const char *const names[RULE_COUNT + 1] = {
    [RULE_APT_UPDATE_ALONE] = "AptUpdateAlone",
    [RULE_PIPED_SCRIPT] = "PipedScript",
    [RULE_MALFORMED_LIST] = "MalformedList",
    [RULE_SECRETS_IN_ARG_OR_ENV] = "SecretsUsedInArgOrEnv",
    [RULE_DESTINATION_NOT_FOLDER] = "DestinationNotFolder",
    [RULE_UNCHECKED_URL] = "UncheckedURL",
    [RULE_WORKDIR_RELATIVE_PATH] = "WorkdirRelativePath",
    [RULE_UNUSED_ARG] = "UnusedArg",
    [RULE_UNUSED_STAGE] = "UnusedStage",
    [RULE_ESCAPE_DIRECTIVE] = "EscapeDirective",
    [RULE_CHECK_DIRECTIVE] = "CheckDirective",
    [RULE_INVISIBLE_CHARACTER] = "InvisibleCharacter",
    [RULE_NO_EMPTY_CONTINUATION] = "NoEmptyContinuation",
    [RULE_MAINTAINER_DEPRECATED] = "MaintainerDeprecated",
    [RULE_CONTAINER_ONLY] = "ContainerOnly",
    [RULE_NO_DISK] = "NoDisk",
    [RULE_DUPLICATE_STAGE_NAME] = "DuplicateStageName",
    [RULE_UNDEFINED_VAR] = "UndefinedVar",
    [RULE_UNDEFINED_ARG_IN_FROM] = "UndefinedArgInFrom",
    [RULE_UNKNOWN_IMAGE] = "UnknownImage",
    [RULE_PARTITION_NOT_FORMATTED] = "PartitionNotFormatted",
    [RULE_PARTITION_ZERO] = "PartitionZero",
};

/* BuildKit's other checks: kiln has no such warning, or has it as an error. */
static const char *const foreign[] = {
    "StageNameCasing",
    "FromAsCasing",
    "ConsistentInstructionCasing",
    "FileConsistentCommandCasing",
    "SelfConsistentCommandCasing",
    "ReservedStageName",
    "JSONArgsRecommended",
    "InvalidDefaultArgInFrom",
    "MultipleInstructionsDisallowed",
    "LegacyKeyValueFormat",
    "RedundantTargetPlatform",
    "FromPlatformFlagConstDisallowed",
    "InvalidBaseImagePlatform",
    "CopyIgnoredFile",
    "InvalidDefinitionDescription",
    "ExposeProtoCasing",
    "ExposeInvalidFormat",
    NULL,
};

_Static_assert(RULE_COUNT <= 64, "struct diags has a bit for each");

bool rule_skipped(const struct diags *d, enum rule rule)
{
    return d->skipped >> rule & 1;
}

enum diag_severity rule_severity(const struct diags *d, enum rule rule)
{
    bool note =
        rule == RULE_MAINTAINER_DEPRECATED || rule == RULE_CONTAINER_ONLY || rule == RULE_NO_DISK;
    return note ? DIAG_NOTE : d->warnings_fail ? DIAG_ERROR : DIAG_WARNING;
}

struct diag *diag_rule(struct diag *d, enum rule rule)
{
    if (d)
        d->rule = names[rule];
    return d;
}

const char *rule_name(enum rule rule)
{
    return names[rule];
}

/* One directive's value while it is read. */
struct reading {
    const struct source *source;
    struct diags *diags;
    uint64_t skipped;
    bool fail;
    struct diags *bad; /* kept until all of it is read: it is itself what may be skipped */
};

static struct span span_of(const struct reading *r, struct str text)
{
    size_t at = text.len ? (size_t)(text.ptr - r->source->text) : 0;
    return (struct span){at, at + text.len};
}

static struct str cut(struct str *rest, char at)
{
    return str_trim(str_cut(rest, at));
}

static bool is_in(const char *const *list, struct str name, size_t *ret)
{
    for (size_t i = 0; list[i]; i++) {
        *ret = i;
        if (strlen(list[i]) == name.len && !strncasecmp(list[i], name.ptr, name.len))
            return true;
    }
    return false;
}

static void skip_one(struct reading *r, struct str name)
{
    size_t i;
    if (!name.len || is_in(foreign, name, &i))
        return;
    if (is_in(names, name, &i)) {
        r->skipped |= (uint64_t)1 << i;
        return;
    }
    if (name.len == 3 && !strncasecmp(name.ptr, "all", 3)) {
        r->skipped = ~(uint64_t)0;
        return;
    }
    const char *near = nearest_name(name, names);
    near = near ? near : nearest_name(name, foreign);
    struct diag *d = diag_add(r->bad, r->source, DIAG_WARNING, span_of(r, name),
                              "unknown check '" STR_FMT "'", STR_ARG(str_clip(name)));
    diag_help(d, near ? "did you mean %s?" : "warnings end in the names of their checks", near);
}

static void read_option(struct reading *r, struct str option)
{
    struct str rest = option, name = cut(&rest, '=');
    struct str value = str_trim(rest);
    if (str_is(name, "skip")) {
        while (rest.len)
            skip_one(r, cut(&rest, ','));
        return;
    }
    bool on = value.len == 4 && !strncasecmp(value.ptr, "true", 4);
    bool off = value.len == 5 && !strncasecmp(value.ptr, "false", 5);
    if (str_is(name, "error") && (on || off))
        r->fail = on;
    else if (!str_is(name, "experimental"))
        diag_help(diag_add(r->bad, r->source, DIAG_WARNING, span_of(r, option),
                           "the check directive has no option '" STR_FMT "'",
                           STR_ARG(str_clip(option))),
                  "the form is # check=skip=NAME,NAME;error=true");
}

static void read_check(struct reading *r, struct str value)
{
    while (value.len) {
        struct str option = cut(&value, ';');
        if (option.len)
            read_option(r, option);
    }
}

static void read_escape(struct reading *r, struct str value)
{
    if (value.len && !str_is(value, "\\"))
        diag_help(diag_rule(diag_add(r->bad, r->source, DIAG_WARNING, span_of(r, value),
                                     "the escape directive has no effect"),
                            RULE_ESCAPE_DIRECTIVE),
                  "the escape character of an Imagefile is the backslash");
}

/* "# name = value": the name's letters, and the value without blanks around it. */
static bool split(struct str line, struct str *ret_name, struct str *ret_value)
{
    line = str_trim(line);
    if (!line.len || line.ptr[0] != '#')
        return false;
    struct str rest = {line.ptr + 1, line.len - 1};
    bool has = memchr(rest.ptr, '=', rest.len);
    *ret_name = cut(&rest, '=');
    *ret_value = str_trim(rest);
    for (size_t i = 0; i < ret_name->len; i++)
        if ((ret_name->ptr[i] | 0x20) < 'a' || (ret_name->ptr[i] | 0x20) > 'z')
            return false;
    return has && ret_name->len;
}

static bool is_word(struct str name, const char *word)
{
    return name.len == strlen(word) && !strncasecmp(name.ptr, word, name.len);
}

/* What comes from outside; mistakes in it have no place in the file. */
static void read_given(struct reading *r, const char *given)
{
    CLEANUP(diags_clear) struct diags bad = {0};
    CLEANUP(source_clear) struct source source;
    source_init(&source, "", given, strlen(given));
    struct reading own = {.source = &source, .diags = r->diags, .bad = &bad};
    read_check(&own, str_of(given));
    r->skipped |= own.skipped;
    r->fail |= own.fail;
}

void rules_read_directives(const struct source *s, struct diags *d, const char *given)
{
    CLEANUP(diags_clear) struct diags bad = {0};
    struct reading r = {.source = s, .diags = d, .bad = &bad};
    for (unsigned line = 1; line <= s->n_lines; line++) {
        struct str name, value, text = source_line(s, line);
        if (line == 1 && str_starts(text, "\xef\xbb\xbf"))
            text = (struct str){text.ptr + 3, text.len - 3};
        if (!split(text, &name, &value))
            break;
        if (is_word(name, "check"))
            read_check(&r, value);
        else if (is_word(name, "escape"))
            read_escape(&r, value);
        else if (!is_word(name, "syntax"))
            break;
    }
    if (given)
        read_given(&r, given);
    d->skipped = r.skipped;
    d->warnings_fail = r.fail;
    for (size_t i = 0; i < bad.len; i++) {
        const struct diag *b = &bad.ptr[i];
        enum rule rule = b->rule ? RULE_ESCAPE_DIRECTIVE : RULE_CHECK_DIRECTIVE;
        diag_help(diag_warn(d, s, rule, b->span, "%s", b->message), "%s", b->help);
    }
}
