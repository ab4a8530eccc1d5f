// SPDX-License-Identifier: MIT
//
// `completion`: a script for bash, zsh or fish, made from the tables of commands, options and other
// names. A script asks kiln for the names of images and VMs when they are to be completed.
#include "base/alloc.h"
#include "base/buf.h"
#include "cli/command.h"
#include "cli/words.h"

#include <stdio.h>
#include <string.h>

/* Text in single quotes, in which `special` letters stand behind a backslash. */
static void quoted(const char *text, const char *special, const char *quote)
{
    putchar('\'');
    for (const char *p = text; *p; p++) {
        if (*p == '\'')
            fputs(quote, stdout);
        else if (strchr(special, *p))
            printf("\\%c", *p);
        else
            putchar(*p);
    }
    putchar('\'');
}

static void in_sh(const char *text)
{
    quoted(text, "", "'\\''");
}

static void in_fish(const char *text)
{
    quoted(text, "\\", "\\'");
}

/* What is completed beside options: "image ls -q", "ls -q", or NULL: files. */
static const char *names_of(const struct command *c)
{
    const char *usage = c->usage ? c->usage : "";
    if (!strcmp(c->name, "image import") || strstr(usage, "BUILD-DIR") || strstr(usage, "A B"))
        return NULL;
    if (!strncmp(c->name, "image ", 6) || strstr(usage, "IMAGE"))
        return "image ls -q";
    return strstr(usage, "NAME") ? "ls -q" : NULL;
}

/* c: the command of that name; NULL = a group such as "image". */
typedef void name_fn(const char *name, const struct command *c);

/* What follows the group in a command's name; NULL: it is not in the group. */
static const char *below(const char *name, const char *group)
{
    size_t n = strlen(group);
    if (!n)
        return name;
    return !strncmp(name, group, n) && name[n] == ' ' ? name + n + 1 : NULL;
}

/* Whether a command before c has the same name up to `end`. */
static bool is_repeated(const struct command *const *c, const char *end)
{
    size_t n = (size_t)(end - (*c)->name);
    for (const struct command *const *b = commands; b != c; b++)
        if (!strncmp((*b)->name, (*c)->name, n) && ((*b)->name[n] == ' ' || !(*b)->name[n]))
            return true;
    return false;
}

/* Calls fn for each word that may follow the group ("" = kiln itself). */
static void each_name(const char *group, name_fn *fn)
{
    for (const struct command *const *c = commands; *c; c++) {
        const char *rest = below((*c)->name, group), *space = rest ? strchr(rest, ' ') : NULL;
        if (!rest || (space && is_repeated(c, space)))
            continue;
        AUTO_FREE char *word = xstrndup(rest, strcspn(rest, " "));
        fn(word, space ? NULL : *c);
    }
    for (const struct word_alias *a = word_aliases; !*group && a->words; a++)
        for (const struct command *const *c = commands; !a->quiet && *c; c++)
            if (!strcmp((*c)->name, a->command) && !strchr(a->words, ' '))
                fn(a->words, *c);
}

/* Calls fn for each group: "image", "ci", "ci gitlab". */
static void each_group(void (*fn)(const char *group))
{
    for (const struct command *const *c = commands; *c; c++)
        for (const char *space = (*c)->name; (space = strchr(space, ' ')); space++)
            if (!is_repeated(c, space)) {
                AUTO_FREE char *group = xstrndup((*c)->name, (size_t)(space - (*c)->name));
                fn(group);
            }
}

static void group_pattern(const char *group)
{
    putchar('|');
    in_sh(group);
}

/* 'image build'|build */
static void print_pattern(const struct command *c)
{
    in_sh(c->name);
    for (const struct word_alias *a = word_aliases; a->words; a++)
        if (!a->quiet && !strcmp(a->command, c->name) && !strchr(a->words, ' '))
            printf("|%s", a->words);
}

static void bash_name(const char *name, const struct command *c)
{
    (void)c;
    printf(" %s", name);
}

static void bash_group(const char *group)
{
    fputs("    ", stdout);
    in_sh(group);
    fputs(") words='", stdout);
    each_name(group, bash_name);
    puts("' ;;");
}

