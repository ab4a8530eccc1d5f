// SPDX-License-Identifier: MIT
// What a --from may name, and what to say when it names nothing.
#include "imagefile/parser.h"

#include "base/alloc.h"
#include "base/nearest.h"

enum { LISTED = 8 }; // stages that a message names

/* Stages whose FROM is above the step, without the step's own. */
static size_t stages_above(const struct imagefile *f, size_t step)
{
    size_t n = 0;
    while (n < f->n_stages && f->stages[n].end <= step)
        n++;
    return n;
}

static bool is_number(struct str name)
{
    for (size_t i = 0; i < name.len; i++)
        if (name.ptr[i] < '0' || name.ptr[i] > '9')
            return false;
    return name.len;
}

int imagefile_check_source(const struct imagefile *f, struct str name, size_t step,
                           struct error **err)
{
    size_t above = stages_above(f, step);
    struct str clip = str_clip(name);
    if (!name.len)
        return error_set(err, ERR_USER, "--from has no value: its variables are empty");
    if (imagefile_find_stage(f, name, step, true) != NO_STAGE)
        return 0;
    if (is_number(name))
        return error_set(err, ERR_USER, "no stage " STR_FMT " above; stages are numbered from 0",
                         STR_ARG(clip));
    size_t last = imagefile_find_stage(f, name, f->n_steps, false);
    if (last == NO_STAGE)
        return 0;
    if (last == above)
        return error_set(err, ERR_USER, "the stage '" STR_FMT "' can't copy from itself",
                         STR_ARG(clip));
    return error_set(err, ERR_USER, "the stage '" STR_FMT "' is defined below, on line %u",
                     STR_ARG(clip), f->steps[f->stages[last].first].line);
}

char *imagefile_stage_advice(const struct imagefile *f, struct str name, size_t step,
                             bool *ret_near)
{
    bool ignored = false, *is_near = ret_near ? ret_near : &ignored;
    *is_near = false;
    size_t above = stages_above(f, step), n = 0;
    size_t last = imagefile_find_stage(f, name, f->n_steps, false);
    if (last != NO_STAGE && last > above)
        return xasprintf("move that stage above this one");
    AUTO_FREE const char **names = xcalloc(above + 1, sizeof *names);
    for (size_t i = 0; i < above; i++)
        if (f->stages[i].name.len)
            names[n++] = arena_str(f->arena, f->stages[i].name).ptr;
    const char *near = nearest_name(name, names);
    *is_near = near != NULL;
    if (near)
        return xasprintf("did you mean %s?", near);
    CLEANUP(buf_clear) struct buf list = BUF_INIT;
    const char *begin = above == 1 ? "the stage above is " : "the stages above are ";
    for (size_t i = 0; i < above && i < LISTED; i++) {
        struct str stage = str_clip(f->stages[i].name);
        buf_addf(&list, "%s%zu", i ? ", " : begin, i);
        if (stage.len)
            buf_addf(&list, " (" STR_FMT ")", STR_ARG(stage));
    }
    if (above > LISTED)
        buf_addf(&list, " to %zu", above - 1);
    return above ? buf_detach(&list, NULL) : xstrdup("no stage precedes this one");
}

const struct platform_arg imagefile_platform_args[IMAGEFILE_PLATFORM_ARGS] = {
    {"TARGETPLATFORM", "linux/amd64"},
    {"TARGETOS", "linux"},
    {"TARGETARCH", "amd64"},
    {"TARGETVARIANT", ""},
    {"TARGETOSVERSION", ""},
    {"TARGETSTAGE", "default"},
    {"BUILDPLATFORM", "linux/amd64"},
    {"BUILDOS", "linux"},
    {"BUILDARCH", "amd64"},
    {"BUILDVARIANT", ""},
    {"BUILDOSVERSION", ""},
};

const char imagefile_default_path[] =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
