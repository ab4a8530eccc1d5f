// SPDX-License-Identifier: MIT
//
// A selection is made in four passes: sources become parts (source.c), parts become a flat list of
// entries in the order they are sent, files that the index does not know are hashed, and the
// manifest is written from what is then known.
#include "builder/context/context.h"

#include "base/alloc.h"
#include "base/session.h"
#include "builder/context/hash.h"
#include "builder/context/selection.h"
#include "imagefile/ignore.h"

DEFINE_VECTOR(node_list, struct node *);
DEFINE_VECTOR(numbers, uint32_t);

/* One context_select. */
struct select {
    struct context *ctx;
    const struct context_request *request;
    struct selection *sel;
    struct ignore *excludes; /* NULL = none */
    bool dest_is_folder;     /* as it is written, or because there are several sources */
};

static int parse_excludes(struct select *s, struct error **err)
{
    const struct context_request *r = s->request;
    if (r->n_excludes)
        s->excludes = ignore_new();
    for (size_t i = 0; i < r->n_excludes; i++)
        if (ignore_add(s->excludes, r->excludes[i], err) < 0)
            return error_wrap(err, "%s --exclude", r->instruction);
    return 0;
}

static int fetch_part(struct select *s, const struct context_source *src, struct error **err)
{
    const char *url = src->text;
    const struct context_request *r = s->request;
    struct part *p = parts_push(&s->sel->parts);
    *p = (struct part){.kind = SOURCE_URL,
                       .shown = xstrdup(url),
                       .remote = REMOTE_FILE_INIT,
                       .unpack = r->unpack_remote};
    if ((src->fetched ? remote_file_copy(src->fetched, &p->remote, err)
                      : remote_fetch(s->ctx->session, url, r->checksum, &p->remote, err)) < 0)
        return -1;
    p->own_name = xstrdup(p->remote.name);
    if (*p->own_name || p->unpack || !s->dest_is_folder)
        return 0;
    error_set(err, ERR_USER, "the URL '%s' does not end in a file name", url);
    return error_hint(err, "write the file's whole path as the destination instead of '%s'",
                      r->dest);
}

static void add_items(struct parts *parts, const struct context_source *src)
{
    struct part *p = parts_push(parts);
    *p = (struct part){.kind = SOURCE_ITEMS,
                       .shown = xstrdup(src->text),
                       .own_name = xstrdup(""),
                       .remote = REMOTE_FILE_INIT,
                       .items = src->items,
                       .unpack = true};
    p->remote.digest = src->digest;
    p->remote.size = src->size;
}

static int add_source(struct select *s, const struct context_source *src, struct error **err)
{
    const struct context_request *r = s->request;
    struct parts *parts = &s->sel->parts;
    if (src->kind == SOURCE_URL)
        return fetch_part(s, src, err);
    if (src->kind == SOURCE_ITEMS) {
        add_items(parts, src);
        return 0;
    }
    if (r->checksum)
        return error_set(err, ERR_USER, "%s --checksum is for URLs only, and '%s' is not one",
                         r->instruction, src->text);
    if (src->kind == SOURCE_INLINE) {
        *parts_push(parts) = (struct part){.kind = SOURCE_INLINE,
                                           .shown = xstrdup(src->text),
                                           .own_name = xstrdup(src->text),
                                           .bytes = src->bytes,
                                           .remote = REMOTE_FILE_INIT};
        return 0;
    }
    size_t before = parts->len;
    int got = r->parents
                  ? source_expand_parents(s->ctx, r->instruction, src->text, parts, err)
                  : source_expand(s->ctx, r->instruction, src->text, SOURCE_PLAIN, parts, err);
    if (got < 0)
        return -1;
    for (size_t i = before; i < parts->len; i++)
        parts->ptr[i].unpack = r->unpack_local && parts->ptr[i].node->type == MANIFEST_FILE;
    return 0;
}

static bool is_folder(const struct part *p)
{
    return p->kind == SOURCE_PATH && p->node->type == MANIFEST_DIR;
}

/* Whether nothing of a part is left. With --parents the patterns see its place. */
static bool is_excluded(const struct select *s, const struct part *p)
{
    if (!s->excludes || p->bare)
        return false;
    if (is_folder(p))
        return p->dest && *p->dest && ignore_hides(s->excludes, p->dest) &&
               ignore_prunes(s->excludes, p->dest);
    return ignore_hides(s->excludes, p->dest ? p->dest : p->own_name);
}

/* Drops what --exclude names, and gives the rest their places below <dest>: several things need it
 * to be a folder. */
