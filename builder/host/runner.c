// SPDX-License-Identifier: MIT
//
// Nothing is kept open between requests: each is a run of kiln-ext4 that leaves the top file whole,
// so sealing a step is only taking another top.
#include "builder/host/runner.h"

#include "base/alloc.h"
#include "base/session.h"
#include "builder/ext4/job.h"
#include "builder/host/internal.h"
#include "builder/host/job.h"
#include "qcow2/qcow2.h"

#include <stddef.h>
#include <string.h>

struct host {
    struct runner runner;
    const struct session *s;
    struct strv files; /* from the base to the top */
    uint64_t size;     /* of the disk, bytes */
    json_t *mounts;    /* as runner_mount has them; NULL = not mounted */
    bool declined;
    long long answered;
};

static struct host *host_of(const struct runner *r)
{
    return (struct host *)((char *)r - offsetof(struct host, runner));
}

/* Whether a failure is one that another runner may not have. */
static int declined(struct host *h, struct error **err)
{
    h->declined = err && *err && (*err)->kind != ERR_CANCELLED && (*err)->kind != ERR_GUEST;
    return -1;
}

static int unable(struct runner *r, struct error **err)
{
    error_set(err, ERR_USER, "only the builder VM can do this");
    return declined(host_of(r), err);
}

static int start(const struct session *s, const struct runner_options *o, struct runner **ret,
                 struct error **err)
{
    (void)err;
    struct host *h = xcalloc(1, sizeof *h);
    h->runner.ops = &host_runner;
    h->s = s;
    h->size = o->target.size;
    for (size_t i = 0; i < o->target.n_files; i++)
        strv_add(&h->files, o->target.files[i]);
    h->answered = now_ms();
    *ret = &h->runner;
    return 0;
}

static void end(struct runner *r)
{
    struct host *h = host_of(r);
    strv_clear(&h->files);
    json_decref(h->mounts);
    free(h);
}

static long long answered(const struct runner *r)
{
    return host_of(r)->answered;
}

static bool worth_retry(struct runner *r)
{
    return host_of(r)->declined;
}

static int next_overlay(struct runner *r, const char *path, struct error **err)
{
    (void)err;
    strv_add(&host_of(r)->files, path);
    return 0;
}

static int host_mount(struct runner *r, int slot, bool read_only, const json_t *mounts,
                      struct error **err)
{
    struct host *h = host_of(r);
    if (slot != RUNNER_TARGET || read_only || !json_is_array(mounts))
        return unable(r, err);
    h->mounts = json_deep_copy(mounts);
    return 0;
}

/* The number of the root partition into the message, and where others are mounted. */
static int put_mounts(const struct host *h, struct message *m, struct error **err)
{
    size_t i;
    json_t *pair;
    bool root = false;
    json_array_foreach (h->mounts, i, pair) {
        const char *path = json_string_value(json_array_get(pair, 1));
        if (!path)
            continue;
        if (strcmp(path, "/") != 0) {
            message_puts(m, JOB_MOUNT, path);
            continue;
        }
        root = true;
        message_put_num(m, JOB_PARTITION, (uint64_t)json_integer_value(json_array_get(pair, 0)));
    }
    return root ? 0 : error_set(err, ERR_USER, "no partition is mounted at /");
}

/* What it left is judged as a file that somebody else wrote. */
static int check_top(const struct host *h, struct error **err)
{
    CLEANUP(qcow2_info_clear) struct qcow2_info info = {0};
    if (qcow2_read(h->files.ptr[h->files.len - 1], QCOW2_OWN, &info, err) < 0)
        return -1;
    return info.size == h->size ? 0 : error_set(err, ERR_USER, "the new layer is damaged");
}

static int run(struct host *h, struct job *job, const struct runner_stream *from,
               struct runner_wait w, struct error **err)
{
    job->files = &h->files;
    long long start = now_us();
    if (job_run(h->s, job, from, w, err) < 0 || check_top(h, err) < 0)
        return declined(h, err);
    session_timing(h->s, "ext4", now_us() - start);
    return 0;
}

