// SPDX-License-Identifier: MIT
#include "builder/build/precheck.h"

#include "base/url.h"
#include "builder/build/private.h"
#include "builder/container/container.h"
#include "builder/context/git.h"
#include "builder/context/remote.h"
#include "imagefile/ignore.h"

static void report(const struct precheck *p, struct span at, const struct error *e)
{
    struct imagefile *f = p->file;
    struct diag *d = diag_add(&f->diags, &f->source, DIAG_ERROR, at, "%s", e->message);
    if (e->hint)
        diag_help(d, "%s", e->hint);
}

/* Mistakes are reported; -1 only for what is not one. */
static int check_source(const struct precheck *p, const char *instruction, const char *text,
                        struct span at, struct error **err)
{
    CLEANUP(error_freep) struct error *why = NULL;
    struct context *ctx = p->open(p->arg, &why);
    if (why)
        return error_propagate(err, STEAL(why));
    if (!ctx || context_has(ctx, instruction, text, &why) == 0)
        return 0;
    if (why->kind != ERR_USER)
        return error_propagate(err, STEAL(why));
    report(p, at, why);
    return 0;
}

/* The same for a container image. */
static int check_container(const struct precheck *p, const char *text, struct span at,
                           struct error **err)
{
    CLEANUP(container_name_clear) struct container_name name = {0};
    CLEANUP(error_freep) struct error *why = NULL;
    container_split(text, &name);
    if (container_check(text, &why) < 0)
        report(p, at, why);
    else if (name.path)
        return check_source(p, "ADD", name.path, at, err);
    return 0;
}

/* What git would not take, and patterns that are none. */
static void check_words(const struct precheck *p, const struct imagefile_step *step)
{
    const struct copy_args *a = &step->copy;
    for (size_t i = 0; i < a->n_sources && step->op == OP_ADD; i++) {
        CLEANUP(git_source_clear) struct git_source source = {0};
        CLEANUP(error_freep) struct error *why = NULL;
        const char *text = a->sources[i].heredoc ? NULL : a->sources[i].known;
        if (text && imagefile_is_git(str_of(text)) && git_parse(text, &source, &why) < 0)
            report(p, a->sources[i].path.span, why);
    }
    for (size_t i = 0; i < a->excludes.len; i++) {
        CLEANUP(ignore_freep) struct ignore *patterns = ignore_new();
        CLEANUP(error_freep) struct error *why = NULL;
        AUTO_FREE char *text = str_dup(a->excludes.ptr[i].raw);
        if (!strpbrk(text, "$'\"\\") && ignore_add(patterns, text, &why) < 0)
            report(p, a->excludes.ptr[i].span, why);
    }
}

static int check_copy(const struct precheck *p, const struct imagefile_step *step,
                      struct error **err)
{
    const struct copy_args *a = &step->copy;
    check_words(p, step);
    for (size_t i = 0; i < a->n_sources && !word_given(&a->from); i++) {
        const struct copy_source *s = &a->sources[i];
        if (s->heredoc || !s->known ||
            (step->op == OP_ADD && (is_url(s->known) || imagefile_is_git(str_of(s->known)))))
            continue;
        bool container = step->op == OP_ADD && str_is_container(str_of(s->known));
        if ((container
                 ? check_container(p, s->known, s->path.span, err)
                 : check_source(p, imagefile_op_name(step->op), s->known, s->path.span, err)) < 0)
            return -1;
    }
    CLEANUP(error_freep) struct error *why = NULL;
    struct digest ignored;
    bool git =
        a->n_sources == 1 && a->sources[0].known && imagefile_is_git(str_of(a->sources[0].known));
    if (a->checksum_known && !git && remote_checksum(a->checksum_known, &ignored, &why) < 0)
        report(p, a->checksum.span, why);
    return 0;
}

static int check_mounts(const struct precheck *p, const struct run_args *run, struct error **err)
{
    for (size_t i = 0; i < run->n_mounts; i++) {
        const struct run_mount *m = &run->mounts[i];
        CLEANUP(error_freep) struct error *why = NULL;
        if (m->bind_source &&
            check_source(p, "RUN --mount", m->bind_source, m->fields[MOUNT_SOURCE].span, err) < 0)
            return -1;
        if (m->needs_secret && p->has_secret && !p->has_secret(p->arg, m->needs_secret))
            (void)secret_missing(m->needs_secret, &why);
        else if (m->needs_ssh && p->has_ssh && !p->has_ssh(p->arg, m->needs_ssh))
            (void)ssh_missing(m->needs_ssh, &why);
        if (why)
            report(p, m->span, why);
    }
    return 0;
}

int precheck(const struct precheck *p, struct error **err)
{
    struct imagefile *f = p->file;
    int rc = 0;
    for (size_t i = 0; i < f->n_steps && rc == 0; i++) {
        const struct imagefile_step *step = &f->steps[i];
        if (step->stage == NO_STAGE || (p->needs && !p->needs(p->arg, step->stage)))
            continue;
        if (step->op == OP_COPY || step->op == OP_ADD)
            rc = check_copy(p, step, err);
        else if (step->op == OP_RUN)
            rc = check_mounts(p, &step->run, err);
    }
    diags_sort(&f->diags);
    return rc;
}
