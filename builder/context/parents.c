// SPDX-License-Identifier: MIT
//
// COPY --parents: what a source names is found as ever; then each match gets its path behind "/./",
// or all of it, as its place, and a part of its own for each folder on the way there.
#include "base/alloc.h"
#include "base/path.h"
#include "builder/context/selection.h"

static size_t count_parts(struct str path)
{
    struct str part;
    size_t n = 0;
    for (size_t at = 0; path_part(path, &at, &part);)
        if (!str_is(part, ".."))
            n++;
        else
            n -= n > 0;
    return n;
}

/* Where the part `n` (0-based) of a clean path begins; its end if it has no more. */
static size_t skip_parts(const char *path, size_t n)
{
    const char *p = path;
    for (; n && *p; n--)
        p += strcspn(p, "/") + (p[strcspn(p, "/")] == '/');
    return (size_t)(p - path);
}

/* The folders above `found`, whose place begins at `pivot` of what is shown. */
static int add_folders(struct context *ctx, const char *shown, size_t pivot, struct parts *ret,
                       struct error **err)
{
    for (const char *p = shown + pivot; (p = strchr(p, '/')); p++) {
        AUTO_FREE char *folder = xstrndup(shown, (size_t)(p - shown));
        struct node *n;
        int got = source_node(ctx, folder, &n, err);
        if (got < 0)
            return -1;
        if (got)
            *parts_push(ret) = (struct part){.kind = SOURCE_PATH,
                                             .shown = xstrdup(folder),
                                             .dest = xstrdup(folder + pivot),
                                             .own_name = xstrdup(""),
                                             .node = n,
                                             .remote = REMOTE_FILE_INIT,
                                             .bare = true};
    }
    return 0;
}

int source_expand_parents(struct context *ctx, const char *instruction, const char *source,
                          struct parts *ret, struct error **err)
{
    CLEANUP(parts_free) struct parts found = {0};
    const char *cut = strstr(source, "/./");
    size_t above = cut ? count_parts((struct str){source, (size_t)(cut - source)}) : 0;
    if (source_expand(ctx, instruction, source, SOURCE_STARS, &found, err) < 0)
        return -1;
    vec_foreach (struct part *, p, &found) {
        size_t pivot = skip_parts(p->shown, above);
        if (add_folders(ctx, p->shown, pivot, ret, err) < 0)
            return -1;
        p->dest = xstrdup(p->shown + pivot);
        *parts_push(ret) = *p;
        *p = (struct part){.remote = REMOTE_FILE_INIT};
    }
    return 0;
}
