// SPDX-License-Identifier: MIT
// What the VMs of a file say of each other: whom they start after, and networks.
#include "fleet/internal.h"

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/nearest.h"

#include <stdlib.h>
#include <string.h>

static size_t index_of(const struct fleet *f, const char *name)
{
    const struct fleet_vm *vm = fleet_find(f, name);
    return vm ? (size_t)(vm - f->vms) : f->n_vms;
}

static void check_names(struct fleet_reader *r)
{
    const struct fleet *f = r->fleet;
    AUTO_FREE const char **names = xcalloc(f->n_vms + 1, sizeof *names);
    for (size_t i = 0; i < f->n_vms; i++)
        names[i] = f->vms[i].name;
    for (size_t i = 0; i < f->n_vms; i++)
        for (size_t j = 0; j < f->vms[i].n_after; j++) {
            const char *name = f->vms[i].after[j];
            if (fleet_find(f, name))
                continue;
            struct diag *d =
                fleet_error(r, f->vms[i].after_at[j], "there is no VM '%.60s' in this file", name);
            const char *near = nearest_name(str_of(name), names);
            if (near)
                diag_help(d, "did you mean '%s'?", near);
        }
}

/* For each VM that is left (waits: not 0) the first `after` that is of one that is left, too; owned. */
static size_t *choose_edges(const struct fleet *f, const size_t *waits)
{
    size_t *edges = xcalloc(f->n_vms, sizeof *edges);
    for (size_t i = 0; i < f->n_vms; i++)
        for (; waits[i]; edges[i]++) {
            size_t on = index_of(f, f->vms[i].after[edges[i]]);
            if (on < f->n_vms && waits[on])
                break;
        }
    return edges;
}

/* From any VM that is left the way ends in a circle: that is reported, at the first of it in the file. */
static void report_circle(struct fleet_reader *r, const size_t *waits, size_t from)
{
    const struct fleet *f = r->fleet;
    AUTO_FREE size_t *edges = choose_edges(f, waits);
    size_t first = f->n_vms;
    for (size_t i = 0; i < 2 * f->n_vms; i++) {
        if (i >= f->n_vms && from < first) // now it is in the circle
            first = from;
        from = index_of(f, f->vms[from].after[edges[from]]);
    }
    const struct fleet_vm *vm = &f->vms[first];
    const char *by = vm->after[edges[first]];
    if (!strcmp(by, vm->name))
        diag_help(fleet_error(r, vm->after_at[edges[first]], "VM '%s' waits for itself", by),
                  "remove it from this 'after'");
    else
        diag_help(fleet_error(r, vm->after_at[edges[first]],
                              "VM '%s' waits for itself, by way of '%s'", vm->name, by),
                  "remove one 'after' of the circle");
}

/* Takes away, again and again, the VMs that wait for none that is left: what stays goes in a
 * circle, or waits for one. Kahn's algorithm, from the back: linear. */
static void check_circles(struct fleet_reader *r)
{
    const struct fleet *f = r->fleet;
    size_t n = f->n_vms, n_ready = 0, edges = 0;
    for (size_t i = 0; i < n; i++)
        edges += f->vms[i].n_after;
    if (!edges)
        return;
    AUTO_FREE size_t *waits = xcalloc(n, sizeof *waits), *ready = xcalloc(n, sizeof *ready);
    AUTO_FREE size_t *first = xcalloc(n + 1, sizeof *first), *next = xcalloc(edges, sizeof *next);
    AUTO_FREE size_t *who = xcalloc(edges, sizeof *who);
    size_t e = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < f->vms[i].n_after; j++, e++) {
            size_t on = index_of(f, f->vms[i].after[j]);
            waits[i] += on < n;
            who[e] = i;
            next[e] = first[on];
            first[on] = e + 1; // 0 = none
        }
    for (size_t i = 0; i < n; i++)
        if (!waits[i])
            ready[n_ready++] = i;
    for (size_t i = 0; i < n_ready; i++)
        for (size_t at = first[ready[i]]; at; at = next[at - 1])
            if (!--waits[who[at - 1]])
                ready[n_ready++] = who[at - 1];
    for (size_t i = 0; i < n; i++)
        if (waits[i]) {
            report_circle(r, waits, i);
            return; // the others follow from it
        }
}

/* A name that a VM has in a network: its own, or its host name. */
struct member {
    const char *network, *name;
    const struct fleet_vm *vm;
};

/* By network, then by name, in which case does not count; then as in the file. */
static int by_name(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    int order = strcmp(x->network, y->network);
    order = order ? order : strcasecmp(x->name, y->name);
    return order ? order : x->vm < y->vm ? -1 : x->vm > y->vm;
}

