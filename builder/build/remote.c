// SPDX-License-Identifier: MIT
//
// Caches in registries. One that fails is reported once and not asked again, unless --cache-strict. What goes
// to one is sent by a thread of its own while the build goes on.
#include "base/alloc.h"
#include "base/session.h"
#include "builder/build/private.h"
#include "builder/transfer/transfer.h"

struct remote_caches {
    struct registry **ptr; /* NULL: it failed */
    size_t len;
};

void remote_caches_free(struct remote_caches *c)
{
    for (size_t i = 0; c && i < c->len; i++)
        registry_free(c->ptr[i]);
    if (c)
        free(c->ptr);
    free(c);
}

/* -1 with --cache-strict, or when the user interrupts. */
static int failed(struct build *b, const char *cache, struct error *why, struct error **err)
{
    if (b->o->cache_strict || why->kind == ERR_CANCELLED) {
        error_propagate(err, why);
        return error_wrap(err, "cache '%s'", cache);
    }
    AUTO_FREE char *line = xasprintf("warning: cache '%s' is not used: %s\n", cache, why->message);
    session_warning(b->s, line);
    error_free(why);
    return 0;
}

static int open_caches(struct build *b, struct error **err)
{
    b->caches = xcalloc(1, sizeof *b->caches);
    b->caches->ptr = xcalloc(b->o->n_cache_from + 1, sizeof *b->caches->ptr);
    b->caches->len = b->o->n_cache_from;
    for (size_t i = 0; i < b->caches->len; i++) {
        CLEANUP(reference_clear) struct reference ref = {0};
        const char *cache = b->o->cache_from[i];
        struct error *why = NULL;
        if (reference_parse(cache, &ref, err) < 0)
            return -1;
        if (registry_open(b->s, &ref, &b->o->transfer.registry, &b->caches->ptr[i], &why) == 0)
            continue;
        b->caches->ptr[i] = NULL;
        if (why->kind == ERR_NOT_FOUND) // a layout that --cache-to is to make: it has nothing yet
            error_free(why);
        else if (failed(b, cache, why, err) < 0)
            return -1;
    }
    return 0;
}

/* From one of them: 1, 0, -1. */
static int take_from(struct build *b, size_t i, const char *key, struct layer **ret,
                     struct error **err)
{
    struct transfer_options o = b->o->transfer;
    struct error *why = NULL;
    struct registry *r = b->caches->ptr[i];
    if (!r)
        return 0;
    int rc = transfer_take_key(b->s, r, b->store, key, &o, &why);
    if (rc < 0) {
        registry_free(r);
        b->caches->ptr[i] = NULL;
        return failed(b, b->o->cache_from[i], why, err);
    }
    return rc ? store_find(b->store, key, ret, err) : 0;
}

int remote_find(struct build *b, struct stage_run *st, const char *key, struct layer **ret,
                struct error **err)
{
    if (!b->o->n_cache_from || st->missed)
        return 0;
    if (!b->caches && open_caches(b, err) < 0)
        return -1;
    for (size_t i = 0; i < b->caches->len; i++) {
        int found = take_from(b, i, key, ret, err);
        if (found)
            return found;
    }
    st->missed = true;
    return 0;
}

int remote_store(struct build *b, const struct stage_run *st, struct error **err)
{
    const char *id = st->disk.id;
    bool wanted = b->o->cache_to && (b->o->cache_all || st == target_stage(b));
    if (!wanted || !*id || !strcmp(id, b->uploaded))
        return 0;
    if (!b->upload &&
        transfer_cache_start(b->s, b->o->cache_to, &b->o->transfer, &b->upload, err) < 0)
        return -1;
    memcpy(b->uploaded, id, sizeof b->uploaded);
    transfer_cache_add(b->upload, id);
    return 0;
}

int remote_finish(struct build *b, struct error **err)
{
    struct error *why = NULL;
    if (!b->upload || transfer_cache_end(STEAL(b->upload), &why) == 0)
        return 0;
    return failed(b, b->o->cache_to, why, err);
}