static void bash_options(const struct option_spec *o)
{
    for (; o && o->name; o++) {
        printf(" --%s", o->name);
        if (o->letter)
            printf(" -%c", o->letter);
    }
}

static void print_bash(void)
{
    puts("# bash completion of kiln; made by 'kiln completion bash'\n_kiln() {");
    puts("  local cur=$2 prev=$3 first='' n=1 options='' names='' words=''");
    fputs("  while (( n < COMP_CWORD )); do\n    case $first in ''", stdout);
    each_group(group_pattern);
    puts(") first=${first:+$first }${COMP_WORDS[n++]} ;; *) break ;; esac\n  done");
    fputs("  case $first in\n    '') words='version", stdout);
    each_name("", bash_name);
    puts("' ;;");
    each_group(bash_group);
    for (const struct command *const *c = commands; *c; c++) {
        const char *names = names_of(*c);
        fputs("    ", stdout);
        print_pattern(*c);
        fputs(") options='", stdout);
        bash_options((*c)->options);
        bash_options((*c)->options == common_options ? NULL : common_options);
        printf("' names='%s' ;;\n", names ? names : "");
    }
    puts("  esac");
    puts("  if [ -n \"$words\" ]; then :");
    puts("  elif [[ $cur == -* ]]; then words=$options");
    // a name may hold blanks and what compgen -W would expand
    puts("  elif [[ -n $names && $prev != -* ]]; then\n    local name quoted");
    puts("    while IFS= read -r name; do\n      printf -v quoted %q \"$name\"");
    puts("      [[ $quoted == \"$cur\"* || $name == \"$cur\"* ]] && COMPREPLY+=(\"$quoted\")");
    puts("    done < <(kiln $names 2>/dev/null)\n    return");
    puts("  else return; fi");
    puts("  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n}");
    puts("complete -o default -o bashdefault -F _kiln kiln");
}

static void zsh_name(const char *name, const struct command *c)
{
    AUTO_FREE char *both = c ? xasprintf("%s:%s", name, c->summary) : xstrdup(name);
    fputs("\n      ", stdout);
    in_sh(both);
}

static void zsh_group(const char *group)
{
    fputs("    ", stdout);
    in_sh(group);
    fputs(") commands=(", stdout);
    each_name(group, zsh_name);
    puts(") ;;");
}

static void zsh_option(const char *dashes, const char *name, const struct option_spec *o)
{
    fputs(" \\\n        ", stdout);
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    buf_addf(&b, "*%s%s%s[", dashes, name, option_value_optional(o) ? "=-" : "");
    for (const char *p = o->help; *p; p++)
        buf_addf(&b, strchr("[]:\\", *p) ? "\\%c" : "%c", *p);
    buf_addc(&b, ']');
    if (option_value_optional(o))
        buf_adds(&b, "::value:");
    else if (o->value)
        buf_addf(&b, ":%s:%s", o->value,
                 strstr(o->value, "FILE") || strstr(o->value, "DIR") ? "_files" : "");
    in_sh(b.data);
}

static void zsh_options(const struct option_spec *o)
{
    for (; o && o->name; o++) {
        char letter[] = {o->letter, '\0'};
        zsh_option("--", o->name, o);
        if (o->letter)
            zsh_option("-", letter, o);
    }
}

static void print_zsh(void)
{
    puts("#compdef kiln\n# zsh completion of kiln; made by 'kiln completion zsh'");
    puts("_kiln_names() {\n  local -a names\n  names=(${(f)\"$(kiln $=1 2>/dev/null)\"})");
    puts("  compadd -a names\n}\n_kiln() {\n  local -a commands\n  local first= n=2");
    fputs("  while (( n < CURRENT )); do\n    case $first in (''", stdout);
    each_group(group_pattern);
    puts(") first=${first:+$first }$words[n]; (( n++ )) ;; (*) break ;; esac\n  done");
    fputs("  case $first in\n    '') commands=(", stdout);
    each_name("", zsh_name);
    puts(") ;;");
    each_group(zsh_group);
    puts("  esac\n  if (( $#commands )); then _describe command commands; return; fi");
    puts("  shift $((n - 2)) words; (( CURRENT -= n - 2 ))\n  case $first in");
    for (const struct command *const *c = commands; *c; c++) {
        const char *names = names_of(*c);
        fputs("    ", stdout);
        print_pattern(*c);
        fputs(") _arguments", stdout);
        zsh_options((*c)->options);
        zsh_options((*c)->options == common_options ? NULL : common_options);
        if (names)
            printf(" '*:name:{_kiln_names \"%s\"}' ;;\n", names);
        else
            puts(" '*:file:_files' ;;");
    }
    puts("  esac\n}\ncompdef _kiln kiln");
}

