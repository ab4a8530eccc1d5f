// SPDX-License-Identifier: MIT
//
// Caches in registries. A layer that one of them has is only looked up: its id makes the next step's
// key, and its bytes are fetched when a step is run on it, or reads it, or when it is the image's. One
// that fails is reported once and not asked again, unless --cache-strict; if it fails when a layer is to
// be fetched, the build begins again without it. Where a cache has other layers of the steps that were
// built here, too, the build begins again with the cache's layers, and once more with its own if there
// are not more of the cache's. What goes to one is sent by a thread of its own while
// the build goes on.
#include "base/alloc.h"
#include "base/session.h"
#include "builder/build/private.h"
#include "builder/transfer/transfer.h"

#include <errno.h>
#include <string.h>

struct remote_layer {
    struct transfer_layer layer;
    size_t cache; /* which has it */
};
DEFINE_VECTOR(remote_layers, struct remote_layer);

struct remote_caches {
    struct registry **ptr; /* NULL: it failed */
    size_t len;
    struct remote_layers layers; /* that were looked up */
};

static void forget_layers(struct remote_caches *c)
{
    vec_foreach (struct remote_layer *, l, &c->layers)
        transfer_layer_clear(&l->layer);
    remote_layers_clear(&c->layers);
}

void remote_caches_free(struct remote_caches *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->len; i++)
        registry_free(c->ptr[i]);
    forget_layers(c);
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

/* 1: there are caches to ask; 0; -1. */
static int caches_ready(struct build *b, struct error **err)
{
    if (!b->o->n_cache_from)
        return 0;
    return !b->caches && open_caches(b, err) < 0 ? -1 : 1;
}

/* The i-th is not asked again. */
static int drop(struct build *b, size_t i, struct error *why, struct error **err)
{
    registry_free(b->caches->ptr[i]);
    b->caches->ptr[i] = NULL;
    return failed(b, b->o->cache_from[i], why, err);
}

/* What is known of a layer that a cache has, as one that is not here: without a folder. */
static struct layer *layer_of(const struct transfer_layer *found)
{
    struct layer *l = xcalloc(1, sizeof *l);
    memcpy(l->id, found->id, sizeof l->id);
    memcpy(l->key, found->key, sizeof l->key);
    l->virtual_size = found->virtual_size;
    return l;
}

/* The first cache that has the key. 1, 0, -1. */
static int ask(struct build *b, const char *key, const char *parent, struct remote_layer *ret,
               struct error **err)
{
    for (size_t i = 0; i < b->caches->len; i++) {
        struct remote_layer l = {.cache = i};
        struct error *why = NULL;
        int found = b->caches->ptr[i]
                        ? transfer_find_key(b->s, b->caches->ptr[i], key, parent, &l.layer, &why)
                        : 0;
        if (found < 0 && drop(b, i, why, err) < 0)
            return -1;
        if (found <= 0)
            continue;
        *ret = l;
        return 1;
    }
    return 0;
}

/* Whether a cache has another layer under a key of the stage than the one that is here. */
static int has_other(struct build *b, const struct stage_run *st, struct error **err)
{
    vec_foreach (const struct local_layer *, local, &st->locals) {
        struct remote_layer l;
        int found = ask(b, local->key, local->parent, &l, err);
        if (found <= 0)
            return found;
        bool other = strcmp(l.layer.id, local->id) != 0;
        transfer_layer_clear(&l.layer);
        if (other)
            return 1;
    }
    return 0;
}

static int begin_again(struct build *b, struct stage_order *o, bool caches_first,
                       struct error **err)
{
    o->caches_first = caches_first;
    b->again = true;
    return error_set(err, ERR_SYSTEM, "the layers of the other chain are looked up");
}

/* At the first step of the stage that nobody has: of two chains, the one that is here and that of a
 * cache, the one with more layers counts. 0, or -1 with b->again. */
static int choose_chain(struct build *b, const struct stage_run *st, struct error **err)
{
    struct stage_order *o = &b->orders[st - b->stages];
    if (o->settled || b->o->n_no_cache_stages) // those stages would be built twice
        return 0;
    if (o->caches_first) {
        o->settled = true;
        return st->found > o->here ? 0 : begin_again(b, o, false, err);
    }
    int other = has_other(b, st, err);
    if (other <= 0) {
        o->settled = true;
        return other;
    }
    o->here = st->found;
    session_notice(b->s, "A cache has other layers of these steps: looking whether it has more");
    return begin_again(b, o, true, err);
}

static int find_away(struct build *b, struct stage_run *st, const char *key, struct layer **ret,
                     struct error **err)
{
    struct remote_layer l;
    int ready = st->missed ? 0 : caches_ready(b, err);
    int found = ready > 0 ? ask(b, key, st->disk.id, &l, err) : ready;
    if (found > 0) {
        *remote_layers_push(&b->caches->layers) = l;
        *ret = layer_of(&l.layer);
    }
    return found;
}

static int find_here(struct build *b, struct stage_run *st, const char *key, struct layer **ret,
                     struct error **err)
{
    int found = store_find(b->store, key, ret, err);
    if (found <= 0 || !b->o->n_cache_from || b->orders[st - b->stages].caches_first)
        return found;
    struct local_layer *l = local_layers_push(&st->locals);
    memcpy(l->key, key, sizeof l->key);
    memcpy(l->parent, st->disk.id, sizeof l->parent);
    memcpy(l->id, (*ret)->id, sizeof l->id);
    return found;
}

