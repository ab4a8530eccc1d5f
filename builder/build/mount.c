// SPDX-License-Identifier: MIT
//
// The mounts of a RUN: expanded before the key is made, attached only when the step is run.
// Cache disks are opened first of all and in the order of their ids, so that two builds never wait
// for each other. Two mounts of one id are two views of one disk.
#include "base/alloc.h"
#include "builder/build/private.h"
#include "builder/context/send.h"
#include "builder/worker/cache_disk.h"
#include "imagefile/glob.h"

#include <string.h>

struct mount {
    struct mount_spec spec;
    char *target;                /* absolute; NULL: a secret that only a variable holds */
    struct disk_state disk;      /* bind with from */
    char content[ID_SIZE];       /* digest of what it reads there; "" = of the image's id */
    struct selection *selection; /* bind of the build directory */
    const struct build_secret *secret;
    const struct build_ssh *ssh; /* NULL: it was not given */
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
        mount_spec_clear(&p->spec);
        free(p->target);
    }
    for (size_t i = 0; i < m->n_caches; i++)
        cache_disk_free(m->caches[i].disk);
    free(m->caches);
    free(m->ptr);
    free(m);
}

int secret_missing(const char *id, struct error **err)
{
    error_set(err, ERR_USER, "secret '%s' is required and was not given", id);
    return error_hint(err, "--secret id=%s,src=FILE or id=%s,env=VARIABLE gives it", id, id);
}

const struct build_secret *secret_find(const struct build *b, const char *id)
{
    for (size_t i = 0; i < b->o->n_secrets; i++)
        if (!strcmp(b->o->secrets[i].id, id))
            return &b->o->secrets[i];
    return NULL;
}

int ssh_missing(const char *id, struct error **err)
{
    bool usual = !strcmp(id, "default");
    error_set(err, ERR_USER, "the ssh-agent '%s' is required and was not given", id);
    return error_hint(err,
                      usual ? "--ssh default gives that of SSH_AUTH_SOCK, --ssh default=KEY a key"
                            : "--ssh %s=SOCKET or %s=KEY gives it",
                      id, id);
}

const struct build_ssh *ssh_find(const struct build *b, const char *id)
{
    for (size_t i = 0; i < b->o->n_agents; i++)
        if (!strcmp(b->o->agents[i].id, id))
            return &b->o->agents[i];
    return NULL;
}

/* Whether a bind is of a stage or image, not of a folder. */
static bool of_layer(const struct build *b, const struct mount *p)
{
    const struct named_context *named = p->spec.from ? named_find(b, p->spec.from) : NULL;
    return p->spec.from && !(named && named->dir);
}

static int select_bind(struct build *b, struct mount *p, struct error **err)
{
    struct context_source source = {.kind = SOURCE_PATH,
                                    .text = p->spec.source ? p->spec.source : "."};
    struct context_request r = {
        .instruction = "RUN --mount", .sources = &source, .n_sources = 1, .dest = p->target};
    const struct named_context *named = p->spec.from ? named_find(b, p->spec.from) : NULL;
    if (!named && build_context(b, err) < 0)
        return -1;
    struct context *ctx = named ? named_context(b, named, err) : b->ctx;
    return ctx ? context_select(ctx, &r, &p->selection, err) : -1;
}

/* A source is a path here, never a pattern. */
static int look_at_from(struct build *b, struct stage_run *st, struct mount *p, struct error **err)
{
    CLEANUP(buf_clear) struct buf manifest = BUF_INIT;
    CLEANUP(strv_clear) struct strv sources = {0};
    struct from_request r = {&p->disk, &sources, NULL, RUNNER_KEEP_OWNER | RUNNER_TOP_OWNER};
    if (stage_source(b, p->spec.from, &p->disk, err) < 0)
        return -1;
    if (p->spec.source && !glob_magic(p->spec.source))
        strv_add(&sources, p->spec.source);
    if (!from_by_content(&sources))
        return 0;
    if (from_manifest(b, &st->disk, &r, &manifest, err) < 0)
        return -1;
    struct digest d = digest_of(manifest.data, manifest.len);
    if (manifest.len)
        digest_hex(&d, p->content);
    return 0;
}

static int find_wanted_secret(struct build *b, struct mount *p, struct error **err)
{
    p->secret = secret_find(b, p->spec.id);
    return p->secret || !p->spec.required ? 0 : secret_missing(p->spec.id, err);
}

static int find_wanted_ssh(struct build *b, struct mount *p, struct error **err)
{
    p->ssh = ssh_find(b, p->spec.id);
    return p->ssh || !p->spec.required ? 0 : ssh_missing(p->spec.id, err);
}

/* Where the mount is seen: as Dockerfile has it, in the working directory if nothing says so. No '/'
 * is at its end: it names a cache. */
