// SPDX-License-Identifier: MIT
#include "builder/transfer/foreign.h"

#include "base/alloc.h"
#include "base/json.h"
#include "base/printable.h"
#include "builder/transfer/transfer.h"

#include <string.h>

enum { BLOBS_MAX = 65536, DISKS_MAX = 256, TYPES_SHOWN = 8 };

#define SARDE "application/x-qemu-disk+gzip"
#define SARDE_ABOUT "application/vnd.sardinecake.vm.config.v1+json"
#define TART "application/vnd.cirruslabs.tart."
#define TITLE "org.opencontainers.image.title"

void foreign_clear(struct foreign *f)
{
    foreign_blobs_clear(&f->blobs);
    memset(f, 0, sizeof *f);
}

static const char *type_of(const json_t *layer)
{
    const char *type = json_str(layer, "mediaType");
    return type ? type : "";
}

static bool is_sarde(const json_t *layer)
{
    const char *type = type_of(layer);
    size_t n = strlen(SARDE);
    return !strncmp(type, SARDE, n) && (!type[n] || type[n] == ';');
}

static bool is_tar(const json_t *layer)
{
    static const char *const types[] = {"application/vnd.oci.image.layer.v1.tar",
                                        "application/vnd.oci.image.layer.v1.tar+gzip",
                                        "application/vnd.oci.image.layer.v1.tar+zstd",
                                        "application/vnd.docker.image.rootfs.diff.tar",
                                        "application/vnd.docker.image.rootfs.diff.tar.gzip",
                                        "application/vnd.docker.image.rootfs.diff.tar.zstd"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(type_of(layer), types[i]))
            return true;
    return false;
}

static bool is_tart(const json_t *layer)
{
    return !strncmp(type_of(layer), TART, strlen(TART));
}

static bool is_tart_disk(const json_t *layer)
{
    return !strcmp(type_of(layer), TART "disk.v2");
}

static size_t without(const char *text, size_t n, const char *end)
{
    size_t len = strlen(end);
    return n > len && !strncmp(text + n - len, end, len) ? n - len : n;
}

/* "disk.qcow2", "disk.img.zst"… */
static bool is_disk_name(const char *title)
{
    static const char *const packed[] = {".gz", ".xz", ".zst", ".bz2"};
    static const char *const formats[] = {".qcow2", ".img", ".raw", ".vmdk", ".vhdx", ".vdi"};
    size_t n = strlen(title);
    for (size_t i = 0; i < sizeof packed / sizeof *packed; i++)
        n = without(title, n, packed[i]);
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (without(title, n, formats[i]) != n)
            return true;
    return false;
}

static bool is_disk(const json_t *layer)
{
    const char *title = json_str(json_object_get(layer, "annotations"), TITLE);
    return !strcmp(type_of(layer), "application/vnd.cloudnebula.qcow2.layer.v1") ||
           (title && !is_tar(layer) && is_disk_name(title));
}

static size_t count(const json_t *layers, bool (*is)(const json_t *layer))
{
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(layers); i++)
        n += is(json_array_get(layers, i));
    return n;
}

/* The types of its layers, each once, so that the user sees what it is. */
static int unknown(const json_t *layers, struct error **err)
{
    CLEANUP(buf_clear) struct buf types = BUF_INIT;
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(layers) && n < TYPES_SHOWN; i++) {
        AUTO_FREE char *type = printable_line(type_of(json_array_get(layers, i)));
        AUTO_FREE char *quoted = xasprintf("'%s'", type);
        if (types.len && strstr(types.data, quoted))
            continue;
        buf_addf(&types, "%s%s", n++ ? ", " : "", quoted);
    }
    error_set(err, ERR_USER, "it is not an image with a disk that kiln knows: its layers are %s",
              n ? types.data : "none");
    return error_hint(err, "'kiln help image pull' says which images can be pulled");
}

