// SPDX-License-Identifier: MIT
//
// The archive's regular files are unpacked into a working folder, whatever their order is; then it is
// known which of them is which. docker's manifest.json (docker's "image specification v1.2", "Combined
// Image JSON + Filesystem Changeset Format") lists images: Config, RepoTags, Layers by their paths, some of
// which may be links to others. Newer ones hold an OCI layout as well, others nothing else.
#include "builder/container/private.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/session.h"
#include "registry/client.h"

#include <fcntl.h>
#include <sys/stat.h>

enum { CHUNK = 256 << 10, LINKS_MAX = 8, LAYERS_MAX = 1024, NAMES_SHOWN = 8 };

/* Members that are links to others. */
struct link {
    char *path, *target; /* relative to the archive's root */
};
DEFINE_VECTOR(links, struct link);

struct unpacking {
    struct container *c;
    struct tar *tar;
    struct links links;
    char *bytes;
    uint64_t room, written; /* bytes of the disk that it may take, and took */
};

static char *member(const struct container *c, const char *path)
{
    return xasprintf("%s/saved/%s", c->work.dir, path);
}

/* A small archive may unpack to any size: the last tenth of the disk is for others. */
static int take_room(struct unpacking *u, size_t n, struct error **err)
{
    u->written += n;
    if (!u->room || u->written <= u->room)
        return 0;
    error_set(err, ERR_SYSTEM,
              "it unpacks to more than %llu bytes, nine tenths of what is free in '%s'",
              (unsigned long long)u->room, u->c->session->cache);
    return error_hint(err, "free some space, or choose another XDG_CACHE_HOME");
}

static int write_data(struct unpacking *u, const struct tar_item *item, int fd, const char *path,
                      struct error **err)
{
    vec_foreach (const struct extent *, x, item->extents)
        for (uint64_t done = 0; done < x->length;) {
            size_t n = x->length - done < CHUNK ? (size_t)(x->length - done) : CHUNK;
            if (session_cancelled(u->c->session))
                return error_set(err, ERR_CANCELLED, "interrupted");
            if (tar_data(u->tar, u->bytes, n, err) < 0)
                return -1;
            if (take_room(u, n, err) < 0)
                return -1;
            if (pwrite_all(fd, u->bytes, n, (off_t)(x->offset + done)) < 0)
                return error_errno(err, "cannot write '%s'", path);
            done += n;
        }
    return ftruncate(fd, (off_t)item->head.size) < 0 ? error_errno(err, "cannot write '%s'", path)
                                                     : 0;
}

/* A regular file of its own: nothing that was unpacked is a link. */
static int unpack_file(struct unpacking *u, const struct tar_item *item, struct error **err)
{
    AUTO_FREE char *name = str_dup(item->path);
    AUTO_FREE char *path = member(u->c, name), *dir = path_parent(path);
    if (make_dirs(dir, 0700, err) < 0)
        return -1;
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 ? error_errno(err, "cannot create '%s'", path)
                  : write_data(u, item, fd, path, err);
}

/* Of a symbolic link the target as a path from the root; "../x/layer.tar" is the form that docker has. */
static void note_link(struct unpacking *u, const struct tar_item *item)
{
    AUTO_FREE char *path = str_dup(item->path), *target = str_dup(item->link);
    AUTO_FREE char *dir = path_parent(path);
    const char *rest = target;
    bool symbolic = item->head.type == STREAM_SYMLINK;
    while (symbolic && !strncmp(rest, "../", 3)) {
        char *above = path_parent(dir);
        free(dir);
        dir = above;
        rest += 3;
    }
    bool at_root = !symbolic || !strcmp(dir, ".");
    *links_push(&u->links) =
        (struct link){STEAL(path), at_root ? xstrdup(rest) : xasprintf("%s/%s", dir, rest)};
}

