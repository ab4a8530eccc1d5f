// SPDX-License-Identifier: MIT
//
// Opening, finding and leasing. A layer is checked from its own record downward until one is met
// that this store has checked before; what was checked and leased can't go away while the store is
// open, so it is checked once. The lease is our lock file in .working: one id a line, only ever
// appended, while the store lock is held shared.
#include "cache/store.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/session.h"
#include "cache/internal.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int make_folders(const struct store *st, struct error **err)
{
    const char *const all[] = {st->layers, st->cwd, st->keys, st->working, st->failed, st->builds};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (make_dirs_inside(all[i], err) < 0)
            return -1;
    return 0;
}

static bool is_one_of(int errnum, int a, int b, int c)
{
    return errnum && (errnum == a || errnum == b || errnum == c);
}

/* The folders of the backend, and one of our own to work in. */
static int open_folders(struct store *st, bool to_prune, struct error **err)
{
    struct error *why = NULL;
    working_sweep(st->working);
    if (make_folders(st, &why) == 0 && working_open(&st->work, st->working, &why) == 0)
        return 0;
    if (to_prune && is_one_of(why->errnum, ENOSPC, EDQUOT, 0)) {
        error_free(why);
        return 0;
    }
    if (!st->session || !st->session->cache || !is_one_of(why->errnum, EACCES, EROFS, EPERM))
        return error_propagate(err, why);
    error_free(why);
    st->read_only = true;
    AUTO_FREE char *elsewhere = path_join(st->session->cache, "working");
    working_sweep(elsewhere);
    return working_open(&st->work, elsewhere, err);
}

static int open_store(const struct session *s, const char *dir, bool to_prune, struct store **ret,
                      struct error **err)
{
    CLEANUP(store_freep) struct store *st = xcalloc(1, sizeof *st);
    st->session = s;
    st->work = (struct working)WORKING_INIT;
    st->dir = xstrdup(dir);
    st->layers = path_join(dir, ".layers");
    st->keys = path_join(dir, ".keys");
    st->working = path_join(dir, ".working");
    st->failed = path_join(dir, ".failed");
    st->builds = path_join(dir, ".builds");
    st->lock = path_join(st->layers, ".lock");
    st->cwd = path_join(st->layers, ".cwd");
    if (open_folders(st, to_prune, err) < 0)
        return -1;
    *ret = STEAL(st);
    return 0;
}

int store_open(const struct session *s, const char *dir, struct store **ret, struct error **err)
{
    return open_store(s, dir, false, ret, err);
}

int store_open_to_prune(const struct session *s, const char *dir, struct store **ret,
                        struct error **err)
{
    return open_store(s, dir, true, ret, err);
}

void store_free(struct store *st)
{
    if (!st)
        return;
    working_clear(&st->work);
    vec_foreach (struct layer **, l, &st->known)
        layer_free(*l);
    known_layers_clear(&st->known);
    strv_clear(&st->told);
    free(st->damage);
    free(st->dir);
    free(st->layers);
    free(st->keys);
    free(st->working);
    free(st->failed);
    free(st->builds);
    free(st->lock);
    free(st->cwd);
    free(st);
}

const char *store_dir(const struct store *st)
{
    return st->dir;
}

const char *store_cwd(const struct store *st)
{
    return *st->cwd == '/' && access(st->cwd, X_OK) == 0 ? st->cwd : NULL;
}

const char *store_scratch(const struct store *st)
{
    return st->work.dir;
}

void store_say(struct store *st, const char *fmt, ...)
{
    CLEANUP(buf_clear) struct buf line = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&line, fmt, ap);
    va_end(ap);
    session_notice(st->session, "%s", line.data);
}

char *short_step(const char *step)
{
    enum { MAX = 60 };
    size_t n = strcspn(step, "\r\n"), keep = n;
    if (n > MAX)
        for (keep = MAX - 3; keep && ((unsigned char)step[keep] & 0xc0) == 0x80;)
            keep--; // not inside a UTF-8 character
    char *s = xasprintf("%.*s%s", (int)keep, step, step[keep] ? "…" : "");
    for (char *p = s; *p; p++)
        if (iscntrl((unsigned char)*p))
            *p = ' ';
    return s;
}

int64_t mtime_of(const char *path)
{
    struct stat st;
    return stat(path, &st) < 0 ? 0 : st.st_mtim.tv_sec;
}

char *store_encode(const char *name, const char *suffix)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    for (const char *p = name; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (isalnum(c) || c == '_' || (c == '.' && p != name))
            buf_addc(&b, *p);
        else
            buf_addf(&b, "%%%02X", c);
    }
    buf_adds(&b, suffix);
    return buf_detach(&b, NULL);
}

