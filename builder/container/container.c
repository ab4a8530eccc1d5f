// SPDX-License-Identifier: MIT
//
// A layout's blobs are read where they lie; a registry's are kept first; an archive is unpacked into a
// working folder, and is then a layout or what docker wrote (saved.c).
#include "builder/container/container.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/session.h"
#include "builder/container/blobs.h"
#include "builder/container/private.h"
#include "builder/context/context.h"
#include "builder/context/remote.h"
#include "builder/transfer/index.h"
#include "builder/transfer/pool.h"
#include "registry/client.h"

#include <fcntl.h>
#include <sys/stat.h>

enum { NESTED_MAX = 3, MANIFEST_MAX = 4 << 20, CONFIG_MAX = 16 << 20 };

#define LAYOUT "oci-layout:"

void container_name_clear(struct container_name *n)
{
    free(n->path);
    free(n->rest);
    *n = (struct container_name){0};
}

void container_split(const char *text, struct container_name *ret)
{
    const char *path = strchr(text, ':') + 1; // one of the words of base/url.h
    if (!strncmp(text, "oci://", 6)) {
        *ret = (struct container_name){CONTAINER_REGISTRY, NULL, xstrdup("")};
        return;
    }
    bool layout = !strncmp(text, LAYOUT, strlen(LAYOUT));
    path += strncmp(path, "//", 2) == 0 ? 2 : 0;
    const char *slash = layout ? strrchr(path, '/') : NULL, *last = slash ? slash : path;
    const char *end = last + strcspn(last, layout ? ":@" : ":");
    *ret = (struct container_name){layout ? CONTAINER_LAYOUT : CONTAINER_ARCHIVE,
                                   xstrndup(path, (size_t)(end - path)),
                                   xstrdup(!layout && *end ? end + 1 : end)};
}

int container_check_tag(const char *name, struct error **err)
{
    CLEANUP(reference_clear) struct reference ref = {0};
    AUTO_FREE char *text = xasprintf(LAYOUT "/x:%s", name);
    if (!*name || (reference_parse(text, &ref, NULL) == 0 && !strcmp(ref.layout, "/x")))
        return 0;
    error_set(err, ERR_USER, "'%s' is not a tag of an image layout", name);
    return error_hint(err, "the form is oci-archive:FILE:TAG");
}

int container_check(const char *text, struct error **err)
{
    CLEANUP(container_name_clear) struct container_name name = {0};
    CLEANUP(reference_clear) struct reference ref = {0};
    container_split(text, &name);
    if (name.kind != CONTAINER_ARCHIVE)
        return reference_parse(text, &ref, err);
    if (!*name.path)
        return error_set(err, ERR_USER, "'%s' names no file", text);
    return strncmp(text, "oci-archive:", 12) ? 0 : container_check_tag(name.rest, err);
}

void container_free(struct container *c)
{
    if (!c)
        return;
    tar_free(c->reader.tar);
    buf_clear(&c->reader.path);
    buf_clear(&c->reader.target);
    rootfs_free(c->rootfs);
    vec_foreach (struct container_layer *, l, &c->layers)
        if (l->fd >= 0)
            (void)close(l->fd);
    container_layers_clear(&c->layers);
    registry_free(c->registry);
    if (c->archive >= 0)
        (void)close(c->archive);
    working_clear(&c->work);
    free(c->wanted);
    free(c->text);
    free(c->platform);
    free(c);
}

/* The manifest of a tag or digest. What a digest names and is kept is not asked for again. */
static int get_manifest(struct container *c, const char *version, struct buf *ret,
                        char hex[DIGEST_HEX + 1], struct error **err)
{
    const struct session *s = c->session;
    bool pinned = !strncmp(version, "sha256:", 7), kept = c->kind == CONTAINER_REGISTRY;
    if (pinned && kept && blob_read(s, version + 7, MANIFEST_MAX, ret)) {
        memcpy(hex, version + 7, DIGEST_HEX + 1);
        return 0;
    }
    if (registry_manifest(c->registry, version, ret, hex, err) < 0)
        return -1;
    if (kept)
        blob_keep(s, hex, ret);
    return 0;
}

