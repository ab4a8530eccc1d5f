// SPDX-License-Identifier: MIT
//
// Options by a command's own table and the common one. Not getopt_long: it permutes argv, takes one
// table and its messages are not ours ("error: unrecognized arguments: --foo", as transient's users
// know it).
#include "cli/args.h"

#include "base/alloc.h"
#include "base/login_name.h"
#include "cli/words.h"
#include "vm/accel.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct given {
    const struct option_spec *option;
    const char *value; /* borrowed from argv; NULL for a flag */
};
/* Whether the option has this among its aliases, which stand apart by commas. */
static bool has_alias(const struct option_spec *o, const char *name, size_t n)
{
    for (const char *p = o->alias; p && *p; p += strcspn(p, ","), p += *p == ',')
        if (strcspn(p, ",") == n && !strncmp(p, name, n))
            return true;
    return false;
}

static const struct option_spec *find_in(const struct option_spec *o, const char *name, size_t n,
                                         char letter)
{
    for (; o && o->name; o++) {
        if (letter && (o->letter == letter || has_alias(o, &letter, 1)))
            return o;
        if (!letter && ((strlen(o->name) == n && !strncmp(o->name, name, n)) ||
                        (n > 1 && has_alias(o, name, n))))
            return o;
    }
    return NULL;
}

static const struct option_spec *find_option(const struct command *c, const char *name, size_t n,
                                             char letter)
{
    const struct option_spec *o = find_in(c->options, name, n, letter);
    return o ? o : find_in(common_options, name, n, letter);
}

const char *args_nth(const struct args *a, const char *name, size_t i)
{
    assert(find_option(a->command, name, strlen(name), 0));
    for (size_t g = 0; g < a->n_given; g++)
        if (!strcmp(a->given[g].option->name, name) && i-- == 0)
            return a->given[g].value ? a->given[g].value : "";
    return NULL;
}

const char *args_get(const struct args *a, const char *name)
{
    const char *last = NULL, *v;
    for (size_t i = 0; (v = args_nth(a, name, i)); i++)
        last = v;
    return last;
}

bool args_has(const struct args *a, const char *name)
{
    return args_nth(a, name, 0) != NULL;
}

int args_num(const struct args *a, const char *name, long long min, long long max, long long *ret,
             struct error **err)
{
    const char *v = args_get(a, name);
    if (!v)
        return 0;
    char *end;
    errno = 0;
    long long n = strtoll(v, &end, 10);
    if (end == v || *end || errno || n < min || n > max)
        return error_set(err, ERR_USAGE,
                         "argument --%s: '%s' is not a whole number from %lld to %lld", name, v,
                         min, max);
    *ret = n;
    return 0;
}

bool size_parse(const char *text, unsigned long long *ret)
{
    static const char units[] = "KMGT";
    char *end;
    double n = strtod(text, &end);
    const char *unit = isalpha((unsigned char)*end) ? strchr(units, *end & ~0x20) : NULL;
    if (unit) {
        n = ldexp(n, 10 * (int)(unit - units + 1));
        end += 1 + (end[1] == 'i');
    }
    if (*end == 'B')
        end++;
    if (end == text || *end || !(n >= 0) || n > ldexp(1, 62))
        return false;
    *ret = (unsigned long long)n;
    return true;
}

int args_size(const struct args *a, const char *name, unsigned long long *ret, struct error **err)
{
    const char *v = args_get(a, name);
    if (v && !size_parse(v, ret))
        return error_set(err, ERR_USAGE, "argument --%s: '%s' is not a size such as 500M or 20GB",
                         name, v);
    return 0;
}

int args_memory(const struct args *a, unsigned *ret_mb, struct error **err)
{
    const char *v = args_get(a, "memory");
    unsigned long long bytes = 0;
    if (args_size(a, "memory", &bytes, err) < 0)
        return -1;
    if (v && !v[strspn(v, "0123456789")] && bytes <= 1 << 24)
        bytes <<= 20; // a bare number means megabytes, as for QEMU's -m
    if (v && (bytes < 16 << 20 || bytes > 1ULL << 44))
        return error_set(err, ERR_USAGE, "argument --memory: '%s' is not from 16M to 16T", v);
    if (v)
        *ret_mb = (unsigned)(bytes >> 20);
    return 0;
}

int args_user(const struct args *a, const char *name, const char **ret, struct error **err)
{
    const char *user = args_get(a, name);
    if (user && !is_user_name(user)) {
        error_set(err, ERR_USAGE, "argument --%s: '%.60s' can't be the name of a user", name, user);
        return error_hint(err, "%s", USER_NAME_RULE);
    }
    if (user && ret)
        *ret = user;
    return 0;
}