int store_lock(struct store *st, enum lock_mode mode, struct error **err)
{
    // Who only reads could make those wait who may write, so the lock is not for him
    if (st->read_only)
        return open("/dev/null", O_RDONLY | O_CLOEXEC);
    return lock_wait(st->lock, mode, st->session ? st->session->cancel_fd : -1, err);
}

int store_writable(const struct store *st, struct error **err)
{
    if (!st->read_only)
        return 0;
    error_set(err, ERR_SYSTEM, "the backend '%s' is not writable", st->dir);
    return error_hint(err, "choose another one with --image-backend");
}

int store_lease(struct store *st, const char *word, struct error **err)
{
    AUTO_FREE char *line = xasprintf("%s\n", word);
    if (write_all(st->work.fd, line, strlen(line)) < 0)
        return error_errno(err, "cannot write '%s'", st->work.lock);
    return 0;
}

void store_tell_damage(struct store *st, const char *id, const char *why)
{
    vec_foreach (char **, t, &st->told)
        if (!strcmp(*t, id))
            return;
    strv_add(&st->told, id);
    CLEANUP(layer_freep) struct layer *l = record_load(st->layers, id, NULL);
    AUTO_FREE char *step = l ? short_step(layer_step(l)) : NULL;
    store_say(st, "layer %.12s%s%s%s is damaged (%s): it must be rebuilt", id,
              step ? " of step '" : "", step ? step : "", step ? "'" : "", why);
}

static struct layer *find_known(const struct store *st, const char *id)
{
    vec_foreach (struct layer **, l, &st->known)
        if (!strcmp((*l)->id, id))
            return *l;
    return NULL;
}

/* Loads and checks the layer alone. An error about a layer below the asked one names it. */
static struct layer *load_checked(struct store *st, const char *id, bool below, struct error **err)
{
    struct error *why = NULL;
    CLEANUP(layer_freep) struct layer *l = record_load(st->layers, id, &why);
    if (l && record_check_mark(l, &why) == 0 && record_check_disk(l, &why) == 0)
        return STEAL(l);
    // Whatever hinders us at this one file is its damage; what hinders us at every file is not
    if (why->kind == ERR_SYSTEM && why->errnum != EMFILE && why->errnum != ENFILE)
        why->kind = ERR_USER;
    if (below && why->kind != ERR_SYSTEM) {
        if (why->kind == ERR_NOT_FOUND) {
            free(why->message);
            why->message = xasprintf("its parent layer %.12s is missing", id);
        } else {
            error_wrap(&why, "its parent layer %.12s is damaged", id);
        }
        why->kind = ERR_USER;
    }
    error_propagate(err, why);
    return NULL;
}

/* Adds the checked layers from id down to the first known one to *fresh. */
static int check_down(struct store *st, const char *id, struct known_layers *fresh,
                      struct error **err)
{
    const struct layer *child = NULL;
    for (const char *at = id; *at;) {
        struct layer *known = find_known(st, at);
        struct layer *l = known ? known : load_checked(st, at, child != NULL, err);
        if (!l)
            return -1;
        if (!known)
            *known_layers_push(fresh) = l;
        // Depths fall from child to parent, so the walk ends
        if (child && record_check_parent(child, l, err) < 0)
            return -1;
        if (known)
            break;
        child = l;
        at = l->parent;
    }
    return 0;
}

static void note_use(const struct layer *l)
{
    AUTO_FREE char *path = path_join(l->folder, "layer.json");
    (void)utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW); // a read-only store does not matter
}

struct layer *store_use(struct store *st, const char *id, struct error **err)
{
    struct known_layers fresh = {0};
    int rc = check_down(st, id, &fresh, err);
    if (rc == 0 && fresh.len)
        rc = store_lease(st, id, err);
    vec_foreach (struct layer **, l, &fresh) {
        if (rc == 0)
            *known_layers_push(&st->known) = *l;
        else
            layer_free(*l);
    }
    known_layers_clear(&fresh);
    if (rc < 0)
        return NULL;
    const struct layer *l = find_known(st, id);
    note_use(l);
    return layer_copy(l);
}

int store_pointer(struct store *st, const char *key, char id[DIGEST_HEX + 1])
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    AUTO_FREE char *path = path_join(st->keys, key);
    if (file_read(path, 4096, &text, NULL) < 0)
        return 0;
    text.data[strcspn(text.data, "\n")] = '\0';
    // A pointer that can't be read leads nowhere: falling back to an older layer would be stale
    memset(id, '0', DIGEST_HEX);
    id[DIGEST_HEX] = '\0';
    if (is_id(text.data))
        memcpy(id, text.data, DIGEST_HEX + 1);
    return 1;
}