int container_resolve(struct container *c, const char *version, struct error **err)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    char hex[DIGEST_HEX + 1], next[sizeof "sha256:" + DIGEST_HEX];
    for (unsigned nested = 0; nested < NESTED_MAX; nested++) {
        if (get_manifest(c, version, &text, hex, err) < 0)
            return -1;
        int chosen = index_choose(buf_str(&text), c->platform, next, err);
        if (chosen < 0)
            return -1;
        if (!chosen)
            return digest_parse(hex, &c->digest) ? container_take_manifest(c, buf_str(&text), err)
                                                 : -1;
        version = next;
    }
    return error_set(err, ERR_USER, "the image's index is not valid: it is of indexes of indexes");
}

static int open_registry(struct container *c, const struct container_options *o,
                         const struct container_name *name, struct error **err)
{
    CLEANUP(reference_clear) struct reference ref = {0};
    AUTO_FREE char *layout =
        name->path ? xasprintf(LAYOUT "%s/%s", o->place->path, name->rest) : NULL;
    if (reference_parse(layout ? layout : o->text, &ref, err) < 0)
        return -1;
    if (o->checksum && ref.digest && strcmp(o->checksum, ref.digest) != 0)
        return error_set(err, ERR_USER, "its digest and the checksum '%s' differ", o->checksum);
    if (registry_open(c->session, &ref, &o->transfer->registry, &c->registry, err) < 0)
        return -1;
    const char *version = o->checksum ? o->checksum : reference_version(&ref);
    return container_resolve(c, version, err);
}

/* The file's digest, the name in it, and the platform: of one name there may be several images. */
static void open_archive(struct container *c, const struct container_options *o,
                         const struct container_name *name)
{
    char hex[DIGEST_HEX + 1];
    digest_hex(&o->place->digest, hex);
    AUTO_FREE char *key =
        xasprintf("%s %s:%s", hex, o->platform ? o->platform : "linux/amd64", name->rest);
    AUTO_FREE char *path = xasprintf("/proc/self/fd/%d", o->place->fd);
    c->archive = open(path, O_RDONLY | O_CLOEXEC); // a description of its own
    c->file = o->place->digest;
    c->digest = digest_of(key, strlen(key));
    c->wanted = xstrdup(name->rest);
    c->bytes = o->place->size;
}

/* As of a URL: of the file. */
static int check_file(const struct digest *is, const struct digest *expected, struct error **err)
{
    char got[DIGEST_HEX + 1], want[DIGEST_HEX + 1];
    if (digest_eq(is, expected))
        return 0;
    digest_hex(is, got);
    digest_hex(expected, want);
    error_set(err, ERR_USER, "it is not what its checksum says: it has sha256:%s, not %s", got,
              want);
    return error_hint(err, "the file has changed, or the checksum is of another");
}

static int open_as(struct container *c, const struct container_options *o, struct error **err)
{
    CLEANUP(container_name_clear) struct container_name name = {0};
    struct digest expected;
    if (o->checksum && remote_checksum(o->checksum, &expected, err) < 0)
        return -1;
    container_split(o->text, &name);
    c->kind = name.kind;
    if (c->kind == CONTAINER_LAYOUT && !o->place->folder)
        return error_set(err, ERR_USER, "it is not a folder");
    if (c->kind != CONTAINER_ARCHIVE)
        return open_registry(c, o, &name, err);
    if (o->place->fd < 0)
        return error_set(err, ERR_USER, "it is not a file");
    if (o->checksum && check_file(&o->place->digest, &expected, err) < 0)
        return -1;
    open_archive(c, o, &name);
    return c->archive < 0 ? error_errno(err, "it cannot be opened") : 0;
}

int container_open(const struct session *s, const struct container_options *o,
                   struct container **ret, struct error **err)
{
    CLEANUP(container_freep) struct container *c = xcalloc(1, sizeof *c);
    c->session = s;
    c->text = xstrdup(o->text);
    c->platform = o->platform ? xstrdup(o->platform) : NULL;
    c->transfer = o->transfer;
    c->archive = -1;
    c->work = (struct working)WORKING_INIT;
    buf_init(&c->reader.path);
    buf_init(&c->reader.target);
    if (o->platform && index_check_platform(o->platform, err) < 0)
        return -1;
    if (open_as(c, o, err) < 0)
        return error_wrap(err, "'%s'", o->text);
    *ret = STEAL(c);
    return 0;
}

