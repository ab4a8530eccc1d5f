// SPDX-License-Identifier: MIT
//
// What the files of the backend tell about an image.
#include "base/buf.h"
#include "base/json.h"
#include "base/session.h"
#include "cli/command.h"
#include "cli/store.h"
#include "image/backend.h"

#include <string.h>
#include <time.h>

static const struct option_spec options[] = {
    {"json", 0, NULL, "Print everything as JSON", NULL},
    {0},
};

static json_t *chain_list(const struct session *s, const char *name, struct error **err)
{
    CLEANUP(strv_clear) struct strv chain = {0};
    if (backend_image_chain(s->backend, name, &chain, err) < 0)
        return NULL;
    json_t *list = json_array();
    for (size_t i = chain.len; i-- > 0;)
        json_array_append_new(list, json_string(chain.ptr[i]));
    return list;
}

/* Everything known, as a new reference. */
static json_t *describe(const struct session *s, const char *name, struct error **err)
{
    CLEANUP(backend_image_clear) struct backend_image i = {0};
    if (backend_find(s->backend, name, &i, err) < 0)
        return NULL;
    json_t *chain = chain_list(s, name, err);
    if (!chain)
        return NULL;
    json_t *o = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:s?, s:o}", "name", i.name, "path",
                          i.path, "type", i.thin ? "thin" : "standalone", "virtual_size",
                          (json_int_t)i.virtual_size, "real_size", (json_int_t)i.real_size,
                          "modified", (json_int_t)i.mtime, "layer", i.layer, "files", chain);
    json_auto_t *meta = i.metadata ? json_loads(i.metadata, 0, NULL) : NULL;
    static const char *const fields[] = {"env", "labels", "history", "kiln", "created"};
    for (size_t k = 0; k < sizeof fields / sizeof *fields; k++)
        if (json_object_get(meta, fields[k]))
            json_object_set(o, fields[k], json_object_get(meta, fields[k]));
    return o;
}

static void print_size(const char *what, uint64_t bytes)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    buf_add_size(&b, bytes);
    printf("%-14s %s\n", what, b.data);
}

/* Strings from an image may hold anything: nothing of it reaches the terminal raw. */
static void print_safe(const char *text)
{
    for (const char *p = text ? text : ""; *p; p++)
        putchar((unsigned char)*p < ' ' || *p == 0x7f ? '?' : *p);
}

static void print_map(const char *title, const json_t *map)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)map, key, value)
    {
        printf("%-14s ", title);
        print_safe(key);
        putchar('=');
        print_safe(json_string_value(value));
        putchar('\n');
        title = "";
    }
}

static void print_history(const json_t *history)
{
    size_t i;
    const json_t *step;
    json_array_foreach(history, i, step)
    {
        const char *text = json_is_string(step) ? json_string_value(step) : json_str(step, "step");
        printf("%-14s ", i ? "" : "history");
        print_safe(text);
        putchar('\n');
    }
}

static void print_text(const json_t *o)
{
    char when[64] = "";
    time_t t = (time_t)json_int(o, "modified", 0);
    struct tm tm;
    if (localtime_r(&t, &tm))
        (void)strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
    printf("%-14s %s\n", "name", json_str(o, "name"));
    printf("%-14s %s\n", "file", json_str(o, "path"));
    printf("%-14s %s\n", "type", json_str(o, "type"));
    if (json_str(o, "layer"))
        printf("%-14s %s\n", "layer", json_str(o, "layer"));
    printf("%-14s %zu\n", "chain", json_array_size(json_object_get(o, "files")));
    print_size("virtual size", (uint64_t)json_int(o, "virtual_size", 0));
    print_size("real size", (uint64_t)json_int(o, "real_size", 0));
    printf("%-14s %s\n", "modified", when);
    print_map("env", json_object_get(o, "env"));
    print_map("labels", json_object_get(o, "labels"));
    print_history(json_object_get(o, "history"));
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    json_auto_t *o = describe(s, a->pos[0], err);
    if (!o)
        return -1;
    if (args_has(a, "json"))
        cli_print_json(o);
    else
        print_text(o);
    return 0;
}

const struct command cmd_image_inspect = {
    .name = "image inspect",
    .summary = "Show what is known about an image",
    .usage = "[--json] NAME",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
