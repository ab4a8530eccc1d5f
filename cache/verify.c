// SPDX-License-Identifier: MIT
//
// No lock is held while a layer is read, which may take minutes: a layer that a prune takes away
// meanwhile is not a damaged one, so a failure counts only if the layer is still there afterwards.
#include "cache/prune.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/session.h"
#include "cache/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

struct verify {
    struct store *st;
    struct scan scan;
    store_verify_fn *report;
    void *arg;
    struct verify_result result;
};

/* digest_of_fd that can be interrupted. */
static int digest_disk(struct verify *v, const struct layer *l, char hex[DIGEST_HEX + 1],
                       struct error **err)
{
    enum { CHUNK = 1 << 20 };
    AUTO_FREE char *chunk = xmalloc(CHUNK);
    AUTO_CLOSE int fd = open(l->disk, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_set(err, ERR_USER, "disk.qcow2 can't be read: %s", strerror(errno));
    CLEANUP(sha256_freep) struct sha256 *h = sha256_new();
    for (ssize_t n; (n = read_all(fd, chunk, CHUNK)) != 0;) {
        if (n < 0)
            return error_set(err, ERR_USER, "disk.qcow2 can't be read: %s", strerror(errno));
        if (v->st->session && session_cancelled(v->st->session))
            return error_set(err, ERR_CANCELLED, "interrupted");
        sha256_add(h, chunk, (size_t)n);
        v->result.bytes += (uint64_t)n;
    }
    struct digest d = sha256_finish(STEAL(h));
    digest_hex(&d, hex);
    return 0;
}

/* Why the layer's own files are damaged, as an error. */
static int check_layer(struct verify *v, const struct node *n, struct error **err)
{
    char hex[DIGEST_HEX + 1];
    CLEANUP(layer_freep) struct layer *l = record_load(v->st->layers, n->id, err);
    if (!l || record_check_disk(l, err) < 0 || digest_disk(v, l, hex, err) < 0)
        return -1;
    if (strcmp(hex, layer_digest(l)) != 0)
        return error_set(err, ERR_USER, "the content of disk.qcow2 was altered");
    return 0;
}

static int verify_own(struct verify *v, struct node *n, struct error **err)
{
    CLEANUP(error_freep) struct error *why = NULL;
    AUTO_FREE char *mark = path_join(n->folder, "damaged");
    int rc = check_layer(v, n, &why);
    if (rc < 0 && why->kind == ERR_CANCELLED)
        return error_propagate(err, STEAL(why));
    free(STEAL(n->dead));
    n->gone = access(n->folder, F_OK) < 0;
    if (rc == 0 || n->gone) {
        (void)unlink(mark);
        return 0;
    }
    n->dead = xstrdup(why->message);
    if (v->st->read_only)
        return 0;
    struct error *cannot = NULL;
    if (file_write_whole(mark, 0644, why->message, strlen(why->message), &cannot) == 0)
        return 0;
    n->gone = access(n->folder, F_OK) < 0; // pruned just now
    if (!n->gone)
        return error_propagate(err, cannot);
    error_free(cannot);
    return 0;
}

/* What the chain below says about a layer that is whole itself. */
static void verify_chain(struct node *n)
{
    if (n->judged || n->gone)
        return;
    n->judged = true;
    if (n->dead || !n->layer || !*n->layer->parent)
        return;
    struct node *p = n->parent;
    CLEANUP(error_freep) struct error *why = NULL;
    if (p && p->layer && p->layer->depth + 1 == n->layer->depth)
        verify_chain(p);
    if (!p || p->gone)
        error_set(&why, ERR_USER, "its parent layer %.12s is missing", n->layer->parent);
    else if (p->dead || !p->layer)
        error_set(&why, ERR_USER, "its parent layer %.12s is damaged", p->id);
    else
        record_check_parent(n->layer, p->layer, &why);
    if (why)
        n->dead = xstrdup(why->message);
}

static void report(struct verify *v, const struct node *n)
{
    if (n->gone)
        return;
    v->result.layers++;
    v->result.damaged += n->dead != NULL;
    if (v->report)
        v->report(v->arg, n->id, n->layer ? layer_step(n->layer) : "?", n->dead);
}

static int verify_all(struct verify *v, struct error **err)
{
    {
        AUTO_CLOSE int lock = store_lock(v->st, LOCK_EXCLUSIVE, err);
        if (lock < 0 || scan_load(v->st, NULL, NULL, &v->scan, err) < 0)
            return -1;
    }
    vec_foreach (struct node *, n, &v->scan.layers) {
        n->judged = false;
        if (verify_own(v, n, err) < 0)
            return -1;
    }
    vec_foreach (struct node *, n, &v->scan.layers)
        verify_chain(n);
    vec_foreach (struct node *, n, &v->scan.layers)
        report(v, n);
    return 0;
}

int store_verify(struct store *st, bool repair, store_roots_fn *roots, void *roots_arg,
                 store_verify_fn *fn, void *arg, struct verify_result *ret, struct error **err)
{
    struct verify v = {.st = st, .report = fn, .arg = arg};
    int rc = verify_all(&v, err);
    scan_clear(&v.scan);
    if (rc == 0 && repair && v.result.damaged) {
        struct prune_options o = PRUNE_OPTIONS_INIT;
        struct prune_result removed = {0};
        o.roots = roots;
        o.roots_arg = roots_arg;
        rc = store_prune(st, &o, &removed, err);
        v.result.removed = removed.layers;
        prune_result_clear(&removed);
    }
    if (rc == 0)
        *ret = v.result;
    return rc;
}
