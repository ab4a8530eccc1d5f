// SPDX-License-Identifier: MIT
//
// From the text of a COPY source to nodes of the context's tree. The text is cleaned as Dockerfile
// does it (Go's filepath.Clean); plain parts are then looked up one by one, with links resolved
// here and never by the kernel; parts that are patterns are matched against all names of a folder.
#include "base/alloc.h"
#include "base/file.h"
#include "base/nearest.h"
#include "base/path.h"
#include "builder/context/selection.h"
#include "imagefile/glob.h"
#include "imagefile/ignore.h"
#include "imagefile/parser.h"

enum { LINKS_MAX = 40 }; // as the kernel's

struct finder {
    struct context *ctx;
    const char *instruction, *source;
    struct parts *ret;
    unsigned links;
    bool stars;                /* "**" is any number of folders */
    const struct node *broken; /* a link on the way whose target is not there */
    const struct node *socket; /* what was named is one */
};

void part_clear(struct part *p)
{
    free(p->shown);
    free(p->dest);
    free(p->own_name);
    remote_file_clear(&p->remote);
}

/* Removes "", "." and "x/.." parts, and ".." in front: nothing is above the build directory. */
static void clean(const char *source, struct buf *ret)
{
    struct str part;
    for (size_t at = 0; path_part(str_of(source), &at, &part);) {
        if (str_is(part, ".."))
            (void)path_pop(ret);
        else
            path_push(ret, part);
    }
}

/* 1: *ret is what path names below `at`, links followed, with the build directory as the root that
 * absolute links start from and ".." ends at; 0: nothing; -1: error. */
static int resolve(struct finder *f, struct node *at, const char *path, struct node **ret,
                   struct error **err)
{
    if (*path == '/')
        at = tree_root(f->ctx->tree);
    for (const char *p = path; *p;) {
        size_t len = strcspn(p, "/");
        struct str part = {p, len};
        p += len + (p[len] == '/');
        if (!len || str_is(part, "."))
            continue;
        if (str_is(part, "..")) {
            at = at->parent ? at->parent : at;
            continue;
        }
        if (at->type != MANIFEST_DIR)
            return 0;
        if (tree_scan(f->ctx->tree, at, false, err) < 0)
            return -1;
        struct node *child = tree_child(at, part);
        if (!child)
            return 0;
        if (child->type == MANIFEST_SYMLINK) {
            if (++f->links > LINKS_MAX)
                return error_set(err, ERR_USER, "%s source '%s' leads through too many links",
                                 f->instruction, f->source);
            struct node *link = child;
            int got = resolve(f, at, link->link, &child, err);
            if (!got)
                f->broken = link;
            if (got <= 0)
                return got;
        }
        at = child;
    }
    if (at->type == NODE_SOCKET) {
        f->socket = at;
        return 0;
    }
    bool visible;
    if (tree_is_visible(f->ctx->tree, at, &visible, err) < 0)
        return -1;
    *ret = at;
    return visible;
}

static void add_match(struct finder *f, const char *shown, struct node *n)
{
    const char *slash = strrchr(shown, '/');
    struct part *p = parts_push(f->ret);
    *p = (struct part){.kind = SOURCE_PATH,
                       .shown = xstrdup(shown),
                       .own_name = xstrdup(slash ? slash + 1 : shown),
                       .node = n,
                       .remote = REMOTE_FILE_INIT};
}

/* A link that a pattern matched is followed; if that leads nowhere, it is copied as a link. */
static int add_pattern_match(struct finder *f, struct node *n, const char *shown,
                             struct error **err)
{
    bool visible;
    if (tree_is_visible(f->ctx->tree, n, &visible, err) < 0)
        return -1;
    if (!visible)
        return 0;
    if (n->type == NODE_SOCKET) {
        f->socket = n;
        return 0;
    }
    if (n->type == MANIFEST_SYMLINK) {
        CLEANUP(error_freep) struct error *ignored = NULL;
        struct node *target;
        f->links = 0;
        if (resolve(f, n->parent, n->name, &target, &ignored) > 0)
            n = target;
        else if (ignored && ignored->kind != ERR_USER)
            return error_propagate(err, STEAL(ignored));
    }
    add_match(f, shown, n);
    return 0;
}

static int expand(struct finder *f, struct node *at, const char *pattern, struct buf *shown,
                  struct error **err);

/* The rest of a pattern in a folder and in all below it; links are not followed. */
static int expand_below(struct finder *f, struct node *at, const char *rest, struct buf *shown,
                        struct error **err)
{
    if (expand(f, at, rest, shown, err) < 0 || tree_scan(f->ctx->tree, at, false, err) < 0)
        return -1;
    size_t keep = shown->len;
    for (uint32_t i = 0; i < at->n_children; i++) {
        struct node *n = &at->children[i];
        if (n->type != MANIFEST_DIR)
            continue;
        if (keep)
            buf_addc(shown, '/');
        buf_adds(shown, n->name);
        if (expand_below(f, n, rest, shown, err) < 0)
            return -1;
        shown->len = keep;
        shown->data[keep] = '\0';
    }
    return 0;
}

