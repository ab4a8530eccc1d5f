// SPDX-License-Identifier: MIT
//
// Pieces are compressed into files of the store's scratch folder, as a blob's digest must be known
// before it is sent; there are never more of them than threads.
#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/session.h"
#include "base/vector.h"
#include "builder/transfer/manifest.h"
#include "builder/transfer/memory.h"
#include "builder/transfer/pool.h"
#include "builder/transfer/transfer.h"
#include "cache/store.h"
#include "image/backend.h"

#include <fcntl.h>
#include <semaphore.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

/* On the layers of examples/debian level 2 with a larger window takes 0.9 s and makes 116 MB, level 3
 * 1.4 s and 112, level 1 0.7 s and 127 (one core, zstd 1.5.4). */
enum { CHUNK = 256 << 10, LEVEL = 2, WINDOW_LOG = 21 };
enum { MOUNTS_TRIED = 2 /* in vain, then no more */ };

struct piece {
    const struct layer *layer; /* borrowed */
    size_t index;              /* among its pieces */
    uint64_t at, raw;          /* of the layer's file */
    char hex[DIGEST_HEX + 1];  /* of the blob; "" = not known yet */
    uint64_t size;             /* of the blob */
    bool there;                /* for sure */
};
DEFINE_VECTOR(pieces, struct piece);
DEFINE_VECTOR(layers, struct layer *);

struct push {
    const struct session *session;
    struct registry *registry;
    struct store *store;
    struct backend_image image;
    struct layers layers;    /* base first */
    const struct strv *sent; /* ids of layers whose blobs are there; borrowed, NULL = none */
    struct pieces pieces;
    const struct reference *ref; /* borrowed */
    sem_t cores; /* more pieces compressed at once than there are cores are slower */
    _Atomic unsigned mounts_failed;
    _Atomic uint64_t packed, packed_raw; /* bytes that must be sent, and what they were before */
    _Atomic uint64_t waiting;            /* bytes of pieces that are not compressed yet */
    struct pool pool;
};

static void push_clear(struct push *p)
{
    vec_foreach (struct layer **, l, &p->layers)
        layer_free(*l);
    layers_clear(&p->layers);
    pieces_clear(&p->pieces);
    backend_image_clear(&p->image);
    registry_free(p->registry);
    store_free(p->store);
}

/* The layers of a thin image, or the one that a standalone image becomes. */
static int find_layers(struct push *p, const char *name, struct error **err)
{
    CLEANUP(strv_clear) struct strv ids = {0};
    const struct session *s = p->session;
    if (backend_find(s->backend, name, &p->image, err) < 0 ||
        store_open(s, s->backend, &p->store, err) < 0)
        return -1;
    if (!p->image.thin) {
        struct digest d;
        char hex[DIGEST_HEX + 1];
        if (backend_digest(s, p->image.path, &d, err) < 0)
            return -1;
        digest_hex(&d, hex);
        return store_import_base(p->store, p->image.path, hex, name, layers_push(&p->layers), err);
    }
    if (store_chain_ids(p->store, p->image.layer, &ids, err) < 0)
        return -1;
    for (size_t i = 0; i < ids.len; i++)
        if (store_get(p->store, ids.ptr[i], layers_push(&p->layers), err) < 0)
            return -1;
    return 0;
}

/* What was remembered is only where to look first: a wrong entry costs a request. */
static void recall(struct piece *piece, const json_t *blobs)
{
    const json_t *blob = json_array_get(blobs, piece->index);
    const char *hex = json_str(blob, "digest");
    struct digest d;
    if (!hex || !digest_parse(hex, &d) || json_int(blob, "size", 0) <= 0)
        return;
    digest_hex(&d, piece->hex);
    piece->size = (uint64_t)json_int(blob, "size", 0);
}

static void cut(struct push *p, const struct layer *l)
{
    json_auto_t *memory = memory_read(l);
    size_t i = 0;
    for (uint64_t at = 0; at < l->size; at += TRANSFER_PIECE) {
        uint64_t left = l->size - at;
        struct piece *piece = pieces_push(&p->pieces);
        piece->layer = l;
        piece->index = i++;
        piece->at = at;
        piece->raw = left < TRANSFER_PIECE ? left : TRANSFER_PIECE;
        recall(piece, memory_blobs(memory));
        piece->there = *piece->hex && p->sent && strv_has(p->sent, l->id);
    }
}

