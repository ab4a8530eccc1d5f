// SPDX-License-Identifier: MIT
//
// A chain goes straight down; where several layers stand on one, each begins a branch. Layers are
// in the order they were made.
#include "cli/layer_graph.h"

#include "base/alloc.h"
#include "base/printable.h"
#include "cache/store.h"
#include "cli/columns.h"
#include "cli/screen.h"
#include "image/backend.h"

#include <dirent.h>
#include <unistd.h>

DEFINE_VECTOR(layers, struct layer *);

struct graph {
    struct layers layers;
    struct backend_images images;
    struct screen screen; /* for its size */
    bool *left_out;       /* one a layer */
};

static void graph_clear(struct graph *g)
{
    vec_foreach (struct layer **, l, &g->layers)
        layer_free(*l);
    layers_clear(&g->layers);
    backend_images_free(&g->images);
    free(g->left_out);
}

static int by_age(const void *a, const void *b)
{
    const struct layer *x = *(struct layer *const *)a, *y = *(struct layer *const *)b;
    int64_t older = layer_created(x), newer = layer_created(y);
    return older < newer ? -1 : older > newer ? 1 : strcmp(x->id, y->id);
}

/* Damaged ones, and what a prune takes meanwhile, are left out. */
static void read_layers(struct store *st, struct graph *g)
{
    AUTO_FREE char *folder = xasprintf("%s/.layers", store_dir(st));
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));) {
        struct layer *l = NULL;
        if (strlen(e->d_name) == DIGEST_HEX && store_get(st, e->d_name, &l, NULL) == 0)
            *layers_push(&g->layers) = l;
    }
    if (d)
        closedir(d);
    if (g->layers.len)
        qsort(g->layers.ptr, g->layers.len, sizeof *g->layers.ptr, by_age);
}

static size_t find(const struct graph *g, const char *id)
{
    for (size_t i = 0; id && i < g->layers.len; i++)
        if (!strcmp(g->layers.ptr[i]->id, id))
            return i;
    return SIZE_MAX;
}

/* Whether the layer is on the way from one of them to the bottom. */
static bool stands_below(const struct graph *g, size_t layer, size_t top)
{
    for (size_t i = top; i != SIZE_MAX; i = find(g, g->layers.ptr[i]->parent))
        if (i == layer)
            return true;
    return false;
}

static int choose(struct store *st, struct graph *g, const char *name, struct error **err)
{
    g->left_out = xcalloc(g->layers.len + 1, sizeof *g->left_out);
    const struct backend_image *image = NULL;
    vec_foreach (const struct backend_image *, i, &g->images)
        if (name && !strcmp(i->name, name))
            image = i;
    if (name && !image) {
        error_set(err, ERR_NOT_FOUND, "no image '%s' in backend", name);
        return error_hint(err, "'kiln image ls' lists the images");
    }
    CLEANUP(layer_freep) struct layer *damaged = NULL;
    size_t own = image ? find(g, image->layer) : SIZE_MAX;
    if (image && image->layer && own == SIZE_MAX)
        return store_get(st, image->layer, &damaged, err);
    for (size_t i = 0; name && i < g->layers.len; i++)
        g->left_out[i] = own == SIZE_MAX || (!stands_below(g, i, own) && !stands_below(g, own, i));
    return 0;
}

static void add_names(const struct graph *g, const struct layer *l, struct buf *line)
{
    const char *before = "  [";
    vec_foreach (const struct backend_image *, i, &g->images)
        if (i->layer && !strcmp(i->layer, l->id)) {
            buf_addf(line, "%s%s", before, i->name);
            before = ", ";
        }
    if (*before == ',')
        buf_addc(line, ']');
}

static void print_line(const struct graph *g, const struct layer *l, const char *branch)
{
    CLEANUP(buf_clear)
    struct buf size = BUF_INIT, raw = BUF_INIT, left = BUF_INIT, names = BUF_INIT, line = BUF_INIT;
    buf_add_size(&size, layer_bytes(l));
    printable_add(&raw, layer_step(l), strlen(layer_step(l)));
    for (size_t i = 0; i < raw.len; i++)
        raw.data[i] = raw.data[i] == '\n' || raw.data[i] == '\t' ? ' ' : raw.data[i];
    buf_addf(&left, "%11s  %s%s ", size.data, branch, g->screen.utf8 ? "●" : "*");
    add_names(g, l, &names);
    bool tty = isatty(STDOUT_FILENO);
    size_t used = columns_of(left.data) + columns_of(names.data);
    size_t room = tty ? g->screen.columns - 1 : 54 + 60; // as wide as without --graph
    columns_add(&left, raw.data, room > used + 10 ? room - used : 10);
    buf_add_str(&left, buf_str(&names));
    columns_add(&line, left.data, tty ? room : left.len);
    puts(line.data);
}

static void print_tree(const struct graph *g, size_t at, const char *branch, const char *below)
{
    const struct layer *l = g->layers.ptr[at];
    size_t children = 0, seen = 0;
    print_line(g, l, branch);
    for (size_t i = 0; i < g->layers.len; i++)
        children += !g->left_out[i] && !strcmp(g->layers.ptr[i]->parent, l->id);
    for (size_t i = 0; i < g->layers.len; i++) {
        if (g->left_out[i] || strcmp(g->layers.ptr[i]->parent, l->id) != 0)
            continue;
        bool last = ++seen == children, utf8 = g->screen.utf8;
        AUTO_FREE char *first =
            xasprintf("%s%s", below, last ? (utf8 ? "└─" : "`-") : (utf8 ? "├─" : "|-"));
        AUTO_FREE char *rest = xasprintf("%s%s", below, last ? "  " : utf8 ? "│ " : "| ");
        print_tree(g, i, children > 1 ? first : below, children > 1 ? rest : below);
    }
}

int layer_graph_print(const struct session *s, const char *name, struct error **err)
{
    CLEANUP(graph_clear) struct graph g = {0};
    CLEANUP(store_freep) struct store *st = NULL;
    if (store_open(s, s->backend, &st, err) < 0 || backend_list(s->backend, &g.images, err) < 0)
        return -1;
    screen_init(&g.screen, stdout);
    read_layers(st, &g);
    if (choose(st, &g, name, err) < 0)
        return -1;
    printf("%11s  LAYER\n", "SIZE");
    for (size_t i = 0; i < g.layers.len; i++)
        if (!g.left_out[i] && !*g.layers.ptr[i]->parent)
            print_tree(&g, i, "", "");
    return 0;
}
