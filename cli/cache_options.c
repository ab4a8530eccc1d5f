// SPDX-License-Identifier: MIT
#include "cli/cache_options.h"

#include "base/alloc.h"
#include "registry/reference.h"

#include <stdlib.h>
#include <string.h>

static bool is_all(struct str mode)
{
    return str_eq(mode, STR("all")) || str_eq(mode, STR("max"));
}

static int bad_mode(const char *text, struct error **err)
{
    return error_set(err, ERR_USER, "cache '%s': only mode=min or mode=all may follow the comma",
                     text);
}

/* docker's type=…: *ret is owned. */
static int take_fields(const char *text, char **ret, bool *all, struct error **err)
{
    CLEANUP(buf_clear) struct buf ref = BUF_INIT, dir = BUF_INIT, type = BUF_INIT;
    for (struct str rest = str_of(text); rest.len;) {
        struct str value = str_cut(&rest, ','), name = str_cut(&value, '=');
        bool is_dir = str_eq(name, STR("src")) || str_eq(name, STR("dest"));
        struct buf *into = str_eq(name, STR("type"))  ? &type
                           : str_eq(name, STR("ref")) ? &ref
                           : is_dir                   ? &dir
                                                      : NULL;
        if (into)
            buf_addf(into, STR_FMT, STR_ARG(value));
        else if (str_eq(name, STR("mode")) && (is_all(value) || str_eq(value, STR("min"))))
            *all = is_all(value);
        else if (str_eq(name, STR("mode")))
            return bad_mode(text, err);
        // others, such as compression=zstd, only say how docker stores it
    }
    if (!strcmp(type.data, "registry") && ref.len)
        *ret = buf_detach(&ref, NULL);
    else if (!strcmp(type.data, "local") && dir.len)
        *ret = xasprintf("oci-layout:%s", dir.data);
    else if (!strcmp(type.data, "registry") || !strcmp(type.data, "local")) {
        error_set(err, ERR_USER, "cache '%s': it does not say where", text);
        return error_hint(err, "type=%s needs %s", type.data,
                          *type.data == 'r' ? "ref=HOST/REPOSITORY" : "src=DIR or dest=DIR");
    } else {
        error_set(err, ERR_USER, "cache '%s': kiln has no cache of type '%s'", text, type.data);
        return error_hint(err,
                          "a registry or a folder can hold one: oci://HOST/REPOSITORY or "
                          "oci-layout:DIR");
    }
    return 0;
}

/* REF[,mode=min|all] or docker's type=…; `into` gets the reference. */
static int take_one(const char *text, bool to, struct strv *into, bool *all, struct error **err)
{
    AUTO_FREE char *where = NULL;
    const char *mode = to ? strchr(text, ',') : NULL;
    if (!strncmp(text, "type=", 5)) {
        if (take_fields(text, &where, all, err) < 0)
            return -1;
    } else if (mode) {
        *all = !strncmp(mode, ",mode=", 6) && is_all(str_of(mode + 6));
        if (!*all && strcmp(mode, ",mode=min") != 0)
            return bad_mode(text, err);
        where = xstrndup(text, (size_t)(mode - text));
    } else
        where = xstrdup(text);
    CLEANUP(reference_clear) struct reference ref = {0};
    if (reference_parse(where, &ref, err) < 0)
        return -1;
    if (ref.digest || strcmp(ref.tag, "latest") != 0) {
        error_set(err, ERR_USER, "cache '%s': it is a repository, without a tag", text);
        return error_hint(err, "leave '%s' out: each layer has a tag of its own",
                          ref.digest ? ref.digest : ref.tag);
    }
    strv_addf(into, "%s%s", reference_is(where) ? "" : "oci://", where);
    return 0;
}

int cache_options_take(const struct args *a, struct strv *from, struct strv *to,
                       struct build_options *o, struct error **err)
{
    const char *env_from = getenv("KILN_CACHE_FROM"), *env_to = getenv("KILN_CACHE_TO"), *v;
    bool ignored = false;
    for (size_t i = 0; (v = args_nth(a, "cache-from", i)); i++)
        if (take_one(v, false, from, &ignored, err) < 0)
            return -1;
    for (const char *p = from->len || !env_from ? "" : env_from; *(p += strspn(p, " "));) {
        AUTO_FREE char *one = xstrndup(p, strcspn(p, " "));
        if (take_one(one, false, from, &ignored, err) < 0)
            return -1;
        p += strlen(one);
    }
    if (args_nth(a, "cache-to", 1))
        return error_set(err, ERR_USAGE, "argument --cache-to: given twice; one cache gets layers");
    v = args_get(a, "cache-to");
    v = !v && env_to && *env_to ? env_to : v;
    if (v && take_one(v, true, to, &o->cache_all, err) < 0)
        return -1;
    o->cache_from = (const char *const *)from->ptr;
    o->n_cache_from = from->len;
    o->cache_to = v ? to->ptr[0] : NULL;
    o->cache_strict = args_has(a, "cache-strict");
    return 0;
}
