// SPDX-License-Identifier: MIT
//
// Threads fetch the pieces of the layers that are missing into a folder named after the manifest's
// digest, where the next pull finds what an interrupted one had, and unpack each into its layer's file,
// no more at once than there are cores, the first ones first, and make the disk write it. One more thread
// follows them and digests what is there of the files. This one commits the layers to the store, from the
// base up, while the next ones arrive; then their pieces go.
#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/lock.h"
#include "base/session.h"
#include "base/vector.h"
#include "builder/transfer/foreign.h"
#include "builder/transfer/index.h"
#include "builder/transfer/memory.h"
#include "builder/transfer/plan.h"
#include "builder/transfer/pool.h"
#include "builder/transfer/transfer.h"
#include "builder/transfer/unpack.h"
#include "cache/store.h"
#include "image/backend.h"
#include "qcow2/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 256 << 10, TELL = 2 << 20, WRITE_OUT = 8 << 20 };

struct pull {
    const struct session *session;
    const struct reference *ref; /* borrowed */
    struct registry *registry;
    struct store *store;
    struct plan plan;
    size_t have;  /* so many of its layers are here */
    size_t first; /* the first piece that is not */
    char *folder; /* of the pieces */
    char *lock;   /* its lock file */
    int lock_fd;
    struct pool pieces;          /* that are missing */
    struct pool digests;         /* of the layers that are missing, by one thread */
    char (*hex)[DIGEST_HEX + 1]; /* what they became */
    size_t unpacked_at_once;     /* pieces */
};

/* A piece that is being unpacked. */
struct unpacking {
    struct pull *pull;
    size_t item;
    const struct plan_piece *piece;
    int fd; /* of the layer's file */
    uint64_t told, written_out;
};

static void pull_clear(struct pull *p)
{
    plan_clear(&p->plan);
    registry_free(p->registry);
    store_free(p->store);
    free(p->folder);
    free(p->lock);
    free(p->hex);
    if (p->lock_fd >= 0)
        (void)close(p->lock_fd);
}

static char *piece_path(const struct pull *p, size_t i)
{
    return xasprintf("%s/%zu-%.16s", p->folder, i, p->plan.pieces.ptr[i].hex);
}

static char *raw_path(const struct pull *p, size_t layer)
{
    return xasprintf("%s/raw-%zu", p->folder, layer);
}

/* The file that the layer's pieces are unpacked into: of its full size, with a hole where none is yet. */
static int open_raw(const struct pull *p, size_t layer, struct error **err)
{
    const struct plan_layer *l = &p->plan.layers.ptr[layer];
    const struct plan_piece *last = &p->plan.pieces.ptr[l->first + l->n - 1];
    AUTO_FREE char *path = raw_path(p, layer);
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0 || ftruncate(fd, (off_t)(last->at + last->raw)) < 0)
        return error_errno(err, "cannot create '%s'", path);
    return STEAL_FD(fd);
}

static void tell(void *arg, uint64_t done)
{
    struct unpacking *u = arg;
    bool end = done == u->piece->raw;
    if (done - u->told >= TELL || end) {
        pool_tell(&u->pull->pieces, u->item, done);
        u->told = done;
    }
    if (done - u->written_out >= WRITE_OUT || end) {
        (void)sync_file_range(u->fd, (off_t)(u->piece->at + u->written_out),
                              (off_t)(done - u->written_out), SYNC_FILE_RANGE_WRITE);
        u->written_out = done;
    }
}

/* On a thread of the pool. */
static int fetch_piece(void *arg, size_t item, struct error **err)
{
    struct pull *p = arg;
    const struct plan_piece *piece = &p->plan.pieces.ptr[p->first + item];
    struct unpacking u = {.pull = p, .item = item, .piece = piece};
    struct unpack_piece to = {
        .name = piece->hex, .at = piece->at, .raw = piece->raw, .wrote = tell, .arg = &u};
    AUTO_FREE char *path = piece_path(p, p->first + item);
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_errno(err, "cannot create '%s'", path);
    if (registry_blob_to(p->registry, piece->hex, piece->size, fd, &p->digests.moved, err) < 0)
        return -1;
    if (!pool_turn(&p->pieces, item, p->unpacked_at_once))
        return 0; // nobody waits for it
    AUTO_CLOSE int raw = u.fd = open_raw(p, piece->layer, err);
    return raw < 0 ? -1 : unpack_piece(&to, fd, raw, err);
}

