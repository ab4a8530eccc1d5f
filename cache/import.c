// SPDX-License-Identifier: MIT
//
// The record is kept as it came, so that its check, its digest and its header go on to hold; what the
// file says is computed here and compared with it.
#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "cache/internal.h"

#include <string.h>

static struct layer *parse(const json_t *record, struct error **err)
{
    AUTO_FREE char *text = json_text(record);
    CLEANUP(layer_freep) struct layer *l = record_parse(text, strlen(text), err);
    char id[DIGEST_HEX + 1];
    if (!l)
        return NULL;
    store_base_id(layer_digest(l), id);
    if (layer_is_base(l) && (*l->parent || strcmp(id, l->id) != 0 || strcmp(id, l->key) != 0)) {
        error_set(err, ERR_USER, "its record describes a base with different content");
        return NULL;
    }
    return STEAL(l);
}

/* Its parent must be the very one it was made on. */
static int check_parent(struct store *st, const struct layer *l, struct error **err)
{
    CLEANUP(layer_freep) struct layer *parent = NULL;
    if (!*l->parent)
        return 0;
    if (store_get(st, l->parent, &parent, err) < 0)
        return -1;
    return record_check_parent(l, parent, err);
}

/* As store_import_begin. */
static int find_same(struct store *st, const struct layer *l, struct layer **ret,
                     struct error **err)
{
    CLEANUP(layer_freep) struct layer *have = NULL;
    if (store_get(st, l->id, &have, NULL) < 0)
        return 0;
    if (strcmp(layer_digest(have), layer_digest(l)) != 0)
        return error_set(err, ERR_USER, "layer %.12s already exists with different content", l->id);
    *ret = STEAL(have);
    return 1;
}

int store_import_begin(struct store *st, const json_t *record, struct layer **layer,
                       struct draft **ret, struct error **err)
{
    CLEANUP(layer_freep) struct layer *l = parse(record, err);
    if (!l || store_writable(st, err) < 0 || check_parent(st, l, err) < 0)
        return -1;
    int found = find_same(st, l, layer, err);
    if (found)
        return found;
    CLEANUP(draft_freep) struct draft *d = xcalloc(1, sizeof *d);
    d->store = st;
    d->key_fd = -1;
    d->lasts_later = true;
    d->step = xstrdup(layer_step(l));
    memcpy(d->id, l->id, sizeof d->id);
    memcpy(d->key, l->key, sizeof d->key);
    memcpy(d->parent, l->parent, sizeof d->parent);
    if (draft_lock_key(d, err) < 0)
        return -1;
    found = find_same(st, l, layer, err); // somebody else may have brought it meanwhile
    if (found)
        return found;
    if (draft_make_folder(d, err) < 0)
        return -1;
    *ret = STEAL(d);
    return 0;
}

int store_import_commit(struct draft *d, const json_t *record, const char *digest,
                        struct layer **ret, struct error **err)
{
    static const char *const facts[] = {"digest", "header", "size", "virtual_size"};
    json_auto_t *ours = json_deep_copy(record);
    if (draft_finish(d, ours, digest, err) < 0)
        return -1;
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        if (!json_equal(json_object_get(ours, facts[i]), json_object_get(record, facts[i])))
            return error_set(err, ERR_USER,
                             "the file of layer %.12s does not match the %s in its record", d->id,
                             facts[i]);
    return draft_publish(d, true, ret, err);
}
