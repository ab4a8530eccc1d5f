// SPDX-License-Identifier: MIT
//
// Nodes are never freed before the end: one whose file is gone is a name that may come back. All of
// them are in one hash table by parent and name, and in their parent's list of children.
#include "builder/container/rootfs.h"

#include "base/alloc.h"
#include "base/path.h"

#include <string.h>
#include <xxhash.h>

#define WHITEOUT ".wh."
#define META ".wh..wh."
#define OPAQUE ".wh..wh..opq"

enum {
    LINKS_MAX = 40, // as the kernel's
    ENTRIES_MAX = 4 << 20,
    NODES_MAX = 4 << 20,
    TEXT_MAX = 256 << 20, // of names and of links' targets
    XATTRS_MAX = 256 << 20,
    WORK_MAX = 128 << 20, // some seconds; images of a million files need a tenth of it
    DEPTH_MAX = STREAM_PATH_MAX / 2 + 1,
    TABLE_MIN = 1 << 10,
};

static struct rootfs_node *new_node(struct rootfs *r, struct rootfs_node *parent, struct str name)
{
    struct rootfs_node *n = xcalloc(1, sizeof *n + name.len + 1);
    memcpy(n->name, name.ptr, name.len);
    n->parent = parent;
    if (parent) {
        n->sibling = parent->children;
        parent->children = n;
    }
    r->n_nodes++;
    r->text_bytes += name.len;
    return n;
}

struct rootfs *rootfs_new(void)
{
    struct rootfs *r = xcalloc(1, sizeof *r);
    r->table_size = TABLE_MIN;
    r->table = xcalloc(r->table_size, sizeof *r->table);
    r->root = new_node(r, NULL, STR(""));
    r->root->implied = true;
    return r;
}

static void free_tree(struct rootfs_node *root)
{
    for (struct rootfs_node *n = root, *next; n; n = next) {
        if ((next = n->children)) {
            n->children = NULL;
            continue;
        }
        next = n->sibling ? n->sibling : n->parent;
        free(n);
    }
}

void rootfs_free(struct rootfs *r)
{
    if (!r)
        return;
    free_tree(r->root);
    vec_foreach (struct rootfs_file **, f, &r->files) {
        free((*f)->link);
        buf_clear(&(*f)->xattrs);
        free(*f);
    }
    vec_foreach (struct rootfs_layer *, l, &r->layers)
        rootfs_files_clear(&l->entries);
    rootfs_files_clear(&r->files);
    rootfs_layers_clear(&r->layers);
    rootfs_nodes_clear(&r->plain);
    free(r->table);
    free(r);
}

void rootfs_begin_layer(struct rootfs *r)
{
    (void)rootfs_layers_push(&r->layers);
}

static unsigned this_layer(const struct rootfs *r)
{
    return (unsigned)r->layers.len;
}

static bool is_there(const struct rootfs_node *n)
{
    return n->file || n->implied;
}

static bool is_folder(const struct rootfs_node *n)
{
    return n->implied || (n->file && n->file->head.type == STREAM_DIR);
}

static size_t slot_of(const struct rootfs *r, const struct rootfs_node *parent, struct str name)
{
    return XXH3_64bits_withSeed(name.ptr, name.len, (uintptr_t)parent) & (r->table_size - 1);
}

static void grow_table(struct rootfs *r)
{
    struct rootfs_node **old = r->table;
    size_t n = r->table_size;
    r->table_size *= 2;
    r->table = xcalloc(r->table_size, sizeof *r->table);
    for (size_t i = 0; i < n; i++)
        for (struct rootfs_node *at = old[i], *next; at; at = next) {
            struct rootfs_node **slot = &r->table[slot_of(r, at->parent, str_of(at->name))];
            next = at->chain;
            at->chain = *slot;
            *slot = at;
        }
    free(old);
}

/* The node of a name, there or not; NULL: it never was, and make is false. */
static struct rootfs_node *child(struct rootfs *r, struct rootfs_node *parent, struct str name,
                                 bool make)
{
    struct rootfs_node *n = r->table[slot_of(r, parent, name)];
    while (n && (n->parent != parent || !str_is(name, n->name)))
        n = n->chain;
    if (n || !make)
        return n;
    if (r->n_nodes > r->table_size)
        grow_table(r);
    struct rootfs_node **slot = &r->table[slot_of(r, parent, name)];
    n = new_node(r, parent, name);
    n->chain = *slot;
    *slot = n;
    return n;
}

void rootfs_path(const struct rootfs_node *n, struct buf *ret)
{
    const struct rootfs_node *chain[DEPTH_MAX];
    size_t depth = 0;
    buf_reset(ret);
    for (; n->parent && depth < DEPTH_MAX; n = n->parent)
        chain[depth++] = n;
    while (depth--)
        path_push(ret, str_of(chain[depth]->name));
}