static int receive(struct runner *r, const struct runner_stream *from,
                   const struct runner_place *place, struct runner_wait w, struct error **err)
{
    struct host *h = host_of(r);
    struct job job = {.message = MESSAGE_INIT};
    message_put_num(&job.message, JOB_KIND, JOB_RECEIVE);
    message_puts(&job.message, JOB_PATH, place->dest);
    message_put_num(&job.message, JOB_FOLDER, place->folder);
    message_puts(&job.message, JOB_OWNER, place->chown);
    message_puts(&job.message, JOB_MODE, place->chmod);
    int rc = put_mounts(h, &job.message, err) < 0 ? declined(h, err) : run(h, &job, from, w, err);
    message_clear(&job.message);
    return rc;
}

static int make_dir(struct runner *r, const char *path, const char *owner, struct runner_wait w,
                    struct error **err)
{
    struct host *h = host_of(r);
    struct job job = {.message = MESSAGE_INIT};
    message_put_num(&job.message, JOB_KIND, JOB_MKDIR);
    message_puts(&job.message, JOB_PATH, path);
    message_puts(&job.message, JOB_OWNER, owner);
    int rc = put_mounts(h, &job.message, err) < 0 ? declined(h, err) : run(h, &job, NULL, w, err);
    message_clear(&job.message);
    return rc;
}

static int make_partitions(struct runner *r, const char *table,
                           const struct runner_partition *parts, size_t n, struct runner_wait w,
                           struct error **err)
{
    struct host *h = host_of(r);
    CLEANUP(new_disk_clear)
    struct new_disk d = {.s = h->s, .size = h->size, .beside = h->files.ptr[h->files.len - 1]};
    struct job job = {.message = MESSAGE_INIT};
    int rc = new_disk_make(&d, table, parts, n, &job.message, err);
    job.keep = d.fds;
    job.n_keep = d.n_fds;
    rc = rc < 0 ? declined(h, err) : run(h, &job, NULL, w, err);
    message_clear(&job.message);
    return rc;
}

static int no_set_disk(struct runner *r, int slot, const struct runner_disk *disk,
                       struct error **err)
{
    (void)slot, (void)disk;
    return unable(r, err);
}

static int no_slot(struct runner *r, int slot, struct error **err)
{
    (void)slot;
    return unable(r, err);
}

static json_t *no_os(struct runner *r, struct error **err)
{
    unable(r, err);
    return NULL;
}

static int no_grow(struct runner *r, const char *table, struct runner_wait w, struct error **err)
{
    (void)table, (void)w;
    return unable(r, err);
}

static int no_copy(struct runner *r, const struct runner_sources *from,
                   const struct runner_place *place, struct runner_wait w, struct error **err)
{
    (void)from, (void)place, (void)w;
    return unable(r, err);
}

static int no_survey(struct runner *r, const struct runner_sources *from, int owners,
                     struct runner_wait w, bool *ret_listed, struct error **err)
{
    (void)from, (void)owners, (void)w, (void)ret_listed;
    return unable(r, err);
}

static int no_unpack(struct runner *r, const struct runner_stream *from, struct runner_wait w,
                     int *ret_number, struct error **err)
{
    (void)from, (void)w, (void)ret_number;
    return unable(r, err);
}

static int no_exec(struct runner *r, const struct runner_exec *e, struct runner_wait w,
                   int *ret_status, char **ret_changed, struct error **err)
{
    (void)e, (void)w, (void)ret_status, (void)ret_changed;
    return unable(r, err);
}

static int no_terminal(struct runner *r, const struct runner_exec *e, int *ret_status,
                       struct error **err)
{
    (void)e, (void)ret_status;
    return unable(r, err);
}

const struct runner_ops host_runner = {
    .name = "host",
    .start = start,
    .free = end,
    .answered = answered,
    .worth_retry = worth_retry,
    .set_disk = no_set_disk,
    .next_overlay = next_overlay,
    .mount = host_mount,
    .umount = no_slot,
    .format = no_slot,
    .os = no_os,
    .make_partitions = make_partitions,
    .grow = no_grow,
    .receive = receive,
    .copy = no_copy,
    .survey = no_survey,
    .mkdir = make_dir,
    .unpack = no_unpack,
    .exec = no_exec,
    .terminal = no_terminal,
};
