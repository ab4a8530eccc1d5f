// SPDX-License-Identifier: MIT
//
// A draft is a folder inside our working folder: everything of the layer is put there, record
// included, and synced; then the folder is renamed into .layers. Before the rename the sweep takes
// it, after it the layer is whole, and there is nothing in between. The store lock is held shared
// from the writing of the lease to the rename, or a prune could see the layer and not the lease.
#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/session.h"
#include "cache/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

const char *draft_id(const struct draft *d)
{
    return d->id;
}

const char *draft_folder(const struct draft *d)
{
    return d->folder;
}

const char *draft_disk(const struct draft *d)
{
    return d->disk;
}

const char *draft_log(const struct draft *d)
{
    return d->log;
}

const char *draft_backing(const struct draft *d)
{
    return d->backing;
}

static void unlock_key(struct draft *d)
{
    if (d->key_fd >= 0)
        (void)unlink(d->key_path);
    auto_closep(&d->key_fd);
    d->key_fd = -1;
}

void draft_free(struct draft *d)
{
    if (!d)
        return;
    int saved = errno;
    if (d->folder)
        (void)remove_tree(d->folder, NULL);
    unlock_key(d);
    free(d->step);
    free(d->folder);
    free(d->disk);
    free(d->log);
    free(d->backing);
    free(d->key_path);
    free(d);
    errno = saved;
}

/* Says who holds the lock of a key; what it wrote there may be incomplete or gone. */
static void say_waiting(struct store *st, const char *path, const char *step)
{
    CLEANUP(buf_clear) struct buf who = BUF_INIT;
    AUTO_FREE char *what = short_step(step);
    (void)file_read(path, 4096, &who, NULL);
    size_t digits = strspn(who.data, "0123456789");
    if (digits && digits < 12)
        store_say(st, "waiting for process %.*s, which is building the same step: %s", (int)digits,
                  who.data, what);
    else
        store_say(st, "waiting for another build of the same step: %s", what);
}

int draft_lock_key(struct draft *d, struct error **err)
{
    struct store *st = d->store;
    struct error *busy = NULL;
    d->key_path = xasprintf("%s/%s.build", st->working, d->key);
    d->key_fd = lock_try(d->key_path, LOCK_EXCLUSIVE, &busy);
    if (d->key_fd < 0 && busy->kind != ERR_BUSY)
        return error_propagate(err, busy);
    error_free(busy);
    if (d->key_fd < 0) {
        say_waiting(st, d->key_path, d->step);
        d->key_fd =
            lock_wait(d->key_path, LOCK_EXCLUSIVE, st->session ? st->session->cancel_fd : -1, err);
    }
    if (d->key_fd < 0)
        return -1;
    AUTO_FREE char *text = xasprintf("%ld\n%s\n", (long)getpid(), d->step);
    if (ftruncate(d->key_fd, 0) < 0 || pwrite_all(d->key_fd, text, strlen(text), 0) < 0)
        return error_errno(err, "cannot write '%s'", d->key_path);
    return 0;
}

/* Builds of one key differ in their bytes, here and on other hosts: no two of them share an id. */
static int choose_id(struct draft *d, struct error **err)
{
    unsigned char nonce[32];
    if (getrandom(nonce, sizeof nonce, 0) != (ssize_t)sizeof nonce)
        return error_errno(err, "cannot get random bytes");
    struct sha256 *h = sha256_new();
    sha256_add(h, d->key, DIGEST_HEX);
    sha256_add(h, nonce, sizeof nonce);
    struct digest id = sha256_finish(h);
    digest_hex(&id, d->id);
    return 0;
}

int draft_make_folder(struct draft *d, struct error **err)
{
    d->folder = xasprintf("%s/%u", d->store->work.dir, ++d->store->drafts);
    d->disk = path_join(d->folder, "disk.qcow2");
    d->log = path_join(d->folder, "log");
    if (*d->parent)
        d->backing = xasprintf("../%s/disk.qcow2", d->parent);
    if (mkdir(d->folder, 0755) < 0)
        return error_errno(err, "cannot make folder '%s'", d->folder);
    return 0;
}

static int check_depth(const struct layer *parent, struct error **err)
{
    if (parent->depth < RECORD_MAX_DEPTH)
        return 0;
    error_set(err, ERR_USER, "the image has more than %d layers", RECORD_MAX_DEPTH);
    return error_hint(err,
                      "put several commands into one RUN, or build on a flattened image "
                      "('kiln image flatten')");
}