/* The name stands for nothing. */
static void drop_name(struct rootfs_node *n)
{
    if (n->file) {
        *n->name_at = n->next_name;
        if (n->next_name)
            n->next_name->name_at = n->name_at;
    }
    n->next_name = NULL;
    n->file = NULL;
    n->implied = false;
}

static struct rootfs_node *next_below(const struct rootfs_node *top, struct rootfs_node *n)
{
    if (n->children)
        return n->children;
    while (n != top && !n->sibling)
        n = n->parent;
    return n == top ? NULL : n->sibling;
}

/* With all below it. Names are never forgotten, so that markers make this and hide meet one again and
 * again, as links make follow: such steps are counted. */
static void drop(struct rootfs *r, struct rootfs_node *top)
{
    for (struct rootfs_node *n = top; n; n = next_below(top, n), r->work++)
        drop_name(n);
}

static void keep_parents(struct rootfs_node *n, const struct rootfs_node *top)
{
    for (; n != top->parent && n && !is_there(n); n = n->parent)
        n->implied = true;
}

/* What lower layers have: the rest stays, in the folders that it needs. */
static void hide(struct rootfs *r, struct rootfs_node *top)
{
    for (struct rootfs_node *n = top; n; n = next_below(top, n), r->work++)
        if (n->layer < this_layer(r))
            drop_name(n);
        else if (is_there(n) && n != top)
            keep_parents(n->parent, top);
}

static int damaged(struct str path, const char *what, struct error **err)
{
    return error_set(err, ERR_USER, "its entry '" STR_FMT "' %s", STR_ARG(path), what);
}

/* A walk along one path. */
struct walk {
    struct rootfs *rootfs;
    struct str path; /* the entry's, for messages */
    bool make;       /* folders that are not there */
    unsigned links;
};

static int follow(struct walk *w, struct rootfs_node *from, struct str path,
                  struct rootfs_node **ret, struct error **err);

/* From one node of a path to the folder that it stands for. 1, 0: there is none, -1. */
static int enter(struct walk *w, struct rootfs_node *n, struct rootfs_node **ret,
                 struct error **err)
{
    *ret = n;
    if (!is_there(n) && w->make) {
        n->implied = true;
        n->layer = this_layer(w->rootfs);
    }
    if (!is_there(n))
        return 0;
    if (is_folder(n))
        return 1;
    if (n->file->head.type != STREAM_SYMLINK)
        return w->make ? damaged(w->path, "is below what is not a folder", err) : 0;
    if (++w->links > LINKS_MAX)
        return damaged(w->path, "leads through too many links", err);
    const char *link = n->file->link;
    return follow(w, *link == '/' ? w->rootfs->root : n->parent, str_of(link), ret, err);
}

static int follow(struct walk *w, struct rootfs_node *from, struct str path,
                  struct rootfs_node **ret, struct error **err)
{
    struct str part;
    for (size_t at = 0; path_part(path, &at, &part); w->rootfs->work++) {
        if (str_is(part, "..")) {
            from = from->parent ? from->parent : from;
            continue;
        }
        struct rootfs_node *n = child(w->rootfs, from, part, w->make);
        int got = n ? enter(w, n, &from, err) : 0;
        if (got <= 0)
            return got;
    }
    *ret = from;
    return 1;
}

static void split(struct str path, struct str *ret_folder, struct str *ret_name)
{
    const char *slash = path.len ? memrchr(path.ptr, '/', path.len) : NULL;
    size_t n = slash ? (size_t)(slash - path.ptr) : 0;
    *ret_folder = (struct str){path.ptr, n};
    *ret_name = slash ? (struct str){slash + 1, path.len - n - 1} : path;
}

static bool is_meta(struct str path)
{
    struct str part;
    for (size_t at = 0; path_part(path, &at, &part);)
        if (str_starts(part, META))
            return true;
    return false;
}

/* A marker: hides what it names. */
static int whiteout(struct rootfs *r, struct str path, struct str folder, struct str name,
                    struct error **err)
{
    struct walk w = {.rootfs = r, .path = path};
    struct rootfs_node *at, *n;
    int got = follow(&w, r->root, folder, &at, err);
    if (got <= 0)
        return got;
    if (str_is(name, OPAQUE)) {
        for (n = at->children; n; n = n->sibling)
            hide(r, n);
        return 0;
    }
    struct str hidden = {name.ptr + strlen(WHITEOUT), name.len - strlen(WHITEOUT)};
    if ((n = child(r, at, hidden, false)))
        hide(r, n);
    return 0;
}

