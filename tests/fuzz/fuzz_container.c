/* SPDX-License-Identifier: MIT
 *
 * Layers of a container image from arbitrary bytes: entries are put into the tree, and what is left must
 * hold together. The bytes are also a manifest and a config.
 */
#include "base/path.h"
#include "builder/container/private.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A name of up to 15 letters of a few, so that names meet again. */
static struct str take_name(const uint8_t **at, const uint8_t *end, struct buf *ret)
{
    static const char *const parts[] = {"a", "b", "c", "..", "/", ".wh.a", ".wh..wh..opq", "."};
    size_t n = *at < end ? *(*at)++ & 15 : 0;
    buf_reset(ret);
    for (size_t i = 0; i < n && *at < end; i++)
        buf_addf(ret, "%s/", parts[*(*at)++ & 7]);
    return buf_str(ret);
}

/* As archive.c gives them. */
static void clean(struct str name, struct buf *ret)
{
    struct str part;
    buf_reset(ret);
    for (size_t at = 0; path_part(name, &at, &part);)
        if (!str_is(part, ".."))
            path_push(ret, part);
}

static void add_entries(struct rootfs *r, const uint8_t *at, const uint8_t *end)
{
    static const struct extents none;
    CLEANUP(buf_clear) struct buf text = BUF_INIT, path = BUF_INIT, link = BUF_INIT;
    rootfs_begin_layer(r);
    while (at < end) {
        uint8_t kind = *at++;
        struct tar_item item = {.head.type = STREAM_FILE + kind % STREAM_FIFO, .extents = &none};
        if (kind & 0x80)
            rootfs_begin_layer(r);
        clean(take_name(&at, end, &text), &path);
        struct str to = take_name(&at, end, &text);
        if (item.head.type == STREAM_HARDLINK)
            clean(to, &link);
        else {
            buf_reset(&link);
            buf_add_str(&link, to);
        }
        item.path = buf_str(&path);
        item.link = buf_str(&link);
        if (rootfs_add(r, &item, NULL) < 0)
            continue;
    }
    rootfs_finish(r);
}

/* Every name is of a file that has it, and below folders only. */
static void check_node(const struct rootfs_node *n)
{
    bool listed = false;
    for (const struct rootfs_node *name = n->file->names; name; name = name->next_name)
        listed = listed || name == n;
    if (!listed || n->file->head.type == STREAM_HARDLINK)
        abort();
    for (const struct rootfs_node *p = n->parent; p; p = p->parent)
        if (!p->implied && (!p->file || p->file->head.type != STREAM_DIR))
            abort();
}

static void check(const struct rootfs *r)
{
    CLEANUP(buf_clear) struct buf path = BUF_INIT;
    vec_foreach (struct rootfs_node *const *, n, &r->plain)
        check_node(*n);
    vec_foreach (const struct rootfs_layer *, l, &r->layers)
        vec_foreach (struct rootfs_file *const *, f, &l->entries)
            for (const struct rootfs_node *n = *f ? (*f)->names : NULL; n; n = n->next_name) {
                check_node(n);
                rootfs_path(n, &path);
                if (!path.len || str_starts(str_of(n->name), ".wh."))
                    abort();
            }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(rootfs_freep) struct rootfs *r = rootfs_new();
    struct container c = {0};
    struct str text = {(const char *)data, size};
    add_entries(r, data, data + size);
    check(r);
    (void)container_take_manifest(&c, text, NULL);
    (void)container_check_config(&c, text, NULL);
    container_layers_clear(&c.layers);
    return 0;
}