struct digest container_digest(const struct container *c)
{
    return c->digest;
}

uint64_t container_bytes(const struct container *c)
{
    return c->bytes;
}

static int open_blob(const struct container *c, const char *hex, uint64_t size, struct error **err)
{
    if (c->kind == CONTAINER_REGISTRY)
        return blob_open(c->session, hex, size);
    const struct reference *ref = registry_reference(c->registry);
    AUTO_FREE char *path = xasprintf("%s/blobs/sha256/%s", ref->layout, hex);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_errno(err, "cannot open '%s'", path);
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != size)
        return error_set(err, ERR_USER, "'%s' has %llu bytes, not %llu as the manifest says", path,
                         (unsigned long long)st.st_size, (unsigned long long)size);
    return STEAL_FD(fd);
}

/* Blobs to fetch. */
struct fetching {
    struct container *container;
    struct pool pool;
};

static int fetch_layer(void *arg, size_t i, struct error **err)
{
    struct fetching *f = arg;
    const struct container_layer *l = &f->container->layers.ptr[i];
    return blob_fetch(f->container->session, f->container->registry, l->hex, l->size,
                      &f->pool.moved, err);
}

static int check_room(const struct container *c, struct error **err)
{
    uint64_t room = free_bytes(c->session->cache), need = 0;
    vec_foreach (const struct container_layer *, l, &c->layers)
        need += l->fd < 0 && l->size < UINT64_MAX - need ? l->size : 0;
    if (!room || need <= room)
        return 0;
    error_set(err, ERR_SYSTEM, "it has %llu bytes to fetch, and there is room for %llu in '%s'",
              (unsigned long long)need, (unsigned long long)room, c->session->cache);
    return error_hint(err, "free some space, or choose another XDG_CACHE_HOME");
}

static int fetch_layers(struct container *c, struct error **err)
{
    const struct transfer_options *o = c->transfer;
    struct fetching f = {.container = c};
    f.pool = (struct pool){.work = fetch_layer,
                           .arg = &f,
                           .n = c->layers.len,
                           .total = c->bytes,
                           .session = c->session};
    pool_start(&f.pool, o->jobs ? o->jobs : TRANSFER_JOBS);
    for (size_t i = 0; i < c->layers.len && pool_wait(&f.pool, i); i++)
        ;
    return pool_end(&f.pool, err);
}

static bool all_here(struct container *c)
{
    bool all = true;
    vec_foreach (struct container_layer *, l, &c->layers) {
        if (l->fd < 0)
            l->fd = blob_open(c->session, l->hex, l->size);
        all = all && l->fd >= 0;
    }
    return all;
}

static int open_layers(struct container *c, struct error **err)
{
    vec_foreach (struct container_layer *, l, &c->layers)
        if (l->fd < 0 && (l->fd = open_blob(c, l->hex, l->size, err)) < 0)
            return err && *err ? -1 : error_set(err, ERR_SYSTEM, "a layer was removed just now");
    return 0;
}

static int check_config(const struct container *c, struct error **err)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    bool kept = c->kind == CONTAINER_REGISTRY;
    if (c->config_size > CONFIG_MAX)
        return error_set(err, ERR_USER, "its config has more than %d bytes", CONFIG_MAX);
    if (!kept || !blob_read(c->session, c->config, CONFIG_MAX, &text)) {
        if (registry_blob(c->registry, c->config, CONFIG_MAX, &text, err) < 0)
            return -1;
        if (kept)
            blob_keep(c->session, c->config, &text);
    }
    return container_check_config(c, buf_str(&text), err);
}

static int fetch(struct container *c, struct error **err)
{
    if (c->kind == CONTAINER_ARCHIVE && container_open_saved(c, err) < 0)
        return -1;
    if (!c->registry) // docker's archive: its layers are open
        return 0;
    if (check_config(c, err) < 0)
        return -1;
    if (c->kind == CONTAINER_REGISTRY && !all_here(c) &&
        (check_room(c, err) < 0 || fetch_layers(c, err) < 0))
        return -1;
    return open_layers(c, err);
}

int container_fetch(struct container *c, struct error **err)
{
    if (c->fetched)
        return 0;
    if (fetch(c, err) < 0)
        return error_wrap(err, "'%s'", c->text);
    c->fetched = true;
    return 0;
}