struct compressor {
    ZSTD_CCtx *zstd;
    struct sha256 *sha;
    char *in, *out;
    uint64_t size;
};

static void compressor_clear(struct compressor *c)
{
    ZSTD_freeCCtx(c->zstd);
    sha256_free(c->sha);
    free(c->in);
    free(c->out);
}

/* n bytes of c->in; last ends the stream. */
static int compress_chunk(struct compressor *c, size_t n, bool last, int fd, struct error **err)
{
    ZSTD_inBuffer in = {c->in, n, 0};
    for (bool more = true; more;) {
        ZSTD_outBuffer out = {c->out, CHUNK, 0};
        size_t rc = ZSTD_compressStream2(c->zstd, &out, &in, last ? ZSTD_e_end : ZSTD_e_continue);
        if (ZSTD_isError(rc))
            return error_set(err, ERR_SYSTEM, "zstd: %s", ZSTD_getErrorName(rc));
        sha256_add(c->sha, c->out, out.pos);
        c->size += out.pos;
        if (write_all(fd, c->out, out.pos) < 0)
            return error_errno(err, "cannot write a compressed layer");
        more = last ? rc != 0 : in.pos < in.size;
    }
    return 0;
}

static int compress(const struct push *p, struct piece *piece, int to, struct error **err)
{
    CLEANUP(compressor_clear)
    struct compressor c = {.zstd = ZSTD_createCCtx(),
                           .sha = sha256_new(),
                           .in = xmalloc(CHUNK),
                           .out = xmalloc(CHUNK)};
    AUTO_CLOSE int fd = open(piece->layer->disk, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || !c.zstd)
        return error_errno(err, "cannot read '%s'", piece->layer->disk);
    ZSTD_CCtx_setParameter(c.zstd, ZSTD_c_compressionLevel, LEVEL);
    ZSTD_CCtx_setParameter(c.zstd, ZSTD_c_windowLog, WINDOW_LOG);
    for (uint64_t done = 0; done < piece->raw;) {
        size_t n = piece->raw - done < CHUNK ? (size_t)(piece->raw - done) : CHUNK;
        if (session_cancelled(p->session))
            return error_set(err, ERR_CANCELLED, "interrupted");
        if (pread_all(fd, c.in, n, (off_t)(piece->at + done)) != (ssize_t)n)
            return error_set(err, ERR_SYSTEM, "cannot read '%s'", piece->layer->disk);
        done += n;
        if (compress_chunk(&c, n, done == piece->raw, to, err) < 0)
            return -1;
    }
    struct digest d = sha256_finish(STEAL(c.sha));
    digest_hex(&d, piece->hex);
    piece->size = c.size;
    return 0;
}

/* look: it was not asked for yet. */
static int put_unless_there(struct push *p, const char *hex, bool look, uint64_t size, int fd,
                            struct error **err)
{
    int there = look ? registry_has_blob(p->registry, hex, size, err) : 0;
    if (there > 0)
        p->pool.moved += size;
    if (there)
        return there < 0 ? -1 : 0;
    return registry_put_blob(p->registry, hex, size, fd, &p->pool.moved, err);
}

/* Whether the registry has it already, or has it elsewhere and can be told so: 1, 0, -1. */
static int is_there(struct push *p, const struct piece *piece, struct error **err)
{
    int there = registry_has_blob(p->registry, piece->hex, piece->size, err);
    if (there)
        return there;
    json_auto_t *memory = memory_read(piece->layer);
    const char *from;
    for (size_t i = 0; p->mounts_failed < MOUNTS_TRIED && (from = memory_repo(memory, i, p->ref));
         i++) {
        there = registry_mount_blob(p->registry, piece->hex, from, err);
        if (there)
            return there;
        p->mounts_failed++;
    }
    return 0;
}

/* What the pieces that wait will become is guessed by those that are compressed, for the time left. */
static void count(struct push *p, const struct piece *piece, bool sent)
{
    p->waiting -= piece->raw;
    if (sent) {
        p->packed_raw += piece->raw;
        p->packed += piece->size;
    }
    double ratio = p->packed_raw ? (double)p->packed / (double)p->packed_raw : 1.0 / 3;
    p->pool.total = p->packed + (uint64_t)((double)p->waiting * ratio);
}

static int compress_on_a_core(struct push *p, struct piece *piece, int fd, struct error **err)
{
    while (sem_wait(&p->cores) < 0) // EINTR
        ;
    int rc = compress(p, piece, fd, err);
    (void)sem_post(&p->cores);
    return rc;
}

