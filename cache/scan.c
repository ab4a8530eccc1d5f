// SPDX-License-Identifier: MIT
//
// Four passes: read every record, link children to parents, mark as needed what roots and leases
// name and all below it, judge from the base upward. What stands on a dead layer is dead, unless an
// image, a VM or a build needs that layer: it can be built upon by that name, whatever a lookup by
// its key would give.
#include "cache/scan.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

static void node_clear(struct node *n)
{
    free(n->folder);
    free(n->file);
    free(n->dead);
    layer_free(n->layer);
}

void scan_clear(struct scan *s)
{
    vec_foreach (struct node *, n, &s->layers)
        node_clear(n);
    vec_foreach (struct node *, n, &s->failed)
        node_clear(n);
    nodes_clear(&s->layers);
    nodes_clear(&s->failed);
}

static void kill_node(struct node *n, bool damaged, struct error *why)
{
    if (!n->dead) {
        n->dead = xstrdup(why->message);
        n->damaged = damaged;
    }
    error_free(why);
}

static void measure(struct scan *s, struct node *n)
{
    AUTO_FREE char *record = path_join(n->folder, "layer.json");
    // A base that is linked to an image frees nothing. Others have a second name only while the
    // build that made them runs.
    bool linked = n->layer && layer_is_base(n->layer);
    folder_blocks(n->folder, !linked, &n->bytes, &n->inodes);
    n->used = mtime_of(record);
    s->bytes += n->bytes;
    s->inodes += n->inodes;
}

static void read_layer(struct store *st, struct scan *s, const char *id)
{
    struct error *why = NULL;
    struct node *n = nodes_push(&s->layers);
    memcpy(n->id, id, DIGEST_HEX + 1);
    n->folder = path_join(st->layers, id);
    n->layer = record_load(st->layers, id, &why);
    if (!n->layer || record_check_mark(n->layer, &why) < 0 || record_check_disk(n->layer, &why) < 0)
        kill_node(n, true, why);
    measure(s, n);
}

static void read_failed(struct store *st, struct scan *s, const char *file)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    struct error *why = NULL;
    struct node *n = nodes_push(&s->failed);
    n->file = xstrdup(file);
    n->folder = path_join(st->failed, file);
    AUTO_FREE char *record = path_join(n->folder, "layer.json");
    if (file_read(record, 16 << 20, &text, &why) < 0 ||
        !(n->layer = record_parse(text.data, text.len, &why)))
        kill_node(n, true, why);
    if (n->layer)
        memcpy(n->id, n->layer->id, sizeof n->id);
    measure(s, n);
}

static int read_folder(struct store *st, struct scan *s, const char *path, bool failed,
                       struct error **err)
{
    DIR *d = opendir(path);
    if (!d)
        return errno == ENOENT ? 0 : error_errno(err, "cannot read folder '%s'", path);
    for (struct dirent *e; (e = readdir(d));) {
        if (failed && e->d_name[0] != '.')
            read_failed(st, s, e->d_name);
        else if (!failed && is_id(e->d_name))
            read_layer(st, s, e->d_name);
    }
    closedir(d);
    return 0;
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct node *)a)->id, ((const struct node *)b)->id);
}

struct node *scan_find(const struct scan *s, const char *id)
{
    struct node want = {.dead = NULL};
    if (!is_id(id) || !s->layers.len)
        return NULL;
    memcpy(want.id, id, sizeof want.id);
    return bsearch(&want, s->layers.ptr, s->layers.len, sizeof want, by_id);
}

/* The id in the header of the layer's disk, "../<id>/disk.qcow2": what an image on it needs, also
 * when the record can't be read. false: none. */
static bool backing_id(const struct node *n, char id[DIGEST_HEX + 1])
{
    struct disk_head head;
    AUTO_FREE char *disk = path_join(n->folder, "disk.qcow2");
    AUTO_CLOSE int fd = open(disk, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || disk_head_read(fd, &head, NULL) < 0 ||
        strncmp(head.qcow2.backing, "../", 3) != 0 || strlen(head.qcow2.backing) < 3 + DIGEST_HEX)
        return false;
    memcpy(id, head.qcow2.backing + 3, DIGEST_HEX);
    id[DIGEST_HEX] = '\0';
    return true;
}

