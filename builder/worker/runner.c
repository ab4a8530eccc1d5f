// SPDX-License-Identifier: MIT
//
// The builder VM as a runner: each request is a message of tagged fields (agent/protocol.h), each
// answer another one.
#include "builder/worker/runner.h"

#include "base/alloc.h"
#include "builder/agent/message.h"
#include "builder/agent/protocol.h"
#include "builder/worker/guestfs.h"
#include "builder/worker/internal.h"
#include "builder/worker/standby.h"

#include <stddef.h>
#include <string.h>

_Static_assert((int)RUNNER_TARGET == (int)AGENT_DISK_TARGET, "slots");
_Static_assert((int)RUNNER_EXTRA == (int)AGENT_DISK_EXTRA, "slots");
_Static_assert((int)RUNNER_SLOTS == (int)AGENT_DISKS, "slots");
_Static_assert((int)RUNNER_KEEP_OWNER == (int)AGENT_KEEP_OWNER, "flags of a survey");
_Static_assert((int)RUNNER_TOP_OWNER == (int)AGENT_TOP_OWNER, "flags of a survey");
_Static_assert(sizeof RUNNER_SCRIPT == sizeof AGENT_SCRIPT, "where a script is seen");

/* Deadline of what the agent does without running anything of the user's. */
enum { CALL_MS = 120 * 1000 };

static struct builder_vm *vm_of(const struct runner *r)
{
    return (struct builder_vm *)((char *)r - offsetof(struct builder_vm, runner));
}

static int call(struct runner *r, int type, const struct message *m, struct runner_wait w,
                struct message *reply, struct error **err)
{
    return builder_vm_call(vm_of(r), type, m, w.deadline_ms, w.output, w.output_arg, reply, err);
}

static const struct runner_wait shortly = {CALL_MS, NULL, NULL};

static int call_slot(struct runner *r, int type, int slot, struct message *reply,
                     struct error **err)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    message_put_num(&m, AGENT_TAG_SLOT, (uint64_t)slot);
    return call(r, type, &m, shortly, reply, err);
}

static int run_mount(struct runner *r, int slot, bool read_only, const json_t *mounts,
                     struct error **err)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    size_t i;
    json_t *pair;
    message_put_num(&m, AGENT_TAG_SLOT, (uint64_t)slot);
    message_put_num(&m, AGENT_TAG_FLAGS, read_only ? AGENT_READ_ONLY : 0);
    json_array_foreach ((json_t *)mounts, i, pair) {
        message_put_num(&m, AGENT_TAG_DEVICE_INDEX,
                        (uint64_t)json_integer_value(json_array_get(pair, 0)));
        message_puts(&m, AGENT_TAG_PATH, json_string_value(json_array_get(pair, 1)));
    }
    return call(r, AGENT_MOUNT, &m, shortly, NULL, err);
}

static int run_umount(struct runner *r, int slot, struct error **err)
{
    return call_slot(r, AGENT_UMOUNT, slot, NULL, err);
}

static int run_format(struct runner *r, int slot, struct error **err)
{
    return call_slot(r, AGENT_FORMAT, slot, NULL, err);
}

static json_t *run_os(struct runner *r, struct error **err)
{
    CLEANUP(message_clear) struct message reply = MESSAGE_INIT;
    struct str text;
    json_error_t why;
    if (call_slot(r, AGENT_OS, AGENT_DISK_TARGET, &reply, err) < 0)
        return NULL;
    json_t *v =
        message_get(&reply, AGENT_TAG_TEXT, &text) ? json_loadb(text.ptr, text.len, 0, &why) : NULL;
    if (!v)
        error_set(err, ERR_GUEST, "the builder VM did not say what is on the disk");
    return v;
}

