// SPDX-License-Identifier: MIT
#include "base/cleanup.h"
#include "cli/command.h"
#include "cli/progress.h"
#include "cli/registry_options.h"

#include <string.h>

static const struct option_spec options[] = {
    {"format", 0, "FORMAT",
     "layers, flat (one qcow2) or containerdisk (KubeVirt) [default: layers]", NULL},
    REGISTRY_OPTIONS,
    REGISTRY_JOBS,
    JSON_OPTION,
    {0},
};

static int parse_format(const char *text, enum transfer_format *ret, struct error **err)
{
    static const char *const words[] = {[TRANSFER_LAYERS] = "layers",
                                        [TRANSFER_FLAT] = "flat",
                                        [TRANSFER_CONTAINERDISK] = "containerdisk"};
    for (size_t i = 0; text && i < sizeof words / sizeof *words; i++)
        if (!strcmp(text, words[i])) {
            *ret = (enum transfer_format)i;
            return 0;
        }
    return !text ? 0
                 : error_set(err, ERR_USAGE,
                             "argument --format: '%s' is not layers, flat or containerdisk", text);
}

/* Every reference is checked before anything is sent. */
static int check(const struct args *a, struct error **err)
{
    for (size_t i = 1; i < a->n_pos; i++) {
        CLEANUP(reference_clear) struct reference ref = {0};
        if (reference_parse(a->pos[i], &ref, err) < 0)
            return -1;
        if (ref.digest) {
            error_set(err, ERR_USER, "'%s' names a digest: a push needs a tag", a->pos[i]);
            return error_hint(err, "the digest follows from what is pushed");
        }
    }
    return 0;
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(progress_clear) struct progress bar;
    struct transfer_options o = {0};
    progress_init(&bar, stderr, PROGRESS_AUTO);
    progress_hear(&bar, s);
    if (registry_options_take(a, &o, err) < 0 ||
        parse_format(args_get(a, "format"), &o.format, err) < 0 || check(a, err) < 0)
        return -1;
    int (*push)(const struct session *, const char *, const struct reference *,
                const struct transfer_options *, char *, struct error **) =
        o.format == TRANSFER_LAYERS ? transfer_push : transfer_push_flat;
    json_t *references = a->result ? json_array() : NULL;
    if (references)
        (void)json_object_set_new(a->result, "references", references);
    for (size_t i = 1; i < a->n_pos; i++) {
        CLEANUP(reference_clear) struct reference ref = {0};
        char digest[DIGEST_HEX + 1];
        if (reference_parse(a->pos[i], &ref, err) < 0 ||
            push(s, a->pos[0], &ref, &o, digest, err) < 0)
            return -1;
        AUTO_FREE char *pinned = reference_pinned(&ref, digest);
        json_array_append_new(references, json_string(pinned));
        if (!a->result)
            puts(pinned);
    }
    return 0;
}

const struct command cmd_image_push = {
    .name = "image push",
    .summary = "Send an image to a registry, with its layers",
    .usage = "[options] NAME oci://HOST/REPOSITORY[:TAG] | oci-layout:DIR[:TAG]...",
    .detail =
        "What the registry has already is not sent again. Prints the reference by digest.\n"
        "oci-layout:DIR is a folder with the OCI image layout, which is made if need be.\n",
    .options = options,
    .min_args = 2,
    .max_args = SIZE_MAX,
    .flags = CMD_RESULT,
    .run = run,
};
