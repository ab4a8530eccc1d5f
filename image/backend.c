// SPDX-License-Identifier: MIT
//
// Everything that gets a name is made in a folder of .working and renamed from there, so that no
// unfinished file ever lies beside the images. rename(2) replaces what had the name; processes that
// have the old file open keep it.
#include "image/backend.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/nearest.h"
#include "base/working.h"
#include "image/chain.h"
#include "image/name.h"
#include "image/source.h"
#include "qcow2/head.h"
#include "qcow2/qcow2.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void backend_image_clear(struct backend_image *i)
{
    free(i->name);
    free(i->path);
    free(i->layer);
    free(i->metadata);
    free(i->broken);
    memset(i, 0, sizeof *i);
}

void backend_images_free(struct backend_images *images)
{
    vec_foreach (struct backend_image *, i, images)
        backend_image_clear(i);
    backend_images_clear(images);
}

char *backend_nearest(const char *dir, const char *name)
{
    CLEANUP(backend_images_free) struct backend_images images = {0};
    CLEANUP(strv_clear) struct strv names = {0};
    const char *colon = strchr(name, ':');
    // "debian:latest" and "docker.io/library/debian", where there is a debian
    const char *slash = strrchr(name, '/'), *plain = slash && slash[1] ? slash + 1 : name;
    size_t n = colon > plain ? (size_t)(colon - plain) : strlen(plain);
    if (backend_list(dir, &images, NULL) < 0)
        return NULL;
    vec_foreach (const struct backend_image *, i, &images) {
        if (strlen(i->name) == n && !strncmp(i->name, plain, n))
            return xstrdup(i->name);
        strv_add(&names, i->name);
    }
    const char *near =
        names.len ? nearest_name(str_of(name), (const char *const *)names.ptr) : NULL;
    return near ? xstrdup(near) : NULL;
}

int backend_not_found(const char *dir, const char *name, struct error **err)
{
    error_set(err, ERR_NOT_FOUND, "unable to find image '%s' in backend '%s'", name, dir);
    AUTO_FREE char *near = backend_nearest(dir, name), *word = shell_word(name);
    if (image_name_is_file(name))
        return error_hint(err, "'kiln image import %s NAME' makes an image of this file", word);
    if (near)
        return error_hint(err, "did you mean '%s'?", near);
    AUTO_FREE char *elsewhere = image_name_elsewhere(name);
    if (elsewhere)
        return error_hint(err, "%s", elsewhere);
    return error_hint(
        err, "'kiln image ls' lists the images, 'kiln image pull NAME,http=URL' downloads one");
}

