// SPDX-License-Identifier: MIT
#include "builder/runner/runner.h"

#include "base/alloc.h"

#include <string.h>

void runner_exec_clear(struct runner_exec *e)
{
    for (size_t i = 0; i < e->env.len; i++)
        explicit_bzero(e->env.ptr[i], strlen(e->env.ptr[i])); // it may be a secret
    for (size_t i = 0; i < e->n_mounts; i++) {
        struct runner_exec_mount *m = &e->mounts[i];
        free((char *)m->target);
        free((char *)m->mode);
        free((char *)m->owner);
        free((char *)m->source);
    }
    strv_clear(&e->argv);
    strv_clear(&e->env);
    strv_clear(&e->nameservers);
    free(e->mounts);
    free(e->cwd);
    free(e->user);
    free(e->term);
    *e = (struct runner_exec){0};
}

void runner_exec_arg(struct runner_exec *e, const char *arg)
{
    strv_add(&e->argv, arg);
}

void runner_exec_env(struct runner_exec *e, const char *name, const char *value)
{
    strv_add_take(&e->env, xasprintf("%s=%s", name, value));
}

static char *dup_or_null(const char *s)
{
    return s ? xstrdup(s) : NULL;
}

void runner_exec_mount(struct runner_exec *e, const struct runner_exec_mount *m)
{
    e->mounts = xreallocarray(e->mounts, e->n_mounts + 1, sizeof *e->mounts);
    struct runner_exec_mount *own = &e->mounts[e->n_mounts++];
    *own = *m;
    own->target = dup_or_null(m->target);
    own->mode = dup_or_null(m->mode);
    own->owner = dup_or_null(m->owner);
    own->source = dup_or_null(m->source);
}

void runner_free(struct runner *r)
{
    if (r)
        r->ops->free(r);
}

long long runner_answered(const struct runner *r)
{
    return r->ops->answered(r);
}

bool runner_worth_retry(struct runner *r)
{
    return r->ops->worth_retry(r);
}

int runner_set_disk(struct runner *r, int slot, const struct runner_disk *disk, struct error **err)
{
    return r->ops->set_disk(r, slot, disk, err);
}

int runner_next_overlay(struct runner *r, const char *path, struct error **err)
{
    return r->ops->next_overlay(r, path, err);
}

int runner_mount(struct runner *r, int slot, bool read_only, const json_t *mounts,
                 struct error **err)
{
    return r->ops->mount(r, slot, read_only, mounts, err);
}

int runner_umount(struct runner *r, int slot, struct error **err)
{
    return r->ops->umount(r, slot, err);
}

int runner_format(struct runner *r, int slot, struct error **err)
{
    return r->ops->format(r, slot, err);
}

json_t *runner_os(struct runner *r, struct error **err)
{
    return r->ops->os(r, err);
}

int runner_make_partitions(struct runner *r, const char *table,
                           const struct runner_partition *parts, size_t n, struct runner_wait w,
                           struct error **err)
{
    return r->ops->make_partitions(r, table, parts, n, w, err);
}

int runner_grow(struct runner *r, const char *table, struct runner_wait w, struct error **err)
{
    return r->ops->grow(r, table, w, err);
}

int runner_receive(struct runner *r, const struct runner_stream *from,
                   const struct runner_place *place, struct runner_wait w, struct error **err)
{
    return r->ops->receive(r, from, place, w, err);
}

int runner_copy(struct runner *r, const struct runner_sources *from,
                const struct runner_place *place, struct runner_wait w, struct error **err)
{
    return r->ops->copy(r, from, place, w, err);
}

int runner_survey(struct runner *r, const struct runner_sources *from, int owners,
                  struct runner_wait w, bool *ret_listed, struct error **err)
{
    return r->ops->survey(r, from, owners, w, ret_listed, err);
}

int runner_mkdir(struct runner *r, const char *path, const char *owner, struct runner_wait w,
                 struct error **err)
{
    return r->ops->mkdir(r, path, owner, w, err);
}

int runner_unpack(struct runner *r, const struct runner_stream *from, struct runner_wait w,
                  int *ret_number, struct error **err)
{
    return r->ops->unpack(r, from, w, ret_number, err);
}

int runner_exec(struct runner *r, const struct runner_exec *e, struct runner_wait w,
                int *ret_status, char **ret_changed, struct error **err)
{
    return r->ops->exec(r, e, w, ret_status, ret_changed, err);
}

int runner_terminal(struct runner *r, const struct runner_exec *e, int *ret_status,
                    struct error **err)
{
    return r->ops->terminal(r, e, ret_status, err);
}
