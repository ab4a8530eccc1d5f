// SPDX-License-Identifier: MIT
#include "base/alloc.h"
#include "base/json.h"
#include "base/session.h"
#include "cli/command.h"
#include "cli/list.h"
#include "cli/registry_options.h"
#include "cli/remote_image.h"
#include "cli/store.h"
#include "image/backend.h"

#include <fnmatch.h>
#include <stdint.h>
#include <string.h>

static const struct option_spec options[] = {
    {"all", 'a', NULL, "All images are listed anyway", NULL},
    {"no-trunc", 0, NULL, "Accepted for docker's users: nothing is shortened", NULL},
    {"quiet", 'q', NULL, "Names only", NULL},
    {"json", 0, NULL, "Print the list as JSON", NULL},
    LIST_FORMAT_OPTION("{{.Name}}\\t{{.RealSize}}"),
    {"remote", 0, "REF", "List the images of HOST/REPOSITORY or oci-layout:DIR", NULL},
    REGISTRY_OPTIONS,
    {0},
};

/* New reference. */
static json_t *describe(const struct backend_image *i)
{
    if (i->broken)
        return json_pack("{s:o, s:o, s:I, s:o}", "name", json_path(i->name), "path",
                         json_path(i->path), "modified", (json_int_t)i->mtime, "broken",
                         json_path(i->broken));
    return json_pack("{s:o, s:o, s:I, s:I, s:I, s:s, s:s?}", "name", json_path(i->name), "path",
                     json_path(i->path), "modified", (json_int_t)i->mtime, "virtual_size",
                     (json_int_t)i->virtual_size, "real_size", (json_int_t)i->real_size, "type",
                     i->thin ? "thin" : "standalone", "layer", i->layer);
}

/* Where ":tag" begins in a name; its end if it has none. A colon before a slash is a server's port. */
static const char *tag_of(const char *name)
{
    const char *colon = strrchr(name, ':');
    return colon && !strchr(colon, '/') ? colon : name + strlen(name);
}

static void add_repository(struct buf *b, const json_t *item, const char *key)
{
    const char *name = json_str(item, key);
    if (name)
        buf_add(b, name, (size_t)(tag_of(name) - name));
}

static void add_tag(struct buf *b, const json_t *item, const char *key)
{
    const char *name = json_str(item, key), *tag = name ? tag_of(name) : "";
    buf_adds(b, *tag ? tag + 1 : "latest");
}

static const struct list_column columns[] = {
    {.field = "Name", .alias = "ID", .head = "NAME", .key = "name", .blank = true},
    LIST_SIZE_COLUMNS(0),
    {.field = "Modified", .alias = "CreatedAt", .key = "modified", .add = list_add_time},
    {LIST_AGE("modified"), .alias = "CreatedSince"},
    {.field = "Type", .key = "type"},
    {.field = "Layer", .key = "layer"},
    {.field = "Path", .key = "path"},
    {.field = "Repository", .key = "name", .add = add_repository, .text = true},
    {.field = "Tag", .key = "name", .add = add_tag, .text = true},
    {0},
};

static const struct list_column remote_columns[] = {
    {.field = "Name", .alias = "ID", .head = "NAME", .key = "name"},
    {.field = "Tag", .key = "tag"},
    {0},
};

static int list_remote(const struct session *s, const struct args *a, const char *repo,
                       struct error **err)
{
    if (list_check(a, remote_columns, err) < 0)
        return -1;
    json_auto_t *list = remote_image_list(s, a, repo, err);
    size_t i;
    const json_t *image;
    if (!list)
        return -1;
    if (args_has(a, "json") || args_has(a, "format"))
        return list_print(a, remote_columns, list, err);
    json_array_foreach (list, i, image) {
        cli_print_text(json_str(image, "name"), 0);
        putchar('\n');
    }
    return 0;
}

/* Whether one of the patterns means it; "debian" also means "debian:12". */
static bool is_wanted(const struct args *a, const char *name)
{
    AUTO_FREE char *plain = xstrndup(name, (size_t)(tag_of(name) - name));
    for (size_t i = 0; i < a->n_pos; i++)
        if (!strcmp(a->pos[i], name) || !fnmatch(a->pos[i], name, 0) ||
            !fnmatch(a->pos[i], plain, 0))
            return true;
    return !a->n_pos;
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    const char *remote = args_get(a, "remote");
    if (remote && a->n_pos)
        return error_set(err, ERR_USAGE, "--remote lists a whole repository, without NAME");
    if (remote)
        return list_remote(s, a, remote, err);
    CLEANUP(backend_images_free) struct backend_images images = {0};
    json_auto_t *list = json_array();
    if (list_check(a, columns, err) < 0 || backend_list(s->backend, &images, err) < 0)
        return -1;
    vec_foreach (const struct backend_image *, i, &images)
        if (is_wanted(a, i->name))
            (void)json_array_append_new(list, describe(i));
    return list_print(a, columns, list, err);
}

const struct command cmd_image_ls = {
    .name = "image ls",
    .summary = "List the images of the backend",
    .usage =
        "[--quiet | --json | --format TEMPLATE] [--remote HOST/REPOSITORY | oci-layout:DIR] "
        "[NAME...]",
    .detail =
        "REAL SIZE is what an image takes on this disk, with every layer it stands on; images\n"
        "that share layers count them each. --remote asks a registry, and fetches no image.\n"
        "NAME: only images of this name, with any tag; it may have * and ?.\n"
        "Fields of --format are .Name, .VirtSize, .RealSize, .Modified, .Age, .Type, .Layer, "
        ".Path,\n"
        ".Repository, .Tag (latest without one); with --remote .Name and .Tag.\n",
    .options = options,
    .max_args = SIZE_MAX,
    .run = run,
};
