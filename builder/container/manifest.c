// SPDX-License-Identifier: MIT
//
// image-spec: manifest.md, config.md; docker's image manifest version 2, schema 2.
#include "builder/container/private.h"

#include "base/alloc.h"
#include "base/json.h"
#include "base/printable.h"

#include <string.h>

enum { LAYERS_MAX = 1024 };

static bool is_layer(const char *type)
{
    static const char *const types[] = {"application/vnd.oci.image.layer.v1.tar",
                                        "application/vnd.docker.image.rootfs.diff.tar",
                                        "application/vnd.oci.image.layer.nondistributable.v1.tar"};
    static const char *const packed[] = {"", "+gzip", "+zstd", ".gzip", ".zstd"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        for (size_t j = 0; j < sizeof packed / sizeof *packed; j++)
            if (!strncmp(type, types[i], strlen(types[i])) &&
                !strcmp(type + strlen(types[i]), packed[j]))
                return true;
    return false;
}

static int not_container(const char *type, struct error **err)
{
    AUTO_FREE char *line = printable_line(type);
    error_set(err, ERR_USER, "it is not a container image: it has a layer of type '%.100s'", line);
    return error_hint(err, !strncmp(type, "application/vnd.kiln.", 21)
                               ? "it is an image with a disk: write FROM in place of ADD"
                               : "ADD unpacks images whose layers are tar archives");
}

static int descriptor(const json_t *d, char hex[DIGEST_HEX + 1], uint64_t *ret_size,
                      struct error **err)
{
    const char *digest = json_str(d, "digest");
    int64_t size = json_int(d, "size", -1);
    struct digest parsed;
    if (!digest || strncmp(digest, "sha256:", 7) != 0 || !digest_parse(digest + 7, &parsed))
        return error_set(err, ERR_USER,
                         "the image's manifest is not valid: a digest is not SHA-256");
    if (size <= 0)
        return error_set(err, ERR_USER,
                         "the image's manifest is not valid: a size is missing, or not positive");
    digest_hex(&parsed, hex);
    *ret_size = (uint64_t)size;
    return 0;
}

int container_take_manifest(struct container *c, struct str text, struct error **err)
{
    json_auto_t *m = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, NULL);
    const json_t *layers = json_object_get(m, "layers"), *layer;
    size_t i;
    if (json_object_get(m, "fsLayers")) {
        error_set(err, ERR_USER, "the image's manifest is of docker's old schema 1");
        return error_hint(
            err, "'skopeo copy docker://… docker://…' or docker 1.10 and later writes schema 2");
    }
    if (!json_is_array(layers))
        return error_set(err, ERR_USER,
                         "the image's manifest is not valid: it has no list of layers");
    if (json_array_size(layers) > LAYERS_MAX)
        return error_set(err, ERR_USER, "it has more than %d layers", LAYERS_MAX);
    if (descriptor(json_object_get(m, "config"), c->config, &c->config_size, err) < 0)
        return -1;
    json_array_foreach (layers, i, layer) {
        const char *type = json_str(layer, "mediaType");
        struct container_layer l = {.fd = -1};
        if (!is_layer(type ? type : ""))
            return not_container(type ? type : "", err);
        if (descriptor(layer, l.hex, &l.size, err) < 0)
            return -1;
        c->bytes = l.size < UINT64_MAX - c->bytes ? c->bytes + l.size : UINT64_MAX;
        *container_layers_push(&c->layers) = l;
    }
    return 0;
}

/* "linux/amd64" of a config; "/" where it does not say. */
int container_check_config(const struct container *c, struct str text, struct error **err)
{
    json_auto_t *config = json_loadb(text.ptr, text.len, 0, NULL);
    const char *os = json_str(config, "os"), *arch = json_str(config, "architecture");
    const char *want = c->platform ? c->platform : "linux/amd64", *slash = strchr(want, '/');
    const char *want_arch = slash ? slash + 1 : want;
    size_t n = strcspn(want_arch, "/");
    if (!json_is_object(config))
        return error_set(err, ERR_USER, "the image's config is not valid: it is not JSON");
    if (!arch || !*arch || (strlen(arch) == n && !strncmp(arch, want_arch, n)))
        return 0;
    AUTO_FREE char *name = xasprintf("%s/%s", os ? os : "linux", arch);
    AUTO_FREE char *line = printable_line(name);
    error_set(err, ERR_USER, "it is an image for '%s', not for '%s'", line, want);
    return error_hint(err, "ADD --platform=%s unpacks it nevertheless", line);
}
