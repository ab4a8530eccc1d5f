// SPDX-License-Identifier: MIT
//
// Under the exclusive lock layers are only renamed into our working folder, children first; the
// slow unlinking comes after the lock is given up (and is the sweep's if we die before).
#include "cache/prune.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "cache/scan.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct prune {
    struct store *st;
    const struct prune_options *o;
    struct scan scan;
    struct prune_result result;
    uint64_t left; /* bytes of what is not gone */
    uint64_t free; /* on the file system, with what was freed */
    int64_t now;
};

void prune_result_clear(struct prune_result *r)
{
    json_decref(r->removed);
    *r = (struct prune_result){0};
}

static void note_removal(struct prune *p, const struct node *n, const char *why)
{
    const char *step = n->layer ? layer_step(n->layer) : "?";
    json_t *o = json_object();
    json_object_set_new(o, n->file ? "failed" : "id", json_string(n->file ? n->file : n->id));
    json_object_set_new(o, "step", json_string(step));
    json_object_set_new(o, "bytes", json_integer((json_int_t)n->bytes));
    json_object_set_new(o, "used", json_integer(n->used));
    json_object_set_new(o, "why", json_string(why));
    json_array_append_new(p->result.removed, o);
}

/* Without a working folder (the disk is full) the layer is removed on the spot, its record first.
 */
static int remove_layer(struct prune *p, const struct node *n, struct error **err)
{
    if (!p->st->work.dir) {
        AUTO_FREE char *record = path_join(n->folder, "layer.json");
        (void)unlink(record);
        return remove_tree(n->folder, err);
    }
    AUTO_FREE char *trash = xasprintf("%s/%u", p->st->work.dir, ++p->st->drafts);
    if (rename(n->folder, trash) < 0 && errno != ENOENT)
        return error_errno(err, "cannot remove '%s'", n->folder);
    return 0;
}

static int take_out(struct prune *p, struct node *n, const char *why, struct error **err)
{
    if (!p->o->dry_run && remove_layer(p, n, err) < 0)
        return -1;
    n->gone = true;
    if (n->parent)
        n->parent->children--;
    p->result.layers++;
    p->result.bytes += n->bytes;
    p->result.inodes += n->inodes;
    p->left -= n->bytes;
    p->free += n->bytes;
    note_removal(p, n, why);
    return 0;
}

/* Children before parents, as they must go. */
static int take_dead(struct prune *p, struct node *n, struct error **err)
{
    if (n->gone || n->needed || !n->dead)
        return 0;
    if (n->children)
        vec_foreach (struct node *, c, &p->scan.layers)
            if (c->parent == n && take_dead(p, c, err) < 0)
                return -1;
    return take_out(p, n, n->dead, err);
}

/* The limit that asks for something to go that was used then; NULL: none does. */
static const char *limit_for(const struct prune *p, int64_t used, bool on_backend)
{
    const struct prune_options *o = p->o;
    if (o->all)
        return "nothing uses it";
    if (o->max_age >= 0 && p->now - used > o->max_age)
        return "it has not been used for too long";
    if (p->left > o->max_size)
        return "the cache is over its size limit";
    if (p->free < o->keep_free && on_backend)
        return "free space is below its limit";
    return NULL;
}

static int take_extra(struct prune *p, const struct prune_item *item, const char *why,
                      struct error **err)
{
    const struct prune_extra *x = &p->o->extra;
    json_array_append_new(p->result.removed, json_pack("{s:s, s:I, s:I, s:s}", "file", item->what,
                                                       "bytes", (json_int_t)item->bytes, "used",
                                                       (json_int_t)item->used, "why", why));
    p->result.extras++;
    p->result.bytes += item->bytes;
    p->result.inodes += item->inodes;
    p->left -= item->bytes;
    p->free += x->on_backend ? item->bytes : 0;
    return x->take(x->arg, p->o->dry_run, err);
}

/* Extras that were not used since `before`, as far as the limits ask for it. */
static int take_extras(struct prune *p, int64_t before, struct error **err)
{
    const struct prune_extra *x = &p->o->extra;
    for (struct prune_item item; x->oldest && x->oldest(x->arg, &item) && item.used <= before;) {
        const char *why = limit_for(p, item.used, x->on_backend);
        if (!why)
            break;
        if (take_extra(p, &item, why, err) < 0)
            return -1;
    }
    return 0;
}

static struct node *oldest(struct nodes *all)
{
    struct node *best = NULL;
    vec_foreach (struct node *, n, all)
        if (!n->gone && !n->needed && !n->children && (!best || n->used < best->used))
            best = n;
    return best;
}

static int take_oldest(struct prune *p, struct nodes *all, struct error **err)
{
    for (struct node *n; (n = oldest(all));) {
        if (all == &p->scan.layers && take_extras(p, n->used, err) < 0)
            return -1;
        const char *why = limit_for(p, n->used, true);
        if (!why)
            break;
        if (take_out(p, n, why, err) < 0)
            return -1;
    }
    return 0;
}