static const char *follow(const struct unpacking *u, const char *path)
{
    for (unsigned n = 0; n < LINKS_MAX; n++) {
        const char *before = path;
        vec_foreach (const struct link *, l, &u->links)
            if (!strcmp(l->path, path)) {
                path = l->target;
                break;
            }
        if (path == before)
            break;
    }
    return path;
}

static int unpack_all(struct unpacking *u, struct error **err)
{
    struct tar_item item;
    struct digest d;
    int got;
    while ((got = tar_next(u->tar, &item, err)) > 0) {
        session_progress(u->c->session, "unpacking", tar_consumed(u->tar), u->c->bytes, false);
        if (item.head.type == STREAM_FILE && unpack_file(u, &item, err) < 0)
            return -1;
        if (item.head.type == STREAM_SYMLINK || item.head.type == STREAM_HARDLINK)
            note_link(u, &item);
    }
    if (got < 0 || tar_finish(u->tar, &d, err) < 0)
        return -1;
    if (!digest_eq(&d, &u->c->file))
        return error_set(err, ERR_USER, "it changed while it was copied");
    session_progress(u->c->session, "unpacking", u->c->bytes, u->c->bytes, true);
    return 0;
}

/* Names that the archive has are for the hint. */
static int not_there(const json_t *images, const char *wanted, struct error **err)
{
    CLEANUP(buf_clear) struct buf names = BUF_INIT;
    const json_t *image, *tag;
    size_t i, j, n = 0;
    json_array_foreach (images, i, image)
        json_array_foreach (json_object_get(image, "RepoTags"), j, tag)
            if (json_is_string(tag) && n++ < NAMES_SHOWN)
                buf_addf(&names, "%s'%.200s'", names.len ? ", " : "", json_string_value(tag));
    if (*wanted)
        error_set(err, ERR_NOT_FOUND, "the archive has no image '%s'", wanted);
    else
        error_set(err, ERR_USER, "the archive has %zu images", json_array_size(images));
    return n ? error_hint(err, "write ':' and one of these names behind the file: %s", names.data)
             : -1;
}

/* "app:1" is also the one that podman calls "localhost/app:1" and docker "docker.io/library/app:1". */
static bool is_named(const char *tag, const char *wanted)
{
    size_t n = strlen(tag), m = strlen(wanted);
    bool tagged = strchr(strrchr(wanted, '/') ? strrchr(wanted, '/') : wanted, ':');
    if (!tagged && n > 7 && !strcmp(tag + n - 7, ":latest"))
        n -= 7;
    return n >= m && !strncmp(tag + n - m, wanted, m) && (n == m || tag[n - m - 1] == '/');
}

static const json_t *find_image(const json_t *images, const char *wanted)
{
    const json_t *image, *tag;
    size_t i, j;
    if (!*wanted)
        return json_array_size(images) == 1 ? json_array_get(images, 0) : NULL;
    json_array_foreach (images, i, image)
        json_array_foreach (json_object_get(image, "RepoTags"), j, tag)
            if (json_is_string(tag) && is_named(json_string_value(tag), wanted))
                return image;
    return NULL;
}

/* A member's path that a manifest names; NULL: it leads elsewhere. */
static char *named_member(const struct unpacking *u, const json_t *name)
{
    const char *text = json_string_value(name), *path = text ? follow(u, text) : NULL;
    if (!path || !*path || *path == '/' || strstr(path, ".."))
        return NULL;
    return member(u->c, path);
}

static int open_member(struct unpacking *u, const json_t *name, struct error **err)
{
    AUTO_FREE char *path = named_member(u, name);
    struct container_layer l = {.fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1};
    struct stat st;
    if (l.fd < 0 || fstat(l.fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        if (l.fd >= 0)
            (void)close(l.fd);
        return error_set(err, ERR_USER, "the archive has no layer '%.200s'",
                         json_is_string(name) ? json_string_value(name) : "");
    }
    l.size = (uint64_t)st.st_size;
    *container_layers_push(&u->c->layers) = l;
    return 0;
}

static int check_saved_config(struct unpacking *u, const json_t *name, struct error **err)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    AUTO_FREE char *path = named_member(u, name);
    if (!path || file_read(path, 16 << 20, &text, NULL) < 0)
        return error_set(err, ERR_USER, "the archive has no config of the image");
    return container_check_config(u->c, buf_str(&text), err);
}