static void place_parts(struct select *s)
{
    struct parts *parts = &s->sel->parts;
    size_t kept = 0;
    vec_foreach (struct part *, p, parts) {
        if (!is_excluded(s, p)) {
            parts->ptr[kept++] = *p;
            continue;
        }
        part_clear(p);
        for (; kept && parts->ptr[kept - 1].bare; kept--)
            part_clear(&parts->ptr[kept - 1]);
    }
    parts->len = kept;
    s->sel->needs_folder = s->dest_is_folder || kept > 1;
    vec_foreach (struct part *, p, parts)
        if (!p->dest)
            p->dest = xstrdup(is_folder(p) || !s->sel->needs_folder ? "" : p->own_name);
}

static void pick(struct select *s, size_t part, struct node *n)
{
    struct picked *p = picks_push(&s->sel->picks);
    p->node = n;
    p->part = (uint32_t)part;
}

/* A walk of one folder part. Folders that are hidden themselves wait in `pending` until something
 * below them is picked. */
struct walk {
    struct select *select;
    size_t part;
    struct buf path; /* below the part's root */
    struct node_list pending;
};

static void walk_folder(struct walk *w, struct node *folder);

static void note_socket(struct selection *sel, const struct part *p, const struct node *n)
{
    CLEANUP(buf_clear) struct buf path = BUF_INIT;
    picked_add_shown(&path, p, n);
    if (!sel->sockets++)
        sel->socket = buf_detach(&path, NULL);
}

static void walk_child(struct walk *w, struct node *n)
{
    const struct ignore *ex = w->select->excludes;
    bool hidden = n->hidden;
    if (ex) {
        if (w->path.len)
            buf_addc(&w->path, '/');
        buf_adds(&w->path, n->name);
        if (ignore_hides(ex, w->path.data)) {
            if (n->type != MANIFEST_DIR || ignore_prunes(ex, w->path.data))
                return;
            hidden = true;
        }
    }
    size_t n_pending = w->pending.len;
    if (n->type == NODE_SOCKET) {
        note_socket(w->select->sel, &w->select->sel->parts.ptr[w->part], n);
        return;
    }
    if (hidden)
        *node_list_push(&w->pending) = n;
    else {
        vec_foreach (struct node **, parent, &w->pending)
            pick(w->select, w->part, *parent);
        w->pending.len = n_pending = 0;
        pick(w->select, w->part, n);
    }
    if (n->type == MANIFEST_DIR)
        walk_folder(w, n);
    if (w->pending.len > n_pending)
        w->pending.len = n_pending; // nothing below it was picked
}

static void walk_folder(struct walk *w, struct node *folder)
{
    size_t keep = w->path.len;
    for (uint32_t i = 0; i < folder->n_children; i++) {
        walk_child(w, &folder->children[i]);
        if (w->path.len != keep) {
            w->path.len = keep;
            w->path.data[keep] = '\0';
        }
    }
}

/* Whether a folder is above `path`. */
static bool is_above(const char *folder, const char *path)
{
    size_t n = strlen(folder);
    return !strncmp(folder, path, n) && path[n] == '/';
}

static int pick_all(struct select *s, struct error **err)
{
    const char *last = ""; // the place of the part that was picked last: its folders are there
    for (size_t i = 0; i < s->sel->parts.len; i++) {
        struct part *p = &s->sel->parts.ptr[i];
        if (p->bare) {
            if (!is_above(p->dest, last))
                pick(s, i, p->node);
            continue;
        }
        last = p->dest;
        if (is_folder(p) && tree_scan(s->ctx->tree, p->node, true, err) < 0)
            return -1;
        struct walk w = {.select = s, .part = i, .path = BUF_INIT};
        if (is_folder(p) && s->excludes && *p->dest && ignore_hides(s->excludes, p->dest))
            *node_list_push(&w.pending) = p->node;
        else
            pick(s, i, p->node);
        if (!is_folder(p))
            continue;
        buf_adds(&w.path, p->dest);
        walk_folder(&w, p->node);
        buf_clear(&w.path);
        node_list_clear(&w.pending);
    }
    return 0;
}

