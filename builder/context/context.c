// SPDX-License-Identifier: MIT
#include "builder/context/context.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/session.h"
#include "builder/context/hash.h"
#include "builder/context/selection.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

static struct index *open_index(const struct session *s, const char *dir)
{
    if (!s->cache)
        return index_of_bytes("", 0);
    AUTO_FREE char *real = realpath(dir, NULL);
    const char *name = real ? real : dir;
    struct digest d = digest_of(name, strlen(name));
    char hex[DIGEST_HEX + 1];
    digest_hex(&d, hex);
    AUTO_FREE char *path = xasprintf("%s/context/%s.idx", s->cache, hex);
    return index_open(path);
}

void context_hide(const char *dir, const char *path, struct strv *hidden)
{
    AUTO_FREE char *parent = path_parent(path);
    AUTO_FREE char *root = realpath(dir, NULL), *folder = realpath(parent, NULL);
    const char *slash = strrchr(path, '/');
    size_t n = root ? strlen(root) : 0;
    if (!folder || !n || strncmp(folder, root, n) != 0 || (folder[n] && folder[n] != '/'))
        return;
    const char *below = folder + n + (folder[n] == '/');
    strv_addf(hidden, "%s%s%s", below, *below ? "/" : "", slash ? slash + 1 : path);
}

int context_open(const struct session *s, const struct context_options *o, struct context **ret,
                 struct error **err)
{
    AUTO_CLOSE int fd = open(o->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return error_set(err, ERR_NOT_FOUND, "the build directory '%s' %s", o->dir,
                         errno == ENOENT ? "does not exist" : "is not a directory");
    if (fd < 0)
        return error_errno(err, "cannot open the build directory '%s'", o->dir);
    CLEANUP(context_freep) struct context *ctx = xcalloc(1, sizeof *ctx);
    ctx->session = s;
    ctx->options = *o;
    ctx->dir = xstrdup(o->dir);
    ctx->shown = xstrdup(o->shown ? o->shown : o->dir);
    for (size_t i = 0; o->hidden && i < o->hidden->len; i++)
        strv_add(&ctx->hidden, o->hidden->ptr[i]);
    if (!o->plain && ignore_file_read(o->dir, o->imagefile, &ctx->ignore, err) < 0)
        return -1;
    session_debug(s, 1, "ignore file: %s", ctx->ignore.path ? ctx->ignore.path : "none");
    struct tree_options t = {.root_fd = STEAL_FD(fd),
                             .dir = ctx->dir,
                             .ignore = ctx->ignore.ignore,
                             .hidden = &ctx->hidden,
                             .index = ctx->index = open_index(s, o->dir)};
    if (tree_new(s, &t, &ctx->tree, err) < 0)
        return -1;
    *ret = STEAL(ctx);
    return 0;
}

void context_save(struct context *ctx)
{
    CLEANUP(error_freep) struct error *err = NULL;
    if (index_save(ctx->index, &err) < 0)
        session_debug(ctx->session, 1, "the index of digests was not saved: %s", err->message);
}

void context_free(struct context *ctx)
{
    if (!ctx)
        return;
    if (ctx->index)
        context_save(ctx);
    tree_free(ctx->tree);
    index_free(ctx->index);
    ignore_file_clear(&ctx->ignore);
    free(ctx->dir);
    free(ctx->shown);
    strv_clear(&ctx->hidden);
    free(ctx);
}

struct context_stats context_stats(const struct context *ctx)
{
    return (struct context_stats){.entries = tree_count(ctx->tree),
                                  .hashed_files = ctx->hashed_files,
                                  .hashed_bytes = ctx->hashed_bytes};
}

bool context_dest_is_folder(const char *dest)
{
    const char *slash = strrchr(dest, '/'), *last = slash ? slash + 1 : dest;
    return !*last || !strcmp(last, ".") || !strcmp(last, "..");
}

int context_locate(struct context *ctx, const char *instruction, const char *source,
                   struct context_place *ret, struct error **err)
{
    CLEANUP(parts_free) struct parts parts = {0};
    CLEANUP(buf_clear) struct buf path = BUF_INIT;
    AUTO_FREE char *dir = realpath(ctx->dir, NULL);
    *ret = (struct context_place){.fd = -1};
    if (source_expand(ctx, instruction, source, SOURCE_PLAIN, &parts, err) < 0)
        return -1;
    if (parts.len != 1)
        return error_set(err, ERR_USER, "%s source '%s' is a pattern that matches %zu names",
                         instruction, source, parts.len);
    struct node *n = parts.ptr[0].node;
    node_add_path(&path, n, NULL);
    if (n->type == MANIFEST_FILE && !n->content &&
        hash_files(ctx->session, ctx->tree, ctx->index, &n, 1, err) < 0)
        return -1;
    if (n->type == MANIFEST_FILE && (ret->fd = tree_open(ctx->tree, n)) < 0)
        return error_errno(err, "cannot open '%s'", source);
    ret->path = path_join(dir ? dir : ctx->dir, path.data);
    ret->folder = n->type == MANIFEST_DIR;
    ret->size = n->id.size;
    if (n->content)
        ret->digest = *n->content;
    return 0;
}

void context_place_clear(struct context_place *p)
{
    free(p->path);
    if (p->fd >= 0)
        (void)close(p->fd);
    *p = (struct context_place){.fd = -1};
}

int context_has(struct context *ctx, const char *instruction, const char *source,
                struct error **err)
{
    CLEANUP(parts_free) struct parts parts = {0};
    return source_expand(ctx, instruction, source, SOURCE_PLAIN, &parts, err);
}
