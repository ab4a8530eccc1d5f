// SPDX-License-Identifier: MIT
//
// The mounts of a RUN: expanded before the key is made, attached only when the step is carried out.
// Cache disks are opened first of all and in the order of their ids, so that two builds never wait
// for each other. Two mounts of one id are two views of one disk.
#include "base/alloc.h"
#include "builder/build_private.h"
#include "builder/cache_disk.h"
#include "builder/send.h"

#include <string.h>

/* Deadline of what the agent does without running anything of the user's. */
enum { CALL_MS = 120 * 1000 };

struct mount {
    const struct run_mount *as; /* in the Imagefile */
    char *target, *id, *source, *from, *env;
    struct disk_state disk;      /* bind with from */
    struct selection *selection; /* bind of the build directory */
    const struct build_secret *secret;
};

struct cache {
    const char *id;
    bool own;
    struct cache_disk *disk;
    int slot;
};

struct mounts {
    struct mount *ptr;
    size_t len;
    struct cache *caches; /* by id; room for len */
    size_t n_caches;
    unsigned slots; /* bit mask: extra slots in use */
};

void mounts_free(struct mounts *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->len; i++) {
        struct mount *p = &m->ptr[i];
        selection_free(p->selection);
        disk_state_clear(&p->disk);
        free(p->target);
        free(p->id);
        free(p->source);
        free(p->from);
        free(p->env);
    }
    for (size_t i = 0; i < m->n_caches; i++)
        cache_disk_free(m->caches[i].disk);
    free(m->caches);
    free(m->ptr);
    free(m);
}

static const struct build_secret *find_secret(const struct build *b, const char *id)
{
    for (size_t i = 0; i < b->o->n_secrets; i++)
        if (!strcmp(b->o->secrets[i].id, id))
            return &b->o->secrets[i];
    return NULL;
}

static int select_bind(struct build *b, struct mount *p, struct error **err)
{
    struct context_source source = {.kind = SOURCE_PATH, .text = p->source ? p->source : "."};
    struct context_request r = {
        .instruction = "RUN --mount", .sources = &source, .n_sources = 1, .dest = p->target};
    if (build_context(b, err) < 0)
        return -1;
    return context_select(b->ctx, &r, &p->selection, err);
}

static int find_wanted_secret(struct build *b, const struct stage_run *st, struct mount *p,
                              struct error **err)
{
    if (p->env && (settings_get(&st->config.env, p->env) || settings_get(&st->args, p->env)))
        return error_set(err, ERR_USER, "the variable '%s' of a secret is set by ENV or ARG",
                         p->env);
    if (!p->target && !p->env)
        p->target = xasprintf("/run/secrets/%s", p->id);
    p->secret = find_secret(b, p->id);
    if (p->secret || !p->as->required)
        return 0;
    error_set(err, ERR_USER, "secret '%s' is required and was not given", p->id);
    return error_hint(err, "--secret id=%s,src=FILE or id=%s,env=VARIABLE gives it", p->id, p->id);
}

