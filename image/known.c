// SPDX-License-Identifier: MIT
#include "image/known.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/nearest.h"
#include "base/url.h"
#include "image/backend.h"
#include "image/name.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

static void known_clear(struct known_image *k)
{
    free(k->name);
    free(k->title);
    free(k->url);
    free(k->checksum);
    free(k->user);
    free(k->table);
    strv_clear(&k->also);
}

void known_images_free(struct known_images *known)
{
    vec_foreach (struct known_image *, k, known)
        known_clear(k);
    known_images_clear(known);
}

static char *copy(const json_t *o, const char *field)
{
    const char *v = json_str(o, field);
    return v ? xstrdup(v) : NULL;
}

/* A checksum file's name alone is one beside the url. */
static char *checksum_place(const char *url, const char *checksum)
{
    if (!checksum)
        return NULL;
    if (is_url(checksum) || *checksum == '/' || strchr(checksum, ':'))
        return xstrdup(checksum);
    return xasprintf("%.*s%s", (int)(strrchr(url, '/') - url + 1), url, checksum);
}

static int check_fields(const char *name, const json_t *o, struct error **err)
{
    static const char *const texts[] = {"title", "url", "checksum", "user"};
    const char *field, *url = json_str(o, "url");
    json_t *v;
    if (image_name_check(name, err) < 0)
        return -1;
    if (!json_is_object(o))
        return error_set(err, ERR_USER, "image '%s' is not an object", name);
    json_object_foreach ((json_t *)o, field, v) {
        size_t i, n = sizeof texts / sizeof *texts;
        for (i = 0; i < n && strcmp(field, texts[i]) != 0; i++)
            ;
        if (i == n && strcmp(field, "also") != 0)
            return error_set(err, ERR_USER, "image '%s': unknown field '%s'", name, field);
        if (i < n ? !json_is_string(v) : !json_is_array(v))
            return error_set(err, ERR_USER, "image '%s': '%s' is not a %s", name, field,
                             i < n ? "string" : "list of names");
    }
    if (!url || (!is_url(url) && *url != '/'))
        return error_set(err, ERR_USER, "image '%s': url is not an http or https URL or a path",
                         name);
    return 0;
}

static int add_entry(struct known_images *known, const char *table, const char *name,
                     const json_t *o, struct error **err)
{
    if (check_fields(name, o, err) < 0)
        return error_wrap(err, "'%s'", table);
    struct known_image *k = known_images_push(known);
    *k = (struct known_image){.name = xstrdup(name),
                              .title = copy(o, "title"),
                              .url = copy(o, "url"),
                              .user = copy(o, "user"),
                              .table = xstrdup(table)};
    k->checksum = checksum_place(k->url, json_str(o, "checksum"));
    size_t i;
    json_t *v;
    json_array_foreach (json_object_get(o, "also"), i, v)
        if (json_is_string(v))
            strv_add(&k->also, json_string_value(v));
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct known_image *x = a, *y = b;
    return strverscmp(x->name, y->name);
}

/* Adds what is new in `more`, which is emptied. */
static void merge(struct known_images *known, struct known_images *more)
{
    size_t before = known->len;
    vec_foreach (struct known_image *, k, more) {
        size_t i = 0;
        while (i < before && strcmp(known->ptr[i].name, k->name) != 0)
            i++;
        if (i < before)
            known_clear(k);
        else
            *known_images_push(known) = *k;
    }
    known_images_clear(more);
}

static int read_table(const char *table, struct known_images *known, struct error **err)
{
    const char *name;
    json_t *o;
    json_auto_t *j = json_read_file(table, err);
    CLEANUP(known_images_free) struct known_images read = {0};
    if (!j)
        return -1;
    if (!json_is_object(j))
        return error_set(err, ERR_USER, "'%s' is not a JSON object of images", table);
    json_object_foreach (j, name, o)
        if (add_entry(&read, table, name, o, err) < 0)
            return -1;
    merge(known, &read);
    return 0;
}

