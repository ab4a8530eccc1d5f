// SPDX-License-Identifier: MIT
//
// The thread has a store and a registry of its own, and takes the newest layer first: those that were
// asked for before it are mostly below it, and go up with it.
#include "base/alloc.h"
#include "base/session.h"
#include "builder/transfer/transfer.h"
#include "cache/store.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

enum { NOTICE_MS = 2000 };

/* What a --from reads. */
struct list {
    char question[DIGEST_HEX + 1];
    char *text;
    size_t len;
};
DEFINE_VECTOR(files, struct list);

struct transfer_cache {
    const struct session *session; /* of the build; for the thread that waits */
    struct session quiet;          /* the same, without a listener */
    struct reference ref;
    struct transfer_options options;
    struct registry *registry; /* the thread's, as all down to sent */
    struct store *store;
    struct strv sent;
    struct error *error;
    pthread_t thread;
    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t changed;
    struct strv queue; /* ids of layers */
    struct files files;
    bool ending, over;
};

static void cache_free(struct transfer_cache *c)
{
    registry_free(c->registry);
    store_free(c->store);
    reference_clear(&c->ref);
    strv_clear(&c->sent);
    strv_clear(&c->queue);
    vec_foreach (struct list *, l, &c->files)
        free(l->text);
    files_clear(&c->files);
    pthread_mutex_destroy(&c->mutex);
    pthread_cond_destroy(&c->changed);
    free(c);
}

/* The newest layer that was not taken yet (*ret_id, owned), or a list; false: there will be no more. */
static bool take(struct transfer_cache *c, char **ret_id, struct list *ret)
{
    pthread_mutex_lock(&c->mutex);
    while (!c->queue.len && !c->files.len && !c->ending)
        pthread_cond_wait(&c->changed, &c->mutex);
    bool layer = c->queue.len, list = !layer && c->files.len;
    if (layer)
        *ret_id = c->queue.ptr[--c->queue.len];
    else if (list)
        *ret = c->files.ptr[--c->files.len];
    pthread_mutex_unlock(&c->mutex);
    return layer || list;
}

static int open_both(struct transfer_cache *c)
{
    struct registry_options with = c->options.registry;
    with.push = true;
    if (!c->store && store_open(&c->quiet, c->quiet.backend, &c->store, &c->error) < 0)
        return -1;
    return c->registry ? 0 : registry_open(&c->quiet, &c->ref, &with, &c->registry, &c->error);
}

/* Nothing more after an error. */
static void send_item(struct transfer_cache *c, const char *id, const struct list *list)
{
    if (c->error || (id && strv_has(&c->sent, id)) || open_both(c) < 0)
        return;
    if (id)
        (void)transfer_push_keys(&c->quiet, c->registry, c->store, id, &c->sent, &c->options,
                                 &c->error);
    else
        (void)transfer_push_files(c->registry, list->question, (struct str){list->text, list->len},
                                  &c->error);
}

static void *run(void *arg)
{
    struct transfer_cache *c = arg;
    struct list list = {0};
    for (char *id = NULL; take(c, &id, &list);) {
        send_item(c, id, &list);
        free(STEAL(id));
        free(STEAL(list.text));
    }
    pthread_mutex_lock(&c->mutex);
    c->over = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
    return NULL;
}

int transfer_cache_start(const struct session *s, const char *ref, const struct transfer_options *o,
                         struct transfer_cache **ret, struct error **err)
{
    struct transfer_cache *c = xcalloc(1, sizeof *c);
    c->session = s;
    c->quiet = *s;
    c->quiet.events = (struct session_events){0};
    c->options = *o;
    pthread_mutex_init(&c->mutex, NULL);
    pthread_cond_init(&c->changed, NULL);
    int rc = reference_parse(ref, &c->ref, err);
    if (rc == 0 && pthread_create(&c->thread, NULL, run, c) != 0)
        rc = error_set(err, ERR_SYSTEM, "cannot start a thread");
    if (rc < 0)
        cache_free(c);
    else
        *ret = c;
    return rc;
}

void transfer_cache_add(struct transfer_cache *c, const char *layer)
{
    pthread_mutex_lock(&c->mutex);
    strv_add(&c->queue, layer);
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

void transfer_cache_add_files(struct transfer_cache *c, const char *question, struct str text)
{
    struct list list = {.text = xmemdup(text.ptr, text.len), .len = text.len};
    memcpy(list.question, question, sizeof list.question);
    pthread_mutex_lock(&c->mutex);
    *files_push(&c->files) = list;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

static void wait_until_over(struct transfer_cache *c)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += NOTICE_MS / 1000;
    pthread_mutex_lock(&c->mutex);
    c->ending = true;
    pthread_cond_broadcast(&c->changed);
    bool late = false;
    while (!c->over && !late)
        late = pthread_cond_timedwait(&c->changed, &c->mutex, &until) != 0;
    late = !c->over;
    pthread_mutex_unlock(&c->mutex);
    if (late)
        session_notice(c->session, "Waiting until the layers are in the cache");
    pthread_join(c->thread, NULL);
}

int transfer_cache_end(struct transfer_cache *c, struct error **err)
{
    wait_until_over(c);
    int rc = c->error ? error_propagate(err, STEAL(c->error)) : 0;
    cache_free(c);
    return rc;
}
