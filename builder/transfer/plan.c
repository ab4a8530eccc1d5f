// SPDX-License-Identifier: MIT
//
// The config lists the records; each has the size of its file, so it is known how many pieces of the
// manifest are its own: those are taken in order, and all must be taken in the end.
#include "builder/transfer/plan.h"

#include "base/alloc.h"
#include "base/json.h"
#include "builder/transfer/transfer.h"

#include <string.h>

enum { CONFIG_MAX = 16 << 20, LAYERS_MAX = 256 };

void plan_clear(struct plan *p)
{
    plan_layers_clear(&p->layers);
    plan_pieces_clear(&p->pieces);
    json_decref(p->config);
    free(p->metadata);
    memset(p, 0, sizeof *p);
}

static int wrong(const char *what, struct error **err)
{
    return error_set(err, ERR_USER, "the image's manifest is not valid: %s", what);
}

static int take_descriptor(const json_t *d, char hex[DIGEST_HEX + 1], uint64_t *size,
                           struct error **err)
{
    const char *digest = json_str(d, "digest");
    struct digest parsed;
    int64_t n = json_int(d, "size", -1);
    if (!digest_parse_named(digest, &parsed))
        return wrong("a digest is not SHA-256", err);
    if (n <= 0)
        return wrong("a size is missing, or not positive", err);
    digest_hex(&parsed, hex);
    *size = (uint64_t)n;
    return 0;
}

/* The piece at `at` of the layer. zstd makes at most raw/256 bytes and a few more of it. */
static int take_piece(struct plan *p, const json_t *descriptor, const char *id, uint64_t at,
                      uint64_t left, struct error **err)
{
    struct plan_piece piece = {
        .at = at,
        .raw = left < TRANSFER_PIECE ? left : TRANSFER_PIECE,
        .layer = p->layers.len - 1,
    };
    const char *type = json_str(descriptor, "mediaType");
    const char *of = json_str(json_object_get(descriptor, "annotations"), "dev.kiln.layer");
    if (!type || strcmp(type, TRANSFER_LAYER) != 0)
        return wrong("it has layers of several kinds", err);
    if (!of || strcmp(of, id) != 0)
        return wrong("its pieces are of other layers than its records say", err);
    if (take_descriptor(descriptor, piece.hex, &piece.size, err) < 0)
        return -1;
    if (piece.size > piece.raw + piece.raw / 128 + 1024)
        return wrong("a blob is larger than what it is of", err);
    *plan_pieces_push(&p->pieces) = piece;
    return 0;
}

static int take_layer(struct plan *p, const json_t *record, const json_t *list, size_t *next,
                      struct error **err)
{
    const char *id = json_str(record, "id");
    struct digest parsed;
    int64_t size = json_int(record, "size", -1);
    if (!id || !digest_parse(id, &parsed) || size <= 0)
        return wrong("a layer's record has no id or size", err);
    const char *below = p->layers.len ? p->layers.ptr[p->layers.len - 1].id : NULL;
    const char *parent = json_str(record, "parent");
    if (below ? !parent || strcmp(parent, below) != 0 : parent != NULL)
        return wrong("its layers do not stand on one another", err);
    struct plan_layer *l = plan_layers_push(&p->layers);
    *l = (struct plan_layer){.record = record, .first = p->pieces.len};
    digest_hex(&parsed, l->id);
    for (uint64_t at = 0; at < (uint64_t)size; at += TRANSFER_PIECE, l->n++)
        if (take_piece(p, json_array_get(list, (*next)++), l->id, at, (uint64_t)size - at, err) < 0)
            return -1;
    return 0;
}

static int take_image(struct plan *p, const json_t *list, struct error **err)
{
    const json_t *ours = json_object_get(p->config, "dev.kiln"), *metadata;
    const json_t *records = json_object_get(ours, "layers");
    size_t next = 0, n = json_array_size(records);
    if (json_int(ours, "version", 0) != 1)
        return wrong("it was made by a newer kiln, or by another program", err);
    if (!n || n > LAYERS_MAX)
        return wrong("it has no layers, or more than 256", err);
    for (size_t i = 0; i < n; i++)
        if (take_layer(p, json_array_get(records, i), list, &next, err) < 0)
            return -1;
    if (next != json_array_size(list))
        return wrong("it has more pieces than its records say", err);
    int64_t size = json_int(ours, "virtual_size", -1);
    if (size <= 0)
        return wrong("the disk's size is missing", err);
    if (size != json_int(json_array_get(records, n - 1), "virtual_size", -1))
        return wrong("the disk's size is not that of its last layer", err);
    p->virtual_size = (uint64_t)size;
    metadata = json_object_get(ours, "metadata");
    if (metadata && !json_is_object(metadata))
        return wrong("its metadata is not an object", err);
    p->metadata = metadata ? json_text(metadata) : NULL;
    return 0;
}

/* The manifest, if it is of an image of kiln's, with its config's digest and size; new reference. */
static json_t *read_manifest(struct str text, char hex[DIGEST_HEX + 1], uint64_t *size,
                             struct error **err)
{
    json_auto_t *m = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, NULL);
    const char *type = json_str(m, "artifactType");
    int rc = 0;
    if (!json_is_object(m))
        rc = wrong("it is not JSON", err);
    else if (json_object_get(m, "manifests"))
        rc = error_set(err, ERR_USER, "it is an index of images for several platforms, not one");
    else if (!type || strcmp(type, TRANSFER_TYPE) != 0)
        rc = error_set(err, ERR_USER, "it is not an image that kiln pushed");
    else
        rc = take_descriptor(json_object_get(m, "config"), hex, size, err);
    return rc < 0 ? NULL : STEAL(m);
}

static int read_image(const json_t *manifest, struct str config, struct plan *ret,
                      struct error **err)
{
    CLEANUP(plan_clear) struct plan p = {0};
    p.config = json_loadb(config.ptr, config.len, JSON_REJECT_DUPLICATES, NULL);
    if (!p.config)
        return wrong("its config is not JSON", err);
    if (take_image(&p, json_object_get(manifest, "layers"), err) < 0)
        return -1;
    *ret = p;
    p = (struct plan){0};
    return 0;
}

int plan_parse(struct str manifest, struct str config, struct plan *ret, struct error **err)
{
    char hex[DIGEST_HEX + 1];
    uint64_t size;
    json_auto_t *m = read_manifest(manifest, hex, &size, err);
    return m ? read_image(m, config, ret, err) : -1;
}

int plan_read(struct registry *r, const struct buf *manifest, struct plan *ret, struct error **err)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    char hex[DIGEST_HEX + 1];
    uint64_t size;
    json_auto_t *m = read_manifest(buf_str(manifest), hex, &size, err);
    if (!m)
        return -1;
    if (size > CONFIG_MAX)
        return wrong("its config is larger than 16 MiB", err);
    if (registry_blob(r, hex, CONFIG_MAX, &text, err) < 0)
        return -1;
    return read_image(m, buf_str(&text), ret, err);
}