static char *target_of(const struct stage_run *st, const struct mount_spec *spec, size_t agents)
{
    if (!spec->target && spec->type == MOUNT_SSH)
        return xasprintf("/run/buildkit/ssh_agent.%zu", agents);
    const char *slash = spec->type == MOUNT_SECRET ? strrchr(spec->id, '/') : NULL;
    if (spec->target || spec->type != MOUNT_SECRET) {
        char *path = config_path(&st->config, spec->target ? spec->target : ".");
        size_t n = strlen(path);
        if (n > 1 && path[n - 1] == '/')
            path[n - 1] = '\0';
        return path;
    }
    return spec->env ? NULL : xasprintf("/run/secrets/%s", slash ? slash + 1 : spec->id);
}

static int check_target(const struct mount *p, struct error **err)
{
    if (!p->target || strspn(p->target, "/") < strlen(p->target))
        return 0;
    error_set(err, ERR_USER, "a mount can't stand in the place of '/'");
    return error_hint(err, p->spec.target ? "give it a folder as target"
                                          : "without target it is the WORKDIR, and that is /");
}

static int expand(struct build *b, struct stage_run *st, const struct run_mount *as,
                  struct mount *p, size_t agents, struct error **err)
{
    struct imagefile_vars vars = stage_vars(st);
    if (imagefile_mount(b->file, as, &vars, &p->spec, err) < 0)
        return -1;
    p->target = target_of(st, &p->spec, agents);
    if (check_target(p, err) < 0)
        return -1;
    switch (p->spec.type) {
    case MOUNT_SECRET:
        return find_wanted_secret(b, p, err);
    case MOUNT_SSH:
        return find_wanted_ssh(b, p, err);
    case MOUNT_BIND:
        return of_layer(b, p) ? look_at_from(b, st, p, err) : select_bind(b, p, err);
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
    for (size_t i = 0, agents = 0; i < run->n_mounts; i++) {
        m->len++;
        if (expand(b, st, &run->mounts[i], &m->ptr[i], agents, err) < 0)
            return NULL;
        agents += m->ptr[i].spec.type == MOUNT_SSH;
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
        const char *type = p->spec.type == MOUNT_BIND    ? "bind"
                           : p->spec.type == MOUNT_TMPFS ? "tmpfs"
                                                         : NULL;
        if (!type)
            continue;
        AUTO_FREE char *name = xasprintf("--mount %s %s", type, p->target);
        char hex[ID_SIZE] = "";
        if (p->selection) {
            struct digest d = selection_digest(p->selection);
            digest_hex(&d, hex);
        }
        const char *source = p->selection || !p->spec.source ? "" : p->spec.source;
        const char *writable = p->spec.type == MOUNT_BIND && !p->spec.read_only ? " rw" : "";
        AUTO_FREE char *value = p->spec.size
                                    ? xasprintf("size %llu", (unsigned long long)p->spec.size)
                                    : xasprintf("%s%s %s%s", *p->content ? p->content : p->disk.id,
                                                hex, source, writable);
        key_field(key, name, value, strlen(value));
    }
}

static const char *cache_id(const struct mount *p)
{
    return p->spec.id ? p->spec.id : p->target;
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
    c->slot = target_free_slot(&b->target, m->slots, err);
    if (c->slot < 0)
        return -1;
    m->slots |= 1u << c->slot;
    const char *const files[] = {cache_disk_path(c->disk)};
    struct runner_disk d = {files, 1, true, cache_disk_size(c->disk)};
    if (runner_set_disk(b->target.runner, c->slot, &d, err) < 0)
        return -1;
    return runner_format(b->target.runner, c->slot, err);
}

static int attach_caches(struct build *b, struct mounts *m, struct error **err)
{
    for (size_t i = 0; i < m->len; i++) {
        const struct mount *p = &m->ptr[i];
        if (p->spec.type == MOUNT_CACHE && !find_cache(m, cache_id(p)))
            m->caches[m->n_caches++] =
                (struct cache){.id = cache_id(p), .own = p->spec.sharing == SHARING_PRIVATE};
    }
    if (m->n_caches)
        qsort(m->caches, m->n_caches, sizeof *m->caches, by_id);
    for (size_t i = 0; i < m->n_caches; i++) {
        struct cache *c = &m->caches[i];
        struct cache_disk_request r = {.id = c->id, .own = c->own, .size = b->o->cache_mount_size};
        if (cache_disk_open(b->s, &r, &c->disk, err) < 0 || attach_cache(b, m, c, err) < 0)
            return -1;
    }
    return 0;
}

/* The files of the build directory go to the guest's memory; returns the number that the
 * command knows them by, or -1. */
static int unpack(struct build *b, struct mount *p, struct error **err)
{
    CLEANUP(sender_freep) struct sender *sender = sender_new(b->s, p->selection);
    CLEANUP(error_freep) struct error *why = NULL;
    struct runner_stream from = {sender_read, sender};
    int number;
    int rc = runner_unpack(b->target.runner, &from, step_wait(b), &number, &why);
    // what the sender has to say comes first: the agent's failure then only repeats it
    if (sender_result(sender, err) < 0)
        return -1;
    return rc < 0 ? error_propagate(err, STEAL(why)) : number;
}

static int put_bind(struct build *b, struct mounts *m, struct mount *p, struct runner_exec *e,
                    struct error **err)
{
    int from =
        of_layer(b, p) ? target_attach(&b->target, &p->disk, m->slots, err) : unpack(b, p, err);
    if (from < 0)
        return -1;
    struct runner_exec_mount bind = {
        .type = RUNNER_BIND, .target = p->target, .read_only = p->spec.read_only};
    if (of_layer(b, p)) {
        m->slots |= 1u << from;
        bind.slot = from;
        bind.source = p->spec.source ? p->spec.source : "/";
    } else {
        bind.unpacked = from;
    }
    runner_exec_mount(e, &bind);
    return 0;
}

/* All but a bind. slot: of a cache. */
static void put_other(const struct mount *p, enum runner_mount_type type, int slot,
                      struct runner_exec *e)
{
    const char *uid = p->spec.uid, *gid = p->spec.gid;
    AUTO_FREE char *owner = xasprintf("%s:%s", uid ? uid : "0", gid ? gid : "0");
    struct runner_exec_mount r = {.type = type,
                                  .target = p->target,
                                  .mode = p->spec.mode,
                                  .owner = uid || gid ? owner : NULL,
                                  .size = p->spec.size,
                                  .read_only = p->spec.read_only,
                                  .slot = slot};
    if (type == RUNNER_SSH) {
        r.source = p->ssh->socket;
        r.mode = r.mode ? r.mode : "0600";
    }
    if (type == RUNNER_SECRET)
        r.secret = (struct str){p->secret->bytes, p->secret->len};
    runner_exec_mount(e, &r);
}

static int put_secret(const struct mount *p, struct runner_exec *e, struct error **err)
{
    const struct build_secret *secret = p->secret;
    if (secret && p->spec.env) {
        if (memchr(secret->bytes, '\0', secret->len))
            return error_set(err, ERR_USER, "secret '%s' has a NUL byte: no variable can hold it",
                             p->spec.id);
        AUTO_FREE char *text = xasprintf("%.*s", (int)secret->len, secret->bytes);
        runner_exec_env(e, p->spec.env, text);
        explicit_bzero(text, strlen(text));
    }
    if (secret && p->target)
        put_other(p, RUNNER_SECRET, 0, e);
    return 0;
}

/* Programs find the first one, unless the Imagefile says where they look. */
static void put_ssh(const struct mount *p, struct runner_exec *e)
{
    static const char name[] = "SSH_AUTH_SOCK";
    bool said = false;
    if (!p->ssh)
        return;
    put_other(p, RUNNER_SSH, 0, e);
    for (size_t i = 0; i < e->env.len; i++)
        said |=
            !strncmp(e->env.ptr[i], name, sizeof name - 1) && e->env.ptr[i][sizeof name - 1] == '=';
    if (!said)
        runner_exec_env(e, name, p->target);
}

static int put(struct build *b, struct mounts *m, struct mount *p, struct runner_exec *e,
               struct error **err)
{
    switch (p->spec.type) {
    case MOUNT_BIND:
        return put_bind(b, m, p, e, err);
    case MOUNT_SECRET:
        return put_secret(p, e, err);
    case MOUNT_CACHE:
        put_other(p, RUNNER_CACHE, find_cache(m, cache_id(p))->slot, e);
        return 0;
    case MOUNT_TMPFS:
        put_other(p, RUNNER_TMPFS, 0, e);
        return 0;
    case MOUNT_SSH:
        put_ssh(p, e);
        return 0;
    }
    return 0;
}

/* What an attempt in a VM that is gone has left. */
static void forget(struct mounts *m)
{
    for (size_t i = 0; i < m->n_caches; i++)
        cache_disk_free(STEAL(m->caches[i].disk));
    m->n_caches = 0;
    m->slots = 0;
}

int mounts_attach(struct build *b, struct mounts *m, struct runner_exec *e, struct error **err)
{
    forget(m);
    if (attach_caches(b, m, err) < 0)
        return -1;
    for (size_t i = 0; i < m->len; i++)
        if (put(b, m, &m->ptr[i], e, err) < 0)
            return -1;
    return target_detach_others(&b->target, m->slots, err);
}

int mounts_detach(struct build *b, struct mounts *m, struct error **err)
{
    for (size_t i = 0; i < m->n_caches; i++) {
        struct cache *c = &m->caches[i];
        if (runner_umount(b->target.runner, c->slot, err) < 0 ||
            runner_set_disk(b->target.runner, c->slot, NULL, err) < 0)
            return -1;
        cache_disk_clean(c->disk);
        cache_disk_free(STEAL(c->disk));
    }
    return 0;
}
