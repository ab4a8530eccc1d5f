/* SPDX-License-Identifier: MIT
 *
 * KDL documents (https://kdl.dev): text → a tree of nodes with places, or every mistake. Pure
 * functions over bytes. It reads both versions of the language: whatever is right in KDL 1 or in
 * KDL 2 means the same in the other or is wrong there, so no version has to be given.
 *
 *     CLEANUP(kdl_freep) struct kdl_document *doc = kdl_parse("VMFile.kdl", text, len);
 *     if (doc->diags.errors) ...                         // print each with diag_format
 *     for (size_t i = 0; i < doc->top.n_children; i++) {
 *         const struct kdl_node *n = &doc->top.children[i];
 *         printf("%s has %zu arguments\n", n->name.ptr, n->n_args);
 *     }
 *
 * Time and memory are linear in the text. Everything lives until kdl_free; the text and the path
 * are copied. After mistakes the tree holds what could be read.
 */
#ifndef KDL_KDL_H
#define KDL_KDL_H

#include "base/arena.h"
#include "base/source.h"

#include <stdbool.h>
#include <stddef.h>

/* Braces may be nested this deep. */
#define KDL_DEPTH_MAX 64

enum kdl_type { KDL_STRING, KDL_NUMBER, KDL_BOOL, KDL_NULL };

struct kdl_value {
    enum kdl_type type;
    struct span span;      /* with its quotes */
    struct str annotation; /* of "(u8)1"; ptr NULL = none */
    struct str
        text;   /* a string's bytes, which may hold NULs, or a number as written; NUL-terminated */
    bool truth; /* KDL_BOOL */
    bool whole; /* KDL_NUMBER: `integer` is its value: it has no fraction and fits */
    long long integer;
};

struct kdl_prop {
    struct str name; /* NUL-terminated */
    struct span span;
    struct kdl_value value;
};

struct kdl_node {
    struct str name;       /* NUL-terminated */
    struct span span;      /* of the name */
    struct str annotation; /* ptr NULL = none */
    struct kdl_value *args;
    struct kdl_prop *props; /* as written; of two with one name the last counts */
    struct kdl_node *children;
    size_t n_args, n_props, n_children;
    bool body;   /* it has braces, with or without nodes in them */
    bool broken; /* an argument is not here, as it could not be read */
};

struct kdl_document {
    struct source source;
    struct diags diags; /* sorted */
    bool unclean;       /* some bytes are not UTF-8, or characters that must not be in a document */
    struct arena *arena;
    struct kdl_node top; /* without a name; its children are the document's nodes */
};

struct kdl_document *kdl_parse(const char *path, const char *text, size_t len);
void kdl_free(struct kdl_document *doc); /* NULL is fine */
DEFINE_CLEANUP(struct kdl_document, kdl_free);

/* The property that counts; NULL = none of this name. */
const struct kdl_value *kdl_prop(const struct kdl_node *n, const char *name);

#endif
