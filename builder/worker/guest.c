// SPDX-License-Identifier: MIT
//
// Each request is a message of tagged fields (agent/protocol.h), each answer another one.
#include "builder/worker/guest.h"

#include "base/alloc.h"

#include <string.h>

/* Deadline of what the agent does without running anything of the user's. */
enum { CALL_MS = 120 * 1000 };

static int call(struct builder_vm *vm, int type, const struct message *m, struct guest_wait w,
                struct message *reply, struct error **err)
{
    return builder_vm_call(vm, type, m, w.deadline_ms, w.output, w.output_arg, reply, err);
}

static const struct guest_wait shortly = {CALL_MS, NULL, NULL};

static int call_slot(struct builder_vm *vm, int type, int slot, struct message *reply,
                     struct error **err)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    message_put_num(&m, AGENT_TAG_SLOT, (uint64_t)slot);
    return call(vm, type, &m, shortly, reply, err);
}

int guest_mount(struct builder_vm *vm, int slot, bool read_only, const json_t *mounts,
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
    return call(vm, AGENT_MOUNT, &m, shortly, NULL, err);
}

int guest_umount(struct builder_vm *vm, int slot, struct error **err)
{
    return call_slot(vm, AGENT_UMOUNT, slot, NULL, err);
}

int guest_format(struct builder_vm *vm, int slot, struct error **err)
{
    return call_slot(vm, AGENT_FORMAT, slot, NULL, err);
}

json_t *guest_os(struct builder_vm *vm, struct error **err)
{
    CLEANUP(message_clear) struct message reply = MESSAGE_INIT;
    struct str text;
    json_error_t why;
    if (call_slot(vm, AGENT_OS, AGENT_DISK_TARGET, &reply, err) < 0)
        return NULL;
    json_t *v =
        message_get(&reply, AGENT_TAG_TEXT, &text) ? json_loadb(text.ptr, text.len, 0, &why) : NULL;
    if (!v)
        error_set(err, ERR_GUEST, "the builder VM did not say what is on the disk");
    return v;
}

int guest_make_partitions(struct builder_vm *vm, const char *table,
                          const struct guest_partition *parts, size_t n, struct guest_wait w,
                          struct error **err)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    message_put_num(&m, AGENT_TAG_SLOT, AGENT_DISK_TARGET);
    message_puts(&m, AGENT_TAG_TABLE, table);
    for (size_t i = 0; i < n; i++) {
        const struct guest_partition *p = &parts[i];
        message_put_num(&m, AGENT_TAG_PART_SIZE, p->size);
        message_puts(&m, AGENT_TAG_PART_FS, p->fs ? p->fs : "");
        message_puts(&m, AGENT_TAG_PART_OPTIONS, p->options ? p->options : "");
        message_puts(&m, AGENT_TAG_PART_MOUNT, p->mount ? p->mount : "");
        message_puts(&m, AGENT_TAG_PART_FLAGS, p->flags);
    }
    return call(vm, AGENT_PARTITION, &m, w, NULL, err);
}

int guest_grow(struct builder_vm *vm, const char *table, struct guest_wait w, struct error **err)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    message_put_num(&m, AGENT_TAG_SLOT, AGENT_DISK_TARGET);
    message_puts(&m, AGENT_TAG_TABLE, table);
    return call(vm, AGENT_GROW, &m, w, NULL, err);
}

static void put_place(struct message *m, const struct guest_place *p)
{
    int flags = (p->folder ? AGENT_DEST_DIR : 0) | (p->keep_owner ? AGENT_KEEP_OWNER : 0);
    message_puts(m, AGENT_TAG_PATH, p->dest);
    message_put_num(m, AGENT_TAG_FLAGS, (uint64_t)flags);
    message_puts(m, AGENT_TAG_OWNER, p->chown);
    message_puts(m, AGENT_TAG_MODE, p->chmod);
}

static void put_sources(struct message *m, const struct guest_sources *from)
{
    message_put_num(m, AGENT_TAG_SLOT, (uint64_t)from->slot);
    for (size_t i = 0; i < from->sources->len; i++)
        message_puts(m, AGENT_TAG_SOURCE, from->sources->ptr[i]);
    for (size_t i = 0; from->excludes && i < from->excludes->len; i++)
        message_puts(m, AGENT_TAG_EXCLUDE, from->excludes->ptr[i]);
}

int guest_receive(struct builder_vm *vm, uint64_t offset, const struct guest_place *place,
                  struct guest_wait w, struct error **err)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    message_put_num(&m, AGENT_TAG_OFFSET, offset);
    put_place(&m, place);
    return call(vm, AGENT_RECEIVE, &m, w, NULL, err);
}

int guest_copy(struct builder_vm *vm, const struct guest_sources *from,
               const struct guest_place *place, struct guest_wait w, struct error **err)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    put_sources(&m, from);
    put_place(&m, place);
    return call(vm, AGENT_COPY, &m, w, NULL, err);
}

int guest_survey(struct builder_vm *vm, const struct guest_sources *from, int flags,
                 struct guest_wait w, bool *ret_listed, struct error **err)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT, reply = MESSAGE_INIT;
    put_sources(&m, from);
    message_put_num(&m, AGENT_TAG_FLAGS, (uint64_t)flags);
    if (call(vm, AGENT_SURVEY, &m, w, &reply, err) < 0)
        return -1;
    *ret_listed = message_num(&reply, AGENT_TAG_FLAGS, 0) != 0;
    return 0;
}