int store_build_begin(struct store *st, const struct draft_request *r, struct layer **layer,
                      struct draft **ret, struct error **err)
{
    if (!is_id(r->key) || (r->parent && !is_id(r->parent)))
        return error_set(err, ERR_USER, "'%s' is not a layer key", r->key);
    if (store_writable(st, err) < 0)
        return -1;
    CLEANUP(draft_freep) struct draft *d = xcalloc(1, sizeof *d);
    d->store = st;
    d->key_fd = -1;
    d->step = xstrdup(r->step);
    memcpy(d->key, r->key, sizeof d->key);
    if (r->parent)
        memcpy(d->parent, r->parent, sizeof d->parent);
    if (draft_lock_key(d, err) < 0)
        return -1;
    int found = r->rebuild ? 0 : store_find(st, r->key, layer, err);
    if (found)
        return found;
    // told before the step is run, where the parent is there already
    CLEANUP(layer_freep) struct layer *parent = NULL;
    if (r->parent && store_get(st, r->parent, &parent, NULL) == 0 && check_depth(parent, err) < 0)
        return -1;
    if (choose_id(d, err) < 0 || draft_make_folder(d, err) < 0)
        return -1;
    *ret = STEAL(d);
    return 0;
}

/* Syncs a file, takes away the permission to write to it. Absent is fine if `optional`. */
static int seal_file(const char *path, bool optional, struct error **err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT && optional)
        return 0;
    if (fd < 0 || fsync(fd) < 0 || fchmod(fd, 0444) < 0)
        return error_errno(err, "cannot sync '%s'", path);
    return 0;
}

