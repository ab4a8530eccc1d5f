// SPDX-License-Identifier: MIT
#include "builder/build/image_chain.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/session.h"
#include "builder/transfer/transfer.h"
#include "cache/history.h"
#include "cache/store.h"
#include "image/backend.h"
#include "image/pull.h"
#include "qcow2/qcow2.h"
#include "registry/reference.h"

#include <stdio.h>
#include <string.h>

void image_chain_clear(struct image_chain *c)
{
    strv_clear(&c->files);
    json_decref(c->metadata);
    store_free(c->store);
    free(c->ref);
    *c = (struct image_chain){0};
}

static int top_size(struct image_chain *c, struct error **err)
{
    struct qcow2_info info = {0};
    if (qcow2_read(c->files.ptr[c->files.len - 1], QCOW2_OWN, &info, err) < 0)
        return -1;
    c->size = info.size;
    qcow2_info_clear(&info);
    return 0;
}

static int open_image(const struct session *s, struct store *st, const struct image_request *r,
                      struct image_chain *c, struct error **err)
{
    CLEANUP(backend_image_clear) struct backend_image image = {0};
    struct image_pull_options o = {
        .policy = r->pull, .checksum = r->checksum, .checksum_beside = true};
    if (transfer_ensure(s, r->ref, &o, &r->transfer, &image, err) < 0)
        return -1;
    c->metadata = json_parse_object(image.metadata);
    c->size = image.virtual_size;
    if (!image.thin)
        strv_add(&c->files, image.path);
    else if (store_chain(st, image.layer, &c->files, err) < 0)
        return error_wrap(err, "image '%s'", image.name);
    return 0;
}

/* The number of the last step in a list of {"n": number, …}. */
static int64_t last_step(const json_t *steps)
{
    return json_int(json_array_get(steps, json_array_size(steps) - 1), "n", 0);
}

/* The layer after step n of the name's last build; borrowed from `steps`. */
static const char *step_layer_id(const json_t *steps, long n)
{
    const char *id = NULL;
    size_t i;
    json_t *e;
    // a step that changes no disk leaves the state of the one before it
    json_array_foreach ((json_t *)steps, i, e)
        if (json_int(e, "n", 0) <= n)
            id = json_str(e, "id");
    return id;
}

/* A new reference to the metadata of the image of that name; NULL = none. */
static json_t *metadata_of(const struct session *s, const char *name)
{
    CLEANUP(backend_image_clear) struct backend_image image = {0};
    if (backend_find(s->backend, name, &image, NULL) < 0 || !image.metadata)
        return NULL;
    return json_parse_object(image.metadata);
}

static int open_step(const struct session *s, struct store *st, const char *name, const char *step,
                     struct image_chain *c, struct error **err)
{
    if (!strcmp(step, "failed"))
        return store_failed(st, name, &c->files, &c->metadata, err);
    char *end;
    long n = strtol(step, &end, 10);
    json_auto_t *steps = history_read(st, name);
    if (!steps) {
        error_set(err, ERR_NOT_FOUND, "nothing is known of a build of '%s'", name);
        return error_hint(err, "'kiln image ls' lists the images");
    }
    if (*end || end == step || n < 1)
        return error_set(err, ERR_USER, "'%s' is not a step: use a number, or 'failed'", step);
    // the steps that change no disk are in the image's metadata only
    c->metadata = metadata_of(s, name);
    int64_t last = last_step(steps), shown = last_step(json_object_get(c->metadata, "steps"));
    const char *id = n <= last || n <= shown ? step_layer_id(steps, n) : NULL;
    if (!id) {
        error_set(err, ERR_NOT_FOUND,
                  n > last ? "'%s' has no step %ld" : "'%s' has no disk yet at step %ld", name, n);
        AUTO_FREE char *word = shell_word(name);
        return error_hint(err, "'kiln image history %s' lists the steps", word);
    }
    return store_chain(st, id, &c->files, err);
}

char *image_step_name(const char *backend, const char *ref)
{
    const char *at = strrchr(ref, '@');
    bool step =
        at && at > ref && !backend_has(backend, ref) && !strchr(ref, ',') && !reference_is(ref);
    return step ? xstrndup(ref, (size_t)(at - ref)) : NULL;
}

int image_chain_find(const struct session *s, struct store *st, const struct image_request *r,
                     struct image_chain *ret, struct error **err)
{
    CLEANUP(image_chain_clear) struct image_chain c = {.ref = xstrdup(r->ref)};
    AUTO_FREE char *name = image_step_name(s->backend, r->ref);
    if (!name && open_image(s, st, r, &c, err) < 0)
        return -1;
    if (name &&
        (open_step(s, st, name, r->ref + strlen(name) + 1, &c, err) < 0 || top_size(&c, err) < 0))
        return -1;
    // partitions of ours are mounted as the image's metadata says, whatever step is looked at
    if (name && !c.metadata)
        c.metadata = metadata_of(s, name);
    *ret = c;
    c = (struct image_chain){0};
    return 0;
}

int image_chain_open(const struct session *s, const struct image_request *r,
                     struct image_chain *ret, struct error **err)
{
    CLEANUP(store_freep) struct store *st = NULL;
    if (store_open(s, s->backend, &st, err) < 0 || image_chain_find(s, st, r, ret, err) < 0)
        return -1;
    ret->store = STEAL(st);
    return 0;
}

char *image_chain_layer(const struct session *s, struct store *st, struct image_chain *c,
                        struct error **err)
{
    CLEANUP(layer_freep) struct layer *layer = NULL;
    const char *top = c->files.ptr[c->files.len - 1];
    AUTO_FREE char *folder = path_parent(top), *layers = path_join(s->backend, ".layers");
    const char *id = strrchr(folder, '/');
    size_t n = strlen(layers);
    if (!strncmp(folder, layers, n) && folder + n == id)
        return xstrdup(id + 1);
    if (c->files.len > 1) {
        error_set(err, ERR_USER, "'%s' is what a failed step left: nothing can stand on it",
                  c->ref);
        AUTO_FREE char *word = shell_word(c->ref);
        error_hint(err, "'kiln shell %s' shows it", word);
        return NULL;
    }
    struct digest digest;
    char hex[DIGEST_HEX + 1];
    if (backend_digest(s, top, &digest, err) < 0)
        return NULL;
    digest_hex(&digest, hex);
    if (store_import_base(st, top, hex, c->ref, &layer, err) < 0)
        return NULL;
    strv_clear(&c->files);
    strv_add(&c->files, layer->disk);
    return xstrdup(layer->id);
}