static void give_name(const struct rootfs *r, struct rootfs_node *n, struct rootfs_file *file)
{
    n->file = file;
    n->implied = false;
    n->layer = this_layer(r);
    n->next_name = file->names;
    if (n->next_name)
        n->next_name->name_at = &n->next_name;
    file->names = n;
    n->name_at = &file->names;
}

static int add_hardlink(struct rootfs *r, const struct tar_item *item, struct rootfs_node *n,
                        struct error **err)
{
    struct walk w = {.rootfs = r, .path = item->path};
    struct str folder, name;
    struct rootfs_node *at;
    split(item->link, &folder, &name);
    int got = follow(&w, r->root, folder, &at, err);
    if (got < 0)
        return -1;
    struct rootfs_node *target = got && name.len ? child(r, at, name, false) : NULL;
    if (!target || !target->file)
        return error_set(err, ERR_USER,
                         "its entry '" STR_FMT "' is a hard link to '" STR_FMT
                         "', which is not there",
                         STR_ARG(item->path), STR_ARG(item->link));
    if (is_folder(target))
        return damaged(item->path, "is a hard link to a folder", err);
    if (target == n)
        return 0;
    struct rootfs_file *file = target->file;
    drop(r, n);
    if (!target->file) // it was below n
        return damaged(item->path, "is a hard link to what it replaces", err);
    give_name(r, n, file);
    return 0;
}

static struct rootfs_file *new_file(struct rootfs *r, const struct tar_item *item)
{
    struct rootfs_file *file = xcalloc(1, sizeof *file);
    *rootfs_files_push(&r->files) = file;
    buf_init(&file->xattrs);
    file->head = item->head;
    if (item->head.type == STREAM_SYMLINK)
        file->link = str_dup(item->link);
    r->text_bytes += item->link.len;
    if (item->head.type != STREAM_FILE) {
        buf_add_str(&file->xattrs, item->xattrs);
        r->xattr_bytes += item->xattrs.len;
    }
    return file;
}

static int add_entry(struct rootfs *r, const struct tar_item *item, struct rootfs_node *n,
                     struct rootfs_file **slot, struct error **err)
{
    bool folder = item->head.type == STREAM_DIR;
    if (!folder && n == r->root)
        return damaged(item->path, "has no name", err);
    if (item->head.type == STREAM_HARDLINK)
        return add_hardlink(r, item, n, err);
    if (folder && is_folder(n))
        drop_name(n);
    else
        drop(r, n);
    struct rootfs_file *file = new_file(r, item);
    give_name(r, n, file);
    if (item->head.type == STREAM_FILE)
        *slot = file;
    return 0;
}

int rootfs_add(struct rootfs *r, const struct tar_item *item, struct error **err)
{
    struct walk w = {.rootfs = r, .path = item->path, .make = true};
    struct rootfs_layer *layer = &r->layers.ptr[r->layers.len - 1];
    size_t number = layer->entries.len;
    struct str folder, name;
    struct rootfs_node *at;
    *rootfs_files_push(&layer->entries) = NULL;
    if (++r->n_entries > ENTRIES_MAX || r->xattr_bytes > XATTRS_MAX)
        return error_set(err, ERR_USER, "it has too many entries");
    if (r->n_nodes > NODES_MAX || r->text_bytes > TEXT_MAX) // exceeded by one entry's at most
        return error_set(err, ERR_USER, "its files have too many or too long names");
    if (r->work > WORK_MAX)
        return error_set(err, ERR_USER,
                         "its links, whiteouts and replaced files are too many to follow");
    split(item->path, &folder, &name);
    if (str_is(name, OPAQUE) ? !is_meta(folder)
                             : str_starts(name, WHITEOUT) && !str_starts(name, META))
        return whiteout(r, item->path, folder, name, err);
    if (is_meta(item->path))
        return 0;
    if (follow(&w, r->root, folder, &at, err) < 0)
        return -1;
    struct rootfs_node *n = name.len ? child(r, at, name, true) : r->root;
    CLEANUP(buf_clear) struct buf path = BUF_INIT;
    rootfs_path(n, &path);
    if (path.len > STREAM_PATH_MAX) // by links of the image
        return damaged(item->path, "has too long a path", err);
    return add_entry(r, item, n, &layer->entries.ptr[number], err);
}

void rootfs_finish(struct rootfs *r)
{
    for (struct rootfs_node *n = r->root; n; n = next_below(r->root, n))
        if (n->file && n->file->head.type == STREAM_DIR)
            *rootfs_nodes_push(&r->plain) = n;
    for (struct rootfs_node *n = r->root; n; n = next_below(r->root, n))
        if (n->file && n->file->names == n && n->file->head.type != STREAM_DIR &&
            n->file->head.type != STREAM_FILE)
            for (struct rootfs_node *name = n; name; name = name->next_name)
                *rootfs_nodes_push(&r->plain) = name;
}