static int is_table(const struct dirent *e)
{
    size_t n = strlen(e->d_name);
    return *e->d_name != '.' && n > 5 && !strcmp(e->d_name + n - 5, ".json");
}

/* The last file first: its entries are the ones that count. */
static int backwards(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*b)->d_name, (*a)->d_name);
}

static int read_folder(const char *folder, struct known_images *known, struct error **err)
{
    struct dirent **list = NULL;
    int rc = 0, n = scandir(folder, &list, is_table, backwards);
    if (n < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == EACCES
                   ? 0
                   : error_errno(err, "cannot read folder '%s'", folder);
    for (int i = 0; i < n; i++) {
        AUTO_FREE char *table = path_join(folder, list[i]->d_name);
        if (rc == 0)
            rc = read_table(table, known, err);
        free(list[i]);
    }
    free(list);
    return rc;
}

int known_images_read(const struct session *s, struct known_images *ret, struct error **err)
{
    CLEANUP(known_images_free) struct known_images known = {0};
    for (size_t i = 0; i < s->tables.len; i++)
        if (read_folder(s->tables.ptr[i], &known, err) < 0)
            return error_wrap(err, "a table of well-known images is broken");
    if (known.len)
        qsort(known.ptr, known.len, sizeof *known.ptr, by_name);
    *ret = known;
    known = (struct known_images){0};
    return 0;
}

const struct known_image *known_images_find(const struct known_images *known, const char *name)
{
    const struct known_image *found = NULL;
    vec_foreach (const struct known_image *, k, known) {
        if (!strcmp(k->name, name))
            return k;
        for (size_t i = 0; i < k->also.len; i++)
            if (!strcmp(k->also.ptr[i], name))
                found = k;
    }
    return found;
}

const char *known_images_nearest(const struct known_images *known, const char *name)
{
    CLEANUP(strv_clear) struct strv names = {0};
    const char *slash = strrchr(name, '/'), *plain = slash && slash[1] ? slash + 1 : name;
    // docker.io/library/debian:latest means a Debian, and the newest of them
    const char *newest = NULL;
    size_t n = strcspn(plain, ":@");
    vec_foreach (const struct known_image *, k, known) {
        if (n && !strncmp(k->name, plain, n) && k->name[n] == '-')
            newest = k->name;
        strv_add(&names, k->name);
    }
    const char *near =
        names.len ? nearest_name(str_of(plain), (const char *const *)names.ptr) : NULL;
    const struct known_image *k = near ? known_images_find(known, near) : NULL;
    return k ? k->name : newest;
}

char *known_images_advice(const struct session *s, const char *name, bool *ret_near)
{
    bool ignored = false, *is_near = ret_near ? ret_near : &ignored;
    CLEANUP(known_images_free) struct known_images known = {0};
    *is_near = image_name_is_file(name);
    if (*is_near)
        return xasprintf("'%s' is a file here: write NAME,file=%s to make an image of it", name,
                         name);
    AUTO_FREE char *near = backend_nearest(s->backend, name);
    *is_near = near != NULL;
    if (near)
        return xasprintf("did you mean '%s'?", near);
    const char *k =
        known_images_read(s, &known, NULL) == 0 ? known_images_nearest(&known, name) : NULL;
    *is_near = k != NULL;
    if (k)
        return xasprintf(
            "did you mean '%s'? It is fetched when it is first used; 'kiln image pull --list' "
            "shows the others",
            k);
    char *elsewhere = image_name_elsewhere(name);
    return elsewhere ? elsewhere
                     : xstrdup(
                           "'kiln image ls' lists what there is, 'kiln image pull --list' what can "
                           "be fetched by "
                           "name, 'kiln image pull NAME,http=URL' gets another");
}

int known_images_not_found(const struct session *s, const char *name, struct error **err)
{
    AUTO_FREE char *advice = known_images_advice(s, name, NULL);
    error_set(err, ERR_NOT_FOUND, "unable to find image '%s' in backend '%s'", name, s->backend);
    return error_hint(err, "%s", advice);
}