bool backend_has(const char *dir, const char *name)
{
    AUTO_FREE char *file = image_name_encode(name), *path = path_join(dir, file);
    struct stat st;
    return image_name_check(name, NULL) == 0 && lstat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

/* Fills in what the file tells; name and path are set already. */
static int read_image(const char *dir, const char *file, struct backend_image *i,
                      struct error **err)
{
    CLEANUP(qcow2_info_clear) struct qcow2_info info = {0};
    AUTO_CLOSE int fd = backend_open(dir, file, err);
    if (fd < 0)
        return -1;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_errno(err, "cannot read '%s'", i->path);
    i->mtime = st.st_mtim.tv_sec;
    if (qcow2_read_fd(fd, QCOW2_OWN, &info, err) < 0)
        return error_wrap(err, "image '%s'", i->name);
    i->layer = info.backing ? layer_of_file(info.backing) : NULL;
    if (info.backing && !i->layer)
        return error_set(err, ERR_USER,
                         "image '%s' has the backing file '%s', which is not a layer", i->name,
                         info.backing);
    if (chain_walk(dir, file, NULL, &i->real_size, err) < 0)
        return error_wrap(err, "image '%s'", i->name);
    i->thin = i->layer != NULL;
    i->virtual_size = info.size;
    i->metadata = STEAL(info.metadata);
    return 0;
}

int backend_find(const char *dir, const char *name, struct backend_image *ret, struct error **err)
{
    if (image_name_check(name, err) < 0)
        return -1;
    if (!backend_has(dir, name))
        return backend_not_found(dir, name, err);
    AUTO_FREE char *file = image_name_encode(name);
    CLEANUP(backend_image_clear)
    struct backend_image i = {.name = xstrdup(name), .path = path_join(dir, file)};
    if (read_image(dir, file, &i, err) < 0)
        return -1;
    *ret = i;
    i = (struct backend_image){0};
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct backend_image *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static void list_one(const char *dir, const char *file, struct backend_images *ret)
{
    AUTO_FREE char *name = image_name_decode(file), *path = path_join(dir, file);
    struct stat st;
    if (!name || lstat(path, &st) < 0 || S_ISDIR(st.st_mode))
        return;
    CLEANUP(error_freep) struct error *why = NULL;
    struct backend_image *i = backend_images_push(ret);
    *i = (struct backend_image){
        .name = STEAL(name), .path = STEAL(path), .mtime = st.st_mtim.tv_sec};
    if (read_image(dir, file, i, &why) < 0)
        i->broken = xstrdup(why->message);
}

int backend_list(const char *dir, struct backend_images *ret, struct error **err)
{
    DIR *d = opendir(dir);
    if (!d && errno == ENOENT)
        return 0;
    if (!d)
        return error_errno(err, "cannot open backend '%s'", dir);
    for (struct dirent *e; (e = readdir(d));)
        list_one(dir, e->d_name, ret);
    closedir(d);
    if (ret->len)
        qsort(ret->ptr, ret->len, sizeof *ret->ptr, by_name);
    return 0;
}

/* Moves `made` (synced, complete) to the name. */
static int publish(const char *dir, const char *name, const char *made, struct error **err)
{
    AUTO_FREE char *file = image_name_encode(name), *path = path_join(dir, file);
    if (chmod(made, 0444) < 0)
        return error_errno(err, "cannot make image '%s' read-only", name);
    image_source_forget(dir, name);
    if (rename(made, path) < 0)
        return error_errno(err, "cannot register image '%s' as '%s'", name, path);
    return fsync_dir(dir, err);
}

static int working(const char *dir, struct working *w, struct error **err)
{
    AUTO_FREE char *parent = path_join(dir, WORKING);
    return working_open(w, parent, err);
}

int backend_register_thin(const char *dir, const char *name, const struct backend_thin *thin,
                          struct error **err)
{
    if (image_name_check(name, err) < 0)
        return -1;
    if (!layer_id_ok(thin->layer, strlen(thin->layer)))
        return error_set(err, ERR_USER, "'%s' is not a layer id", thin->layer);
    AUTO_FREE char *below = xasprintf(LAYERS "/%s/disk.qcow2", thin->layer);
    AUTO_FREE char *layers = path_join(dir, LAYERS);
    AUTO_CLOSE int fd = backend_open(dir, below, err);
    CLEANUP(qcow2_info_clear) struct qcow2_info info = {0};
    if (fd < 0 || qcow2_read_fd(fd, QCOW2_OWN, &info, err) < 0)
        return error_wrap(err, "cannot register image '%s'", name);
    CLEANUP(working_clear) struct working w = WORKING_INIT;
    if (working(dir, &w, err) < 0)
        return -1;
    AUTO_FREE char *made = path_join(w.dir, "image");
    struct qcow2_overlay o = {
        .size = thin->virtual_size ? thin->virtual_size : info.size,
        .cluster_bits = 16,
        .backing = below,
        .metadata = thin->metadata,
        .metadata_len = thin->metadata ? strlen(thin->metadata) : 0,
        .sync = true,
    };
    // whoever put the layer there may not have synced it yet, or have been killed before
    if (fsync_dir(layers, err) < 0)
        return error_wrap(err, "cannot register image '%s'", name);
    if (qcow2_create_overlay(made, &o, err) < 0)
        return error_wrap(err, "cannot register image '%s'", name);
    return publish(dir, name, made, err);
}

int backend_register_file(const char *dir, const char *name, const char *file, struct error **err)
{
    CLEANUP(qcow2_info_clear) struct qcow2_info info = {0};
    if (image_name_check(name, err) < 0)
        return -1;
    AUTO_CLOSE int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_errno(err, "cannot open '%s'", file);
    if (qcow2_read_fd(fd, 0, &info, err) < 0)
        return error_wrap(err, "cannot register image '%s'", name);
    if (fsync(fd) < 0)
        return error_errno(err, "cannot write '%s'", file);
    return publish(dir, name, file, err);
}

int backend_remove(const char *dir, const char *name, struct error **err)
{
    if (image_name_check(name, err) < 0)
        return -1;
    AUTO_FREE char *file = image_name_encode(name), *path = path_join(dir, file);
    if (!backend_has(dir, name))
        return backend_not_found(dir, name, err);
    if (unlink(path) < 0)
        return error_errno(err, "cannot remove image '%s'", name);
    image_source_forget(dir, name);
    return fsync_dir(dir, err);
}

int backend_tag(const char *dir, const char *from, const char *to, struct error **err)
{
    CLEANUP(backend_image_clear) struct backend_image i = {0};
    if (image_name_check(to, err) < 0 || backend_find(dir, from, &i, err) < 0)
        return -1;
    CLEANUP(working_clear) struct working w = WORKING_INIT;
    if (working(dir, &w, err) < 0)
        return -1;
    // A second link: images are never written to. (rename does nothing when both are one file.)
    AUTO_FREE char *made = path_join(w.dir, "image");
    if (link(i.path, made) < 0)
        return error_errno(err, "cannot tag image '%s' as '%s'", from, to);
    return publish(dir, to, made, err);
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Whether an image that can't be used could yet need a layer: it claims to be a qcow2 with a
 * backing file, or it can't be read. Any other file that lies in a backend needs none. */
static bool may_need_layer(const struct backend_image *i)
{
    unsigned char head[16];
    AUTO_CLOSE int fd = open(i->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return errno != ENOENT && errno != ELOOP;
    ssize_t n = pread_all(fd, head, sizeof head, 0);
    if (n != (ssize_t)sizeof head)
        return n < 0;
    return qcow2_claims_backing(head, sizeof head);
}

int backend_roots(const char *dir, struct strv *ret, struct error **err)
{
    CLEANUP(backend_images_free) struct backend_images all = {0};
    CLEANUP(strv_clear) struct strv ids = {0};
    if (backend_list(dir, &all, err) < 0)
        return -1;
    vec_foreach (struct backend_image *, i, &all) {
        bool known = i->layer && strlen(i->layer) == DIGEST_HEX; // whatever ails it or those below
        if (i->broken && !known && may_need_layer(i)) {
            error_set(err, ERR_USER, "cannot determine which layers are in use: %s", i->broken);
            AUTO_FREE char *word = shell_word(i->name);
            return error_hint(err, "'kiln image rm --force %s' removes the broken image", word);
        }
        if (i->layer)
            strv_add(&ids, i->layer);
    }
    if (ids.len)
        qsort(ids.ptr, ids.len, sizeof *ids.ptr, compare_strings);
    for (size_t k = 0; k < ids.len; k++)
        if (!k || strcmp(ids.ptr[k], ids.ptr[k - 1]))
            strv_add(ret, ids.ptr[k]);
    return 0;
}
