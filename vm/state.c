// SPDX-License-Identifier: MIT
//
// state.json is written when the stream is on the disk and before QEMU ends, and removed before the
// processors go on: a kill in between leaves a VM that is paused or one that is suspended, and never
// memory that is older than its disk.
#include "vm/state.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/session.h"
#include "vm/detached.h"
#include "vm/migrate.h"
#include "vm/named.h"
#include "vm/qmp.h"
#include "vm/run_disks.h"
#include "vm/warm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ANSWER_MS = 10000, END_MS = 10000 };

static char *stream_path(const char *dir)
{
    return path_join(dir, "state");
}

static char *record_path(const char *dir)
{
    return path_join(dir, "state.json");
}

json_t *vm_state_read(const char *dir)
{
    AUTO_FREE char *path = record_path(dir);
    return json_read_file(path, NULL);
}

int vm_state_refuse(const struct named_vm *vm, struct error **err)
{
    json_auto_t *state = vm_state_read(vm->dir);
    if (!state)
        return 0;
    error_set(err, ERR_BUSY, "VM '%s' is suspended to disk", vm->name);
    return error_hint(err, "'kiln resume %s' lets it go on, 'kiln stop --kill %s' drops its memory",
                      vm->word, vm->word);
}

int vm_state_drop(const char *dir, struct error **err)
{
    AUTO_FREE char *record = record_path(dir), *stream = stream_path(dir);
    if ((unlink(record) < 0 && errno != ENOENT) || (unlink(stream) < 0 && errno != ENOENT))
        return error_errno(err, "cannot remove the state in '%s'", dir);
    return 0;
}

/* What tells whether somebody else wrote to the disk; new reference. */
static json_t *disk_state(const char *path, struct error **err)
{
    struct stat st;
    if (stat(path, &st) < 0) {
        error_errno(err, "cannot stat '%s'", path);
        return NULL;
    }
    return json_pack("{s:I, s:I}", "size", (json_int_t)st.st_size, "time",
                     (json_int_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec);
}

/* The stream is whole: from now on the VM counts as suspended. */
static int write_record(const struct named_vm *vm, bool warm, struct error **err)
{
    AUTO_FREE char *path = record_path(vm->dir);
    json_auto_t *run = named_vm_running(vm);
    json_auto_t *disks = json_array();
    for (size_t i = 0; i < named_vm_disks(vm); i++) {
        AUTO_FREE char *disk = named_vm_disk(vm, i);
        json_t *state = disk_state(disk, err);
        if (!state)
            return -1;
        (void)json_array_append_new(disks, state);
    }
    json_auto_t *record =
        json_pack("{s:O, s:O, s:O, s:O, s:b}", "spec", json_object_get(run, "spec"), "accel",
                  json_object_get(run, "accel"), "qemu", json_object_get(run, "qemu"), "disks",
                  disks, "warm", warm);
    if (!record)
        return error_set(err, ERR_USER, "VM '%s' was started by an older kiln", vm->name);
    return json_write_file(path, 0600, record, err);
}

static int save(const struct session *s, const struct named_vm *vm, struct qmp *q,
                struct error **err)
{
    AUTO_FREE char *path = stream_path(vm->dir);
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_errno(err, "cannot write '%s'", path);
    if (vm_migrate(s, q, VM_MIGRATE_OUT, fd, false, err) < 0) {
        if (free_bytes(path) < 1 << 20)
            (void)error_hint(err, "no space left in '%s'", vm->dir);
        return -1;
    }
    return fsync(fd) < 0 ? error_errno(err, "cannot write '%s'", path)
                         : write_record(vm, vm_warm_was(q), err);
}

/* As if nothing had happened. */
static void go_on(const struct named_vm *vm, struct qmp *q)
{
    qmp_ignore_interruption(q);
    (void)qmp_command(q, "migrate_cancel", NULL, ANSWER_MS, NULL, NULL);
    (void)vm_state_drop(vm->dir, NULL);
    (void)qmp_command(q, "cont", NULL, ANSWER_MS, NULL, NULL);
}

/* QEMU names a device that has no state to write; those of shared folders are the ones kiln adds. */
static int check_devices(const struct named_vm *vm, struct qmp *q, struct error **err)
{
    static const char *const folders[] = {"vhost-user-fs", "VirtFS"};
    json_auto_t *told = NULL;
    if (qmp_command(q, "query-migrate", NULL, ANSWER_MS, &told, err) < 0)
        return -1;
    const char *why =
        json_string_value(json_array_get(json_object_get(told, "blocked-reasons"), 0));
    if (!why)
        return 0;
    bool folder = strstr(why, folders[0]) || strstr(why, folders[1]);
    if (folder)
        error_set(err, ERR_USER, "VM '%s' has shared folders, and cannot be suspended to disk",
                  vm->name);
    else
        error_set(err, ERR_USER, "VM '%s' cannot be suspended to disk: QEMU says '%s'", vm->name,
                  why);
    return error_hint(err, "'kiln suspend %s' keeps it in memory%s", vm->word,
                      folder ? "; a VM that is started without --volume can be suspended to disk"
                             : "");
}

int vm_state_save(const struct session *s, const struct named_vm *vm, struct error **err)
{
    CLEANUP(qmp_freep) struct qmp *q = vm_detached_qmp(s, vm->dir, err);
    if (!q || check_devices(vm, q, err) < 0 || vm_state_drop(vm->dir, err) < 0 ||
        qmp_command(q, "stop", NULL, ANSWER_MS, NULL, err) < 0)
        return -1;
    if (save(s, vm, q, err) < 0) {
        go_on(vm, q);
        return error_wrap(err, "VM '%s'", vm->name);
    }
    (void)qmp_command(q, "quit", NULL, ANSWER_MS, NULL, NULL);
    return vm_detached_stop(s, vm, true, END_MS, err) < 0 ? -1 : 0;
}

int vm_state_check(const char *dir, const struct vm_run_options *o, struct error **err)
{
    json_auto_t *state = vm_state_read(dir);
    const char *version = json_str(state, "qemu");
    json_t *disks = json_object_get(state, "disks");
    int rc = 0;
    if (!version || strcmp(version, o->qemu->version) != 0)
        rc = error_set(err, ERR_USER, "the VM was suspended by QEMU %s, and this is QEMU %s",
                       version ? version : "?", o->qemu->version);
    for (size_t i = 0; rc == 0 && i < o->n_disks; i++) {
        json_auto_t *now = disk_state(vm_run_disk_top(o, i), err);
        if (!now)
            return -1;
        if (!json_equal(now, json_array_get(disks, i)))
            rc = error_set(err, ERR_USER, "the VM's disk was changed since it was suspended");
    }
    return rc < 0 ? error_hint(err, "'kiln stop --kill' discards its memory; it then boots afresh")
                  : 0;
}

int vm_state_load(const struct session *s, struct qmp *q, const char *dir, struct error **err)
{
    AUTO_FREE char *path = stream_path(dir), *record = record_path(dir);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_errno(err, "cannot read '%s'", path);
    if (vm_migrate(s, q, VM_MIGRATE_IN, fd, false, err) < 0)
        return -1;
    if (unlink(record) < 0 || fsync_dir(dir, err) < 0)
        return err && *err ? -1 : error_errno(err, "cannot remove '%s'", record);
    if (qmp_command(q, "cont", NULL, ANSWER_MS, NULL, err) < 0)
        return -1;
    return vm_state_drop(dir, err);
}