/* The strangers' reader; its backing name is compared by the store. */
static int check_header(const struct session *s, const char *disk, const struct layer *parent,
                        struct error **err)
{
    CLEANUP(qcow2_info_clear) struct qcow2_info info = {0};
    AUTO_CLOSE int fd = open(disk, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_errno(err, "cannot read '%s'", disk);
    if (qcow2_read_fd(fd, parent ? QCOW2_OWN : 0, &info, err) < 0)
        return -1;
    return qcow2_check_tables(s, fd, &info, err);
}

static void remember(const struct pull *p, const struct plan_layer *l, const struct layer *layer)
{
    json_auto_t *blobs = json_array();
    for (size_t i = l->first; i < l->first + l->n; i++) {
        const struct plan_piece *piece = &p->plan.pieces.ptr[i];
        json_array_append_new(
            blobs, json_pack("{s:s,s:I}", "digest", piece->hex, "size", (json_int_t)piece->size));
    }
    memory_write(layer, blobs, p->ref);
}

/* A layer's file that is digested while it is written. */
struct follower {
    int fd;
    struct sha256 *sha;
    char *chunk;
};

static void follower_clear(struct follower *f)
{
    auto_closep(&f->fd);
    sha256_free(f->sha);
    free(f->chunk);
}

static int digest_part(struct follower *f, uint64_t from, uint64_t to, struct error **err)
{
    for (uint64_t at = from; at < to;) {
        size_t n = to - at < CHUNK ? (size_t)(to - at) : CHUNK;
        if (pread_all(f->fd, f->chunk, n, (off_t)at) != (ssize_t)n)
            return error_errno(err, "cannot read what was unpacked");
        sha256_add(f->sha, f->chunk, n);
        at += n;
    }
    return 0;
}

static int follow_piece(struct pull *p, size_t i, struct follower *f, struct error **err)
{
    const struct plan_piece *piece = &p->plan.pieces.ptr[i];
    for (uint64_t done = 0, there; done < piece->raw; done = there) {
        if (!pool_wait_part(&p->pieces, i - p->first, done, &there) || there == done)
            return error_set(err, ERR_CANCELLED, "interrupted"); // the pool has the reason
        if (digest_part(f, piece->at + done, piece->at + there, err) < 0)
            return -1;
    }
    // only then it is known that nothing follows the piece's last byte
    return pool_wait(&p->pieces, i - p->first) ? 0 : error_set(err, ERR_CANCELLED, "interrupted");
}

/* On the thread of the digests: of the layer's file, while its pieces arrive. */
static int digest_layer(void *arg, size_t item, struct error **err)
{
    struct pull *p = arg;
    const struct plan_layer *l = &p->plan.layers.ptr[p->have + item];
    CLEANUP(follower_clear)
    struct follower f = {
        .fd = open_raw(p, p->have + item, err), .sha = sha256_new(), .chunk = xmalloc(CHUNK)};
    if (f.fd < 0)
        return -1;
    for (size_t i = l->first; i < l->first + l->n; i++)
        if (follow_piece(p, i, &f, err) < 0)
            return -1;
    struct digest d = sha256_finish(STEAL(f.sha));
    digest_hex(&d, p->hex[item]);
    return 0;
}

/* Gives the layer's file that name, once it is whole. */
static int write_disk(struct pull *p, size_t layer, const char *disk, struct error **err)
{
    AUTO_FREE char *path = raw_path(p, layer);
    if (!pool_wait(&p->digests, layer - p->have))
        return error_set(err, ERR_CANCELLED, "interrupted"); // the pools have the reason
    return rename(path, disk) < 0 ? error_errno(err, "cannot rename '%s'", path) : 0;
}

static int take_layer(struct pull *p, size_t i, const struct layer *parent, struct layer **ret,
                      struct error **err)
{
    CLEANUP(draft_freep) struct draft *d = NULL;
    const struct plan_layer *l = &p->plan.layers.ptr[i];
    int here = store_import_begin(p->store, l->record, ret, &d, err);
    if (here)
        return here < 0 ? -1 : 0;
    if (write_disk(p, i, draft_disk(d), err) < 0 ||
        check_header(p->session, draft_disk(d), parent, err) < 0 ||
        store_import_commit(d, l->record, p->hex[i - p->have], ret, err) < 0)
        return -1;
    remember(p, l, *ret);
    for (size_t piece = l->first; piece < l->first + l->n; piece++) {
        AUTO_FREE char *path = piece_path(p, piece);
        (void)unlink(path);
    }
    return 0;
}

/* The layers that are not here. The pools run. */
static int take_layers(struct pull *p, struct error **err)
{
    CLEANUP(layer_freep) struct layer *parent = NULL;
    if (p->have && store_get(p->store, p->plan.layers.ptr[p->have - 1].id, &parent, err) < 0)
        return -1;
    for (size_t i = p->have; i < p->plan.layers.len; i++) {
        struct layer *layer = NULL;
        if (take_layer(p, i, parent, &layer, err) < 0)
            return -1;
        layer_free(parent);
        parent = layer;
    }
    return 0;
}

/* The error that ended what waited for it, which was interrupted; frees the other one. */
static struct error *cause(struct error *first, struct error *waiting)
{
    bool was_first = first && (first->kind != ERR_CANCELLED || !waiting);
    error_free(was_first ? waiting : first);
    return was_first ? first : waiting;
}

static int fetch(struct pull *p, const struct transfer_options *o, struct error **err)
{
    unsigned jobs = o->jobs ? o->jobs : TRANSFER_JOBS;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    struct error *why = NULL, *digested = NULL, *fetched = NULL;
    p->unpacked_at_once = cores > 1 ? (size_t)cores : 1;
    p->pieces = (struct pool){
        .work = fetch_piece, .arg = p, .n = p->plan.pieces.len - p->first, .ahead = 2 * jobs};
    p->digests = (struct pool){
        .work = digest_layer, .arg = p, .n = p->plan.layers.len - p->have, .session = p->session};
    p->hex = xcalloc(p->digests.n + 1, sizeof *p->hex);
    for (size_t i = p->first; i < p->plan.pieces.len; i++)
        p->digests.total += p->plan.pieces.ptr[i].size;
    for (size_t i = p->have; i < p->plan.layers.len; i++) {
        AUTO_FREE char *old = raw_path(p, i); // of an interrupted pull; its blobs are taken again
        (void)unlink(old);
    }
    pool_start(&p->pieces, jobs);
    pool_start(&p->digests, 1);
    int rc = take_layers(p, &why);
    if (rc < 0) {
        pool_stop(&p->pieces);
        pool_stop(&p->digests);
    }
    (void)pool_end(&p->digests, &digested);
    (void)pool_end(&p->pieces, &fetched);
    why = cause(fetched, cause(digested, why));
    return why ? error_propagate(err, why) : 0;
}

static bool is_record_of(const struct layer *l, const json_t *record)
{
    const char *digest = json_str(record, "digest");
    return digest && !strcmp(layer_digest(l), digest);
}

/* The lowest layers that are here need no fetching. */
static void find_here(struct pull *p)
{
    CLEANUP(layer_freep) struct layer *l = NULL;
    for (size_t n = p->plan.layers.len; n; n--) {
        const struct plan_layer *at = &p->plan.layers.ptr[n - 1];
        if (store_get(p->store, at->id, &l, NULL) == 0 && is_record_of(l, at->record)) {
            p->have = n;
            p->first = at->first + at->n;
            return;
        }
        layer_free(STEAL(l));
    }
}

/* What a pull in between has left goes on; what was wrong does not stay. */
static void leave(const struct pull *p, const struct error *why)
{
    if (why && why->kind != ERR_USER)
        return;
    if (remove_tree(p->folder, NULL) == 0)
        (void)unlink(p->lock);
}

static int open_folder(struct pull *p, const char *digest, struct error **err)
{
    // '%' and a letter that is not a hex digit: not the folder of an image's name (image/pull.c)
    p->folder = xasprintf("%s/.working/pull-%%oci-%s", p->session->backend, digest);
    p->lock = xasprintf("%s.lock", p->folder);
    CLEANUP(error_freep) struct error *why = NULL;
    p->lock_fd = lock_try(p->lock, LOCK_EXCLUSIVE, &why);
    if (p->lock_fd < 0 && why->kind != ERR_BUSY)
        return error_propagate(err, STEAL(why));
    if (p->lock_fd < 0) {
        session_notice(p->session, "Waiting for another process that pulls this image");
        p->lock_fd = lock_wait(p->lock, LOCK_EXCLUSIVE, p->session->cancel_fd, err);
    }
    return p->lock_fd < 0 ? -1 : make_dirs(p->folder, 0700, err);
}

static int register_image(const struct pull *p, const char *name, struct error **err)
{
    struct backend_thin thin = {.layer = p->plan.layers.ptr[p->plan.layers.len - 1].id,
                                .virtual_size = p->plan.virtual_size,
                                .metadata = p->plan.metadata};
    return backend_register_thin(p->session->backend, name, &thin, err);
}

/* 1: the name stands for this image; 0: nobody has it, or it may be replaced. */
static int name_taken(const struct pull *p, const char *name, const struct transfer_options *o,
                      struct error **err)
{
    CLEANUP(backend_image_clear) struct backend_image image = {0};
    if (o->replace || !backend_has(p->session->backend, name))
        return 0;
    const char *top = p->plan.layers.ptr[p->plan.layers.len - 1].id;
    if (backend_find(p->session->backend, name, &image, NULL) == 0 && image.thin &&
        !strcmp(image.layer, top))
        return 1;
    error_set(err, ERR_EXISTS, "image '%s' exists and is another one", name);
    return error_hint(err, "--force replaces it; --name gives the pulled one another name");
}

/* Whether the name is taken: 1 by this very image, 0, -1 by another one. */
static int foreign_taken(const struct pull *p, const char *name, const struct transfer_options *o,
                         const char *digest, struct error **err)
{
    if (!o->again && foreign_is_here(p->session, name, digest))
        return 1;
    if (o->replace || !backend_has(p->session->backend, name))
        return 0;
    error_set(err, ERR_EXISTS, "image '%s' exists and is another one", name);
    return error_hint(err, "--force replaces it; --name gives the pulled one another name");
}

/* An image that another program pushed. */
static int pull_foreign(struct pull *p, const struct reference *ref, const char *name,
                        const struct transfer_options *o, const char *digest,
                        const struct foreign *image, struct error **err)
{
    AUTO_FREE char *from = reference_text(ref);
    int taken = foreign_taken(p, name, o, digest, err);
    if (taken)
        return taken;
    AUTO_FREE char *working = path_join(p->session->backend, ".working");
    if (make_dirs_inside(working, err) < 0 || open_folder(p, digest, err) < 0)
        return -1;
    struct foreign_pull f = {.session = p->session,
                             .registry = p->registry,
                             .options = o,
                             .folder = p->folder,
                             .name = name,
                             .from = from,
                             .digest = digest};
    struct error *why = NULL;
    taken = foreign_taken(p, name, o, digest, &why); // somebody may have pulled it while we waited
    int rc = taken ? taken : foreign_fetch(&f, image, &why);
    leave(p, why);
    return rc < 0 ? error_propagate(err, why) : rc;
}

static int pull(struct pull *p, const struct reference *ref, const char *name,
                const struct transfer_options *o, struct error **err)
{
    char digest[DIGEST_HEX + 1];
    CLEANUP(buf_clear) struct buf manifest = BUF_INIT;
    CLEANUP(foreign_clear) struct foreign image = {0};
    if (registry_open(p->session, ref, &o->registry, &p->registry, err) < 0 ||
        index_manifest(p->registry, reference_version(ref), o->platform, &manifest, digest, err) <
            0)
        return -1;
    int foreign = foreign_parse(buf_str(&manifest), &image, err);
    if (foreign)
        return foreign < 0 ? -1 : pull_foreign(p, ref, name, o, digest, &image, err);
    if (plan_read(p->registry, &manifest, &p->plan, err) < 0 ||
        store_open(p->session, p->session->backend, &p->store, err) < 0)
        return -1;
    int taken = name_taken(p, name, o, err);
    if (taken)
        return taken;
    if (open_folder(p, digest, err) < 0)
        return -1;
    struct error *why = NULL;
    find_here(p);
    int rc = fetch(p, o, &why) < 0 ? -1 : register_image(p, name, &why);
    leave(p, why);
    return rc < 0 ? error_propagate(err, why) : 0;
}

int transfer_pull(const struct session *s, const struct reference *ref, const char *name,
                  const struct transfer_options *o, struct error **err)
{
    CLEANUP(pull_clear) struct pull p = {.session = s, .ref = ref, .lock_fd = -1};
    int rc = pull(&p, ref, name, o, err);
    if (rc >= 0)
        return rc;
    AUTO_FREE char *text = reference_text(ref);
    return error_wrap(err, "cannot pull '%s'", text);
}

static int fetch_layer(struct pull *p, const struct transfer_layer *l,
                       const struct transfer_options *o, struct error **err)
{
    if (plan_read(p->registry, &l->manifest, &p->plan, err) < 0)
        return -1;
    const char *key = json_str(p->plan.layers.ptr[p->plan.layers.len - 1].record, "key");
    if (!key || strcmp(key, l->key) != 0)
        return error_set(err, ERR_USER, "what the cache has under a key is of another one");
    if (p->plan.virtual_size != l->virtual_size)
        return error_set(err, ERR_USER,
                         "what the cache has under a key has a disk of %llu bytes, not of %llu as "
                         "it says",
                         (unsigned long long)p->plan.virtual_size,
                         (unsigned long long)l->virtual_size);
    if (open_folder(p, l->digest, err) < 0)
        return -1;
    struct error *why = NULL;
    find_here(p);
    int rc = fetch(p, o, &why);
    leave(p, why);
    return rc < 0 ? error_propagate(err, why) : 0;
}

int transfer_fetch_layer(const struct session *s, struct registry *r, struct store *store,
                         const struct transfer_layer *l, const struct transfer_options *o,
                         struct error **err)
{
    CLEANUP(pull_clear)
    struct pull p = {.session = s,
                     .ref = registry_reference(r),
                     .lock_fd = -1,
                     .registry = r, // borrowed, as is the store
                     .store = store};
    int rc = fetch_layer(&p, l, o, err);
    p.registry = NULL;
    p.store = NULL;
    return rc;
}