/* Owned; sorted. */
static struct member *list_members(const struct fleet *f, size_t *ret)
{
    size_t all = 0, n = 0;
    for (size_t i = 0; i < f->n_vms; i++)
        all += f->vms[i].n_networks * 2;
    struct member *list = xcalloc(all + 1, sizeof *list);
    for (size_t i = 0; i < f->n_vms; i++)
        for (size_t j = 0; j < f->vms[i].n_networks; j++) {
            const struct fleet_vm *vm = &f->vms[i];
            list[n++] = (struct member){vm->networks[j], vm->name, vm};
            if (vm->hostname)
                list[n++] = (struct member){vm->networks[j], vm->hostname, vm};
        }
    qsort(list, n, sizeof *list, by_name);
    *ret = n;
    return list;
}

/* One that is alone in a network has misspelt a word, more likely than not. */
static void check_alone(struct fleet_reader *r, const struct member *m, size_t n)
{
    static const char *const modes[] = {"user", "tap", "none", NULL};
    const char *near = nearest_name(str_of(m->network), modes);
    for (size_t i = 1; near && i < n; i++)
        if (m[i].vm != m->vm)
            return;
    if (near)
        diag_help(fleet_error(r, m->vm->span, "VM '%s' is alone in the network '%s'", m->vm->name,
                              m->network),
                  "did you mean '%s'?", near);
}

static void check_networks(struct fleet_reader *r)
{
    size_t n, first = 0;
    AUTO_FREE struct member *list = list_members(r->fleet, &n);
    for (size_t i = 1; i <= n; i++) {
        if (i < n && !strcmp(list[i].network, list[first].network)) {
            const struct member *m = &list[i - 1], *next = &list[i];
            if (m->vm != next->vm && !strcasecmp(m->name, next->name))
                diag_help(fleet_error(r, next->vm->span,
                                      "VMs '%s' and '%s' have the same name in the network '%s'",
                                      m->vm->name, next->vm->name, m->network),
                          "names and host names there differ in more than case");
            continue;
        }
        check_alone(r, &list[first], i - first);
        first = i;
    }
}

/* A forward, and whose it is. */
struct taken {
    const struct fleet_forward *forward;
    const struct fleet_vm *vm;
};

static bool is_any(const struct fleet_forward *f)
{
    return !strcmp(f->address, "0.0.0.0");
}

/* By protocol, port and address, "any" before all; then as in the file. */
static int by_port(const void *a, const void *b)
{
    const struct taken *x = a, *y = b;
    const struct fleet_forward *f = x->forward, *g = y->forward;
    if (f->udp != g->udp || f->host != g->host)
        return f->udp != g->udp ? f->udp - g->udp : f->host < g->host ? -1 : 1;
    int order = is_any(g) - is_any(f);
    order = order ? order : strcmp(f->address, g->address);
    if (order || x->vm != y->vm)
        return order ? order : x->vm < y->vm ? -1 : 1;
    return f < g ? -1 : f > g;
}

static bool clash(const struct fleet_forward *f, const struct fleet_forward *g)
{
    return f->udp == g->udp && f->host == g->host &&
           (is_any(f) || is_any(g) || !strcmp(f->address, g->address));
}

/* One port of an address of the host leads to one guest. */
static void check_ports(struct fleet_reader *r)
{
    const struct fleet *f = r->fleet;
    size_t all = 0;
    for (size_t i = 0; i < f->n_vms; i++)
        all += f->vms[i].n_forwards;
    if (all < 2)
        return;
    AUTO_FREE struct taken *list = xcalloc(all, sizeof *list);
    size_t n = 0, first = 0;
    for (size_t i = 0; i < f->n_vms; i++)
        for (size_t j = 0; j < f->vms[i].n_forwards; j++)
            list[n++] = (struct taken){&f->vms[i].forwards[j], &f->vms[i]};
    qsort(list, n, sizeof *list, by_port);
    for (size_t i = 1; i < n; i++) {
        if (!clash(list[first].forward, list[i].forward)) { // "any" is the first of its port
            first = i;
            continue;
        }
        const struct fleet_vm *a = list[first].vm, *b = list[i].vm;
        const struct fleet_forward *x = list[first].forward, *y = list[i].forward;
        bool swap = a == b ? x > y : a > b;
        const struct fleet_vm *earlier = swap ? b : a, *later = swap ? a : b;
        struct span at = (swap ? x : y)->span;
        diag_help(a == b ? fleet_error(r, at, "VM '%s' forwards port %u twice", a->name, y->host)
                         : fleet_error(r, at, "VMs '%s' and '%s' forward the same port %u",
                                       earlier->name, later->name, y->host),
                  "choose another port of the host");
    }
}

void fleet_check_order(struct fleet_reader *r)
{
    check_names(r);
    check_circles(r);
    check_networks(r);
    check_ports(r);
}