int guest_mkdir(struct builder_vm *vm, const char *path, const char *owner, struct guest_wait w,
                struct error **err)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    message_puts(&m, AGENT_TAG_PATH, path);
    message_puts(&m, AGENT_TAG_OWNER, owner);
    return call(vm, AGENT_MKDIR, &m, w, NULL, err);
}

int guest_unpack(struct builder_vm *vm, uint64_t offset, struct guest_wait w, int *ret_number,
                 struct error **err)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT, reply = MESSAGE_INIT;
    message_put_num(&m, AGENT_TAG_OFFSET, offset);
    if (call(vm, AGENT_UNPACK, &m, w, &reply, err) < 0)
        return -1;
    *ret_number = (int)message_num(&reply, AGENT_TAG_NUMBER, 0);
    return 0;
}

void guest_exec_clear(struct guest_exec *e)
{
    message_clear(&e->request);
}

void guest_exec_arg(struct guest_exec *e, const char *arg)
{
    message_puts(&e->request, AGENT_TAG_ARG, arg);
}

void guest_exec_env(struct guest_exec *e, const char *name, const char *value)
{
    AUTO_FREE char *text = xasprintf("%s=%s", name, value);
    message_puts(&e->request, AGENT_TAG_ENV, text);
    explicit_bzero(text, strlen(text)); // it may be a secret
}

void guest_exec_cwd(struct guest_exec *e, const char *dir)
{
    message_puts(&e->request, AGENT_TAG_CWD, dir);
}

void guest_exec_user(struct guest_exec *e, const char *user)
{
    message_puts(&e->request, AGENT_TAG_USER, user);
}

void guest_exec_nameserver(struct guest_exec *e, const char *address)
{
    message_puts(&e->request, AGENT_TAG_NAMESERVER, address);
}

void guest_exec_script(struct guest_exec *e, struct str bytes)
{
    message_put(&e->request, AGENT_TAG_SCRIPT, bytes.ptr, bytes.len);
}

void guest_exec_flags(struct guest_exec *e, int flags)
{
    message_put_num(&e->request, AGENT_TAG_FLAGS, (uint64_t)flags);
}

void guest_exec_terminal(struct guest_exec *e, const char *term, unsigned columns, unsigned rows)
{
    guest_exec_flags(e, AGENT_TTY);
    message_puts(&e->request, AGENT_TAG_TERM, term);
    message_put_num(&e->request, AGENT_TAG_ROWS, rows);
    message_put_num(&e->request, AGENT_TAG_COLUMNS, columns);
}

static void put_bind(struct message *m, const struct guest_run_mount *p)
{
    message_put_num(m, AGENT_TAG_MOUNT_FLAGS, p->read_only ? AGENT_READ_ONLY : AGENT_DISCARD);
    if (!p->slot) {
        message_put_num(m, AGENT_TAG_MOUNT_UNPACKED, (uint64_t)p->unpacked);
        return;
    }
    message_put_num(m, AGENT_TAG_MOUNT_SLOT, (uint64_t)p->slot);
    message_puts(m, AGENT_TAG_MOUNT_SOURCE, p->source);
}

void guest_exec_mount(struct guest_exec *e, const struct guest_run_mount *p)
{
    static const char *const names[] = {[GUEST_TMPFS] = "tmpfs",
                                        [GUEST_CACHE] = "cache",
                                        [GUEST_BIND] = "bind",
                                        [GUEST_SECRET] = "secret"};
    struct message *m = &e->request;
    message_puts(m, AGENT_TAG_MOUNT_TYPE, names[p->type]);
    message_puts(m, AGENT_TAG_MOUNT_TARGET, p->target);
    message_puts(m, AGENT_TAG_MOUNT_MODE, p->mode);
    message_puts(m, AGENT_TAG_MOUNT_OWNER, p->owner);
    if (p->size)
        message_put_num(m, AGENT_TAG_MOUNT_SIZE, p->size);
    switch (p->type) {
    case GUEST_BIND:
        put_bind(m, p);
        break;
    case GUEST_CACHE:
        if (p->read_only)
            message_put_num(m, AGENT_TAG_MOUNT_FLAGS, AGENT_READ_ONLY);
        message_put_num(m, AGENT_TAG_MOUNT_SLOT, (uint64_t)p->slot);
        break;
    case GUEST_SECRET:
        message_put(m, AGENT_TAG_MOUNT_DATA, p->secret.ptr, p->secret.len);
        break;
    case GUEST_TMPFS:
        break;
    }
}

int guest_exec(struct builder_vm *vm, const struct guest_exec *e, struct guest_wait w,
               int *ret_status, char **ret_changed, struct error **err)
{
    CLEANUP(message_clear) struct message reply = MESSAGE_INIT;
    struct str changed;
    if (call(vm, AGENT_EXEC, &e->request, w, &reply, err) < 0)
        return -1;
    *ret_status = (int)message_num(&reply, AGENT_TAG_STATUS, 0);
    if (ret_changed)
        *ret_changed = message_get(&reply, AGENT_TAG_CHANGED, &changed) ? str_dup(changed) : NULL;
    return 0;
}

int guest_terminal(struct builder_vm *vm, const struct guest_exec *e, int *ret_status,
                   struct error **err)
{
    return builder_vm_terminal(vm, &e->request, ret_status, err);
}