int args_accel(const struct args *a, const char **ret, struct error **err)
{
    enum accel ignored;
    *ret = args_get(a, "accel");
    return *ret ? accel_parse(NULL, *ret, &ignored, err) : 0;
}

int args_names(const struct args *a, const char *name, struct error **err)
{
    const char *v;
    for (size_t i = 0; (v = args_nth(a, name, i)); i++) {
        if (*v && *v != '=')
            continue;
        error_set(err, ERR_USAGE, "argument --%s: '%s' has no name", name, v);
        return error_hint(err, "the form is --%s NAME=VALUE", name);
    }
    return 0;
}

int args_seconds(const struct args *a, const char *name, long long *ret, struct error **err)
{
    const char *v = args_get(a, name);
    if (!v)
        return 0;
    char *end;
    double n = strtod(v, &end);
    switch (end != v ? *end : 'x') {
    case 'd':
        n *= 24; // fallthrough
    case 'h':
        n *= 60; // fallthrough
    case 'm':
        n *= 60; // fallthrough
    case 's':
        end++; // fallthrough
    default:
        break;
    }
    if (end == v || *end || !(n >= 0) || n > 1e12)
        return error_set(err, ERR_USAGE,
                         "argument --%s: '%s' is not a time such as 90s, 15m, 12h or 7d", name, v);
    *ret = (long long)n;
    return 0;
}
static struct given *add_given(struct args *a, const struct option_spec *o, const char *value)
{
    a->given = xreallocarray(a->given, a->n_given + 1, sizeof *a->given);
    a->given[a->n_given] = (struct given){o, value};
    return &a->given[a->n_given++];
}

/* A flag; docker's users write --rm=false, too, which takes back what was given before. */
static int take_flag(struct args *a, const struct option_spec *o, const char *value,
                     struct error **err)
{
    bool on = !value || !strcasecmp(value, "true") || !strcmp(value, "1");
    if (!on && strcasecmp(value, "false") != 0 && strcmp(value, "0") != 0)
        return error_set(err, ERR_USAGE, "argument --%s: does not take a value", o->name);
    if (on)
        add_given(a, o, NULL);
    else
        (void)args_remove(a, a->n_given, o);
    return 0;
}

/* A cluster of short options ("-vvf FILE"); returns how many further words it took, -1 on error. */
static int take_letters(struct args *a, const char *word, const char *next, struct error **err)
{
    if (words_one_dash(a->command, word, err) < 0)
        return -1;
    for (const char *p = word + 1; *p; p++) {
        const struct option_spec *o = find_option(a->command, NULL, 0, *p);
        if (!o)
            return words_no_option(a->command, word, err);
        if (!o->value && p[1] == '=')
            return take_flag(a, o, p + 2, err);
        if (!o->value) {
            add_given(a, o, NULL);
            continue;
        }
        if (p[1]) {
            add_given(a, o, p + 1);
            return 0;
        }
        if (!next)
            return error_set(err, ERR_USAGE, "argument -%c: expected one argument", *p);
        add_given(a, o, next);
        return 1;
    }
    return 0;
}

/* Whether the word is one of "[=a|b|c]", or a time for "[=SECONDS]". */
static bool is_listed(const char *list, const char *word)
{
    size_t n = word ? strlen(word) : 0;
    if (n && !strcmp(list, "[=SECONDS]"))
        return isdigit((unsigned char)*word);
    for (const char *p = list + 2; n && *p && *p != ']'; p += strcspn(p, "|]"), p += *p == '|')
        if (!strncmp(p, word, n) && (p[n] == '|' || p[n] == ']'))
            return true;
    return false;
}

static int take_long(struct args *a, const char *word, const char *next, struct error **err)
{
    const char *name = word + 2, *eq = strchr(name, '=');
    size_t n = eq ? (size_t)(eq - name) : strlen(name);
    const struct option_spec *o = find_option(a->command, name, n, 0);
    if (!o)
        return words_no_option(a->command, word, err);
    if (!o->value)
        return take_flag(a, o, eq ? eq + 1 : NULL, err);
    bool takes_next = o->value && !eq && (!option_value_optional(o) || is_listed(o->value, next));
    if (takes_next && !next)
        return error_set(err, ERR_USAGE, "argument --%s: expected one argument", o->name);
    add_given(a, o, eq ? eq + 1 : takes_next ? next : NULL);
    return takes_next;
}

/* -v HOST:GUEST, as docker's users know it. */
static bool has_mapping(const struct args *a)
{
    bool mapping = false;
    for (size_t i = 0; i < a->n_pos; i++)
        mapping |= *a->pos[i] == '/' && strchr(a->pos[i], ':');
    return mapping && args_has(a, "verbose");
}

