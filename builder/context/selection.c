// SPDX-License-Identifier: MIT
#include "builder/context/selection.h"

#include "base/alloc.h"
#include "builder/context/manifest.h"

static void add_below(struct buf *b, const char *start, const struct part *p, const struct node *n)
{
    buf_adds(b, start);
    if (!n || n == p->node)
        return;
    if (*start)
        buf_addc(b, '/');
    node_add_path(b, n, p->node);
}

void picked_add_shown(struct buf *b, const struct part *p, const struct node *n)
{
    add_below(b, p->shown, p, n);
}

void picked_add_dest(struct buf *b, const struct part *p, const struct node *n)
{
    add_below(b, p->dest, p, n);
}

bool picked_is_file(const struct picked *p)
{
    return p->node && p->node->type == MANIFEST_FILE;
}

/* The manifest entry of a part that is not a node. */
static struct manifest_entry foreign_entry(const struct part *p)
{
    struct manifest_entry e = {.has_content = true};
    if (p->kind == SOURCE_INLINE) {
        e.type = MANIFEST_INLINE;
        e.mode = 0644;
        e.content = digest_of(p->bytes.ptr, p->bytes.len);
    } else {
        e.type = p->unpack ? MANIFEST_ARCHIVE : MANIFEST_REMOTE;
        e.mode = 0600;
        e.content = p->remote.digest;
    }
    return e;
}

static struct manifest_entry node_entry(const struct part *p, const struct node *n)
{
    struct manifest_entry e = {.type = (enum manifest_type)n->type,
                               .mode = n->mode,
                               .has_device = n->type == MANIFEST_CHAR || n->type == MANIFEST_BLOCK,
                               .major = n->major,
                               .minor = n->minor};
    if (n->link)
        e.link = str_of(n->link);
    if (n->type == MANIFEST_SYMLINK)
        e.mode = 0777; // means nothing, and differs between systems
    if (n->content) {
        e.has_content = true;
        e.content = *n->content;
    }
    if (n->xattrs) {
        e.has_xattrs = true;
        e.xattrs = *n->xattrs;
    }
    if (p->unpack && n->type == MANIFEST_FILE)
        e.type = MANIFEST_ARCHIVE;
    return e;
}

static uint64_t bytes_of(const struct part *p, const struct picked *pick)
{
    if (!pick->node)
        return p->kind == SOURCE_INLINE ? p->bytes.len : p->remote.size;
    return picked_is_file(pick) && !pick->first ? pick->node->id.size : 0;
}

void selection_write_manifest(struct selection *sel)
{
    CLEANUP(buf_clear) struct buf path = BUF_INIT;
    CLEANUP(buf_clear) struct buf first = BUF_INIT;
    manifest_begin(&sel->manifest);
    vec_foreach (const struct picked *, pick, &sel->picks) {
        const struct part *p = &sel->parts.ptr[pick->part];
        struct manifest_entry e = pick->node ? node_entry(p, pick->node) : foreign_entry(p);
        buf_reset(&path);
        picked_add_shown(&path, p, pick->node);
        e.path = buf_str(&path);
        if (pick->first) {
            const struct picked *f = &sel->picks.ptr[pick->first - 1];
            buf_reset(&first);
            picked_add_shown(&first, &sel->parts.ptr[f->part], f->node);
            e = (struct manifest_entry){
                .type = MANIFEST_HARDLINK, .path = e.path, .link = buf_str(&first)};
        }
        manifest_add(&sel->manifest, &e);
        sel->bytes += bytes_of(p, pick);
    }
    sel->digest = digest_of(sel->manifest.data, sel->manifest.len);
}

void parts_free(struct parts *parts)
{
    vec_foreach (struct part *, p, parts)
        part_clear(p);
    parts_clear(parts);
}

void selection_free(struct selection *sel)
{
    if (!sel)
        return;
    parts_free(&sel->parts);
    picks_clear(&sel->picks);
    buf_clear(&sel->manifest);
    free(sel->socket);
    free(sel);
}

struct digest selection_digest(const struct selection *sel)
{
    return sel->digest;
}

struct str selection_manifest(const struct selection *sel)
{
    return buf_str(&sel->manifest);
}

uint64_t selection_entries(const struct selection *sel)
{
    return sel->picks.len;
}

uint64_t selection_bytes(const struct selection *sel)
{
    return sel->bytes;
}

bool selection_needs_folder(const struct selection *sel)
{
    return sel->needs_folder;
}