int store_find(struct store *st, const char *key, struct layer **ret, struct error **err)
{
    if (!is_id(key))
        return error_set(err, ERR_USER, "'%s' is not a layer key", key);
    char id[DIGEST_HEX + 1];
    free(STEAL(st->damage));
    AUTO_CLOSE int lock = store_lock(st, LOCK_SHARED, err);
    if (lock < 0)
        return -1;
    if (!store_pointer(st, key, id))
        memcpy(id, key, sizeof id);
    CLEANUP(error_freep) struct error *why = NULL;
    CLEANUP(layer_freep) struct layer *l = store_use(st, id, &why);
    if (l && strcmp(l->key, key) != 0)
        error_set(&why, ERR_USER, "its record belongs to another key");
    if (!why) {
        *ret = STEAL(l);
        return 1;
    }
    if (why->kind != ERR_USER && why->kind != ERR_NOT_FOUND)
        return error_propagate(err, STEAL(why));
    if (why->kind == ERR_USER) {
        store_tell_damage(st, id, why->message);
        st->damage = STEAL(why->message);
    }
    return 0;
}

const char *store_damage(const struct store *st)
{
    return st->damage;
}

int store_get(struct store *st, const char *id, struct layer **ret, struct error **err)
{
    if (!is_id(id))
        return error_set(err, ERR_USER, "'%s' is not a layer id", id);
    AUTO_CLOSE int lock = store_lock(st, LOCK_SHARED, err);
    if (lock < 0)
        return -1;
    struct error *why = NULL;
    struct layer *l = store_use(st, id, &why);
    if (l) {
        *ret = l;
        return 0;
    }
    if (why->kind == ERR_NOT_FOUND) {
        error_set(err, ERR_NOT_FOUND, "layer %.12s not found in '%s'", id, st->dir);
        error_free(why);
    } else if (why->kind == ERR_SYSTEM) {
        return error_propagate(err, why); // a full disk, say: nothing is wrong with the layer
    } else {
        if (why->kind == ERR_USER)
            why->kind = ERR_NOT_FOUND;
        error_wrap(&why, "layer %.12s is damaged", id);
        error_propagate(err, why);
    }
    return error_hint(err,
                      "rebuild the image to recreate missing layers; 'kiln system verify' shows "
                      "how to repair a damaged one");
}

/* From the top of a chain that store_get has just checked downward. */
static void walk_chain(const struct store *st, const struct layer *top, struct known_layers *ret)
{
    for (const struct layer *l = top; l; l = *l->parent ? find_known(st, l->parent) : NULL)
        *known_layers_push(ret) = (struct layer *)l;
}

static int chain(struct store *st, const char *id, struct strv *ret, bool files, struct error **err)
{
    CLEANUP(layer_freep) struct layer *top = NULL;
    if (store_get(st, id, &top, err) < 0)
        return -1;
    struct known_layers down = {0};
    walk_chain(st, top, &down);
    for (size_t i = down.len; i-- > 0;)
        strv_add(ret, files ? down.ptr[i]->disk : down.ptr[i]->id);
    known_layers_clear(&down);
    return 0;
}

int store_chain(struct store *st, const char *id, struct strv *files, struct error **err)
{
    return chain(st, id, files, true, err);
}

int store_chain_ids(struct store *st, const char *id, struct strv *ids, struct error **err)
{
    return chain(st, id, ids, false, err);
}

/* Ids in dir that start with prefix: the last one into id; returns how many, stopping at 2. */
static int count_matches(const char *dir, const char *prefix, char id[DIGEST_HEX + 1])
{
    DIR *d = opendir(dir);
    int n = 0;
    for (struct dirent *e; d && n < 2 && (e = readdir(d));) {
        if (!is_id(e->d_name) || strncmp(e->d_name, prefix, strlen(prefix)) != 0)
            continue;
        memcpy(id, e->d_name, DIGEST_HEX + 1);
        n++;
    }
    if (d)
        closedir(d);
    return n;
}

int store_resolve(struct store *st, const char *prefix, char id[DIGEST_HEX + 1], struct error **err)
{
    char key[DIGEST_HEX + 1];
    size_t len = strlen(prefix);
    if (len < 4 || len > DIGEST_HEX || strspn(prefix, "0123456789abcdef") != len)
        return error_set(err, ERR_NOT_FOUND, "'%s' is not the prefix of a layer id", prefix);
    int n = count_matches(st->layers, prefix, id);
    if (!n && count_matches(st->keys, prefix, key) == 1)
        n = store_pointer(st, key, id);
    if (n > 1)
        return error_set(err, ERR_USER, "several layer ids start with '%s'", prefix);
    if (!n)
        return error_set(err, ERR_NOT_FOUND, "no layer id starts with '%s'", prefix);
    return 0;
}