static int send_piece(void *arg, size_t i, struct error **err)
{
    struct push *p = arg;
    struct piece *piece = &p->pieces.ptr[i];
    char known[sizeof piece->hex];
    memcpy(known, piece->hex, sizeof known);
    int there = piece->there ? 1 : *known ? is_there(p, piece, err) : 0;
    if (there > 0)
        count(p, piece, false);
    if (there)
        return there < 0 ? -1 : 0;
    AUTO_FREE char *path = xasprintf("%s/push-%zu", store_scratch(p->store), i);
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, "cannot create '%s'", path);
    (void)unlink(path);
    if (compress_on_a_core(p, piece, fd, err) < 0)
        return -1;
    count(p, piece, true);
    return put_unless_there(p, piece->hex, strcmp(known, piece->hex) != 0, piece->size, fd, err);
}

static void remember(const struct push *p, const struct layer *l)
{
    json_auto_t *blobs = json_array();
    vec_foreach (const struct piece *, piece, &p->pieces)
        if (piece->layer == l)
            json_array_append_new(blobs, json_pack("{s:s,s:I}", "digest", piece->hex, "size",
                                                   (json_int_t)piece->size));
    memory_write(l, blobs, p->ref);
}

static char *time_text(time_t when)
{
    char text[32];
    struct tm tm;
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&when, &tm));
    return xstrdup(text);
}

static json_t *our_part(const struct push *p, json_t *history)
{
    json_t *records = json_array();
    vec_foreach (struct layer **, l, &p->layers) {
        AUTO_FREE char *created = time_text((time_t)layer_created(*l));
        json_array_append(records, (*l)->record);
        json_array_append_new(
            history, json_pack("{s:s,s:s}", "created_by", layer_step(*l), "created", created));
    }
    json_t *metadata = json_parse_object(p->image.metadata);
    json_t *ours = json_pack("{s:i,s:I,s:o}", "version", 1, "virtual_size",
                             (json_int_t)p->image.virtual_size, "layers", records);
    if (metadata)
        json_object_set_new(ours, "metadata", metadata);
    return ours;
}

static json_t *new_config(const struct push *p)
{
    json_t *diff_ids = json_array(), *history = json_array();
    vec_foreach (const struct piece *, piece, &p->pieces) {
        AUTO_FREE char *id = xasprintf("sha256:%s", piece->hex);
        json_array_append_new(diff_ids, json_string(id));
    }
    json_t *ours = our_part(p, history);
    return json_pack("{s:s,s:s,s:{},s:{s:s,s:o},s:o,s:o}", "architecture", "amd64", "os", "linux",
                     "config", "rootfs", "type", "layers", "diff_ids", diff_ids, "history", history,
                     "dev.kiln", ours);
}

static json_t *new_manifest(const struct push *p, json_t *config)
{
    const struct layer *top = p->layers.ptr[p->layers.len - 1];
    AUTO_FREE char *size = xasprintf("%llu", (unsigned long long)top->virtual_size);
    json_t *list = json_array();
    vec_foreach (const struct piece *, piece, &p->pieces) {
        AUTO_FREE char *raw = xasprintf("%llu", (unsigned long long)piece->raw);
        json_t *d = manifest_descriptor(TRANSFER_LAYER, piece->hex, piece->size);
        json_object_set_new(
            d, "annotations",
            json_pack("{s:s,s:s}", "dev.kiln.layer", piece->layer->id, "dev.kiln.raw-size", raw));
        json_array_append_new(list, d);
    }
    return json_pack("{s:i,s:s,s:s,s:{s:s,s:s},s:o,s:o}", "schemaVersion", 2, "mediaType",
                     MANIFEST_TYPE, "artifactType", TRANSFER_TYPE, "annotations", "dev.kiln.key",
                     top->key, "dev.kiln.virtual-size", size, "config", config, "layers", list);
}

static int publish(struct push *p, const char *tag, char digest[DIGEST_HEX + 1], struct error **err)
{
    json_auto_t *config = new_config(p);
    json_t *descriptor = manifest_put_config(p->registry, config, err);
    if (!descriptor)
        return -1;
    json_auto_t *manifest = new_manifest(p, descriptor);
    return manifest_put(p->registry, tag, manifest, digest, err);
}

