// SPDX-License-Identifier: MIT
#include "image/source.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "image/fetch.h"
#include "image/name.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const kinds[] = {
    [SPEC_HTTP] = "http", [SPEC_FILE] = "file", [SPEC_VAGRANT] = "vagrant", [SPEC_OCI] = "oci"};

void image_source_clear(struct image_source *x)
{
    free(x->from);
    free(x->etag);
    free(x->modified);
    *x = (struct image_source){0};
}

static char *record_path(const char *dir, const char *name)
{
    AUTO_FREE char *file = image_name_encode(name);
    return xasprintf("%s/.sources/%s.json", dir, file);
}

/* Which file the image is: stays when a backend is moved or copied with its times. NULL: none. */
static char *image_look(const char *dir, const char *name)
{
    AUTO_FREE char *file = image_name_encode(name), *path = path_join(dir, file);
    struct stat st;
    if (stat(path, &st) < 0)
        return NULL;
    return xasprintf("%llu %lld.%09ld", (unsigned long long)st.st_size,
                     (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

static bool read_digest(const json_t *j, const char *field, struct digest *ret)
{
    const char *hex = json_str(j, field);
    return hex && digest_parse(hex, ret);
}

static char *copy_str(const json_t *j, const char *field)
{
    const char *s = json_str(j, field);
    return s ? xstrdup(s) : NULL;
}

bool image_source_read(const char *dir, const char *name, struct image_source *ret)
{
    AUTO_FREE char *path = record_path(dir, name), *look = image_look(dir, name);
    json_auto_t *j = look ? json_read_file(path, NULL) : NULL;
    const char *kind = json_str(j, "kind"), *image = json_str(j, "image");
    if (!kind || !image || strcmp(image, look) || !json_str(j, "from"))
        return false;
    struct image_source x = {.kind = SPEC_NAME};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i] && !strcmp(kinds[i], kind))
            x.kind = (enum image_spec_kind)i;
    if (x.kind == SPEC_NAME)
        return false;
    x.from = copy_str(j, "from");
    x.has_content = read_digest(j, "content", &x.content);
    x.has_sha256 = read_digest(j, "sha256", &x.sha256);
    const char *sha512 = json_str(j, "sha512");
    x.has_sha512 = sha512 && strlen(sha512) == DIGEST512_HEX &&
                   hex_read(sha512, x.sha512.byte, sizeof x.sha512.byte);
    x.etag = copy_str(j, "etag");
    x.modified = copy_str(j, "modified");
    *ret = x;
    return true;
}

static void put_digest(json_t *j, const char *field, bool has, const struct digest *d)
{
    char hex[DIGEST_HEX + 1];
    digest_hex(d, hex);
    if (has)
        (void)json_object_set_new(j, field, json_string(hex));
}

int image_source_write(const char *dir, const char *name, const struct image_source *x,
                       struct error **err)
{
    AUTO_FREE char *path = record_path(dir, name), *folder = path_parent(path);
    AUTO_FREE char *look = image_look(dir, name);
    json_auto_t *j = json_pack("{s:s, s:s, s:s*, s:s*, s:s*}", "kind", kinds[x->kind], "from",
                               x->from, "image", look, "etag", x->etag, "modified", x->modified);
    if (!j) // a path or header that is not UTF-8: as if nothing were known
        return 0;
    put_digest(j, "content", x->has_content, &x->content);
    put_digest(j, "sha256", x->has_sha256, &x->sha256);
    char hex[DIGEST512_HEX + 1];
    hex_write(x->sha512.byte, sizeof x->sha512.byte, hex);
    if (x->has_sha512)
        (void)json_object_set_new(j, "sha512", json_string(hex));
    if (make_dirs_inside(folder, err) < 0 || json_write_file(path, 0644, j, err) < 0)
        return error_wrap(err, "cannot record the source of image '%s'", name);
    return 0;
}

void image_source_forget(const char *dir, const char *name)
{
    AUTO_FREE char *path = record_path(dir, name);
    (void)unlink(path);
}

/* The folder's links are resolved, the file's own is what may change. */
static char *absolute(const char *path)
{
    AUTO_FREE char *folder = path_parent(path), *real = realpath(folder, NULL);
    const char *slash = strrchr(path, '/');
    if (real)
        return path_join(real, slash ? slash + 1 : path);
    AUTO_FREE char *here = getcwd(NULL, 0);
    return path_join(here ? here : "/", path);
}

char *image_source_from(const struct image_spec *spec)
{
    switch (spec->kind) {
    case SPEC_FILE:
        return absolute(spec->source);
    case SPEC_HTTP:
        return fetch_shown_url(spec->source);
    case SPEC_VAGRANT:
        return xasprintf("%s:%s", spec->box, spec->version + (*spec->version == 'v'));
    case SPEC_NAME:
    case SPEC_OCI:
        break;
    }
    return xstrdup(spec->name);
}

void image_source_spec(const struct image_source *x, const char *name, struct image_spec *ret)
{
    const char *colon = strrchr(x->from, ':');
    bool box = x->kind == SPEC_VAGRANT && colon;
    *ret = (struct image_spec){.kind = x->kind,
                               .name = xstrdup(name),
                               .source = box ? NULL : xstrdup(x->from),
                               .box = box ? xstrndup(x->from, (size_t)(colon - x->from)) : NULL,
                               .version = box ? xstrdup(colon + 1) : NULL};
}
