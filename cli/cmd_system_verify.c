// SPDX-License-Identifier: MIT
#include "base/alloc.h"
#include "base/session.h"
#include "cache/prune.h"
#include "cache/store.h"
#include "cli/command.h"
#include "cli/store.h"
#include "image/backend.h"
#include "image/source.h"

#include <string.h>

static const struct option_spec options[] = {
    {"repair", 0, NULL, "Remove damaged layers that no image needs; builds make them again", NULL},
    {"json", 0, NULL, "Print the result as JSON", NULL},
    {0},
};

struct report {
    const struct session *session;
    bool text;
    json_t *damaged; /* array of {"id", "step", "why"} */
    struct backend_images images;
};

/* A base was the file of an image, and may be one still. */
static void tell_base(const struct report *r, const char *spec)
{
    AUTO_FREE char *name = xstrndup(spec, strcspn(spec, ","));
    if (!backend_has(r->session->backend, name))
        return;
    CLEANUP(image_source_clear) struct image_source from = {0};
    fputs("              it is the image '", stdout);
    cli_print_text(name, 0);
    if (image_source_read(r->session->backend, name, &from))
        fputs(from.kind == SPEC_OCI ? "': 'kiln image pull --force --name "
                                    : "': 'kiln image pull --force ",
              stdout);
    else
        fputs("': 'kiln image import --force FILE ", stdout);
    cli_print_text(name, 0);
    if (from.kind == SPEC_OCI) {
        fputs(" ", stdout);
        cli_print_text(from.from, 0);
    }
    puts("' and the next build repair it");
}

static void tell(void *arg, const char *id, const char *step, const char *why)
{
    struct report *r = arg;
    int len = (int)strcspn(step, "\n");
    if (r->text && (why || r->session->verbosity > 0)) {
        AUTO_FREE char *line = xasprintf("%.12s  %s  %.*s%s%s", id, why ? "DAMAGED" : "ok     ",
                                         len, step, why ? ": " : "", why ? why : "");
        cli_print_text(line, 0);
        putchar('\n');
    }
    if (!why)
        return;
    if (r->text && !strncmp(step, "FROM ", 5))
        tell_base(r, step + 5);
    json_t *names = json_array();
    vec_foreach (const struct backend_image *, image, &r->images)
        if (image->layer && !strcmp(image->layer, id)) {
            json_array_append_new(names, json_string(image->name));
            if (r->text)
                printf(
                    "              the image '%s' needs it: 'kiln image build --name %s DIR' "
                    "repairs "
                    "it\n",
                    image->name, image->name);
        }
    json_t *o = json_object();
    json_object_set_new(o, "id", json_string(id));
    json_object_set_new(o, "step", json_string(step));
    json_object_set_new(o, "why", json_string(why));
    json_object_set_new(o, "images", names);
    json_array_append_new(r->damaged, o);
}

static void print_json(const struct report *r, const struct verify_result *v)
{
    json_auto_t *o = json_object();
    json_object_set(o, "damaged", r->damaged);
    json_object_set_new(o, "layers", json_integer((json_int_t)v->layers));
    json_object_set_new(o, "bytes", json_integer((json_int_t)v->bytes));
    json_object_set_new(o, "removed", json_integer((json_int_t)v->removed));
    cli_print_json(o);
}

static void print_text(const struct verify_result *v)
{
    printf("%zu layers, ", v->layers);
    cli_print_size(v->bytes, 0);
    printf(" read: %zu damaged, %zu removed\n", v->damaged, v->removed);
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    bool json = args_has(a, "json");
    struct verify_result v = {0};
    struct report r = {.session = s, .text = !json, .damaged = json_array()};
    CLEANUP(store_freep) struct store *st = NULL;
    int rc = cli_store_to_prune(s, &st, err);
    if (rc == 0)
        rc = backend_list(s->backend, &r.images, err);
    if (rc == 0)
        rc = store_verify(st, args_has(a, "repair"), cli_store_roots, s, tell, &r, &v, err);
    if (rc == 0 && json)
        print_json(&r, &v);
    else if (rc == 0)
        print_text(&v);
    json_decref(r.damaged);
    backend_images_free(&r.images);
    return rc < 0 ? -1 : v.damaged > 0;
}

const struct command cmd_system_verify = {
    .name = "system verify",
    .summary = "Read every layer and compare it with its digest",
    .usage = "[--repair] [--json]",
    .detail =
        "A layer that is found damaged is never used by a build again. The exit status is 1 if\n"
        "there is one.\n",
    .options = options,
    .run = run,
};
