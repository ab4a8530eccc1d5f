// SPDX-License-Identifier: MIT
#include "imagefile/scope.h"

#include "base/alloc.h"
#include "base/nearest.h"
#include "imagefile/instruction.h"

void scope_clear(struct scope *s)
{
    variables_clear(&s->vars);
}

void scope_copy(struct scope *to, const struct scope *from)
{
    vec_foreach (const struct variable *, v, &from->vars)
        *variables_push(&to->vars) = *v;
    to->open = from->open;
}

struct variable *scope_find(const struct scope *s, struct str name)
{
    vec_foreach (struct variable *, v, &s->vars)
        if (str_is(name, v->name))
            return v;
    return NULL;
}

struct variable *scope_add(struct scope *s, struct arena *a, struct str name)
{
    struct variable *v = scope_find(s, name);
    if (v)
        return v;
    v = variables_push(&s->vars);
    *v = (struct variable){.name = arena_str(a, name).ptr};
    return v;
}

const char *variable_value(const struct variable *v)
{
    return v->env ? v->env : v->arg;
}

const char *scope_nearest(const struct scope *s, struct str name)
{
    AUTO_FREE const char **names = xcalloc(s->vars.len + 1, sizeof *names);
    for (size_t i = 0; i < s->vars.len; i++)
        names[i] = s->vars.ptr[i].name;
    return nearest_name(name, names);
}
