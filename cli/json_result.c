// SPDX-License-Identifier: MIT
#include "cli/json_result.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "base/source.h"
#include "cli/store.h"

#include <string.h>

static bool wants_json(const struct args *a)
{
    bool has = false;
    for (const struct option_spec *o = a->command->options; o && o->name; o++) {
        if (!strcmp(o->name, "progress")) // a build, which prints events
            return false;
        has |= !strcmp(o->name, "json");
    }
    return has && args_has(a, "json");
}

json_t *json_result_new(const struct args *a)
{
    if (!(a->command->flags & CMD_RESULT) || !wants_json(a))
        return NULL;
    return json_pack("{s:i, s:s}", "schema", JSON_SCHEMA, "command", a->command->name);
}

static const char *const kinds[] = {
    [ERR_USER] = "user",        [ERR_USAGE] = "usage",   [ERR_NOT_FOUND] = "not-found",
    [ERR_EXISTS] = "exists",    [ERR_BUSY] = "busy",     [ERR_SYSTEM] = "system",
    [ERR_GUEST] = "guest",      [ERR_KILLED] = "killed", [ERR_CANCELLED] = "cancelled",
    [ERR_REPORTED] = "reported"};

const char *json_error_kind(const struct error *err)
{
    return kinds[err->kind];
}

struct error *json_error_read(const json_t *object)
{
    const char *kind = json_str(object, "kind"), *message = json_str(object, "message"),
               *hint = json_str(object, "hint"), *file = json_str(object, "file");
    struct error *e = NULL;
    for (int i = ERR_USER; kind && message && i <= ERR_REPORTED; i++)
        if (!strcmp(kind, kinds[i]))
            error_set(&e, (enum error_kind)i, "%s", message);
    if (!e)
        return NULL;
    e->status = (int)json_int(object, "status", 0);
    if (hint)
        error_hint(&e, "%s", hint);
    if (file)
        error_at(&e, file, (unsigned)json_int(object, "line", 0),
                 (unsigned)json_int(object, "column", 0));
    return e;
}

/* What is not UTF-8 becomes U+FFFD; NULL is left out. */
static void add_text(json_t *o, const char *name, const char *text)
{
    CLEANUP(buf_clear) struct buf clean = BUF_INIT;
    if (!text)
        return;
    source_add_utf8(&clean, str_of(text));
    (void)json_object_set_new(o, name, json_stringn(clean.data, clean.len));
}

static json_t *error_object(const struct error *err)
{
    json_t *e =
        json_pack("{s:s, s:i}", "kind", json_error_kind(err), "status", command_exit_status(err));
    bool stopped = err->kind == ERR_CANCELLED;
    add_text(e, "message", stopped ? "interrupted" : err->message ? err->message : "");
    add_text(e, "hint", stopped ? NULL : err->hint);
    add_text(e, "file", err->loc.path);
    if (err->loc.path && err->loc.line)
        (void)json_object_set_new(e, "line", json_integer(err->loc.line));
    if (err->loc.path && err->loc.line && err->loc.column)
        (void)json_object_set_new(e, "column", json_integer(err->loc.column));
    return e;
}

void json_result_print(const struct args *a, const struct error *err)
{
    if (!err && !a->result)
        return;
    if (!a->result && !wants_json(a))
        return;
    json_auto_t *o =
        a->result ? json_incref(a->result)
                  : json_pack("{s:i, s:s}", "schema", JSON_SCHEMA, "command", a->command->name);
    if (err)
        (void)json_object_set_new(o, "error", error_object(err));
    cli_print_json(o);
}
