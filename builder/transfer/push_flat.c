// SPDX-License-Identifier: MIT
//
// For other programs: the image's chain as one qcow2, alone or in the tar of a containerDisk.
#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/session.h"
#include "builder/transfer/manifest.h"
#include "builder/transfer/pool.h"
#include "builder/transfer/tar_gz.h"
#include "builder/transfer/transfer.h"
#include "cache/store.h"
#include "image/backend.h"
#include "image/convert.h"

#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { QEMU = 107 }; // the user of KubeVirt's virt-launcher

struct flat {
    const struct session *session;
    struct registry *registry;
    struct store *store; /* holds the lease, and the folder for files */
    struct pool pool;
    char *title; /* "web.qcow2" */
    char *path;  /* of the only layer */
    struct tar_gz layer;
};

static void flat_clear(struct flat *f)
{
    registry_free(f->registry);
    if (f->path)
        (void)unlink(f->path);
    store_free(f->store);
    free(f->title);
    free(f->path);
}

/* A file name that any system takes. */
static char *title_of(const char *name)
{
    const char *slash = strrchr(name, '/');
    char *title = xasprintf("%s.qcow2", slash ? slash + 1 : name);
    for (char *p = title; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("._-", *p))
            *p = '-';
    return title;
}

static int lease(struct flat *f, const char *name, struct error **err)
{
    CLEANUP(backend_image_clear) struct backend_image image = {0};
    CLEANUP(layer_freep) struct layer *layer = NULL;
    const struct session *s = f->session;
    if (backend_find(s->backend, name, &image, err) < 0 ||
        store_open(s, s->backend, &f->store, err) < 0)
        return -1;
    return image.thin ? store_get(f->store, image.layer, &layer, err) : 0;
}

/* The qcow2 as it is. */
static int digest_disk(struct flat *f, const char *disk, struct error **err)
{
    AUTO_CLOSE int fd = open(disk, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    struct digest d;
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_errno(err, "cannot read '%s'", disk);
    if (digest_of_fd(fd, &d, err) < 0)
        return -1;
    digest_hex(&d, f->layer.hex);
    digest_hex(&d, f->layer.raw_hex);
    f->layer.size = (uint64_t)st.st_size;
    f->path = xstrdup(disk);
    return 0;
}

static int pack_disk(struct flat *f, const char *disk, struct error **err)
{
    AUTO_FREE char *name = xasprintf("disk/%s", f->title);
    f->path = path_join(store_scratch(f->store), "layer.tar.gz");
    AUTO_CLOSE int fd = open(f->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, "cannot create '%s'", f->path);
    struct tar_gz_file as = {.name = name, .mode = 0440, .owner = QEMU};
    int rc = tar_gz_write(disk, &as, fd, &f->layer, err);
    (void)unlink(disk);
    return rc;
}

static int make_layer(struct flat *f, const char *name, bool container, struct error **err)
{
    AUTO_FREE char *disk = path_join(store_scratch(f->store), "disk.qcow2");
    struct image_export o = {.format = FORMAT_QCOW2, .compress = container ? NULL : "zlib"};
    if (image_export(f->session, name, disk, &o, err) < 0)
        return -1;
    return container ? pack_disk(f, disk, err) : digest_disk(f, disk, err);
}

static int send_layer(void *arg, size_t item, struct error **err)
{
    struct flat *f = arg;
    (void)item;
    AUTO_CLOSE int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? error_errno(err, "cannot read '%s'", f->path)
                  : registry_put_blob(f->registry, f->layer.hex, f->layer.size, fd, &f->pool.moved,
                                      err);
}

static int send_with_a_bar(struct flat *f, struct error **err)
{
    f->pool = (struct pool){
        .work = send_layer, .arg = f, .n = 1, .total = f->layer.size, .session = f->session};
    pool_start(&f->pool, 1);
    (void)pool_wait(&f->pool, 0);
    return pool_end(&f->pool, err);
}

static json_t *new_config(const struct flat *f)
{
    AUTO_FREE char *id = xasprintf("sha256:%s", f->layer.raw_hex);
    return json_pack("{s:s,s:s,s:{},s:{s:s,s:[s]},s:[{s:s}]}", "architecture", "amd64", "os",
                     "linux", "config", "rootfs", "type", "layers", "diff_ids", id, "history",
                     "created_by", "kiln image push");
}

static json_t *new_manifest(const struct flat *f, bool container, json_t *config)
{
    json_t *layer = manifest_descriptor(container ? "application/vnd.oci.image.layer.v1.tar+gzip"
                                                  : "application/octet-stream",
                                        f->layer.hex, f->layer.size);
    json_t *m = json_pack("{s:i,s:s,s:o,s:[o]}", "schemaVersion", 2, "mediaType", MANIFEST_TYPE,
                          "config", config, "layers", layer);
    if (container)
        return m;
    (void)json_object_set_new(m, "artifactType", json_string(TRANSFER_DISK_TYPE));
    (void)json_object_set_new(layer, "annotations",
                              json_pack("{s:s}", "org.opencontainers.image.title", f->title));
    return m;
}

static int publish(struct flat *f, const char *tag, bool container, char digest[DIGEST_HEX + 1],
                   struct error **err)
{
    json_auto_t *config = new_config(f);
    json_t *descriptor = manifest_put_config(f->registry, config, err);
    if (!descriptor)
        return -1;
    json_auto_t *manifest = new_manifest(f, container, descriptor);
    return manifest_put(f->registry, tag, manifest, digest, err);
}

int transfer_push_flat(const struct session *s, const char *name, const struct reference *ref,
                       const struct transfer_options *o, char digest[DIGEST_HEX + 1],
                       struct error **err)
{
    CLEANUP(flat_clear) struct flat f = {.session = s, .title = title_of(name)};
    struct registry_options with = o->registry;
    bool container = o->format == TRANSFER_CONTAINERDISK;
    with.push = true;
    if (ref->digest)
        return error_set(err, ERR_USER, "push to a tag, not to a digest");
    if (lease(&f, name, err) < 0 || registry_open(s, ref, &with, &f.registry, err) < 0)
        return -1;
    if (make_layer(&f, name, container, err) < 0 || send_with_a_bar(&f, err) < 0 ||
        publish(&f, ref->tag, container, digest, err) < 0)
        return error_wrap(err, "cannot push image '%s'", name);
    return 0;
}