static int too_many(const struct args *a, const char *word, struct error **err)
{
    error_set(err, ERR_USAGE, "unrecognized arguments: %s", word);
    if (has_mapping(a))
        return error_hint(err, "-v means --verbose here");
    return error_hint(err, "usage: kiln %s %s", a->command->name, a->command->usage);
}

/* docker's -v; alone it is --verbose, as transient has it: oci://HOST/IMAGE is no folder. */
static bool is_volume(const struct command *c, const char *word, const char *next)
{
    if (strcmp(word, "-v") != 0 || !next || !*next || !find_option(c, "volume", 6, 0))
        return false;
    const char *colon = strstr(next, ":/");
    return strchr("/.~", *next) ? strchr(next, ':') != NULL : colon && colon[2] != '/';
}

int args_take(struct args *a, const char *word, const char *next, struct error **err)
{
    return word[1] == '-' ? take_long(a, word, next, err) : take_letters(a, word, next, err);
}

int args_take_all(struct args *a, int argc, char **argv, struct error **err)
{
    a->pos = xcalloc((size_t)argc + 1, sizeof *a->pos);
    bool only_pos = false;
    for (int i = 0; i < argc; i++) {
        char *word = argv[i];
        const char *next = i + 1 < argc ? argv[i + 1] : NULL;
        int took = 0;
        if (!only_pos && !strcmp(word, "--")) {
            if (a->command->flags & CMD_REST) {
                a->rest = argv + i + 1;
                a->n_rest = (size_t)(argc - i - 1);
                break;
            }
            only_pos = true;
        } else if (!only_pos && word[0] == '-' && word[1] == '-') {
            took = take_long(a, word, next, err);
        } else if (!only_pos && is_volume(a->command, word, next)) {
            add_given(a, find_option(a->command, "volume", 6, 0), next);
            took = 1;
        } else if (!only_pos && word[0] == '-' && word[1]) {
            took = take_letters(a, word, next, err);
        } else if ((a->command->flags & CMD_COMMAND) && a->n_pos == a->command->max_args) {
            a->words = argv + i;
            break;
        } else {
            a->pos[a->n_pos++] = word;
            only_pos |= (a->command->flags & CMD_WORDS) &&
                        a->n_pos > ((a->command->flags & CMD_LATE) && !args_has(a, "name") ? 1 : 0);
        }
        if (took < 0)
            return -1;
        i += took;
    }
    if (args_has(a, "help"))
        return 0;
    if (a->n_pos < a->command->min_args)
        return error_set(err, ERR_USAGE, "an argument is missing: kiln %s %s", a->command->name,
                         a->command->usage);
    if (a->n_pos > a->command->max_args)
        return too_many(a, a->pos[a->command->max_args], err);
    return a->words && has_mapping(a) ? too_many(a, a->words[0], err) : 0;
}
int args_parse(const struct command *c, int argc, char **argv, struct args *ret, struct error **err)
{
    *ret = (struct args){.command = c};
    return args_take_all(ret, argc, argv, err);
}

const struct option_spec *command_option(const struct command *c, const char *name)
{
    return find_option(c, name, strlen(name), 0);
}

void args_insert(struct args *a, size_t at, const struct option_spec *o, const char *value)
{
    char *copy = value ? xstrdup(value) : NULL;
    if (copy)
        strv_add_take(&a->owned, copy);
    add_given(a, o, copy);
    memmove(a->given + at + 1, a->given + at, (a->n_given - 1 - at) * sizeof *a->given);
    a->given[at] = (struct given){o, copy};
}

size_t args_remove(struct args *a, size_t n, const struct option_spec *o)
{
    size_t removed = 0;
    for (size_t i = 0; i < n - removed;) {
        if (a->given[i].option != o) {
            i++;
            continue;
        }
        memmove(a->given + i, a->given + i + 1, (a->n_given - 1 - i) * sizeof *a->given);
        a->n_given--;
        removed++;
    }
    return removed;
}

void args_insert_rest(struct args *a, size_t at, const char *word)
{
    char **rest = xcalloc(a->n_rest + 2, sizeof *rest), *copy = xstrdup(word);
    for (size_t i = 0; i < a->n_rest; i++)
        rest[i + (i >= at)] = a->rest[i];
    strv_add_take(&a->owned, copy);
    rest[at] = copy;
    free(a->own_rest);
    a->rest = a->own_rest = rest;
    a->n_rest++;
}

void args_clear(struct args *a)
{
    strv_clear(&a->owned);
    free(a->own_rest);
    free(a->given);
    free(a->pos);
    json_decref(a->result);
    *a = (struct args){0};
}