static int take_all(struct prune *p, struct error **err)
{
    vec_foreach (struct node *, n, &p->scan.failed)
        if (take_dead(p, n, err) < 0)
            return -1;
    vec_foreach (struct node *, n, &p->scan.layers)
        if (take_dead(p, n, err) < 0)
            return -1;
    if (take_oldest(p, &p->scan.failed, err) < 0)
        return -1;
    if (take_oldest(p, &p->scan.layers, err) < 0)
        return -1;
    return take_extras(p, INT64_MAX, err);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The keys of the layers that are left, sorted. */
static void left_keys(const struct prune *p, struct strv *ret)
{
    vec_foreach (const struct node *, n, &p->scan.layers)
        if (!n->gone && n->layer)
            strv_add(ret, n->layer->key);
    if (ret->len)
        qsort(ret->ptr, ret->len, sizeof *ret->ptr, by_text);
}

/* A pointer stays while any layer of its key does, even one it does not name: without it an older
 * layer would be found again. */
static void drop_pointers(struct prune *p)
{
    CLEANUP(strv_clear) struct strv keys = {0};
    left_keys(p, &keys);
    DIR *d = opendir(p->st->keys);
    for (struct dirent *e; d && (e = readdir(d));) {
        const char *key = e->d_name;
        if (is_id(key) &&
            (!keys.len || !bsearch(&key, keys.ptr, keys.len, sizeof *keys.ptr, by_text)))
            (void)unlinkat(dirfd(d), key, 0);
    }
    if (d)
        closedir(d);
}

/* Lock files of keys and names whose builder died. */
static void drop_key_locks(struct store *st)
{
    DIR *d = opendir(st->working);
    for (struct dirent *e; d && (e = readdir(d));) {
        const char *dot = strrchr(e->d_name, '.');
        if (!dot || (strcmp(dot, ".build") != 0 && strcmp(dot, ".name") != 0))
            continue;
        AUTO_FREE char *path = path_join(st->working, e->d_name);
        AUTO_CLOSE int fd = lock_try(path, LOCK_EXCLUSIVE, NULL);
        if (fd >= 0)
            (void)unlink(path);
    }
    if (d)
        closedir(d);
}

static int prune_locked(struct prune *p, struct error **err)
{
    AUTO_CLOSE int lock = store_lock(p->st, LOCK_EXCLUSIVE, err);
    if (lock < 0 || scan_load(p->st, p->o->roots, p->o->roots_arg, &p->scan, err) < 0)
        return -1;
    p->left = p->scan.bytes + (p->o->extra.oldest ? p->o->extra.bytes : 0);
    p->free = free_bytes(p->st->dir);
    p->now = time(NULL);
    int rc = take_all(p, err);
    if (!p->o->dry_run) {
        drop_pointers(p);
        drop_key_locks(p->st);
    }
    p->result.left = p->left;
    vec_foreach (const struct node *, n, &p->scan.layers)
        if (n->needed)
            p->result.needed += n->bytes;
    return rc;
}

/* Empties our working folder of what prune put there: the numbered folders. */
static int empty_trash(struct store *st, unsigned from, struct error **err)
{
    for (unsigned i = from + 1; i <= st->drafts; i++) {
        AUTO_FREE char *trash = xasprintf("%s/%u", st->work.dir, i);
        if (remove_tree(trash, err) < 0)
            return -1;
    }
    return 0;
}

int store_prune(struct store *st, const struct prune_options *o, struct prune_result *ret,
                struct error **err)
{
    if (!o->dry_run && store_writable(st, err) < 0)
        return -1;
    struct prune p = {.st = st, .o = o, .result.removed = json_array()};
    unsigned from = st->drafts;
    int rc = prune_locked(&p, err);
    scan_clear(&p.scan);
    if (rc == 0)
        rc = empty_trash(st, from, err);
    if (rc == 0)
        *ret = p.result;
    else
        prune_result_clear(&p.result);
    return rc;
}

static void count(const struct node *n, struct store_usage *u)
{
    if (n->file)
        u->failed++;
    else
        u->layers++;
    if (n->layer && layer_is_base(n->layer))
        u->bases++;
    if (n->damaged)
        u->damaged++;
    if (n->needed)
        u->needed += n->bytes;
}

static uint64_t working_bytes(const struct store *st)
{
    uint64_t bytes = 0;
    DIR *d = opendir(st->working);
    for (struct dirent *e; d && (e = readdir(d));) {
        AUTO_FREE char *folder = path_join(st->working, e->d_name);
        DIR *in = e->d_name[0] == '.' ? NULL : opendir(folder);
        if (in)
            folder_blocks(folder, false, &bytes, NULL); // a file that is linked is a layer's by now
        for (struct dirent *f; in && (f = readdir(in));) {
            AUTO_FREE char *draft = path_join(folder, f->d_name);
            struct stat is;
            if (f->d_name[0] != '.' && lstat(draft, &is) == 0 && S_ISDIR(is.st_mode))
                folder_blocks(draft, true, &bytes, NULL);
        }
        if (in)
            closedir(in);
    }
    if (d)
        closedir(d);
    return bytes;
}

int store_usage(struct store *st, store_roots_fn *roots, void *roots_arg, struct store_usage *ret,
                struct error **err)
{
    struct scan scan = {0};
    struct store_usage u = {.working = working_bytes(st)};
    int rc = -1;
    AUTO_CLOSE int lock = store_lock(st, LOCK_EXCLUSIVE, err);
    if (lock >= 0)
        rc = scan_load(st, roots, roots_arg, &scan, err);
    vec_foreach (const struct node *, n, &scan.layers)
        count(n, &u);
    vec_foreach (const struct node *, n, &scan.failed)
        count(n, &u);
    u.bytes = scan.bytes;
    u.inodes = scan.inodes;
    u.unused_bytes = u.bytes - u.needed;
    scan_clear(&scan);
    if (rc == 0)
        *ret = u;
    return rc;
}