static int open_docker(struct unpacking *u, const char *manifest, struct error **err)
{
    json_auto_t *images = json_read_file(manifest, err);
    if (!images)
        return -1;
    const json_t *image = find_image(images, u->c->wanted), *layers, *name;
    size_t i;
    if (!image)
        return not_there(images, u->c->wanted, err);
    layers = json_object_get(image, "Layers");
    if (!json_is_array(layers) || json_array_size(layers) > LAYERS_MAX)
        return error_set(err, ERR_USER, "its manifest.json is not valid: it has no list of layers");
    if (check_saved_config(u, json_object_get(image, "Config"), err) < 0)
        return -1;
    json_array_foreach (layers, i, name)
        if (open_member(u, name, err) < 0)
            return -1;
    return 0;
}

/* As a layout in a folder, whose digest is not the key's. */
static int open_layout(struct unpacking *u, struct error **err)
{
    struct container *c = u->c;
    CLEANUP(reference_clear) struct reference ref = {0};
    struct digest key = c->digest;
    uint64_t bytes = c->bytes;
    AUTO_FREE char *text =
        xasprintf("oci-layout:%s/saved/%s%s", c->work.dir, *c->wanted ? ":" : "", c->wanted);
    CLEANUP(error_freep) struct error *why = NULL;
    if (container_check_tag(c->wanted, err) < 0 || reference_parse(text, &ref, err) < 0 ||
        registry_open(c->session, &ref, &c->transfer->registry, &c->registry, err) < 0)
        return -1;
    if (container_resolve(c, reference_version(&ref), &why) < 0) {
        if (why->kind != ERR_NOT_FOUND || !why->hint)
            return error_propagate(err, STEAL(why));
        error_set(err, ERR_NOT_FOUND, "the archive has no image '%s'", reference_version(&ref));
        return error_hint(err, "%s", why->hint);
    }
    c->digest = key;
    c->bytes = bytes;
    return 0;
}

static int open_unpacked(struct unpacking *u, struct error **err)
{
    AUTO_FREE char *docker = member(u->c, "manifest.json"), *oci = member(u->c, "index.json");
    if (access(docker, F_OK) == 0)
        return open_docker(u, docker, err);
    if (access(oci, F_OK) == 0)
        return open_layout(u, err);
    error_set(err, ERR_USER,
              "the archive is not a container image: it has neither manifest.json nor "
              "index.json");
    return error_hint(err, "'docker save', 'podman save' and 'skopeo copy' write such archives");
}

static int unpack_and_open(struct unpacking *u, struct error **err)
{
    struct container *c = u->c;
    AUTO_FREE char *parent = xasprintf("%s/remote/.working", c->session->cache);
    working_sweep(parent);
    if (working_open(&c->work, parent, err) < 0 ||
        tar_open_sure(c->session, STEAL_FD(c->archive), NULL, &u->tar, err) < 0)
        return -1;
    AUTO_FREE char *saved = path_join(c->work.dir, "saved");
    return make_dirs(saved, 0700, err) < 0 || unpack_all(u, err) < 0 ? -1 : open_unpacked(u, err);
}

int container_open_saved(struct container *c, struct error **err)
{
    uint64_t room = free_bytes(c->session->cache);
    struct unpacking u = {.c = c, .bytes = xmalloc(CHUNK), .room = room - room / 10};
    int rc = unpack_and_open(&u, err);
    tar_free(u.tar);
    vec_foreach (struct link *, l, &u.links) {
        free(l->path);
        free(l->target);
    }
    links_clear(&u.links);
    free(u.bytes);
    return rc;
}