/* Once a build: sockets are there again and again. */
static void tell_of_sockets(struct select *s)
{
    struct context *ctx = s->ctx;
    if (!s->sel->sockets || ctx->told_of_sockets)
        return;
    ctx->told_of_sockets = true;
    AUTO_FREE char *more = s->sel->sockets > 1 ? xasprintf(" and %llu more are",
                                                           (unsigned long long)s->sel->sockets - 1)
                                               : xstrdup(" is");
    session_notice(ctx->session, "'%s'%s left out: a socket can't be copied", s->sel->socket, more);
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Whether a name in one part may be a hard link to one in another: not if a later part could have
 * replaced the first name by then. */
static bool links_may_span(const struct select *s)
{
    const struct parts *parts = &s->sel->parts;
    if (parts->len < 2)
        return true;
    AUTO_FREE char **names = xcalloc(parts->len, sizeof *names);
    for (size_t i = 0; i < parts->len; i++) {
        if (is_folder(&parts->ptr[i]) || parts->ptr[i].unpack)
            return false;
        names[i] = parts->ptr[i].dest;
    }
    qsort(names, parts->len, sizeof *names, compare_strings);
    for (size_t i = 1; i < parts->len; i++)
        if (!strcmp(names[i - 1], names[i]))
            return false;
    return true;
}

/* qsort_r's order: by part (if parts count), device, inode, and then as they are sent. */
struct link_order {
    const struct picks *picks;
    bool by_part;
};

static int compare_links(const void *pa, const void *pb, void *arg)
{
    const struct link_order *o = arg;
    uint32_t ia = *(const uint32_t *)pa, ib = *(const uint32_t *)pb;
    const struct picked *a = &o->picks->ptr[ia], *b = &o->picks->ptr[ib];
    if (o->by_part && a->part != b->part)
        return a->part < b->part ? -1 : 1;
    if (a->node->id.dev != b->node->id.dev)
        return a->node->id.dev < b->node->id.dev ? -1 : 1;
    if (a->node->id.ino != b->node->id.ino)
        return a->node->id.ino < b->node->id.ino ? -1 : 1;
    return ia < ib ? -1 : ia > ib;
}

/* Finds names of one file, by device and inode. */
static void find_hard_links(struct select *s)
{
    struct picks *picks = &s->sel->picks;
    CLEANUP(numbers_clear) struct numbers linked = {0};
    for (size_t i = 0; i < picks->len; i++)
        if (picked_is_file(&picks->ptr[i]) && picks->ptr[i].node->nlink > 1 &&
            !s->sel->parts.ptr[picks->ptr[i].part].unpack)
            *numbers_push(&linked) = (uint32_t)i;
    if (linked.len < 2)
        return;
    struct link_order order = {picks, !links_may_span(s)};
    qsort_r(linked.ptr, linked.len, sizeof *linked.ptr, compare_links, &order);
    for (size_t i = 1, first = 0; i < linked.len; i++) {
        struct picked *p = &picks->ptr[linked.ptr[i]], *f = &picks->ptr[linked.ptr[first]];
        if (p->node->id.dev == f->node->id.dev && p->node->id.ino == f->node->id.ino &&
            (!order.by_part || p->part == f->part))
            p->first = linked.ptr[first] + 1;
        else
            first = i;
    }
}

static int hash_unknown(struct select *s, struct error **err)
{
    CLEANUP(node_list_clear) struct node_list todo = {0};
    vec_foreach (struct picked *, p, &s->sel->picks)
        if (picked_is_file(p) && !p->first && !p->node->content)
            *node_list_push(&todo) = p->node;
    struct context *ctx = s->ctx;
    if (hash_files(ctx->session, ctx->tree, ctx->index, todo.ptr, todo.len, err) < 0)
        return -1;
    ctx->hashed_files += todo.len;
    vec_foreach (struct node **, n, &todo)
        ctx->hashed_bytes += (*n)->id.size;
    return 0;
}

static int fill_selection(struct select *s, struct error **err)
{
    const struct context_request *r = s->request;
    if (parse_excludes(s, err) < 0)
        return -1;
    for (size_t i = 0; i < r->n_sources; i++)
        if (add_source(s, &r->sources[i], err) < 0)
            return -1;
    place_parts(s);
    if (pick_all(s, err) < 0)
        return -1;
    tell_of_sockets(s);
    find_hard_links(s);
    if (hash_unknown(s, err) < 0)
        return -1;
    selection_write_manifest(s->sel);
    return 0;
}

int context_select(struct context *ctx, const struct context_request *r, struct selection **ret,
                   struct error **err)
{
    CLEANUP(selection_freep) struct selection *sel = xcalloc(1, sizeof *sel);
    sel->ctx = ctx;
    buf_init(&sel->manifest);
    struct select s = {.ctx = ctx,
                       .request = r,
                       .sel = sel,
                       .dest_is_folder = r->n_sources > 1 || r->several || r->parents ||
                                         context_dest_is_folder(r->dest)};
    int got = fill_selection(&s, err);
    ignore_free(s.excludes);
    if (got < 0)
        return -1;
    *ret = STEAL(sel);
    return 0;
}