static int run_make_partitions(struct runner *r, const char *table,
                               const struct runner_partition *parts, size_t n, struct runner_wait w,
                               struct error **err)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    message_put_num(&m, AGENT_TAG_SLOT, AGENT_DISK_TARGET);
    message_puts(&m, AGENT_TAG_TABLE, table);
    for (size_t i = 0; i < n; i++) {
        const struct runner_partition *p = &parts[i];
        message_put_num(&m, AGENT_TAG_PART_SIZE, p->size);
        message_puts(&m, AGENT_TAG_PART_FS, p->fs ? p->fs : "");
        message_puts(&m, AGENT_TAG_PART_OPTIONS, p->options ? p->options : "");
        message_puts(&m, AGENT_TAG_PART_MOUNT, p->mount ? p->mount : "");
        message_puts(&m, AGENT_TAG_PART_FLAGS, p->flags);
    }
    return call(r, AGENT_PARTITION, &m, w, NULL, err);
}

static int run_grow(struct runner *r, const char *table, struct runner_wait w, struct error **err)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    message_put_num(&m, AGENT_TAG_SLOT, AGENT_DISK_TARGET);
    message_puts(&m, AGENT_TAG_TABLE, table);
    return call(r, AGENT_GROW, &m, w, NULL, err);
}

static void put_place(struct message *m, const struct runner_place *p)
{
    int flags = (p->folder ? AGENT_DEST_DIR : 0) | (p->keep_owner ? AGENT_KEEP_OWNER : 0) |
                (p->parents ? AGENT_PARENTS : 0);
    message_puts(m, AGENT_TAG_PATH, p->dest);
    message_put_num(m, AGENT_TAG_FLAGS, (uint64_t)flags);
    message_puts(m, AGENT_TAG_OWNER, p->chown);
    message_puts(m, AGENT_TAG_MODE, p->chmod);
}

static void put_sources(struct message *m, const struct runner_sources *from)
{
    message_put_num(m, AGENT_TAG_SLOT, (uint64_t)from->slot);
    for (size_t i = 0; i < from->sources->len; i++)
        message_puts(m, AGENT_TAG_SOURCE, from->sources->ptr[i]);
    for (size_t i = 0; from->excludes && i < from->excludes->len; i++)
        message_puts(m, AGENT_TAG_EXCLUDE, from->excludes->ptr[i]);
}

/* A request that reads a stream. */
static int call_stream(struct runner *r, int type, const struct runner_stream *from,
                       struct message *m, struct runner_wait w, struct message *reply,
                       struct error **err)
{
    struct builder_vm *vm = vm_of(r);
    uint64_t offset;
    if (builder_vm_stream_begin(vm, from->produce, from->arg, &offset, err) < 0)
        return -1;
    message_put_num(m, AGENT_TAG_OFFSET, offset);
    int rc = call(r, type, m, w, reply, err);
    builder_vm_stream_end(vm);
    return rc;
}

static int run_receive(struct runner *r, const struct runner_stream *from,
                       const struct runner_place *place, struct runner_wait w, struct error **err)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    put_place(&m, place);
    return call_stream(r, AGENT_RECEIVE, from, &m, w, NULL, err);
}

static int run_copy(struct runner *r, const struct runner_sources *from,
                    const struct runner_place *place, struct runner_wait w, struct error **err)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    put_sources(&m, from);
    put_place(&m, place);
    return call(r, AGENT_COPY, &m, w, NULL, err);
}

static int run_survey(struct runner *r, const struct runner_sources *from, int flags,
                      struct runner_wait w, bool *ret_listed, struct error **err)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT, reply = MESSAGE_INIT;
    put_sources(&m, from);
    message_put_num(&m, AGENT_TAG_FLAGS, (uint64_t)flags);
    if (call(r, AGENT_SURVEY, &m, w, &reply, err) < 0)
        return -1;
    *ret_listed = message_num(&reply, AGENT_TAG_FLAGS, 0) != 0;
    return 0;
}

