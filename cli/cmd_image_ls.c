// SPDX-License-Identifier: MIT
#include "base/json.h"
#include "base/session.h"
#include "cli/command.h"
#include "cli/registry_options.h"
#include "cli/remote_image.h"
#include "cli/store.h"
#include "image/backend.h"

#include <string.h>

static const struct option_spec options[] = {
    {"quiet", 'q', NULL, "Names only", NULL},
    {"json", 0, NULL, "Print the list as JSON", NULL},
    {"remote", 0, "REF", "List the images of HOST/REPOSITORY or oci-layout:DIR", NULL},
    REGISTRY_OPTIONS,
    {0},
};

static void print_json(const struct backend_images *images)
{
    json_auto_t *list = json_array();
    vec_foreach (const struct backend_image *, i, images) {
        json_t *o = i->broken ? json_pack("{s:s, s:s, s:I, s:s}", "name", i->name, "path", i->path,
                                          "modified", (json_int_t)i->mtime, "broken", i->broken)
                              : json_pack("{s:s, s:s, s:I, s:I, s:I, s:s, s:s?}", "name", i->name,
                                          "path", i->path, "modified", (json_int_t)i->mtime,
                                          "virtual_size", (json_int_t)i->virtual_size, "real_size",
                                          (json_int_t)i->real_size, "type",
                                          i->thin ? "thin" : "standalone", "layer", i->layer);
        if (o)
            json_array_append_new(list, o);
    }
    cli_print_json(list);
}

static void print_table(const struct backend_images *images)
{
    int width = 4;
    vec_foreach (const struct backend_image *, i, images)
        if ((int)strlen(i->name) > width)
            width = (int)strlen(i->name);
    printf(" %-*s %10s  %10s\n", width, "NAME", "VIRT SIZE", "REAL SIZE");
    vec_foreach (const struct backend_image *, i, images) {
        printf(" %-*s ", width, i->name);
        if (i->broken) {
            printf("%10s  %10s  (", "-", "-");
            cli_print_text(i->broken, 0);
            puts(")");
            continue;
        }
        cli_print_size(i->virtual_size, 10);
        printf("  ");
        cli_print_size(i->real_size, 10);
        putchar('\n');
    }
}

static int list_remote(const struct session *s, const struct args *a, const char *repo,
                       struct error **err)
{
    json_auto_t *list = remote_image_list(s, a, repo, err);
    size_t i;
    const json_t *image;
    if (!list)
        return -1;
    if (args_has(a, "json"))
        cli_print_json(list);
    else
        json_array_foreach (list, i, image) {
            cli_print_text(json_str(image, "name"), 0);
            putchar('\n');
        }
    return 0;
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    const char *remote = args_get(a, "remote");
    if (remote)
        return list_remote(s, a, remote, err);
    CLEANUP(backend_images_free) struct backend_images images = {0};
    if (backend_list(s->backend, &images, err) < 0)
        return -1;
    if (args_has(a, "quiet"))
        vec_foreach (const struct backend_image *, i, &images)
            puts(i->name);
    else if (args_has(a, "json"))
        print_json(&images);
    else
        print_table(&images);
    return 0;
}

const struct command cmd_image_ls = {
    .name = "image ls",
    .summary = "List the images of the backend",
    .usage = "[--quiet | --json] [--remote HOST/REPOSITORY | oci-layout:DIR]",
    .detail =
        "REAL SIZE is what an image takes on this disk, with every layer it stands on; images\n"
        "that share layers count them each. --remote asks a registry, and fetches no image.\n",
    .options = options,
    .run = run,
};
