// SPDX-License-Identifier: MIT
// Runs tests/kdl/*.case: what a document is read as, a line a node with its place, and the mistakes.
#include "kdl/kdl.h"
#include "tests/unit/cases_fixture.h"

static void add_text(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c < ' ' || c == 0x7f || c == '\\')
            buf_addf(out, "\\x%02x", c);
        else
            buf_addc(out, s.ptr[i]);
    }
}

static void add_value(struct buf *out, const struct kdl_value *v)
{
    if (v->annotation.ptr)
        buf_addf(out, "(%s)", v->annotation.ptr);
    if (v->type == KDL_STRING) {
        buf_addc(out, '\'');
        add_text(out, v->text);
        buf_addc(out, '\'');
    } else if (v->type == KDL_NUMBER && v->whole) {
        buf_addf(out, "%lld", v->integer);
    } else if (v->type == KDL_NUMBER) {
        buf_addf(out, "number %s", v->text.ptr);
    } else {
        buf_adds(out, v->type == KDL_NULL ? "null" : v->truth ? "true" : "false");
    }
}

static void add_nodes(struct buf *out, const struct kdl_document *doc, const struct kdl_node *from,
                      int depth)
{
    for (size_t i = 0; i < from->n_children; i++) {
        const struct kdl_node *n = &from->children[i];
        unsigned line, column;
        source_place(&doc->source, n->span.start, &line, &column);
        buf_addf(out, "%*s%u:%u ", 2 * depth, "", line, column);
        if (n->annotation.ptr)
            buf_addf(out, "(%s)", n->annotation.ptr);
        add_text(out, n->name);
        for (size_t j = 0; j < n->n_args; j++) {
            buf_addc(out, ' ');
            add_value(out, &n->args[j]);
        }
        for (size_t j = 0; j < n->n_props; j++) {
            buf_addf(out, " %s=", n->props[j].name.ptr);
            add_value(out, kdl_prop(n, n->props[j].name.ptr));
        }
        buf_adds(out, n->body ? " {\n" : "\n");
        add_nodes(out, doc, n, depth + 1);
    }
}

static void read_case(struct str input, struct buf *out)
{
    CLEANUP(kdl_freep) struct kdl_document *doc = kdl_parse("t.kdl", input.ptr, input.len);
    add_nodes(out, doc, &doc->top, 0);
    for (size_t i = 0; i < doc->diags.len; i++)
        diag_format(&doc->source, &doc->diags.ptr[i], out);
}

int main(void)
{
    return cases_run("tests/kdl/*.case", read_case);
}