/* Every piece is in the registry afterwards. */
static int send_pieces(struct push *p, const struct transfer_options *o, struct error **err)
{
    vec_foreach (struct layer **, l, &p->layers)
        cut(p, *l);
    p->pool =
        (struct pool){.work = send_piece, .arg = p, .n = p->pieces.len, .session = p->session};
    vec_foreach (const struct piece *, piece, &p->pieces)
        p->waiting += piece->raw;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    sem_init(&p->cores, 0, cores > 1 ? (unsigned)cores : 1);
    pool_start(&p->pool, o->jobs ? o->jobs : TRANSFER_JOBS);
    for (size_t i = 0; i < p->pieces.len && pool_wait(&p->pool, i); i++)
        ;
    int rc = pool_end(&p->pool, err);
    sem_destroy(&p->cores);
    if (rc < 0)
        return -1;
    vec_foreach (struct layer **, l, &p->layers)
        remember(p, *l);
    return 0;
}

int transfer_push(const struct session *s, const char *name, const struct reference *ref,
                  const struct transfer_options *o, char digest[DIGEST_HEX + 1], struct error **err)
{
    CLEANUP(push_clear) struct push p = {.session = s, .ref = ref};
    struct registry_options with = o->registry;
    with.push = true;
    if (ref->digest)
        return error_set(err, ERR_USER, "push to a tag, not to a digest");
    if (find_layers(&p, name, err) < 0 || registry_open(s, ref, &with, &p.registry, err) < 0)
        return -1;
    if (send_pieces(&p, o, err) < 0 || publish(&p, ref->tag, digest, err) < 0)
        return error_wrap(err, "cannot push image '%s'", name);
    return 0;
}

/* How many of the layers, from the base up, the cache has under their keys; -1. */
static ssize_t count_cached(const struct push *p, struct error **err)
{
    for (size_t n = p->layers.len; n; n--) {
        const struct layer *l = p->layers.ptr[n - 1];
        AUTO_FREE char *tag = xasprintf(TRANSFER_KEY_TAG "%s", l->key);
        int there = strv_has(p->sent, l->id) ? 1 : registry_has_manifest(p->registry, tag, err);
        if (there)
            return there < 0 ? -1 : (ssize_t)n;
    }
    return 0;
}

/* The first n layers under the key of the last of them. */
static int publish_prefix(struct push *p, size_t n, struct error **err)
{
    char digest[DIGEST_HEX + 1];
    struct layer *top = p->layers.ptr[n - 1];
    size_t layers = p->layers.len, pieces = p->pieces.len;
    AUTO_FREE char *tag = xasprintf(TRANSFER_KEY_TAG "%s", top->key);
    while (p->pieces.ptr[p->pieces.len - 1].layer != top)
        p->pieces.len--;
    p->layers.len = n;
    p->image.virtual_size = top->virtual_size;
    int rc = publish(p, tag, digest, err);
    p->layers.len = layers;
    p->pieces.len = pieces;
    return rc;
}

/* From below, so that what is there has all below it there, too. */
static int publish_prefixes(struct push *p, size_t have, struct strv *sent, struct error **err)
{
    for (size_t n = have + 1; n <= p->layers.len; n++) {
        if (publish_prefix(p, n, err) < 0)
            return -1;
        strv_add(sent, p->layers.ptr[n - 1]->id);
    }
    return 0;
}

static int push_keys(struct push *p, const char *layer, struct strv *sent,
                     const struct transfer_options *o, struct error **err)
{
    CLEANUP(strv_clear) struct strv ids = {0};
    if (store_chain_ids(p->store, layer, &ids, err) < 0)
        return -1;
    for (size_t i = 0; i < ids.len; i++)
        if (store_get(p->store, ids.ptr[i], layers_push(&p->layers), err) < 0)
            return -1;
    ssize_t have = count_cached(p, err);
    if (have < 0 || (size_t)have == p->layers.len)
        return have < 0 ? -1 : 0;
    return send_pieces(p, o, err) < 0 ? -1 : publish_prefixes(p, (size_t)have, sent, err);
}

int transfer_push_keys(const struct session *s, struct registry *r, struct store *store,
                       const char *layer, struct strv *sent, const struct transfer_options *o,
                       struct error **err)
{
    CLEANUP(push_clear) struct push p = {.session = s, .ref = registry_reference(r), .sent = sent};
    p.registry = r; // borrowed, as is the store
    p.store = store;
    int rc = push_keys(&p, layer, sent, o, err);
    p.registry = NULL;
    p.store = NULL;
    return rc;
}