static int run_mkdir(struct runner *r, const char *path, const char *owner, struct runner_wait w,
                     struct error **err)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    message_puts(&m, AGENT_TAG_PATH, path);
    message_puts(&m, AGENT_TAG_OWNER, owner);
    return call(r, AGENT_MKDIR, &m, w, NULL, err);
}

static int run_unpack(struct runner *r, const struct runner_stream *from, struct runner_wait w,
                      int *ret_number, struct error **err)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT, reply = MESSAGE_INIT;
    if (call_stream(r, AGENT_UNPACK, from, &m, w, &reply, err) < 0)
        return -1;
    *ret_number = (int)message_num(&reply, AGENT_TAG_NUMBER, 0);
    return 0;
}

static void put_bind(struct message *m, const struct runner_exec_mount *p)
{
    message_put_num(m, AGENT_TAG_MOUNT_FLAGS, p->read_only ? AGENT_READ_ONLY : AGENT_DISCARD);
    if (!p->slot) {
        message_put_num(m, AGENT_TAG_MOUNT_UNPACKED, (uint64_t)p->unpacked);
        return;
    }
    message_put_num(m, AGENT_TAG_MOUNT_SLOT, (uint64_t)p->slot);
    message_puts(m, AGENT_TAG_MOUNT_SOURCE, p->source);
}

static void put_mount(struct message *m, const struct runner_exec_mount *p)
{
    static const char *const names[] = {
        [RUNNER_TMPFS] = "tmpfs",   [RUNNER_CACHE] = "cache", [RUNNER_BIND] = "bind",
        [RUNNER_SECRET] = "secret", [RUNNER_HOSTS] = "hosts", [RUNNER_SSH] = "ssh"};
    message_puts(m, AGENT_TAG_MOUNT_TYPE, names[p->type]);
    message_puts(m, AGENT_TAG_MOUNT_TARGET, p->target);
    message_puts(m, AGENT_TAG_MOUNT_MODE, p->mode);
    message_puts(m, AGENT_TAG_MOUNT_OWNER, p->owner);
    if (p->size)
        message_put_num(m, AGENT_TAG_MOUNT_SIZE, p->size);
    switch (p->type) {
    case RUNNER_BIND:
        put_bind(m, p);
        break;
    case RUNNER_CACHE:
        if (p->read_only)
            message_put_num(m, AGENT_TAG_MOUNT_FLAGS, AGENT_READ_ONLY);
        message_put_num(m, AGENT_TAG_MOUNT_SLOT, (uint64_t)p->slot);
        break;
    case RUNNER_SECRET:
    case RUNNER_HOSTS:
        message_put(m, AGENT_TAG_MOUNT_DATA, p->secret.ptr, p->secret.len);
        break;
    case RUNNER_TMPFS:
    case RUNNER_SSH:
        break;
    }
}

static int exec_flags(const struct runner_exec *e)
{
    return (e->flags & RUNNER_NO_NETWORK ? AGENT_NO_NETWORK : 0) |
           (e->flags & RUNNER_INSECURE ? AGENT_INSECURE : 0) |
           (e->flags & RUNNER_SHELL ? AGENT_SHELL : 0) | (e->term ? AGENT_TTY : 0);
}

static void put_all(struct message *m, int tag, const struct strv *values)
{
    for (size_t i = 0; i < values->len; i++)
        message_puts(m, tag, values->ptr[i]);
}

static void put_exec(struct message *m, const struct runner_exec *e)
{
    put_all(m, AGENT_TAG_ARG, &e->argv);
    put_all(m, AGENT_TAG_ENV, &e->env);
    put_all(m, AGENT_TAG_NAMESERVER, &e->nameservers);
    message_puts(m, AGENT_TAG_CWD, e->cwd);
    message_puts(m, AGENT_TAG_USER, e->user);
    message_put_num(m, AGENT_TAG_FLAGS, (uint64_t)exec_flags(e));
    if (e->script.len)
        message_put(m, AGENT_TAG_SCRIPT, e->script.ptr, e->script.len);
    if (e->term) {
        message_puts(m, AGENT_TAG_TERM, e->term);
        message_put_num(m, AGENT_TAG_ROWS, e->rows);
        message_put_num(m, AGENT_TAG_COLUMNS, e->columns);
    }
    for (size_t i = 0; i < e->n_mounts; i++)
        put_mount(m, &e->mounts[i]);
}

