// SPDX-License-Identifier: MIT
// What the VMs of a file say of each other: whom they start after, and networks.
#include "fleet/internal.h"

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/nearest.h"

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
            diag_help(fleet_error(r, f->vms[i].after_at[0],
                                  "VM '%s' waits for itself, by way of '%s'", f->vms[i].name,
                                  f->vms[i].after[0]),
                      "remove one 'after' of the circle");
            return; // the others follow from it
        }
}

/* One that is alone in a network has misspelt a word, more likely than not. */
static void check_networks(struct fleet_reader *r)
{
    static const char *const modes[] = {"user", "tap", "none", NULL};
    const struct fleet *f = r->fleet;
    for (size_t i = 0; i < f->n_vms; i++)
        for (size_t j = 0; j < f->vms[i].n_networks; j++) {
            const char *name = f->vms[i].networks[j], *near = nearest_name(str_of(name), modes);
            size_t members = 0;
            for (size_t k = 0; near && members < 2 && k < f->n_vms; k++)
                for (size_t l = 0; l < f->vms[k].n_networks; l++)
                    members += !strcmp(f->vms[k].networks[l], name);
            if (near && members < 2)
                diag_help(fleet_error(r, f->vms[i].span, "VM '%s' is alone in the network '%s'",
                                      f->vms[i].name, name),
                          "did you mean '%s'?", near);
        }
}

/* One port of the host leads to one guest. */
static void check_ports(struct fleet_reader *r)
{
    const struct fleet *f = r->fleet;
    size_t all = 0;
    for (size_t i = 0; i < f->n_vms; i++)
        all += f->vms[i].n_forwards;
    if (all < 2)
        return;
    AUTO_FREE const struct fleet_vm **owner = xcalloc(2 * 65536, sizeof *owner);
    for (size_t i = 0; i < f->n_vms; i++)
        for (size_t j = 0; j < f->vms[i].n_forwards; j++) {
            const struct fleet_forward *p = &f->vms[i].forwards[j];
            const struct fleet_vm **slot = &owner[p->host + (p->udp ? 65536 : 0)];
            if (*slot)
                diag_help(fleet_error(r, f->vms[i].span,
                                      "VMs '%s' and '%s' forward the same port "
                                      "%u",
                                      (*slot)->name, f->vms[i].name, p->host),
                          "choose another port of the host");
            *slot = &f->vms[i];
        }
}

void fleet_check_order(struct fleet_reader *r)
{
    check_names(r);
    check_circles(r);
    check_networks(r);
    check_ports(r);
}
