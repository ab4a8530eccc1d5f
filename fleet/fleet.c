// SPDX-License-Identifier: MIT
// The top of a VMFile. VMs are found by their names in a tree (tsearch), so that a file of many does
// not take quadratic time.
#include "fleet/fleet.h"

#include "base/alloc.h"
#include "fleet/internal.h"

#include <search.h>

struct named {
    const char *name;
    size_t index;
};

static int by_name(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    return strcmp(x->name, y->name);
}

const struct fleet_vm *fleet_find(const struct fleet *f, const char *name)
{
    struct named key = {name, 0}, *const *found = tfind(&key, &f->by_name, by_name);
    return found ? &f->vms[(*found)->index] : NULL;
}

void fleet_add(struct fleet_reader *r, const struct fleet_vm *vm)
{
    struct named *e = arena_alloc(r->arena, sizeof *e);
    *e = (struct named){vm->name, r->fleet->n_vms};
    fleet_push(r, r->fleet->vms, r->fleet->n_vms, *vm);
    if (!tsearch(e, &r->fleet->by_name, by_name))
        alloc_failed();
}

struct fleet *fleet_parse(const struct fleet_given *given, const char *text, size_t len)
{
    static const struct fleet_row rows[] = {{"vm", true, fleet_read_vm}, {0}};
    struct fleet *f = xcalloc(1, sizeof *f);
    f->doc = kdl_parse(given->path, text, len);
    if (f->doc->unclean) // what it holds may be another text
        return f;
    struct fleet_reader r = {.fleet = f, .arena = f->doc->arena, .given = given};
    fleet_read_body(&r, &f->doc->top, "at the top of a VMFile", rows, NULL);
    fleet_check_order(&r);
    if (!f->n_vms && !f->doc->diags.errors)
        diag_help(fleet_error(&r, ((struct span){0, 0}), "there is no VM in this file"),
                  "write: vm \"my-server\" { image \"NAME\"; }");
    diags_sort(&f->doc->diags);
    return f;
}

static void keep(void *entry)
{
    (void)entry; // the arena's
}

void fleet_free(struct fleet *f)
{
    if (!f)
        return;
    tdestroy(f->by_name, keep);
    kdl_free(f->doc);
    free(f);
}
