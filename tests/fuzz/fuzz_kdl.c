// SPDX-License-Identifier: MIT
// KDL documents of any bytes, and VMFiles. What must hold: places lie in the text and are in order, strings end
// in NUL, braces are not deeper than promised, and printing the mistakes never fails.
#include "fleet/fleet.h"

#include <assert.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(struct str s)
{
    assert(s.ptr && s.ptr[s.len] == '\0');
}

static void check_value(const struct kdl_document *doc, const struct kdl_value *v)
{
    assert(v->span.start < v->span.end && v->span.end <= doc->source.len);
    check_text(v->text);
    assert(!v->whole || v->type == KDL_NUMBER);
}

static void check_nodes(const struct kdl_document *doc, const struct kdl_node *from, int depth)
{
    assert(depth <= KDL_DEPTH_MAX);
    for (size_t i = 0; i < from->n_children; i++) {
        const struct kdl_node *n = &from->children[i];
        assert(n->span.start < n->span.end && n->span.end <= doc->source.len);
        assert(!i || n->span.start >= n[-1].span.end);
        check_text(n->name);
        for (size_t j = 0; j < n->n_args; j++)
            check_value(doc, &n->args[j]);
        for (size_t j = 0; j < n->n_props; j++) {
            check_value(doc, &n->props[j].value);
            check_text(n->props[j].name);
            assert(strlen(n->props[j].name.ptr) != n->props[j].name.len || // a NUL is a mistake
                   kdl_prop(n, n->props[j].name.ptr));
        }
        assert(n->body || !n->n_children);
        check_nodes(doc, n, depth + 1);
    }
}

static void check_diags(const struct kdl_document *doc, size_t size)
{
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    for (size_t i = 0; i < doc->diags.len; i++) {
        const struct diag *d = &doc->diags.ptr[i];
        assert(d->span.start <= d->span.end && d->span.end <= size);
        assert(!i || d->span.start >= d[-1].span.start);
        buf_reset(&out);
        diag_format(&doc->source, d, &out);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fleet_given given = {"f", "/nowhere", NULL};
    CLEANUP(kdl_freep) struct kdl_document *doc = kdl_parse("f", (const char *)data, size);
    CLEANUP(fleet_freep) struct fleet *fleet = fleet_parse(&given, (const char *)data, size);
    check_nodes(doc, &doc->top, 0);
    check_diags(doc, size);
    check_diags(fleet->doc, size);
    for (size_t i = 0; !fleet->doc->diags.errors && i < fleet->n_vms; i++)
        assert(*fleet->vms[i].name && fleet->vms[i].image);
    return 0;
}
