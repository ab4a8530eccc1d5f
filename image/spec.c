// SPDX-License-Identifier: MIT
#include "image/spec.h"

#include "base/alloc.h"
#include "base/url.h"
#include "image/name.h"

#include <ctype.h>
#include <string.h>

void image_spec_clear(struct image_spec *spec)
{
    free(spec->name);
    free(spec->source);
    free(spec->box);
    free(spec->version);
    memset(spec, 0, sizeof *spec);
}

/* Letters, digits and "._-", as the Vagrant registry allows; at least one. */
static bool is_word(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)p[i]) && !strchr("._-", p[i]))
            return false;
    return n > 0 && p[0] != '.';
}

/* "user/name:version" into box and version; false if text is nothing like it. */
static bool split_box(const char *text, char **ret_box, char **ret_version)
{
    const char *colon = strrchr(text, ':'), *slash = strchr(text, '/');
    if (!colon || !slash || slash > colon || !is_word(text, (size_t)(slash - text)) ||
        !is_word(slash + 1, (size_t)(colon - slash - 1)) || !is_word(colon + 1, strlen(colon + 1)))
        return false;
    *ret_box = xstrndup(text, (size_t)(colon - text));
    *ret_version = xstrdup(colon + 1);
    return true;
}

static int parse_source(struct image_spec *spec, const char *how, const char *value,
                        struct error **err)
{
    if (!strcmp(how, "http")) {
        if (!is_url(value))
            return error_set(err, ERR_USER, "'%s' is not an http or https URL", value);
        if (!value[strcspn(value, "/") + 2] || value[strcspn(value, "/") + 2] == '/')
            return error_set(err, ERR_USER, "the URL '%s' has no host", value);
        spec->kind = SPEC_HTTP;
        spec->source = xstrdup(value);
    } else if (!strcmp(how, "file")) {
        if (!*value)
            return error_set(err, ERR_USER, "'%s,file=' has no path", spec->name);
        spec->kind = SPEC_FILE;
        spec->source = xstrdup(value);
    } else if (!strcmp(how, "vagrant")) {
        if (!split_box(value, &spec->box, &spec->version)) {
            error_set(err, ERR_USER, "'%s' is not a Vagrant box", value);
            return error_hint(err, "write user/name:version");
        }
        spec->kind = SPEC_VAGRANT;
    } else {
        error_set(err, ERR_USER, "unknown source '%s' in the image spec", how);
        return error_hint(err, "sources are http=URL, file=PATH and vagrant=box:version");
    }
    return 0;
}

/* A URL or path where a name should be. A name may hold '/', but does not begin like this. */
static bool looks_like_source(const char *text)
{
    return is_url(text) || *text == '/' || !strncmp(text, "./", 2) || !strncmp(text, "../", 3);
}

/* Says what to type, with a name made of the file's. */
static int needs_name(const char *source, struct error **err)
{
    bool url = *source == 'h';
    size_t end = url ? strcspn(source, "?#") : strlen(source), start = end;
    while (start && source[start - 1] != '/')
        start--;
    AUTO_FREE char *name = xstrndup(source + start, end - start);
    name[strcspn(name, ",=")] = '\0';
    for (char *dot; (dot = strrchr(name, '.')) && dot > name && isalpha((unsigned char)dot[1]);)
        *dot = '\0';
    error_set(err, ERR_USER, "'%s' is a %s: the image needs a name", source, url ? "URL" : "path");
    return error_hint(err, "write %s,%s=%s", image_name_check(name, NULL) == 0 ? name : "NAME",
                      url ? "http" : "file", source);
}

int image_spec_parse(struct str text, struct image_spec *ret, struct error **err)
{
    CLEANUP(image_spec_clear) struct image_spec spec = {.kind = SPEC_NAME};
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] < ' ' || text.ptr[i] == 0x7f)
            return error_set(err, ERR_USER, "the image spec contains a control character");
    AUTO_FREE char *all = str_dup(text);
    if (looks_like_source(all))
        return needs_name(all, err);
    char *comma = strchr(all, ',');
    if (comma)
        *comma = '\0';
    if (image_name_check(all, err) < 0)
        return -1;
    spec.name = xstrdup(all);
    if (!comma) {
        if (split_box(all, &spec.box, &spec.version))
            spec.kind = SPEC_VAGRANT;
    } else {
        char *how = comma + 1, *eq = strchr(how, '=');
        bool keyed = eq && eq < how + strcspn(how, ":/");
        AUTO_FREE char *elsewhere = keyed ? NULL : image_name_elsewhere(how);
        if (elsewhere) {
            error_set(err, ERR_USER, "'%s' is not a source that follows a name", how);
            return error_hint(err, "%s", elsewhere);
        }
        if (!eq) {
            error_set(err, ERR_USER, "unknown image source '%s'", how);
            return error_hint(err,
                              "write http=URL, file=PATH or vagrant=box:version after the comma");
        }
        *eq = '\0';
        if (parse_source(&spec, how, eq + 1, err) < 0)
            return -1;
    }
    *ret = spec;
    spec = (struct image_spec){0};
    return 0;
}
