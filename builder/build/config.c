// SPDX-License-Identifier: MIT
#include "builder/build/config.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/path.h"

#include <string.h>

static size_t position(const struct settings *p, const char *name, bool *found)
{
    size_t low = 0, high = p->len;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strcmp(p->ptr[mid].name, name);
        if (order == 0) {
            *found = true;
            return mid;
        }
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *found = false;
    return low;
}

void settings_set(struct settings *p, const char *name, const char *value)
{
    bool found;
    size_t at = position(p, name, &found);
    if (found) {
        free(p->ptr[at].value);
        p->ptr[at].value = xstrdup(value);
        return;
    }
    if (p->len == p->alloc) {
        p->alloc = p->alloc ? p->alloc * 2 : 8;
        p->ptr = xreallocarray(p->ptr, p->alloc, sizeof *p->ptr);
    }
    memmove(p->ptr + at + 1, p->ptr + at, (p->len - at) * sizeof *p->ptr);
    p->ptr[at] = (struct setting){xstrdup(name), xstrdup(value)};
    p->len++;
}

const char *settings_get(const struct settings *p, const char *name)
{
    bool found;
    size_t at = position(p, name, &found);
    return found ? p->ptr[at].value : NULL;
}

void settings_clear(struct settings *p)
{
    for (size_t i = 0; i < p->len; i++) {
        free(p->ptr[i].name);
        free(p->ptr[i].value);
    }
    free(p->ptr);
    *p = (struct settings){0};
}

void settings_copy(struct settings *to, const struct settings *from)
{
    for (size_t i = 0; i < from->len; i++)
        settings_set(to, from->ptr[i].name, from->ptr[i].value);
}

void config_clear(struct config *c)
{
    settings_clear(&c->env);
    settings_clear(&c->labels);
    strv_clear(&c->shell);
    free(c->workdir);
    free(c->user);
    json_decref(c->notes);
    *c = (struct config){0};
}

void config_copy(struct config *to, const struct config *from)
{
    config_clear(to);
    settings_copy(&to->env, &from->env);
    settings_copy(&to->labels, &from->labels);
    for (size_t i = 0; i < from->shell.len; i++)
        strv_add(&to->shell, from->shell.ptr[i]);
    to->workdir = from->workdir ? xstrdup(from->workdir) : NULL;
    to->user = from->user ? xstrdup(from->user) : NULL;
    to->notes = from->notes ? json_deep_copy(from->notes) : NULL;
}

static json_t *settings_to_json(const struct settings *p)
{
    json_t *object = json_object();
    for (size_t i = 0; i < p->len; i++)
        (void)json_object_set_new(object, p->ptr[i].name, json_string(p->ptr[i].value));
    return object;
}

json_t *config_to_json(const struct config *c)
{
    json_t *v = json_pack("{s:o, s:s, s:s, s:o}", "env", settings_to_json(&c->env), "workdir",
                          config_workdir(c), "user", c->user ? c->user : "", "labels",
                          settings_to_json(&c->labels));
    if (!v)
        v = json_object();
    if (c->shell.len) {
        json_t *list = json_array();
        for (size_t i = 0; i < c->shell.len; i++)
            (void)json_array_append_new(list, json_string(c->shell.ptr[i]));
        (void)json_object_set_new(v, "shell", list);
    }
    if (c->notes)
        (void)json_object_update_missing(v, c->notes);
    return v;
}

static void settings_from_json(struct settings *p, const json_t *object)
{
    const char *name;
    json_t *value;
    json_object_foreach ((json_t *)object, name, value)
        if (json_is_string(value))
            settings_set(p, name, json_string_value(value));
}

/* Of a stranger's metadata: texts and lists of texts are taken, anything else is not. */
static json_t *notes_from_json(const json_t *v)
{
    static const char *const names[] = {"cmd",     "entrypoint",  "expose",
                                        "volumes", "healthcheck", "stopsignal"};
    json_t *notes = json_object();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        json_t *field = json_object_get(v, names[i]), *item;
        bool good = json_is_string(field) || json_is_array(field), list = i == 2 || i == 3;
        size_t at;
        json_array_foreach (field, at, item)
            good = good && json_is_string(item);
        if (good && (!list || json_is_array(field)))
            (void)json_object_set_new(notes, names[i], json_deep_copy(field));
    }
    return notes;
}

void config_from_json(struct config *c, const json_t *v)
{
    config_clear(c);
    settings_from_json(&c->env, json_object_get(v, "env"));
    settings_from_json(&c->labels, json_object_get(v, "labels"));
    const char *dir = json_string_value(json_object_get(v, "workdir"));
    const char *user = json_string_value(json_object_get(v, "user"));
    if (dir && *dir == '/' && dir[1])
        c->workdir = xstrdup(dir);
    if (user && *user)
        c->user = xstrdup(user);
    size_t i;
    json_t *word;
    json_array_foreach (json_object_get(v, "shell"), i, word)
        if (json_is_string(word))
            strv_add(&c->shell, json_string_value(word));
    c->notes = notes_from_json(v);
}

const char *config_workdir(const struct config *c)
{
    return c->workdir ? c->workdir : "/";
}

char *config_path(const struct config *c, const char *dir)
{
    CLEANUP(buf_clear) struct buf whole = BUF_INIT, out = BUF_INIT;
    if (*dir != '/')
        buf_addf(&whole, "%s/", config_workdir(c));
    buf_adds(&whole, dir);
    struct str part;
    for (size_t at = 0; path_part(buf_str(&whole), &at, &part);) {
        if (str_is(part, ".."))
            (void)path_pop(&out);
        else
            path_push(&out, part);
    }
    size_t n = strlen(dir);
    bool folder = n && (dir[n - 1] == '/' || (n == 1 && *dir == '.') ||
                        (n >= 2 && !strcmp(dir + n - 2, "/.")));
    return xasprintf("/%s%s", out.len ? out.data : "", out.len && folder ? "/" : "");
}