static int expand(struct build *b, struct stage_run *st, struct mount *p, struct error **err)
{
    const struct {
        const struct word *word;
        char **value;
    } words[] = {{&p->as->target, &p->target},
                 {&p->as->id, &p->id},
                 {&p->as->source, &p->source},
                 {&p->as->from, &p->from},
                 {&p->as->env, &p->env}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (word_given(words[i].word) &&
            !(*words[i].value = expand_word(b, st, words[i].word, err)))
            return -1;
    if (p->target) {
        char *path = config_path(&st->config, p->target);
        free(p->target);
        p->target = path;
    }
    switch (p->as->type) {
    case MOUNT_SECRET:
        return find_wanted_secret(b, st, p, err);
    case MOUNT_BIND:
        return p->from ? stage_source(b, p->from, &p->disk, err) : select_bind(b, p, err);
    case MOUNT_CACHE:
    case MOUNT_TMPFS:
        break;
    }
    return 0;
}

struct mounts *mounts_new(struct build *b, struct stage_run *st, const struct run_args *run,
                          struct error **err)
{
    CLEANUP(mounts_freep) struct mounts *m = xcalloc(1, sizeof *m);
    m->ptr = xcalloc(run->n_mounts, sizeof *m->ptr);
    m->caches = xcalloc(run->n_mounts, sizeof *m->caches);
    for (size_t i = 0; i < run->n_mounts; i++) {
        m->ptr[m->len++].as = &run->mounts[i];
        if (expand(b, st, &m->ptr[i], err) < 0)
            return NULL;
    }
    return STEAL(m);
}

const struct build_secret *mounts_secret(const struct mounts *m, size_t *i)
{
    while (*i < m->len) {
        const struct mount *p = &m->ptr[(*i)++];
        if (p->secret)
            return p->secret;
    }
    return NULL;
}

void mounts_put_key(const struct mounts *m, struct key *key)
{
    for (size_t i = 0; i < m->len; i++) {
        const struct mount *p = &m->ptr[i];
        const char *type = p->as->type == MOUNT_BIND    ? "bind"
                           : p->as->type == MOUNT_TMPFS ? "tmpfs"
                                                        : NULL;
        if (!type)
            continue;
        AUTO_FREE char *name = xasprintf("--mount %s %s", type, p->target);
        char hex[ID_SIZE] = "";
        if (p->selection) {
            struct digest d = selection_digest(p->selection);
            digest_hex(&d, hex);
        }
        AUTO_FREE char *value = p->as->size
                                    ? xasprintf("size %llu", (unsigned long long)p->as->size)
                                    : xasprintf("%s%s %s", p->disk.id, hex,
                                                p->selection || !p->source ? "" : p->source);
        key_field(key, name, value, strlen(value));
    }
}

static const char *cache_id(const struct mount *p)
{
    return p->id ? p->id : p->target;
}

static struct cache *find_cache(struct mounts *m, const char *id)
{
    for (size_t i = 0; i < m->n_caches; i++)
        if (!strcmp(m->caches[i].id, id))
            return &m->caches[i];
    return NULL;
}

static int by_id(const void *a, const void *b)
{
    const struct cache *x = a, *y = b;
    return strcmp(x->id, y->id);
}

static int attach_cache(struct build *b, struct mounts *m, struct cache *c, struct error **err)
{
    c->slot = vm_free_slot(b, m->slots, err);
    if (c->slot < 0)
        return -1;
    m->slots |= 1u << c->slot;
    const char *const files[] = {cache_disk_path(c->disk)};
    struct builder_disk d = {files, 1, true, cache_disk_size(c->disk)};
    if (builder_vm_set_disk(b->vm, c->slot, &d, err) < 0)
        return -1;
    CLEANUP(message_clear) struct message r = MESSAGE_INIT;
    message_put_num(&r, AGENT_TAG_SLOT, (uint64_t)c->slot);
    return builder_vm_call(b->vm, AGENT_FORMAT, &r, CALL_MS, NULL, NULL, NULL, err);
}

static int attach_caches(struct build *b, struct mounts *m, struct error **err)
{
    for (size_t i = 0; i < m->len; i++) {
        const struct mount *p = &m->ptr[i];
        if (p->as->type == MOUNT_CACHE && !find_cache(m, cache_id(p)))
            m->caches[m->n_caches++] =
                (struct cache){.id = cache_id(p), .own = p->as->sharing == SHARING_PRIVATE};
    }
    if (m->n_caches)
        qsort(m->caches, m->n_caches, sizeof *m->caches, by_id);
    for (size_t i = 0; i < m->n_caches; i++) {
        struct cache *c = &m->caches[i];
        struct cache_disk_request r = {.id = c->id,
                                       .own = c->own,
                                       .size = b->o->cache_mount_size,
                                       .notice = build_notice,
                                       .notice_arg = b};
        if (cache_disk_open(b->s, &r, &c->disk, err) < 0 || attach_cache(b, m, c, err) < 0)
            return -1;
    }
    return 0;
}

/* The files of the build directory go to the guest's memory; returns the number that EXEC knows
 * them by, or -1. */
static int unpack(struct build *b, struct mount *p, struct error **err)
{
    CLEANUP(sender_freep) struct sender *sender = sender_new(b->s, p->selection);
    CLEANUP(message_clear) struct message m = MESSAGE_INIT, reply = MESSAGE_INIT;
    CLEANUP(error_freep) struct error *why = NULL;
    uint64_t offset;
    if (builder_vm_stream_begin(b->vm, sender_read, sender, &offset, err) < 0)
        return -1;
    message_put_num(&m, AGENT_TAG_OFFSET, offset);
    int rc = vm_call(b, AGENT_UNPACK, &m, &reply, &why);
    builder_vm_stream_end(b->vm);
    // what the sender has to say comes first: the agent's failure then only repeats it
    if (sender_result(sender, err) < 0)
        return -1;
    return rc < 0 ? error_propagate(err, STEAL(why))
                  : (int)message_num(&reply, AGENT_TAG_NUMBER, 0);
}

static int put_bind(struct build *b, struct mounts *m, struct mount *p, struct message *request,
                    struct error **err)
{
    int from = p->from ? vm_attach(b, &p->disk, m->slots, err) : unpack(b, p, err);
    if (from < 0)
        return -1;
    message_puts(request, AGENT_TAG_MOUNT_TYPE, "bind");
    message_puts(request, AGENT_TAG_MOUNT_TARGET, p->target);
    message_put_num(request, AGENT_TAG_MOUNT_FLAGS, AGENT_READ_ONLY);
    if (!p->from) {
        message_put_num(request, AGENT_TAG_MOUNT_UNPACKED, (uint64_t)from);
        return 0;
    }
    m->slots |= 1u << from;
    message_put_num(request, AGENT_TAG_MOUNT_SLOT, (uint64_t)from);
    message_puts(request, AGENT_TAG_MOUNT_SOURCE, p->source ? p->source : "/");
    return 0;
}

static void put_start(const struct mount *p, const char *type, struct message *request)
{
    message_puts(request, AGENT_TAG_MOUNT_TYPE, type);
    message_puts(request, AGENT_TAG_MOUNT_TARGET, p->target);
    if (p->as->mode.len)
        message_put(request, AGENT_TAG_MOUNT_MODE, p->as->mode.ptr, p->as->mode.len);
    struct str uid = p->as->uid.len ? p->as->uid : STR("0");
    struct str gid = p->as->gid.len ? p->as->gid : STR("0");
    AUTO_FREE char *owner = xasprintf(STR_FMT ":" STR_FMT, STR_ARG(uid), STR_ARG(gid));
    if (p->as->uid.len || p->as->gid.len)
        message_puts(request, AGENT_TAG_MOUNT_OWNER, owner);
    if (p->as->size)
        message_put_num(request, AGENT_TAG_MOUNT_SIZE, p->as->size);
}

static int put_secret(const struct mount *p, struct message *request, struct error **err)
{
    const struct build_secret *secret = p->secret;
    if (secret && p->env) {
        if (memchr(secret->bytes, '\0', secret->len))
            return error_set(err, ERR_USER, "secret '%s' has a NUL byte: no variable can hold it",
                             p->id);
        AUTO_FREE char *text = xasprintf("%s=%.*s", p->env, (int)secret->len, secret->bytes);
        message_puts(request, AGENT_TAG_ENV, text);
        explicit_bzero(text, strlen(text));
    }
    if (!secret || !p->target)
        return 0;
    put_start(p, "secret", request);
    message_put(request, AGENT_TAG_MOUNT_DATA, secret->bytes, secret->len);
    return 0;
}

static int put(struct build *b, struct mounts *m, struct mount *p, struct message *request,
               struct error **err)
{
    switch (p->as->type) {
    case MOUNT_BIND:
        return put_bind(b, m, p, request, err);
    case MOUNT_SECRET:
        return put_secret(p, request, err);
    case MOUNT_CACHE:
        put_start(p, "cache", request);
        message_put_num(request, AGENT_TAG_MOUNT_SLOT, (uint64_t)find_cache(m, cache_id(p))->slot);
        return 0;
    case MOUNT_TMPFS:
        put_start(p, "tmpfs", request);
        return 0;
    }
    return 0;
}

int mounts_attach(struct build *b, struct mounts *m, struct message *request, struct error **err)
{
    if (attach_caches(b, m, err) < 0)
        return -1;
    for (size_t i = 0; i < m->len; i++)
        if (put(b, m, &m->ptr[i], request, err) < 0)
            return -1;
    return 0;
}

int mounts_detach(struct build *b, struct mounts *m, struct error **err)
{
    for (size_t i = 0; i < m->n_caches; i++) {
        struct cache *c = &m->caches[i];
        CLEANUP(message_clear) struct message r = MESSAGE_INIT;
        message_put_num(&r, AGENT_TAG_SLOT, (uint64_t)c->slot);
        if (builder_vm_call(b->vm, AGENT_UMOUNT, &r, CALL_MS, NULL, NULL, NULL, err) < 0 ||
            builder_vm_set_disk(b->vm, c->slot, NULL, err) < 0)
            return -1;
        cache_disk_clean(c->disk);
        cache_disk_free(STEAL(c->disk));
    }
    return 0;
}