/* The end of a line. */
static void fish_summary(const struct command *c)
{
    if (c) {
        fputs(" -d ", stdout);
        in_fish(c->summary);
    }
    putchar('\n');
}

static void fish_name(const char *name, const struct command *c)
{
    printf("complete -c kiln -n __fish_use_subcommand -f -a %s", name);
    fish_summary(c);
}

/* The words of a group, when as many words as it has are there behind kiln. */
static void fish_group(const char *group)
{
    int n = 2;
    for (const char *p = group; *p; p++)
        n += *p == ' ';
    for (const struct command *const *c = commands; *c; c++) {
        const char *rest = below((*c)->name, group), *space = rest ? strchr(rest, ' ') : NULL;
        if (!rest || (space && is_repeated(c, space)))
            continue;
        printf(
            "complete -c kiln -n \"__kiln_is %s; and test (count (commandline -opc)) -eq %d\" "
            "-f -a %.*s",
            group, n, (int)strcspn(rest, " "), rest);
        fish_summary(space ? NULL : *c);
    }
}

static void fish_options(const struct command *c, const struct option_spec *o)
{
    for (; o && o->name; o++) {
        printf("complete -c kiln -n \"__kiln_is %s\" -l %s", c->name, o->name);
        if (o->letter)
            printf(" -s %c", o->letter);
        fputs(o->value && !option_value_optional(o) ? " -r -d " : " -d ", stdout);
        in_fish(o->help);
        putchar('\n');
    }
}

static void print_fish(void)
{
    puts("# fish completion of kiln; made by 'kiln completion fish'");
    puts("function __kiln_is\n    set -l words (commandline -opc)\n    set -e words[1]");
    puts("    switch \"$words[1]\"");
    for (const struct word_alias *a = word_aliases; a->words; a++)
        if (!a->quiet && !strchr(a->words, ' '))
            printf("        case %s\n            set words %s $words[2..]\n", a->words, a->command);
    puts("    end\n    test (count $words) -ge (count $argv); or return 1");
    puts("    test \"$words[1..\"(count $argv)\"]\" = \"$argv\"\nend");
    each_name("", fish_name);
    each_group(fish_group);
    for (const struct command *const *c = commands; *c; c++) {
        const char *names = names_of(*c);
        if (names)
            printf("complete -c kiln -n \"__kiln_is %s\" -f -a '(kiln %s 2>/dev/null)'\n",
                   (*c)->name, names);
        fish_options(*c, (*c)->options);
        if ((*c)->options != common_options)
            fish_options(*c, common_options);
    }
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    (void)s;
    if (!strcmp(a->pos[0], "bash"))
        print_bash();
    else if (!strcmp(a->pos[0], "zsh"))
        print_zsh();
    else if (!strcmp(a->pos[0], "fish"))
        print_fish();
    else
        return error_set(err, ERR_USAGE, "'%s' is not bash, zsh or fish", a->pos[0]);
    return 0;
}

const struct command cmd_completion = {
    .name = "completion",
    .summary = "Print a script that completes kiln's command line in a shell",
    .usage = "bash|zsh|fish",
    .detail =
        "'make install' and the Debian package install the scripts. By hand, for bash:\n"
        "  kiln completion bash >~/.local/share/bash-completion/completions/kiln\n",
    .options = common_options,
    .min_args = 1,
    .max_args = 1,
    .flags = CMD_NO_HOME,
    .run = run,
};
