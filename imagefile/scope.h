/* SPDX-License-Identifier: MIT
 *
 * The variables that a step sees, as far as the text and --build-arg tell: what imagefile_evaluate
 * walks the stages with. Names and values live in the Imagefile's arena.
 */
#ifndef IMAGEFILE_SCOPE_H
#define IMAGEFILE_SCOPE_H

#include "base/arena.h"
#include "base/vector.h"
#include "imagefile/imagefile.h"

struct variable {
    const char *name;
    const char *env, *arg; /* ENV wins; both NULL: an ARG without a value */
    bool unknown;          /* its value was made from one that only the build knows */
};
DEFINE_VECTOR(variables, struct variable);

struct scope {
    struct variables vars;
    bool open; /* the base image may set others */
};
void scope_clear(struct scope *s);
void scope_copy(struct scope *to, const struct scope *from); /* to is empty */

struct variable *scope_find(const struct scope *s, struct str name); /* NULL: it is not declared */
/* The same, declared if need be. */
struct variable *scope_add(struct scope *s, struct arena *a, struct str name);
/* Its value; NULL where it has none. */
const char *variable_value(const struct variable *v);
/* The name that is most like this one, or NULL. */
const char *scope_nearest(const struct scope *s, struct str name);

#endif
