// SPDX-License-Identifier: MIT
// Nodes, by recursive descent. After a mistake reading goes on at the end of the node or at its
// braces, so that one run reports what is wrong in the rest, too.
#include "kdl/internal.h"

#include "base/alloc.h"
#include "base/cleanup.h"

static void read_nodes(struct kdl_reader *r, struct kdl_node *parent);

static bool node_ends(const struct kdl_reader *r)
{
    return r->at >= r->len || kdl_newline(r, r->at) || kdl_at(r, ";") || kdl_at(r, "}") ||
           kdl_at(r, "//");
}

/* After a mistake: to what ends the node, or to its braces; over quotes that close on their line. */
static void recover(struct kdl_reader *r)
{
    while (!node_ends(r) && !kdl_at(r, "{")) {
        size_t at = r->at;
        if (r->text[at++] == '"')
            while (at < r->len && !kdl_newline(r, at) && r->text[at] != '"')
                at++;
        r->at = r->text[r->at] == '"' && at < r->len && r->text[at] == '"' ? at + 1 : r->at + 1;
    }
}

/* Over a block that is nested too deep, to its '}'. */
static void skip_block(struct kdl_reader *r)
{
    for (size_t depth = 1; r->at < r->len; r->at++) {
        if (kdl_at(r, "{"))
            depth++;
        else if (kdl_at(r, "}") && !--depth)
            return;
    }
}

static void read_children(struct kdl_reader *r, struct kdl_node *node)
{
    size_t start = r->at++;
    node->body = true;
    if (r->depth == KDL_DEPTH_MAX) {
        kdl_error(r, start, start + 1, "braces are nested more than %d deep", KDL_DEPTH_MAX);
        skip_block(r);
    } else {
        r->depth++;
        read_nodes(r, node);
        r->depth--;
    }
    if (r->at < r->len)
        r->at++; // the '}'
    else
        diag_help(kdl_error(r, start, start + 1, "'{' without a '}'"),
                  "write '}' after the last node that belongs to it");
}

static int read_entry(struct kdl_reader *r, struct kdl_node *node, bool dropped)
{
    struct kdl_value v;
    size_t start = r->at;
    if (kdl_read_value(r, &v) < 0)
        return -1;
    size_t end = r->at;
    (void)kdl_skip_space(r);
    if (!kdl_at(r, "=")) {
        r->at = end;
        if (!dropped) {
            node->args = arena_grow(r->doc->arena, node->args, node->n_args, sizeof v);
            node->args[node->n_args++] = v;
        }
        return 0;
    }
    struct kdl_prop p = {.name = v.text, .span = v.span};
    if (v.type != KDL_STRING || v.annotation.ptr) {
        diag_help(kdl_error(r, start, end, "the name of a property is text"), "put it into quotes");
        return -1;
    }
    r->at++;
    (void)kdl_skip_space(r);
    if (kdl_read_value(r, &p.value) < 0)
        return -1;
    if (!dropped) {
        node->props = arena_grow(r->doc->arena, node->props, node->n_props, sizeof p);
        node->props[node->n_props++] = p;
    }
    return 0;
}

/* How far the entries of a node have come. */
struct progress {
    bool braces; /* some, or ones behind a slashdash */
    bool body;   /* the node's own */
    bool wrong;
};

/* What does not fit at its place is read all the same, as it may hold further mistakes. */
static void check_order(struct kdl_reader *r, struct progress *p, bool space, bool brace)
{
    if (p->wrong || (brace ? !p->body : space && !p->braces))
        return;
    p->wrong = true;
    if (!brace && !p->braces)
        diag_help(kdl_error(r, r->at, r->at + 1, "a blank is missing before this"),
                  "arguments are separated by blanks");
    else if (brace)
        diag_help(kdl_error(r, r->at, r->at + 1, "a second '{' of one node"),
                  "a node has one pair of braces");
    else
        diag_help(kdl_error(r, r->at, r->at + 1, "this comes after the braces of its node"),
                  "start a new line for a new node; arguments come before '{'");
}

static void read_rest(struct kdl_reader *r, struct kdl_node *node)
{
    for (struct progress p = {0};;) {
        bool space = kdl_skip_space(r);
        if (node_ends(r))
            return;
        bool dropped = kdl_at(r, "/-");
        if (dropped) {
            r->at += 2;
            kdl_skip_lines(r);
            space = true;
        }
        bool brace = kdl_at(r, "{");
        if (!dropped || !brace)
            check_order(r, &p, space, brace);
        struct kdl_node nowhere = {0};
        if (brace) {
            read_children(r, dropped ? &nowhere : node);
            p.braces = true;
            p.body |= !dropped;
        } else if (read_entry(r, node, dropped) < 0) {
            node->broken = true;
            recover(r);
        }
    }
}

/* Whether the node is one to keep. */
static bool read_node(struct kdl_reader *r, struct kdl_node *node)
{
    bool dropped = kdl_at(r, "/-");
    if (dropped) {
        r->at += 2;
        kdl_skip_lines(r);
    }
    int rc = kdl_read_annotation(r, &node->annotation);
    node->span.start = r->at;
    if (rc == 0)
        rc = kdl_read_word(r, &node->name);
    node->span.end = r->at;
    if (rc < 0)
        recover(r);
    read_rest(r, node);
    if (kdl_at(r, ";"))
        r->at++;
    return rc == 0 && !dropped;
}

static void read_nodes(struct kdl_reader *r, struct kdl_node *parent)
{
    for (;;) {
        kdl_skip_lines(r);
        if (r->at >= r->len || (kdl_at(r, "}") && r->depth))
            return;
        size_t start = r->at;
        struct kdl_node node = {0};
        if (kdl_at(r, "}") || kdl_at(r, ";")) {
            r->at++;
            diag_help(kdl_error(r, start, r->at, "'%c' with nothing before it", r->text[start]),
                      "remove it");
            continue;
        }
        bool good = read_node(r, &node);
        if (r->at == start) // nothing that could be read: the mistake is reported
            r->at++;
        if (good) {
            parent->children =
                arena_grow(r->doc->arena, parent->children, parent->n_children, sizeof node);
            parent->children[parent->n_children++] = node;
        }
    }
}

struct kdl_document *kdl_parse(const char *path, const char *text, size_t len)
{
    struct kdl_document *doc = xcalloc(1, sizeof *doc);
    doc->arena = arena_new();
    const char *copy = arena_copy(doc->arena, text, len);
    source_init(&doc->source, arena_str(doc->arena, str_of(path)).ptr, copy, len);
    struct kdl_reader r = {
        .doc = doc, .text = copy, .len = len, .raw_lost = SIZE_MAX, .multi_lost = SIZE_MAX};
    if (kdl_at(&r, "\xef\xbb\xbf"))
        r.at = 3;
    kdl_check_text(&r);
    doc->unclean = doc->diags.errors > 0;
    read_nodes(&r, &doc->top);
    diags_sort(&doc->diags);
    return doc;
}

void kdl_free(struct kdl_document *doc)
{
    if (!doc)
        return;
    source_clear(&doc->source);
    diags_clear(&doc->diags);
    arena_free(doc->arena);
    free(doc);
}

const struct kdl_value *kdl_prop(const struct kdl_node *n, const char *name)
{
    for (size_t i = n->n_props; i-- > 0;)
        if (str_is(n->props[i].name, name))
            return &n->props[i].value;
    return NULL;
}