static int take_blob(const json_t *layer, size_t disk, struct foreign_blob *ret, struct error **err)
{
    const char *digest = json_str(layer, "digest");
    int64_t size = json_int(layer, "size", -1);
    struct foreign_blob blob = {.size = (uint64_t)size, .disk = disk};
    struct digest parsed;
    if (!digest_parse_named(digest, &parsed))
        return error_set(err, ERR_USER,
                         "the image's manifest is not valid: a digest is not SHA-256");
    if (size <= 0)
        return error_set(err, ERR_USER,
                         "the image's manifest is not valid: a size is missing, or not positive");
    digest_hex(&parsed, blob.hex);
    *ret = blob;
    return 0;
}

static int take_about(struct foreign *f, const json_t *layers, struct error **err)
{
    for (size_t i = 0; i < json_array_size(layers); i++)
        if (!strcmp(type_of(json_array_get(layers, i)), SARDE_ABOUT))
            return take_blob(json_array_get(layers, i), 0, &f->about, err);
    return 0;
}

/* Layers that are `is`, each a file of its own unless it says that it goes on. */
static int add_all(struct foreign *f, const json_t *layers, bool (*is)(const json_t *layer),
                   struct error **err)
{
    for (size_t i = 0; i < json_array_size(layers); i++) {
        const json_t *layer = json_array_get(layers, i);
        if (!is(layer))
            continue;
        bool goes_on = f->disks && (f->kind == FOREIGN_TART || (f->kind == FOREIGN_SARDE &&
                                                                strstr(type_of(layer), ";chunk=")));
        f->disks += !goes_on;
        struct foreign_blob blob;
        if (take_blob(layer, f->disks - 1, &blob, err) < 0)
            return -1;
        *foreign_blobs_push(&f->blobs) = blob;
    }
    return f->disks <= DISKS_MAX ? 0 : error_set(err, ERR_USER, "it has more than 256 layers");
}

static bool is_anything(const json_t *layer)
{
    (void)layer;
    return true;
}

static int take(struct foreign *f, const json_t *layers, struct error **err)
{
    size_t n = json_array_size(layers), disks = count(layers, is_disk);
    if (n > BLOBS_MAX)
        return error_set(err, ERR_USER, "it has more than %d layers", BLOBS_MAX);
    f->kind = FOREIGN_TART;
    if (count(layers, is_tart_disk))
        return add_all(f, layers, is_tart_disk, err);
    if (count(layers, is_tart))
        return error_set(err, ERR_USER,
                         "it is an image of an old tart, without layers of the type "
                         "'" TART "disk.v2'");
    f->kind = FOREIGN_SARDE;
    if (count(layers, is_sarde))
        return take_about(f, layers, err) < 0 ? -1 : add_all(f, layers, is_sarde, err);
    f->kind = FOREIGN_CONTAINER;
    if (n && count(layers, is_tar) == n)
        return add_all(f, layers, is_tar, err);
    f->kind = FOREIGN_ARTIFACT;
    if (disks > 1)
        return error_set(err, ERR_USER, "it has %zu disks, and an image of kiln's has one", disks);
    if (disks == 1)
        return add_all(f, layers, is_disk, err);
    if (n == 1 && !strcmp(type_of(json_array_get(layers, 0)), "application/octet-stream"))
        return add_all(f, layers, is_anything, err);
    return unknown(layers, err);
}

int foreign_parse(struct str text, struct foreign *ret, struct error **err)
{
    CLEANUP(foreign_clear) struct foreign f = {0};
    json_auto_t *m = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, NULL);
    const char *type = json_str(m, "artifactType");
    if (!json_is_object(m))
        return error_set(err, ERR_USER, "the image's manifest is not valid: it is not JSON");
    if (json_object_get(m, "manifests") || (type && !strcmp(type, TRANSFER_TYPE)))
        return 0;
    if (take(&f, json_object_get(m, "layers"), err) < 0)
        return -1;
    *ret = f;
    f = (struct foreign){0};
    return 1;
}
