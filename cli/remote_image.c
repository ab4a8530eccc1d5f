// SPDX-License-Identifier: MIT
#include "cli/remote_image.h"

#include "base/alloc.h"
#include "base/json.h"
#include "builder/transfer/index.h"
#include "cli/registry_options.h"

#include <string.h>

enum { CONFIG_MAX = 16 << 20 };

static int connect_to(const struct session *s, const struct args *a, const char *text,
                      struct reference *ref, struct registry **ret, struct error **err)
{
    struct registry_options o = registry_options_of(a);
    return reference_parse(text, ref, err) < 0 ? -1 : registry_open(s, ref, &o, ret, err);
}

/* What --cache-to put there. */
static bool is_of_cache(const char *tag)
{
    size_t n = strlen(TRANSFER_KEY_TAG);
    return (!strncmp(tag, TRANSFER_KEY_TAG, n) || !strncmp(tag, TRANSFER_FILES_TAG, n)) &&
           strspn(tag + n, "0123456789abcdef") == DIGEST_HEX && !tag[n + DIGEST_HEX];
}

json_t *remote_image_list(const struct session *s, const struct args *a, const char *repo,
                          struct error **err)
{
    CLEANUP(reference_clear) struct reference ref = {0};
    CLEANUP(registry_freep) struct registry *r = NULL;
    CLEANUP(strv_clear) struct strv tags = {0};
    if (connect_to(s, a, repo, &ref, &r, err) < 0 || registry_tags(r, &tags, err) < 0)
        return NULL;
    json_t *list = json_array();
    vec_foreach (char **, tag, &tags) {
        AUTO_FREE char *name = reference_tagged(&ref, *tag);
        if (!is_of_cache(*tag))
            (void)json_array_append_new(list, json_pack("{s:s, s:s}", "name", name, "tag", *tag));
    }
    return list;
}

/* The config's text as JSON; NULL without *err: there is none that could be shown. */
static json_t *get_config(struct registry *r, const json_t *manifest, struct error **err)
{
    const json_t *d = json_object_get(manifest, "config");
    const char *digest = json_str(d, "digest");
    int64_t size = json_int(d, "size", 0);
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    struct digest parsed;
    if (!digest_parse_named(digest, &parsed) || size <= 2 || size > CONFIG_MAX)
        return NULL;
    return registry_blob(r, digest + 7, (size_t)size, &text, err) < 0
               ? NULL
               : json_loadb(text.data, text.len, 0, NULL);
}

static const char *type_of(const json_t *manifest)
{
    const char *type = json_str(manifest, "artifactType");
    if (!type || !*type)
        type = json_str(json_object_get(manifest, "config"), "mediaType");
    return type ? type : json_str(manifest, "mediaType");
}

static void add_sizes(json_t *o, const json_t *manifest, const json_t *config)
{
    const json_t *layers = json_object_get(manifest, "layers"), *l;
    int64_t size = 0, disk = json_int(json_object_get(config, "dev.kiln"), "virtual_size", 0);
    size_t i;
    json_array_foreach (layers, i, l) {
        int64_t n = json_int(l, "size", 0);
        size += n > 0 && n < INT64_MAX - size ? n : 0;
    }
    if (json_is_array(layers))
        (void)json_object_update_new(o, json_pack("{s:I, s:I}", "blobs",
                                                  (json_int_t)json_array_size(layers), "size",
                                                  (json_int_t)size));
    if (disk > 0)
        (void)json_object_set_new(o, "virtual_size", json_integer(disk));
}

json_t *remote_image_describe(const struct session *s, const struct args *a, const char *text,
                              struct error **err)
{
    CLEANUP(reference_clear) struct reference ref = {0};
    CLEANUP(registry_freep) struct registry *r = NULL;
    CLEANUP(buf_clear) struct buf reply = BUF_INIT;
    struct error *why = NULL;
    const char *platform = args_get(a, "platform");
    char digest[DIGEST_HEX + 1];
    if ((platform && index_check_platform(platform, err) < 0) ||
        connect_to(s, a, text, &ref, &r, err) < 0)
        return NULL;
    if (index_manifest(r, reference_version(&ref), platform, &reply, digest, err) < 0) {
        error_wrap(err, "'%s'", text);
        return NULL;
    }
    json_auto_t *manifest = json_loadb(reply.data, reply.len, 0, NULL);
    if (!json_is_object(manifest)) {
        error_set(err, ERR_USER, "the manifest of '%s' is not JSON", text);
        return NULL;
    }
    json_auto_t *config = get_config(r, manifest, &why);
    if (why) {
        error_propagate(err, why);
        return NULL;
    }
    AUTO_FREE char *name = reference_text(&ref), *id = xasprintf("sha256:%s", digest);
    json_t *o =
        json_pack("{s:s, s:s, s:s?}", "name", name, "digest", id, "type", type_of(manifest));
    add_sizes(o, manifest, config);
    (void)json_object_set(o, "manifest", manifest);
    if (config)
        (void)json_object_set(o, "config", config);
    return o;
}