static int run_exec(struct runner *r, const struct runner_exec *e, struct runner_wait w,
                    int *ret_status, char **ret_changed, struct error **err)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT, reply = MESSAGE_INIT;
    CLEANUP(strv_clear) struct strv sockets = {0};
    struct str changed;
    put_exec(&m, e);
    for (size_t i = 0; i < e->n_mounts; i++)
        if (e->mounts[i].type == RUNNER_SSH)
            strv_add(&sockets, e->mounts[i].source);
    if (builder_vm_exec(vm_of(r), &m, w, &sockets, &reply, err) < 0)
        return -1;
    *ret_status = (int)message_num(&reply, AGENT_TAG_STATUS, 0);
    if (ret_changed)
        *ret_changed = message_get(&reply, AGENT_TAG_CHANGED, &changed) ? str_dup(changed) : NULL;
    return 0;
}

static int run_terminal(struct runner *r, const struct runner_exec *e, int *ret_status,
                        struct error **err)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    put_exec(&m, e);
    return builder_vm_terminal(vm_of(r), &m, ret_status, err);
}

static int start(const struct session *s, const struct runner_options *o, struct runner **ret,
                 struct error **err)
{
    struct builder_vm *vm;
    if (builder_vm_start(s, o, &vm, err) < 0)
        return -1;
    *ret = &vm->runner;
    return 0;
}

static void end(struct runner *r)
{
    builder_vm_free(vm_of(r));
}

/* A standby is what is started ahead. */
static struct runner_ahead *ahead(const struct session *s, const struct runner_options *o)
{
    return (struct runner_ahead *)standby_start(s, o);
}

static struct runner *take(struct runner_ahead *a, const struct runner_disk *target)
{
    struct builder_vm *vm = standby_take((struct standby *)a, target);
    return vm ? &vm->runner : NULL;
}

static void drop(struct runner_ahead *a)
{
    standby_free((struct standby *)a);
}

static long long answered(const struct runner *r)
{
    return builder_vm_answered(vm_of(r));
}

static bool worth_retry(struct runner *r)
{
    return builder_vm_template_failed(vm_of(r));
}

static int set_disk(struct runner *r, int slot, const struct runner_disk *disk, struct error **err)
{
    return builder_vm_set_disk(vm_of(r), slot, disk, err);
}

static int next_overlay(struct runner *r, const char *path, struct error **err)
{
    return builder_vm_next_overlay(vm_of(r), path, err);
}

#define OPS_OF_BOTH \
    .free = end, .answered = answered, .worth_retry = worth_retry, .next_overlay = next_overlay, \
    .umount = run_umount, .format = run_format, .os = run_os, \
    .make_partitions = run_make_partitions, .grow = run_grow, .receive = run_receive, \
    .copy = run_copy, .survey = run_survey, .mkdir = run_mkdir, .unpack = run_unpack

const struct runner_ops builder_vm_runner = {
    .name = "vm",
    .start = start,
    .ahead = ahead,
    .take = take,
    .drop = drop,
    .set_disk = set_disk,
    .mount = run_mount,
    .exec = run_exec,
    .terminal = run_terminal,
    OPS_OF_BOTH,
};

const struct runner_ops guestfs_runner = {
    .name = "guestfs",
    .start = guestfs_start,
    .set_disk = guestfs_set_disk,
    .mount = guestfs_mount,
    .exec = guestfs_exec,
    .terminal = guestfs_terminal,
    OPS_OF_BOTH,
};