/* One part of a pattern against all names of a folder. */
static int expand_part(struct finder *f, struct node *at, const char *part, const char *rest,
                       struct buf *shown, struct error **err)
{
    if (tree_scan(f->ctx->tree, at, false, err) < 0)
        return -1;
    size_t keep = shown->len;
    for (uint32_t i = 0; i < at->n_children; i++) {
        struct node *n = &at->children[i];
        if (!glob_match(part, n->name) || (*rest && n->type != MANIFEST_DIR))
            continue;
        if (keep)
            buf_addc(shown, '/');
        buf_adds(shown, n->name);
        int got =
            *rest ? expand(f, n, rest, shown, err) : add_pattern_match(f, n, shown->data, err);
        if (got < 0)
            return -1;
        shown->len = keep;
        shown->data[keep] = '\0';
    }
    return 0;
}

static int expand(struct finder *f, struct node *at, const char *pattern, struct buf *shown,
                  struct error **err)
{
    size_t len = strcspn(pattern, "/");
    const char *rest = pattern + len + (pattern[len] == '/');
    AUTO_FREE char *part = xstrndup(pattern, len);
    if (f->stars && *rest && !strcmp(part, "**"))
        return expand_below(f, at, rest, shown, err);
    if (glob_magic(part))
        return expand_part(f, at, part, rest, shown, err);
    struct node *n;
    f->links = 0;
    int got = resolve(f, at, part, &n, err);
    if (got <= 0)
        return got;
    size_t keep = shown->len;
    if (keep)
        buf_addc(shown, '/');
    buf_adds(shown, part);
    if (!*rest)
        add_match(f, shown->data, n);
    else if (n->type == MANIFEST_DIR && expand(f, n, rest, shown, err) < 0)
        return -1;
    shown->len = keep;
    shown->data[keep] = '\0';
    return 0;
}

/* What "docker-archve:x.tar" was meant to begin with; NULL = nothing known. */
static const char *near_scheme(const struct finder *f)
{
    static const char *const schemes[] = {
        "oci://", "oci-layout:", "docker-archive:", "oci-archive:", "https://", "http://", NULL};
    size_t n = strcspn(f->source, ":");
    if (strcmp(f->instruction, "ADD") != 0 || !f->source[n])
        return NULL;
    if (!strncmp(f->source, "docker://", 9))
        return "oci://";
    n += 1 + 2 * !strncmp(f->source + n, "://", 3);
    return nearest_name((struct str){f->source, n}, schemes);
}

static int not_found(struct finder *f, const char *cleaned, struct error **err)
{
    const struct context *ctx = f->ctx;
    error_set(err, ERR_USER, "%s source '%s' was not found in '%s'", f->instruction, f->source,
              ctx->shown);
    const char *pattern = ctx->ignore.ignore ? ignore_decider(ctx->ignore.ignore, cleaned) : NULL;
    if (f->broken)
        return error_hint(err, "'%s' is a link to '%s', which is not in the build directory",
                          f->broken->name, f->broken->link);
    if (pattern && tree_exists(ctx->tree, cleaned))
        return error_hint(err, "it exists, but '%s' excludes it with the pattern '%s'",
                          ctx->ignore.name, pattern);
    for (size_t i = 0; i < ctx->hidden.len; i++)
        if (!strcmp(cleaned, ctx->hidden.ptr[i]))
            return error_hint(err, "the build itself writes this file, so it does not see it");
    struct invisible odd;
    if (find_invisible(str_of(f->source), &odd))
        return error_hint(err, "there is a %s in its name: %s", odd.name, odd.advice);
    const char *scheme = near_scheme(f);
    if (scheme)
        return error_hint(err, "did you mean %s?", scheme);
    if (!tree_has_program(ctx->tree, "prepare"))
        return error_hint(err, "sources are paths in the build directory");
    AUTO_FREE char *program = path_join(ctx->dir, "prepare");
    return error_hint(err, "'%s' may make it: run that first", program);
}

static int is_socket(struct finder *f, bool pattern, struct error **err)
{
    error_set(err, ERR_USER,
              pattern ? "%s source '%s' matches only the socket '%s', which can't be copied"
                      : "%s source '%s' is a socket, which can't be copied",
              f->instruction, f->source, f->socket->name);
    return error_hint(err, "the program that listens on a socket makes it again when it starts");
}

int source_node(struct context *ctx, const char *path, struct node **ret, struct error **err)
{
    struct finder f = {.ctx = ctx, .instruction = "COPY", .source = path};
    return resolve(&f, tree_root(ctx->tree), path, ret, err);
}

int source_expand(struct context *ctx, const char *instruction, const char *source,
                  enum source_stars stars, struct parts *ret, struct error **err)
{
    struct finder f = {.ctx = ctx,
                       .instruction = instruction,
                       .source = source,
                       .ret = ret,
                       .stars = stars == SOURCE_STARS};
    CLEANUP(buf_clear) struct buf path = BUF_INIT;
    CLEANUP(buf_clear) struct buf shown = BUF_INIT;
    clean(source, &path);
    if (glob_magic(path.data) && !glob_valid(path.data))
        return error_set(err, ERR_USER, "%s source '%s' is not a valid pattern", instruction,
                         source);
    if (glob_magic(path.data)) {
        size_t before = ret->len;
        if (expand(&f, tree_root(ctx->tree), path.data, &shown, err) < 0)
            return -1;
        return f.socket && ret->len == before ? is_socket(&f, true, err) : 0;
    }
    struct node *n;
    int got = resolve(&f, tree_root(ctx->tree), path.data, &n, err);
    if (got < 0)
        return -1;
    size_t len = strlen(source);
    if (!got || (len && source[len - 1] == '/' && n->type != MANIFEST_DIR))
        return f.socket ? is_socket(&f, false, err) : not_found(&f, path.data, err);
    add_match(&f, path.data, n);
    return 0;
}
