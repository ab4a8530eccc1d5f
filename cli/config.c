// SPDX-License-Identifier: MIT
#include "cli/config.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/nearest.h"
#include "base/toml.h"

#include <string.h>
#include <unistd.h>

enum { FILE_MAX = 1 << 20 };

extern const struct command cmd_run, cmd_create, cmd_start, cmd_ci_gitlab_config,
    cmd_ci_gitlab_prepare, cmd_ci_gitlab_run, cmd_ci_gitlab_cleanup;
static const struct {
    const struct command *command;
    const char *table;
    bool only; /* keys before the first table are not for it */
} readers[] = {{&cmd_run, "run", false},
               {&cmd_create, "create", false},
               {&cmd_start, "start", false},
               {&cmd_ci_gitlab_config, "ci", true},
               {&cmd_ci_gitlab_prepare, "ci", true},
               {&cmd_ci_gitlab_run, "ci", true},
               {&cmd_ci_gitlab_cleanup, "ci", true}};
enum { N_READERS = sizeof readers / sizeof *readers };

struct config {
    struct args *args;
    const char *path;
    size_t n_options; /* that settings files gave so far: they stand before the command line's */
    size_t n_rest;
    const char *table; /* of the command */
    bool only;
};

static int wrong(const struct config *c, const struct toml_entry *e, const char *what,
                 struct error **err)
{
    struct error *why = NULL;
    error_set(&why, ERR_USER, "key '%s': %s", e->key, what);
    why->loc.path = xstrdup(c->path);
    why->loc.line = e->line;
    why->loc.column = e->column;
    return error_propagate(err, why);
}

/* Whether another command that reads the table has the option. */
static bool known_elsewhere(const char *table, const char *name)
{
    for (size_t i = 0; i < N_READERS; i++)
        if ((*table ? !strcmp(table, readers[i].table) : !readers[i].only) &&
            command_option(readers[i].command, name))
            return true;
    return !strcmp(name, "qemu-args");
}

static int unknown(const struct config *c, const struct toml_entry *e, const char *name,
                   struct error **err)
{
    CLEANUP(strv_clear) struct strv names = {0};
    for (const struct option_spec *o = c->args->command->options; o->name; o++)
        strv_add(&names, o->name);
    (void)wrong(c, e, "unknown option", err);
    const char *near = nearest_name(str_of(name), (const char *const *)names.ptr);
    if (near)
        return error_hint(err, "did you mean '%s'?", near);
    return error_hint(err, "'kiln %s --help' lists the options", c->args->command->name);
}

static int take_qemu_args(struct config *c, const struct toml_entry *e, struct error **err)
{
    if (e->type != TOML_ARRAY)
        return wrong(c, e, "needs an array of strings", err);
    vec_foreach (char **, item, &e->items)
        args_insert_rest(c->args, c->n_rest++, *item);
    return 0;
}

/* Whether a value of that form may be a number, as options' help shows forms. */
static bool takes_number(const char *form)
{
    static const char *const forms[] = {"N",    "PORT",       "SECONDS", "SIZE",
                                        "TIME", "[=SECONDS]", "N|auto",  "SIZE|auto"};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (!strcmp(form, forms[i]))
            return true;
    return false;
}

/* A number where there are only texts, or a text where there are only numbers. */
static int check_type(const struct config *c, const struct option_spec *o,
                      const struct toml_entry *e, struct error **err)
{
    static const char *const numbers[] = {"N", "PORT", "SECONDS"};
    if (e->type == TOML_INTEGER && !takes_number(o->value))
        return wrong(c, e, "needs a string", err);
    for (size_t i = 0; e->type == TOML_STRING && i < sizeof numbers / sizeof *numbers; i++)
        if (!strcmp(o->value, numbers[i]) && !e->text[strcspn(e->text, "0123456789")])
            return wrong(c, e, "needs an integer", err);
    return 0;
}

