// SPDX-License-Identifier: MIT
// Checks of a node's arguments, and of the nodes in braces against a table.
#include "fleet/internal.h"

#include "base/nearest.h"

#include <errno.h>
#include <sys/stat.h>

static void unknown(struct fleet_reader *r, const struct kdl_node *node, const char *in,
                    const struct fleet_row *rows)
{
    enum { ROWS_MAX = 32, SHOWN = 40 };
    const char *names[ROWS_MAX + 1] = {NULL};
    for (size_t i = 0; i < ROWS_MAX && rows[i].name; i++)
        names[i] = rows[i].name;
    struct str shown = {node->name.ptr, node->name.len > SHOWN ? SHOWN : node->name.len};
    const char *near = nearest_name(node->name, names);
    struct diag *d = fleet_error(r, node->span, "there is no '" STR_FMT "' %s", STR_ARG(shown), in);
    CLEANUP(buf_clear) struct buf all = BUF_INIT;
    for (size_t i = 0; names[i]; i++)
        buf_addf(&all, "%s%s", i ? ", " : "", names[i]);
    if (near)
        diag_help(d, "did you mean '%s'?", near);
    else
        diag_help(d, "allowed here: %s", all.data);
}

void fleet_read_body(struct fleet_reader *r, const struct kdl_node *node, const char *in,
                     const struct fleet_row *rows, unsigned *seen)
{
    unsigned bits = 0;
    for (size_t i = 0; i < node->n_children; i++) {
        const struct kdl_node *child = &node->children[i];
        size_t row = 0;
        while (rows[row].name && !str_is(child->name, rows[row].name))
            row++;
        if (!rows[row].name) {
            unknown(r, child, in, rows);
            continue;
        }
        if (bits & 1U << row && !rows[row].many)
            diag_help(fleet_error(r, child->span, "'%s' appears twice here", rows[row].name),
                      "remove one of the two");
        bits |= 1U << row;
        rows[row].read(r, child);
    }
    if (seen)
        *seen = bits;
}

bool fleet_no_props(struct fleet_reader *r, const struct kdl_node *node)
{
    if (!node->n_props)
        return true;
    diag_help(fleet_error(r, node->props[0].span, "'%s' has no property '%.40s'", node->name.ptr,
                          node->props[0].name.ptr),
              "write the value without '='");
    return false;
}

bool fleet_plain(struct fleet_reader *r, const struct kdl_node *node, size_t min, size_t max,
                 const char *usage)
{
    if (node->broken || !fleet_no_props(r, node))
        return false;
    bool few = node->n_args<min, many = node->n_args> max;
    if (!few && !many && !node->body)
        return true;
    struct span at = many ? node->args[max].span : node->span;
    diag_help(few    ? fleet_error(r, at, "'%s' lacks an argument", node->name.ptr)
              : many ? fleet_error(r, at, "'%s' has too many arguments", node->name.ptr)
                     : fleet_error(r, at, "'%s' has no braces", node->name.ptr),
              "write: %s %s", node->name.ptr, usage);
    return false;
}

bool fleet_text_value(struct fleet_reader *r, const struct kdl_node *node,
                      const struct kdl_value *v, const char **ret)
{
    if (v->type != KDL_STRING) {
        diag_help(fleet_error(r, v->span, "'%s' takes text", node->name.ptr),
                  "put it into quotes: \"%.60s\"", v->text.ptr);
        return false;
    }
    bool lines = memchr(v->text.ptr, '\n', v->text.len);
    if (!v->text.len || lines || strlen(v->text.ptr) != v->text.len) {
        fleet_error(r, v->span, "the text of '%s' %s", node->name.ptr,
                    !v->text.len ? "is empty"
                    : lines      ? "has several lines"
                                 : "holds a NUL");
        return false;
    }
    *ret = v->text.ptr;
    return true;
}

bool fleet_text(struct fleet_reader *r, const struct kdl_node *node, const char *usage,
                const char **ret)
{
    return fleet_plain(r, node, 1, 1, usage) && fleet_text_value(r, node, &node->args[0], ret);
}

bool fleet_number_value(struct fleet_reader *r, const struct kdl_node *node,
                        const struct kdl_value *v, long long min, long long max, unsigned *ret)
{
    if (v->type == KDL_NUMBER && v->whole && v->integer >= min && v->integer <= max) {
        *ret = (unsigned)v->integer;
        return true;
    }
    struct diag *d = fleet_error(r, v->span, "'%s' takes a whole number from %lld to %lld",
                                 node->name.ptr, min, max);
    if (v->type == KDL_STRING && v->text.len && strspn(v->text.ptr, "0123456789") == v->text.len)
        diag_help(d, "write it without quotes: %.20s", v->text.ptr);
    return false;
}

bool fleet_number(struct fleet_reader *r, const struct kdl_node *node, const char *usage,
                  long long min, long long max, unsigned *ret)
{
    return fleet_plain(r, node, 1, 1, usage) &&
           fleet_number_value(r, node, &node->args[0], min, max, ret);
}

const char *fleet_absolute(struct fleet_reader *r, const char *path)
{
    const struct fleet_given *g = r->given;
    bool home = path[0] == '~' && (path[1] == '/' || !path[1]) && g->home;
    if (home)
        return arena_fmt(r->arena, "%s%s", g->home, path + 1).ptr;
    while (path[0] == '.' && path[1] == '/' && path[2])
        for (path += 2; *path == '/'; path++)
            ;
    if (*path == '/')
        return path;
    return !strcmp(path, ".") ? g->dir : arena_fmt(r->arena, "%s/%s", g->dir, path).ptr;
}

bool fleet_path_value(struct fleet_reader *r, const struct kdl_node *node,
                      const struct kdl_value *v, const char *what, const char **ret)
{
    const char *given;
    struct stat st;
    if (!fleet_text_value(r, node, v, &given))
        return false;
    const char *path = fleet_absolute(r, given);
    bool folder = what && *what == 'f' && !strcmp(what, "folder");
    if (what && stat(path, &st) < 0) {
        diag_help(fleet_error(r, v->span, "cannot open '%s': %s", path, strerror(errno)),
                  "paths are relative to the folder of this file");
        return false;
    }
    if (what && !(folder ? S_ISDIR(st.st_mode) : S_ISREG(st.st_mode))) {
        fleet_error(r, v->span, "'%s' is not a %s", path, folder ? what : "regular file");
        return false;
    }
    *ret = path;
    return true;
}

bool fleet_path(struct fleet_reader *r, const struct kdl_node *node, const char *usage,
                const char *what, const char **ret)
{
    return fleet_plain(r, node, 1, 1, usage) &&
           fleet_path_value(r, node, &node->args[0], what, ret);
}
