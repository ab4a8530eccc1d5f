// SPDX-License-Identifier: MIT
//
// ADD of git repositories: keyed by their commits, fetched only when the step has to run, and then
// sent as a build directory of their own.
#include "base/alloc.h"
#include "builder/build/copy.h"
#include "builder/context/git.h"

struct copy_git {
    struct git_source source;
};
DEFINE_VECTOR(git_list, struct copy_git);

struct copy_gits {
    struct git_list list;
    bool keep_git_dir;
};

void copy_gits_free(struct copy_gits *g)
{
    if (!g)
        return;
    vec_foreach (struct copy_git *, one, &g->list)
        git_source_clear(&one->source);
    git_list_clear(&g->list);
    free(g);
}

int copy_gits_add(struct build *b, struct copy *c, const char *text, bool keep_git_dir,
                  struct error **err)
{
    if (!c->gits)
        c->gits = xcalloc(1, sizeof *c->gits);
    c->gits->keep_git_dir = keep_git_dir;
    struct copy_git *g = git_list_push(&c->gits->list);
    *g = (struct copy_git){0};
    if (git_parse(text, &g->source, err) < 0 || git_resolve(b->s, &g->source, c->checksum, err) < 0)
        return -1;
    return 0;
}

void copy_gits_put_key(const struct copy_gits *g, const struct copy *c, struct key *key)
{
    for (size_t i = 0; g && i < g->list.len; i++) {
        const struct git_source *s = &g->list.ptr[i].source;
        AUTO_FREE char *text =
            xasprintf("%s%s%s%s", s->commit, s->subdir ? ":" : "", s->subdir ? s->subdir : "",
                      g->keep_git_dir ? " with .git of " : "");
        AUTO_FREE char *url = git_public_url(s->url);
        AUTO_FREE char *value = xasprintf("%s%s", text, g->keep_git_dir ? url : "");
        key_field(key, "git commit", value, strlen(value));
    }
    for (size_t i = 0; g && i < c->excludes.len; i++)
        key_optional(key, "--exclude", c->excludes.ptr[i]);
}

static int send_tree(struct build *b, struct copy *c, const struct git_source *source,
                     const struct git_tree *tree, struct error **err)
{
    CLEANUP(context_freep) struct context *ctx = NULL;
    CLEANUP(selection_freep) struct selection *selection = NULL;
    struct session session = *b->s;
    session.cache = NULL; // it is seen once: its digests need not be kept
    struct context_source from = {.kind = SOURCE_PATH,
                                  .text = source->subdir ? source->subdir : "."};
    struct context_request r = {.instruction = "ADD",
                                .sources = &from,
                                .n_sources = 1,
                                .excludes = (const char *const *)c->excludes.ptr,
                                .n_excludes = c->excludes.len,
                                .dest = c->dest};
    if (context_open(&session, &(struct context_options){.dir = tree->dir, .plain = true}, &ctx,
                     err) < 0 ||
        context_select(ctx, &r, &selection, err) < 0)
        return -1;
    return copy_send_selection(b, c, selection, err);
}

int copy_gits_send(struct build *b, struct copy *c, struct error **err)
{
    for (size_t i = 0; c->gits && i < c->gits->list.len; i++) {
        CLEANUP(git_tree_clear) struct git_tree tree = GIT_TREE_INIT;
        const struct git_source *source = &c->gits->list.ptr[i].source;
        if (git_checkout(b->s, source, c->gits->keep_git_dir, &tree, err) < 0 ||
            send_tree(b, c, source, &tree, err) < 0)
            return -1;
    }
    return 0;
}
