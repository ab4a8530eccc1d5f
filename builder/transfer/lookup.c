// SPDX-License-Identifier: MIT
//
// What a cache has, seen by its manifests alone: one request a question.
#include "base/alloc.h"
#include "base/json.h"
#include "base/session.h"
#include "builder/transfer/manifest.h"
#include "builder/transfer/transfer.h"
#include "registry/client.h"

#include <string.h>
#include <zstd.h>

#define FILES_TYPE "application/vnd.kiln.files.v1+zstd"
enum { PACKED_MAX = 16 << 20 };

void transfer_layer_clear(struct transfer_layer *l)
{
    buf_clear(&l->manifest);
    *l = (struct transfer_layer){.manifest = BUF_INIT};
}

static int wrong(const char *what, struct error **err)
{
    return error_set(err, ERR_USER, "what the cache has under a key is not valid: %s", what);
}

/* 1, 0: there is none, -1. */
static int get(struct registry *r, const char *tag, struct buf *ret, char digest[DIGEST_HEX + 1],
               struct error **err)
{
    struct error *why = NULL;
    if (registry_manifest(r, tag, ret, digest, &why) == 0)
        return 1;
    if (why->kind != ERR_NOT_FOUND)
        return error_propagate(err, why);
    error_free(why);
    return 0;
}

static const char *layer_of(const json_t *descriptor)
{
    return json_str(json_object_get(descriptor, "annotations"), "dev.kiln.layer");
}

/* The layer that its pieces end with, which must stand on `parent` ("" = on nothing). */
static int take_ids(const json_t *pieces, const char *parent, char id[DIGEST_HEX + 1],
                    struct error **err)
{
    size_t n = json_array_size(pieces);
    const char *top = layer_of(json_array_get(pieces, n - 1)), *below = top;
    struct digest parsed;
    if (!top || !digest_parse(top, &parsed))
        return wrong("it does not say which layer it is", err);
    while (n && below && !strcmp(below, top))
        below = n-- > 1 ? layer_of(json_array_get(pieces, n - 1)) : "";
    if (!below || strcmp(below, parent) != 0)
        return wrong("it stands on another layer", err);
    digest_hex(&parsed, id);
    return 0;
}

static int take_layer(struct transfer_layer *l, const char *parent, struct error **err)
{
    json_auto_t *m = json_loadb(l->manifest.data, l->manifest.len, JSON_REJECT_DUPLICATES, NULL);
    const json_t *annotations = json_object_get(m, "annotations");
    const char *type = json_str(m, "artifactType"), *key = json_str(annotations, "dev.kiln.key");
    const char *size = json_str(annotations, "dev.kiln.virtual-size");
    if (!type || strcmp(type, TRANSFER_TYPE) != 0 || !key || strcmp(key, l->key) != 0)
        return wrong("it is of another key", err);
    if (!size || !*size || size[strspn(size, "0123456789")] || strlen(size) > 18)
        return wrong("the disk's size is missing", err);
    l->virtual_size = strtoull(size, NULL, 10);
    return take_ids(json_object_get(m, "layers"), parent, l->id, err);
}

int transfer_find_key(const struct session *s, struct registry *r, const char *key,
                      const char *parent, struct transfer_layer *ret, struct error **err)
{
    CLEANUP(transfer_layer_clear) struct transfer_layer l = {.manifest = BUF_INIT};
    AUTO_FREE char *tag = xasprintf(TRANSFER_KEY_TAG "%s", key);
    long long start = now_us();
    int found = get(r, tag, &l.manifest, l.digest, err);
    session_timing(s, "cache-lookup", now_us() - start);
    if (found <= 0)
        return found;
    memcpy(l.key, key, sizeof l.key);
    if (take_layer(&l, parent, err) < 0)
        return -1;
    *ret = l;
    l = (struct transfer_layer){.manifest = BUF_INIT};
    return 1;
}

static int unpack(const struct buf *packed, struct buf *ret, struct error **err)
{
    unsigned long long size = ZSTD_getFrameContentSize(packed->data, packed->len);
    if (size > TRANSFER_FILES_MAX) // also the two values that mean "unknown" and "error"
        return wrong("a list of files is damaged", err);
    buf_reset(ret);
    buf_reserve(ret, (size_t)size + 1);
    size_t got = ZSTD_decompress(ret->data, (size_t)size, packed->data, packed->len);
    if (ZSTD_isError(got) || got != size)
        return wrong("a list of files is damaged", err);
    ret->data[ret->len = got] = '\0';
    return 0;
}

int transfer_find_files(const struct session *s, struct registry *r, const char *question,
                        struct buf *ret, struct error **err)
{
    CLEANUP(buf_clear) struct buf manifest = BUF_INIT, packed = BUF_INIT;
    AUTO_FREE char *tag = xasprintf(TRANSFER_FILES_TAG "%s", question);
    char digest[DIGEST_HEX + 1], hex[DIGEST_HEX + 1];
    struct digest blob;
    long long start = now_us();
    int found = get(r, tag, &manifest, digest, err);
    if (found > 0) {
        json_auto_t *m = json_loadb(manifest.data, manifest.len, JSON_REJECT_DUPLICATES, NULL);
        const json_t *config = json_object_get(m, "config");
        const char *type = json_str(config, "mediaType");
        if (!type || strcmp(type, FILES_TYPE) != 0 ||
            !digest_parse_named(json_str(config, "digest"), &blob))
            return wrong("it is not a list of files", err);
        digest_hex(&blob, hex);
        if (registry_blob(r, hex, PACKED_MAX, &packed, err) < 0 || unpack(&packed, ret, err) < 0)
            return -1;
    }
    session_timing(s, "cache-lookup", now_us() - start);
    return found;
}

int transfer_push_files(struct registry *r, const char *question, struct str text,
                        struct error **err)
{
    AUTO_FREE char *tag = xasprintf(TRANSFER_FILES_TAG "%s", question);
    size_t room = ZSTD_compressBound(text.len);
    AUTO_FREE char *packed = xmalloc(room);
    char hex[DIGEST_HEX + 1], digest[DIGEST_HEX + 1];
    int there = registry_has_manifest(r, tag, err);
    size_t n = ZSTD_compress(packed, room, text.ptr, text.len, 3);
    if (there || ZSTD_isError(n) || n > PACKED_MAX)
        return there < 0 ? -1 : 0;
    if (registry_put_bytes(r, packed, n, hex, err) < 0)
        return -1;
    // the config is what it is all about, and its only layer: some registries want one
    json_auto_t *m = json_pack("{s:i,s:s,s:o,s:[o]}", "schemaVersion", 2, "mediaType",
                               MANIFEST_TYPE, "config", manifest_descriptor(FILES_TYPE, hex, n),
                               "layers", manifest_descriptor(FILES_TYPE, hex, n));
    return manifest_put(r, tag, m, digest, err);
}
