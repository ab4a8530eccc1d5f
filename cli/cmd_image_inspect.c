// SPDX-License-Identifier: MIT
//
// What the files of the backend tell about an image, and what is on its disk. The latter takes a
// builder VM, so it is asked once for each content and kept in <cache>/inspect.
#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/session.h"
#include "builder/shell.h"
#include "cli/build_ui.h"
#include "cli/command.h"
#include "cli/store.h"
#include "image/backend.h"

#include <string.h>
#include <time.h>

static const struct option_spec options[] = {
    {"json", 0, NULL, "Print everything as JSON", NULL},
    {"no-disk", 0, NULL, "Do not look at partitions and operating system", NULL},
    {"accel", 0, "auto|kvm|tcg", "Accelerator of the builder VM that looks at the disk", NULL},
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
    static const char *const fields[] = {"config", "steps", "kiln", "created"};
    for (size_t k = 0; k < sizeof fields / sizeof *fields; k++)
        if (json_object_get(meta, fields[k]))
            json_object_set(o, fields[k], json_object_get(meta, fields[k]));
    return o;
}

/* Where the description of the image's disk is kept, by content; owned. */
static char *disk_file(const struct session *s, const json_t *o, struct error **err)
{
    char hex[DIGEST_HEX + 1];
    const char *id = json_str(o, "layer");
    if (!id) {
        struct digest d;
        if (backend_digest(s->cache, json_str(o, "path"), &d, err) < 0)
            return NULL;
        digest_hex(&d, hex);
        id = hex;
    }
    return xasprintf("%s/inspect/%s.json", s->cache, id);
}

/* Adds "disk": partitions, file systems, operating system. */
static int add_disk(const struct session *s, const char *name, const char *accel, json_t *o,
                    struct error **err)
{
    AUTO_FREE char *file = disk_file(s, o, err);
    if (!file)
        return -1;
    json_t *disk = json_read_file(file, NULL);
    if (!disk) {
        CLEANUP(build_shown_clear) struct build_shown shown = {0};
        if (build_shown_init(&shown, "quiet", err) < 0)
            return -1;
        disk = shell_inspect(s, name, accel, &shown.ui, err);
        if (!disk)
            return error_hint(err, "--no-disk leaves out what is on the disk");
        AUTO_FREE char *dir = path_parent(file);
        if (make_dirs(dir, 0755, NULL) == 0)
            (void)json_write_file(file, 0644, disk, NULL); // only a cache
    }
    (void)json_object_set_new(o, "disk", disk);
    return 0;
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

static void print_line(const char *title, const char *text)
{
    if (!text || !*text)
        return;
    printf("%-14s ", title);
    print_safe(text);
    putchar('\n');
}

static void print_steps(const json_t *steps)
{
    size_t i;
    const json_t *step;
    json_array_foreach(steps, i, step) print_line(i ? "" : "steps", json_str(step, "step"));
}

static void print_disk(const json_t *disk)
{
    const json_t *parts = json_object_get(disk, "partitions"), *p;
    const json_t *os = json_object_get(disk, "os");
    size_t i;
    json_array_foreach(parts, i, p)
    {
        CLEANUP(buf_clear) struct buf b = BUF_INIT;
        const char *device = json_str(p, "name");
        buf_addf(&b, "%-8s ", device ? device : "");
        buf_add_size(&b, (uint64_t)json_int(p, "size", 0));
        const char *fs = json_str(p, "fs"), *label = json_str(p, "fs_label");
        buf_addf(&b, "  %s%s%s", fs ? fs : "", label && *label ? "  " : "", label ? label : "");
        print_line(i ? "" : "partitions", b.data);
    }
    print_line("system", json_str(os, "PRETTY_NAME"));
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
    const json_t *config = json_object_get(o, "config");
    print_map("env", json_object_get(config, "env"));
    print_map("labels", json_object_get(config, "labels"));
    print_line("workdir", json_str(config, "workdir"));
    print_line("user", json_str(config, "user"));
    print_disk(json_object_get(o, "disk"));
    print_steps(json_object_get(o, "steps"));
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    json_auto_t *o = describe(s, a->pos[0], err);
    if (!o || (!args_has(a, "no-disk") && add_disk(s, a->pos[0], args_get(a, "accel"), o, err) < 0))
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