/* A layer that a cache has and that is not here; NULL: it is here, or nowhere. */
static const struct remote_layer *looked_up(struct build *b, const char *id)
{
    CLEANUP(layer_freep) struct layer *here = NULL;
    if (!b->caches || !*id)
        return NULL;
    vec_foreach (const struct remote_layer *, l, &b->caches->layers)
        if (!strcmp(l->layer.id, id))
            return store_get(b->store, id, &here, NULL) == 0 ? NULL : l;
    return NULL;
}

bool remote_is_away(struct build *b, const char *id)
{
    return looked_up(b, id);
}

/* There is no room for the layer here: building it would not help. */
static bool is_ours(const struct error *why)
{
    return why->errnum == ENOSPC || why->errnum == EDQUOT || why->errnum == EROFS;
}

int remote_bring(struct build *b, const char *id, struct error **err)
{
    const struct remote_layer *l = looked_up(b, id);
    struct registry *r = l ? b->caches->ptr[l->cache] : NULL;
    struct error *why = NULL;
    if (!l || (r && transfer_fetch_layer(b->s, r, b->store, &l->layer, &b->o->transfer, &why) == 0))
        return 0;
    if (why && is_ours(why))
        return error_propagate(err, why);
    if (why && drop(b, l->cache, why, err) < 0)
        return -1;
    b->again = true;
    session_notice(b->s, "Building again without it");
    return error_set(err, ERR_SYSTEM, "layer %.12s cannot be fetched from the cache", id);
}

int remote_bring_sources(struct build *b, struct error **err)
{
    for (size_t i = 0; i < b->sources.len; i++)
        if (remote_bring(b, b->sources.ptr[i], err) < 0)
            return -1;
    return 0;
}

void remote_begin_again(struct build *b)
{
    forget_layers(b->caches);
    *b->uploaded = '\0';
    strv_clear(&b->held);
    b->again = false;
}

int remote_files(struct build *b, const char *question, struct buf *ret, struct error **err)
{
    int ready = caches_ready(b, err);
    if (ready <= 0)
        return ready;
    for (size_t i = 0; i < b->caches->len; i++) {
        struct error *why = NULL;
        int found = b->caches->ptr[i]
                        ? transfer_find_files(b->s, b->caches->ptr[i], question, ret, &why)
                        : 0;
        if (found < 0 && drop(b, i, why, err) < 0)
            return -1;
        if (found > 0)
            return 1;
    }
    return 0;
}

static int open_upload(struct build *b, struct error **err)
{
    return b->upload ? 0
                     : transfer_cache_start(b->s, b->o->cache_to, &b->o->transfer, &b->upload, err);
}

int remote_keep_files(struct build *b, const char *question, struct str text, struct error **err)
{
    if (!b->o->cache_to || text.len > TRANSFER_FILES_MAX)
        return 0;
    if (open_upload(b, err) < 0)
        return -1;
    transfer_cache_add_files(b->upload, question, text);
    return 0;
}

/* Whether the layer comes from the very cache that it would be sent to. */
static bool is_in_cache_to(struct build *b, const struct remote_layer *l)
{
    CLEANUP(reference_clear) struct reference from = {0}, to = {0};
    if (reference_parse(b->o->cache_from[l->cache], &from, NULL) < 0 ||
        reference_parse(b->o->cache_to, &to, NULL) < 0)
        return false;
    AUTO_FREE char *a = reference_text(&from), *z = reference_text(&to);
    return !strcmp(a, z);
}

static int upload_layer(struct build *b, const char *id, struct error **err)
{
    const struct remote_layer *away = looked_up(b, id);
    if (away && is_in_cache_to(b, away))
        return 0;
    if (remote_bring(b, id, err) < 0 || open_upload(b, err) < 0)
        return -1;
    transfer_cache_add(b->upload, id);
    return 0;
}

static int send_held(struct build *b, struct error **err)
{
    for (size_t i = 0; i < b->held.len; i++)
        if (upload_layer(b, b->held.ptr[i], err) < 0)
            return -1;
    strv_clear(&b->held);
    return 0;
}

/* Whether the layers of the stage may yet turn out to be those of another chain. */
static bool may_change(const struct build *b, const struct stage_run *st)
{
    return b->o->n_cache_from && !b->o->no_cache && !b->o->n_no_cache_stages && !st->done &&
           !st->missed && !b->orders[st - b->stages].settled;
}

int remote_store(struct build *b, const struct stage_run *st, struct error **err)
{
    const char *id = st->disk.id;
    bool wanted = b->o->cache_to && (b->o->cache_all || st == target_stage(b));
    if (wanted && *id && strcmp(id, b->uploaded) != 0) {
        memcpy(b->uploaded, id, sizeof b->uploaded);
        strv_add(&b->held, id);
    }
    return may_change(b, st) ? 0 : send_held(b, err);
}

int remote_find(struct build *b, struct stage_run *st, const char *key, struct layer **ret,
                struct error **err)
{
    bool caches_first = b->orders[st - b->stages].caches_first;
    int found = (caches_first ? find_away : find_here)(b, st, key, ret, err);
    if (!found)
        found = (caches_first ? find_here : find_away)(b, st, key, ret, err);
    st->found += found > 0;
    if (found || st->missed || !b->caches)
        return found;
    st->missed = true;
    return choose_chain(b, st, err) < 0 ? -1 : send_held(b, err);
}

int remote_finish(struct build *b, struct error **err)
{
    struct error *why = NULL;
    if (!b->upload || transfer_cache_end(STEAL(b->upload), &why) == 0)
        return 0;
    return failed(b, b->o->cache_to, why, err);
}
