// SPDX-License-Identifier: MIT
//
// --build-context: names for folders and images, which come before stages and images of those names.
#include "base/alloc.h"
#include "builder/build/private.h"

#include <string.h>
#include <strings.h>

const struct named_context *named_find(const struct build *b, const char *name)
{
    for (size_t i = 0; i < b->o->n_contexts; i++)
        if (!strcasecmp(b->o->contexts[i].name, name))
            return &b->o->contexts[i];
    return NULL;
}

struct context *named_context(struct build *b, const struct named_context *n, struct error **err)
{
    if (!b->named)
        b->named = xcalloc(b->o->n_contexts, sizeof *b->named);
    struct context **ctx = &b->named[n - b->o->contexts];
    if (!*ctx && context_open(b->s, &(struct context_options){.dir = n->dir}, ctx, err) < 0) {
        error_wrap(err, "--build-context %s", n->name);
        return NULL;
    }
    return *ctx;
}

void named_hide_stages(struct build *b)
{
    for (size_t i = 0; i < b->file->n_stages; i++) {
        struct imagefile_stage *st = &b->file->stages[i];
        AUTO_FREE char *name = str_dup(st->name);
        if (named_find(b, name))
            st->name = (struct str){"", 0};
    }
}

void named_clear(struct build *b)
{
    for (size_t i = 0; b->named && i < b->o->n_contexts; i++)
        context_free(b->named[i]);
    free(b->named);
}