static void start_writing(const char *path)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    (void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

/* Digest and header of the overlay into the record. */
static int describe_disk(struct draft *d, const char *known_digest, json_t *record,
                         struct error **err)
{
    char hex[DIGEST_HEX + 1];
    struct disk_head head;
    struct digest digest;
    AUTO_CLOSE int fd = open(d->disk, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_errno(err, "cannot open '%s'", d->disk);
    // Let the disk write while we compute
    (void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    if (disk_head_read(fd, &head, err) < 0)
        return error_wrap(err, "'%s' cannot be used as a layer", d->disk);
    if (strcmp(head.qcow2.backing, d->backing ? d->backing : "") != 0)
        return error_set(err, ERR_USER, "the backing file of '%s' is '%s', not '%s'", d->disk,
                         head.qcow2.backing, d->backing ? d->backing : "");
    if (!known_digest && digest_of_fd(fd, &digest, err) < 0)
        return -1;
    if (!known_digest)
        digest_hex(&digest, hex);
    json_object_set_new(record, "digest", json_string(known_digest ? known_digest : hex));
    json_object_set_new(record, "header", json_string(head.header));
    json_object_set_new(record, "size", json_integer((json_int_t)head.size));
    json_object_set_new(record, "virtual_size", json_integer((json_int_t)head.qcow2.virtual_size));
    return 0;
}

static int describe_parent(struct draft *d, json_t *record, struct error **err)
{
    if (!*d->parent) {
        json_object_set_new(record, "parent", json_null());
        json_object_set_new(record, "parent_digest", json_null());
        json_object_set_new(record, "depth", json_integer(1));
        return 0;
    }
    CLEANUP(layer_freep) struct layer *parent = NULL;
    if (store_get(d->store, d->parent, &parent, err) < 0)
        return error_wrap(err, "the parent layer is missing");
    if (check_depth(parent, err) < 0)
        return -1;
    json_object_set_new(record, "parent", json_string(d->parent));
    json_object_set_new(record, "parent_digest", json_string(layer_digest(parent)));
    json_object_set_new(record, "depth", json_integer(parent->depth + 1));
    return 0;
}

/* Drops what is neither a layer's nor has content, syncs the rest, the record last: it was told to be
 * written before the disk's bytes were waited for, so most file systems have it by then. */
static int seal_folder(struct draft *d, const char *record, struct error **err)
{
    AUTO_FREE char *manifest = path_join(d->folder, "manifest.zst");
    struct stat st;
    if (stat(d->log, &st) == 0 && st.st_size == 0)
        (void)unlink(d->log);
    start_writing(record);
    if (seal_file(d->disk, false, err) < 0 || seal_file(d->log, true, err) < 0 ||
        seal_file(manifest, true, err) < 0 || seal_file(record, false, err) < 0)
        return -1;
    return fsync_dir(d->folder, err);
}

/* Moves the layer's own files into a folder that holds nothing else. */
static int clean_folder(struct draft *d, struct error **err)
{
    static const char *const ours[] = {"disk.qcow2", "log", "manifest.zst"};
    CLEANUP(buf_clear) struct buf old = BUF_INIT;
    buf_addf(&old, "%s.old", d->folder);
    if (rename(d->folder, old.data) < 0 || mkdir(d->folder, 0755) < 0)
        return error_errno(err, "cannot make folder '%s'", d->folder);
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        AUTO_FREE char *from = path_join(old.data, ours[i]);
        AUTO_FREE char *to = path_join(d->folder, ours[i]);
        if (rename(from, to) < 0 && errno != ENOENT)
            return error_errno(err, "cannot rename '%s'", from);
    }
    return remove_tree(old.data, err);
}

static json_t *new_record(struct draft *d, const char *type, const json_t *fields)
{
    json_t *record = json_object();
    json_object_set_new(record, "step", json_string(d->step));
    if (fields)
        json_object_update(record, (json_t *)fields); // shallow
    json_object_set_new(record, "version", json_integer(RECORD_VERSION));
    json_object_set_new(record, "type", json_string(type));
    json_object_set_new(record, "id", json_string(d->id));
    json_object_set_new(record, "key", json_string(d->key));
    json_object_set_new(record, "created", json_integer((json_int_t)time(NULL)));
    if (!json_str(record, "step"))
        json_object_set_new(record, "step", json_string("?")); // not UTF-8
    return record;
}

/* Everything up to the rename: the folder is then a complete layer in the wrong place. */
int draft_finish(struct draft *d, json_t *record, const char *known_digest, struct error **err)
{
    AUTO_FREE char *path = path_join(d->folder, "layer.json");
    if (clean_folder(d, err) < 0 || describe_disk(d, known_digest, record, err) < 0 ||
        record_write(path, record, err) < 0)
        return -1;
    return seal_folder(d, path, err);
}

/* The draft's path goes on to lead to the disk until the store is closed, for a QEMU that opens it
 * again by name. That is not needed if its node has auto-read-only; hence no error. */
static void leave_link(struct draft *d)
{
    AUTO_FREE char *target = xasprintf("../../.layers/%s", d->id);
    if (symlink(target, d->folder) == 0)
        free(STEAL(d->folder)); // or draft_free would remove the link
}

/* synced: not if a crash may lose it. */
static int point_key(struct draft *d, bool synced, struct error **err)
{
    AUTO_FREE char *pointer = path_join(d->store->keys, d->key);
    AUTO_FREE char *text = xasprintf("%s\n", d->id);
    if (!synced)
        return file_write_unsynced(pointer, 0644, text, strlen(text), err);
    return file_write_whole(pointer, 0644, text, strlen(text), err);
}

/* Whether the key leads to a layer already, which must stay its layer until ours is there. */
static bool key_is_taken(const struct draft *d)
{
    char id[DIGEST_HEX + 1];
    bool pointer = store_pointer(d->store, d->key, id);
    AUTO_FREE char *folder = path_join(d->store->layers, pointer ? id : d->key);
    return access(folder, F_OK) == 0;
}

/* The rename that makes the layer, and the pointer to it: before, so that no crash leaves a layer
 * that nothing leads to, unless it leads to another one yet. replace: it came from elsewhere; a folder
 * in the way is swapped into the working folder. */
int draft_publish(struct draft *d, bool replace, struct layer **ret, struct error **err)
{
    struct store *st = d->store;
    AUTO_FREE char *final = path_join(st->layers, d->id);
    bool pointed = strcmp(d->id, d->key) != 0, last = pointed && key_is_taken(d);
    AUTO_CLOSE int lock = store_lock(st, LOCK_SHARED, err);
    if (lock < 0 || store_lease(st, d->id, err) < 0 ||
        (pointed && !last && point_key(d, !replace, err) < 0))
        return -1;
    int rc = rename(d->folder, final);
    if (rc < 0 && replace && (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR))
        rc = renameat2(AT_FDCWD, d->folder, AT_FDCWD, final, RENAME_EXCHANGE);
    if (rc < 0)
        return error_errno(err, "cannot rename '%s' to '%s'", d->folder, final);
    leave_link(d);
    if (!d->lasts_later && fsync_dir(st->layers, err) < 0)
        return -1;
    // what came from elsewhere takes no key from what was built here
    if (last && !replace && point_key(d, true, err) < 0)
        return -1;
    *ret = store_use(st, d->id, err);
    return *ret ? 0 : -1;
}

int store_commit(struct draft *d, const json_t *fields, struct layer **ret, struct error **err)
{
    json_auto_t *record = new_record(d, "layer", fields);
    int rc = -1;
    if (describe_parent(d, record, err) == 0 && draft_finish(d, record, NULL, err) == 0)
        rc = draft_publish(d, false, ret, err);
    if (rc < 0)
        error_wrap(err, "cannot store the layer");
    unlock_key(d);
    return rc;
}

void store_base_id(const char *digest, char id[DIGEST_HEX + 1])
{
    AUTO_FREE char *text = xasprintf("kiln-base-1:%s", digest);
    struct digest d = digest_of(text, strlen(text));
    digest_hex(&d, id);
}

/* A link only to what nobody is expected to write to. */
static int take_file(const char *path, const char *to, struct error **err)
{
    AUTO_CLOSE int from = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (from < 0 || fstat(from, &st) < 0)
        return error_errno(err, "cannot open '%s'", path);
    if (!(st.st_mode & 0222) && linkat(AT_FDCWD, path, AT_FDCWD, to, AT_SYMLINK_FOLLOW) == 0)
        return 0;
    AUTO_CLOSE int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (out < 0)
        return error_errno(err, "cannot create '%s'", to);
    return file_copy(from, out, err) < 0 ? error_wrap(err, "copy of the image") : 0;
}

int store_import_base(struct store *st, const char *path, const char *digest, const char *name,
                      struct layer **ret, struct error **err)
{
    char id[DIGEST_HEX + 1];
    CLEANUP(draft_freep) struct draft *d = NULL;
    if (!is_id(digest))
        return error_set(err, ERR_USER, "'%s' is not a SHA-256", digest);
    store_base_id(digest, id);
    AUTO_FREE char *step = xasprintf("FROM %s", name);
    int found = store_find(st, id, ret, err);
    struct draft_request r = {.key = id, .step = step};
    if (!found)
        found = store_build_begin(st, &r, ret, &d, err);
    if (found)
        return found < 0 ? -1 : 0;
    // What a base holds follows from its digest, so a damaged one is replaced under its own id
    memcpy(d->id, id, sizeof id);
    json_auto_t *record = new_record(d, "base", NULL);
    if (describe_parent(d, record, err) < 0 || take_file(path, d->disk, err) < 0 ||
        draft_finish(d, record, digest, err) < 0)
        return error_wrap(err, "cannot use '%s' as a base", path);
    return draft_publish(d, true, ret, err);
}

static int publish_failed(struct draft *d, const char *final, struct error **err)
{
    AUTO_CLOSE int lock = store_lock(d->store, LOCK_SHARED, err);
    if (lock < 0)
        return -1;
    int rc = rename(d->folder, final);
    if (rc < 0 && (errno == ENOTEMPTY || errno == EEXIST))
        rc = renameat2(AT_FDCWD, d->folder, AT_FDCWD, final, RENAME_EXCHANGE);
    if (rc < 0)
        return error_errno(err, "cannot rename '%s' to '%s'", d->folder, final);
    return 0;
}

int store_keep_failed(struct draft *d, const char *name, const json_t *fields, struct error **err)
{
    AUTO_FREE char *file = store_encode(name, "");
    AUTO_FREE char *final = path_join(d->store->failed, file);
    json_auto_t *record = new_record(d, "layer", fields);
    int rc = -1;
    if (describe_parent(d, record, err) == 0 && draft_finish(d, record, NULL, err) == 0)
        rc = publish_failed(d, final, err);
    if (rc < 0)
        error_wrap(err, "cannot keep the failed step");
    unlock_key(d);
    return rc;
}

/* The record in .failed/<file>, its folder and disk set. */
static struct layer *load_failed(const char *folder, struct error **err)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    AUTO_FREE char *path = path_join(folder, "layer.json");
    if (file_read(path, 16 << 20, &text, err) < 0)
        return NULL;
    struct layer *l = record_parse(text.data, text.len, err);
    if (!l)
        return NULL;
    l->folder = xstrdup(folder);
    l->disk = path_join(folder, "disk.qcow2");
    return l;
}

int store_failed(struct store *st, const char *name, struct strv *files, json_t **ret_record,
                 struct error **err)
{
    AUTO_FREE char *file = store_encode(name, "");
    AUTO_FREE char *folder = path_join(st->failed, file);
    AUTO_FREE char *word = xasprintf("failed/%s", file);
    CLEANUP(error_freep) struct error *why = NULL;
    CLEANUP(layer_freep) struct layer *l = NULL;
    AUTO_CLOSE int lock = store_lock(st, LOCK_SHARED, err);
    if (lock < 0)
        return -1;
    l = load_failed(folder, &why);
    if (!l || record_check_disk(l, &why) < 0) {
        error_set(err, ERR_NOT_FOUND, "no failed step of '%s' is kept", name);
        return error_hint(err, "build it with --on-error=keep");
    }
    if (store_lease(st, word, err) < 0 ||
        (*l->parent && store_chain(st, l->parent, files, err) < 0))
        return -1;
    strv_add(files, l->disk);
    if (ret_record)
        *ret_record = json_incref(l->record);
    return 0;
}

int store_drop_failed(struct store *st, const char *name, struct error **err)
{
    AUTO_FREE char *file = store_encode(name, "");
    AUTO_FREE char *folder = path_join(st->failed, file);
    if (access(folder, F_OK) < 0)
        return 0;
    AUTO_FREE char *trash = xasprintf("%s/%u", st->work.dir, ++st->drafts);
    if (rename(folder, trash) < 0)
        return errno == ENOENT ? 0 : error_errno(err, "cannot remove '%s'", folder);
    return remove_tree(trash, err);
}
