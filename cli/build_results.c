// SPDX-License-Identifier: MIT
#include "cli/build_results.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/session.h"
#include "cache/store.h"
#include "cli/image_use.h"
#include "image/backend.h"
#include "image/convert.h"
#include "image/name.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const files[] = {"iidfile", "metadata-file"}; // options

void build_outputs_free(struct build_outputs *o)
{
    vec_foreach (struct build_output *, one, o)
        free(one->dest);
    build_outputs_clear(o);
}

static int parse_type(const char *text, enum format *ret, struct error **err)
{
    *ret = format_by_name(text);
    if (*ret != FORMAT_UNKNOWN)
        return 0;
    error_set(err, ERR_USAGE,
              "argument --output: the type '%s' is not qcow2, raw, vmdk, vhdx or vdi", text);
    return error_hint(err, "an image is a disk: --output type=raw,dest=disk.img");
}

/* ERR_USAGE: the end of the file's name is of a format that kiln does not write. */
static int parse_ending(const char *dest, enum format *ret, struct error **err)
{
    *ret = format_by_ending(dest);
    if (*ret != FORMAT_UNKNOWN)
        return 0;
    error_set(err, ERR_USAGE, "argument --output: the format of '%s' is none that kiln writes",
              dest);
    return error_hint(err, "name it .qcow2, .raw, .vmdk, .vhdx or .vdi, or give type=");
}

static int parse_output(const char *text, struct build_output *o, struct error **err)
{
    AUTO_FREE char *copy = xstrdup(text);
    const char *type = NULL, *dest = strpbrk(text, "=,") ? NULL : text;
    for (char *save = NULL, *p = dest ? NULL : strtok_r(copy, ",", &save); p;
         p = strtok_r(NULL, ",", &save)) {
        if (!strncmp(p, "type=", 5))
            type = p + 5;
        else if (!strncmp(p, "dest=", 5))
            dest = p + 5;
        else
            return error_set(err, ERR_USAGE, "argument --output: '%s' is not type= or dest=", p);
    }
    if (!dest || !*dest)
        return error_set(err, ERR_USAGE, "argument --output: '%s' has no dest=", text);
    o->dest = xstrdup(dest);
    return type ? parse_type(type, &o->format, err) : parse_ending(dest, &o->format, err);
}

int build_outputs_parse(const struct args *a, struct build_outputs *ret, struct error **err)
{
    const char *text;
    for (size_t i = 0; (text = args_nth(a, "output", i)); i++) {
        struct build_output *o = build_outputs_push(ret);
        *o = (struct build_output){0};
        if (parse_output(text, o, err) < 0)
            return -1;
        if (!strcmp(o->dest, "-"))
            return error_set(err, ERR_USAGE,
                             "argument --output: dest=- mixes with the build's "
                             "output; use 'kiln image export NAME -'");
    }
    if (ret->len && args_has(a, "local"))
        return error_set(err, ERR_USAGE, "--output and --local: give one of them");
    return 0;
}

static int write_text(const char *path, const char *text, struct error **err)
{
    return file_write_whole(path, 0644, text, strlen(text), err);
}

static char *metadata(const struct build_result *r)
{
    json_auto_t *v = json_pack("{s:s, s:s?, s:s, s:I, s:I, s:f}", "name", r->name, "file", r->file,
                               "layer", r->layer, "steps", (json_int_t)r->steps, "cached",
                               (json_int_t)r->cached, "seconds", r->seconds);
    AUTO_FREE char *text =
        json_dumps(v, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));
    return xasprintf("%s\n", text);
}

void build_results_files(const struct args *a, const struct build_outputs *outputs,
                         struct strv *ret)
{
    vec_foreach (const struct build_output *, o, outputs)
        strv_add(ret, o->dest);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (args_get(a, files[i]))
            strv_add(ret, args_get(a, files[i]));
}

static int check_file(const char *option, const char *path, struct error **err)
{
    struct stat st;
    AUTO_FREE char *parent = path_parent(path);
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        error_set(err, ERR_USER, "argument --%s: '%s' exists and is not a regular file", option,
                  path);
        return S_ISDIR(st.st_mode) ? error_hint(err, "name a file in it") : -1;
    }
    if (access(parent, W_OK | X_OK) < 0)
        return error_errno(err, "argument --%s: cannot write to '%s'", option, parent);
    return 0;
}

int build_results_check(const struct args *a, const struct build_outputs *outputs,
                        struct error **err)
{
    vec_foreach (const struct build_output *, o, outputs)
        if (check_file("output", o->dest, err) < 0)
            return -1;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (args_get(a, files[i]) && check_file(files[i], args_get(a, files[i]), err) < 0)
            return -1;
    return 0;
}

int build_results_write(const struct session *s, const struct args *a,
                        const struct build_outputs *outputs, const struct build_result *r,
                        struct error **err)
{
    CLEANUP(store_freep) struct store *st = NULL;
    if (outputs->len && image_lease(s, r->name, &st, err) < 0)
        return -1;
    vec_foreach (const struct build_output *, o, outputs) {
        struct image_export e = {.format = o->format};
        if (image_export(s, r->name, o->dest, &e, err) < 0)
            return -1;
    }
    const char *id_file = args_get(a, "iidfile"), *json_file = args_get(a, "metadata-file");
    AUTO_FREE char *text = metadata(r);
    if (id_file && write_text(id_file, r->layer, err) < 0)
        return -1;
    return json_file ? write_text(json_file, text, err) : 0;
}

int build_names_check(const struct args *a, bool elsewhere, struct error **err)
{
    const char *name;
    for (size_t i = 0; (name = args_nth(a, "name", i)); i++) {
        if (i && (args_has(a, "local") || elsewhere))
            return error_set(err, ERR_USAGE, "argument --name: only one with --local or --host");
        if (image_name_check(name, err) < 0)
            return error_hint(err, "--name gives the image another name");
    }
    return 0;
}

int build_names_tag(const struct session *s, const struct args *a, struct error **err)
{
    const char *name, *built = args_get(a, "name");
    for (size_t i = 0; (name = args_nth(a, "name", i)); i++)
        if (strcmp(name, built) != 0 && backend_tag(s->backend, built, name, err) < 0)
            return -1;
    return 0;
}