static void link_parent(const struct scan *s, struct node *n)
{
    char id[DIGEST_HEX + 1];
    if (n->layer ? !*n->layer->parent : !backing_id(n, id))
        return;
    n->parent = scan_find(s, n->layer ? n->layer->parent : id);
    if (n->parent)
        n->parent->children++;
}

static void judge_chain(struct node *n, struct error **err)
{
    if (!n->parent)
        error_set(err, ERR_USER, "its parent layer %.12s is missing", n->layer->parent);
    else if (!n->parent->layer || (n->parent->dead && !(n->parent->needed && !n->parent->damaged)))
        error_set(err, ERR_USER, "its parent layer %.12s is unusable", n->parent->id);
    else
        record_check_parent(n->layer, n->parent->layer, err);
}

/* Whether the layer is the one that its key leads to. */
static void judge_key(struct store *st, struct node *n)
{
    char id[DIGEST_HEX + 1];
    bool pointer = store_pointer(st, n->layer->key, id);
    if (n->dead || !strcmp(pointer ? id : n->layer->key, n->id))
        return;
    n->dead = xstrdup(pointer ? "a later build of this step replaced it" : "nothing refers to it");
}

static void judge(struct store *st, struct node *n)
{
    if (n->judged || !n->layer)
        return;
    n->judged = true;
    if (*n->layer->parent) {
        struct error *why = NULL;
        // Depths must fall by one from child to parent, or these calls might never end
        if (n->parent && n->parent->layer && n->parent->layer->depth + 1 == n->layer->depth)
            judge(st, n->parent);
        judge_chain(n, &why);
        if (why)
            kill_node(n, !n->parent || !n->parent->layer || !n->parent->dead || n->parent->damaged,
                      why);
    }
    if (!n->file)
        judge_key(st, n);
}

static void need(struct node *n)
{
    for (; n && !n->needed; n = n->parent)
        n->needed = true;
}

static void need_word(struct scan *s, const char *word)
{
    need(scan_find(s, word));
    if (strncmp(word, "failed/", 7) != 0)
        return;
    vec_foreach (struct node *, n, &s->failed)
        if (!strcmp(n->file, word + 7))
            need(n);
}

/* All lock files, also those of dead processes: the next sweep takes them away. */
static int need_leases(struct store *st, struct scan *s, struct error **err)
{
    DIR *d = opendir(st->working);
    if (!d)
        return errno == ENOENT ? 0 : error_errno(err, "cannot read folder '%s'", st->working);
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(d));) {
        const char *dot = strrchr(e->d_name, '.');
        if (!dot || strcmp(dot, ".lock") != 0)
            continue;
        CLEANUP(buf_clear) struct buf text = BUF_INIT;
        struct error *why = NULL;
        AUTO_FREE char *path = path_join(st->working, e->d_name);
        if (file_read(path, 64 << 20, &text, &why) < 0 && why->kind != ERR_NOT_FOUND &&
            !st->read_only) {
            rc = error_propagate(err, STEAL(why)); // never prune past a lease we can't read
            break;
        }
        error_free(why);
        char *rest = text.data;
        for (char *line; (line = strsep(&rest, "\n"));)
            need_word(s, line);
    }
    closedir(d);
    return rc;
}

int scan_load(struct store *st, store_roots_fn *roots, void *arg, struct scan *s,
              struct error **err)
{
    struct strv ids = {0};
    if (read_folder(st, s, st->layers, false, err) < 0 ||
        read_folder(st, s, st->failed, true, err) < 0 || (roots && roots(arg, &ids, err) < 0)) {
        strv_clear(&ids);
        return -1;
    }
    if (s->layers.len)
        qsort(s->layers.ptr, s->layers.len, sizeof *s->layers.ptr, by_id);
    vec_foreach (struct node *, n, &s->layers)
        link_parent(s, n);
    vec_foreach (struct node *, n, &s->failed)
        link_parent(s, n);
    vec_foreach (char **, id, &ids)
        need(scan_find(s, *id));
    strv_clear(&ids);
    if (need_leases(st, s, err) < 0)
        return -1;
    vec_foreach (struct node *, n, &s->layers)
        judge(st, n);
    vec_foreach (struct node *, n, &s->failed)
        judge(st, n);
    return 0;
}