static int take_entry(struct config *c, const struct toml_entry *e, struct error **err)
{
    static const char *const refused[] = {"config", "verbose", "help", "image"};
    AUTO_FREE char *name = xstrdup(e->key);
    for (char *p = name; *p; p++)
        if (*p == '_')
            *p = '-';
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (!strcmp(name, refused[i]))
            return wrong(c, e, "is not for a settings file", err);
    if (!strcmp(name, "qemu-args"))
        return take_qemu_args(c, e, err);
    const struct option_spec *o = command_option(c->args->command, name);
    if (!o)
        return known_elsewhere(e->table, name) ? 0 : unknown(c, e, name, err);
    if (!o->value && e->type != TOML_BOOLEAN)
        return wrong(c, e, "needs true or false", err);
    if (o->value && *o->value != '[' && e->type == TOML_BOOLEAN)
        return wrong(c, e, "needs a string or an integer, or an array of them", err);
    if (o->value && check_type(c, o, e, err) < 0)
        return -1;
    if (e->type == TOML_BOOLEAN && !e->flag) // as if no file before had said it
        c->n_options -= args_remove(c->args, c->n_options, o);
    if (e->type == TOML_BOOLEAN ? e->flag : e->type != TOML_ARRAY)
        args_insert(c->args, c->n_options++, o, e->type == TOML_BOOLEAN ? NULL : e->text);
    vec_foreach (char **, item, &e->items)
        args_insert(c->args, c->n_options++, o, *item);
    return 0;
}

static int check_tables(const struct config *c, const struct toml *t, struct error **err)
{
    vec_foreach (char **, table, &t->tables) {
        bool known = false;
        for (size_t i = 0; i < N_READERS; i++)
            known |= !strcmp(*table, readers[i].table);
        if (!known) {
            error_set(err, ERR_USER, "'%s' has a table [%s]", c->path, *table);
            return error_hint(err, "there are [run], [create], [start] and [ci]");
        }
    }
    return 0;
}

static int take_file(struct config *c, const char *path, struct error **err)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    CLEANUP(toml_clear) struct toml t = {0};
    c->path = path;
    if (file_read(path, FILE_MAX, &text, err) < 0 ||
        toml_parse(path, text.data ? text.data : "", text.len, &t, err) < 0 ||
        check_tables(c, &t, err) < 0)
        return -1;
    vec_foreach (const struct toml_entry *, e, &t.entries)
        if ((*e->table ? !strcmp(e->table, c->table) : !c->only) && take_entry(c, e, err) < 0)
            return -1;
    return 0;
}

static int take_defaults(const struct session *s, struct config *c, struct error **err)
{
    static const char machine[] = "/etc/kiln/config.toml";
    const char *given = session_setting(s, "XDG_CONFIG_HOME"), *home = session_setting(s, "HOME");
    AUTO_FREE char *own = given  ? path_join(given, "kiln/config.toml")
                          : home ? path_join(home, ".config/kiln/config.toml")
                                 : NULL;
    if (access(machine, F_OK) == 0 && take_file(c, machine, err) < 0)
        return -1;
    return own && access(own, F_OK) == 0 ? take_file(c, own, err) : 0;
}

int config_apply(const struct session *s, struct args *a, struct error **err)
{
    struct config c = {.args = a};
    for (size_t i = 0; i < N_READERS; i++)
        if (readers[i].command == a->command) {
            c.table = readers[i].table;
            c.only = readers[i].only;
        }
    if (!c.table)
        return 0;
    AUTO_FREE char *file = args_has(a, "config") ? xstrdup(args_get(a, "config")) : NULL;
    if (a->command != &cmd_start && take_defaults(s, &c, err) < 0)
        return -1;
    if (file && access(file, R_OK) < 0)
        return error_errno(err, "argument --config: cannot read '%s'", file);
    return file ? take_file(&c, file, err) : 0;
}
