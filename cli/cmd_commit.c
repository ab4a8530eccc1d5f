// SPDX-License-Identifier: MIT
//
// kiln commit. QEMU itself copies the disk of a VM in the background, as it is at one moment, while
// the guest goes on; that of one that does not run is copied as a file.
#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "builder/build/commit.h"
#include "cache/store.h"
#include "cli/vm_find.h"
#include "cli/vm_live.h"
#include "cli/vm_store.h"
#include "image/name.h"
#include "qcow2/qcow2.h"
#include "vm/detached.h"
#include "vm/qmp.h"
#include "vm/state.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ANSWER_MS = 30000, SYNC_MS = 20000 };

struct backup {
    const struct session *session;
    struct qmp *qmp;
    uint64_t size;
    char name[32]; /* of node and job */
};

static int wait_job(const struct backup *b, struct error **err)
{
    enum { LOOK_MS = 500 };
    for (;;) {
        json_auto_t *data = NULL;
        CLEANUP(error_freep) struct error *why = NULL;
        if (qmp_wait_event(b->qmp, "BLOCK_JOB_COMPLETED", LOOK_MS, &data, &why) < 0) {
            if (session_cancelled(b->session))
                return error_set(err, ERR_CANCELLED, "interrupted");
            if (qmp_closed(b->qmp))
                return error_propagate(err, STEAL(why));
            continue;
        }
        const char *name = json_str(data, "device"), *failed = json_str(data, "error");
        if (!name || strcmp(name, b->name) != 0)
            continue;
        return failed ? error_set(err, ERR_SYSTEM, "cannot copy the VM's disk: %s", failed) : 0;
    }
}

/* The draft is QEMU's until its job is gone. */
static void cancel_job(const struct backup *b)
{
    json_auto_t *data = NULL;
    qmp_ignore_interruption(b->qmp);
    if (qmp_callf(b->qmp, ANSWER_MS, NULL, NULL, "block-job-cancel", "{s:s, s:b}", "device",
                  b->name, "force", 1) == 0)
        (void)qmp_wait_event(b->qmp, "BLOCK_JOB_CANCELLED", ANSWER_MS, &data, NULL);
}

static int run_job(const struct backup *b, const char *path, struct error **err)
{
    if (qmp_callf(b->qmp, ANSWER_MS, NULL, err, "blockdev-add", "{s:s, s:s, s:n, s:{s:s, s:s}}",
                  "driver", "qcow2", "node-name", b->name, "backing", "file", "driver", "file",
                  "filename", path) < 0)
        return -1;
    int rc = qmp_callf(b->qmp, ANSWER_MS, NULL, err, "blockdev-backup", "{s:s, s:s, s:s, s:s}",
                       "job-id", b->name, "device", "disk", "target", b->name, "sync", "top");
    if (rc == 0)
        rc = wait_job(b, err);
    if (rc < 0)
        cancel_job(b);
    int gone = qmp_callf(b->qmp, ANSWER_MS, NULL, rc < 0 ? NULL : err, "blockdev-del", "{s:s}",
                         "node-name", b->name);
    return rc < 0 ? rc : gone;
}

/* a commit_copy_fn */
static int copy_live(void *arg, const char *path, const char *backing, struct error **err)
{
    const struct backup *b = arg;
    struct qcow2_overlay o = {.size = b->size, .backing = backing};
    AUTO_FREE char *real = NULL;
    if (qcow2_create_overlay(path, &o, err) < 0)
        return -1;
    real = realpath(path, NULL);
    if (!real)
        return error_errno(err, "cannot find '%s'", path);
    return run_job(b, real, err);
}

/* What the guest has not written to its disk yet would be missing. */
static void sync_guest(const struct session *s, const struct args *a, struct vm_live *live)
{
    CLEANUP(error_freep) struct error *why = NULL;
    int status = 0;
    live->timeout_ms = SYNC_MS;
    CLEANUP(vm_ssh_freep) struct vm_ssh *ssh = vm_live_login(s, a, live, &why);
    if (ssh)
        vm_ssh_limit(ssh, SYNC_MS);
    if (!ssh || vm_ssh_run(ssh, "sync", &status, &why) < 0 || status)
        session_notice(s,
                       "the guest could not be asked to sync (%s): its disk is taken as after a "
                       "power cut",
                       why ? why->message : "sync failed");
}

static int commit(const struct session *s, const struct named_vm *vm, struct commit_request *r,
                  struct backup *backup, struct error **err)
{
    CLEANUP(store_freep) struct store *st = NULL;
    CLEANUP(strv_clear) struct strv files = {0};
    AUTO_FREE char *path = path_join(vm->dir, VM_STORE_METADATA);
    AUTO_FREE char *step = xasprintf("kiln commit %s", vm->name);
    json_auto_t *metadata = json_read_file(path, NULL);
    if (vm_store_chain(s, vm, &st, &files, &backup->size, err) < 0)
        return -1;
    r->step = step;
    r->parent = json_str(vm->config, "layer");
    r->metadata = metadata;
    return commit_image(s, st, r, err);
}

static int commit_running(const struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(vm_live_clear) struct vm_live live = VM_LIVE_INIT;
    struct backup b = {.session = s};
    if (vm_live_open(s, a->pos[0], &live, err) < 0)
        return -1;
    if (!vm_is_detached(live.vm.dir)) {
        error_set(err, ERR_BUSY, "VM '%s' runs attached to another kiln", live.vm.name);
        if (vm_store_is_temporary(&live.vm))
            return error_hint(err,
                              "it goes when it ends; 'kiln run -d' or --name makes one that "
                              "can be committed");
        return error_hint(err, "end it there or with 'kiln stop %s', and commit it then",
                          live.vm.word);
    }
    sync_guest(s, a, &live);
    CLEANUP(qmp_freep) struct qmp *q = vm_detached_qmp(s, live.vm.dir, err);
    (void)snprintf(b.name, sizeof b.name, "commit-%ld", (long)getpid());
    b.qmp = q;
    struct commit_request r = {.image = a->pos[1], .copy = copy_live, .arg = &b};
    return q ? commit(s, &live.vm, &r, &b, err) : -1;
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    struct backup unused = {.session = s};
    int rc;
    if (args_user(a, "user", NULL, err) < 0 || image_name_check(a->pos[1], err) < 0 ||
        vm_find(s, a->pos[0], &vm, err) < 0)
        return -1;
    if (named_vm_runs(&vm)) {
        rc = commit_running(s, a, err);
    } else {
        struct commit_request r = {.image = a->pos[1], .copy = commit_copy_file, .arg = vm.disk};
        rc = named_vm_lock(&vm, err) < 0 || vm_state_refuse(&vm, err) < 0
                 ? -1
                 : commit(s, &vm, &r, &unused, err);
    }
    (void)json_object_set_new(a->result, "name", json_string(a->pos[1]));
    if (rc == 0 && !a->result)
        printf("Committed VM '%s' as image '%s'\n", a->pos[0], a->pos[1]);
    return rc;
}

static const struct option_spec options[] = {LOGIN_OPTIONS, JSON_OPTION, {0}};

const struct command cmd_commit = {
    .name = "commit",
    .summary = "Make an image of a VM's disk",
    .usage = "[options] NAME IMAGE",
    .detail =
        "The disk becomes a layer on the image the VM was made from. A VM in the background goes\n"
        "on meanwhile: its guest is asked to sync, over SSH, and its disk is taken as it is "
        "then.\n",
    .options = options,
    .min_args = 2,
    .max_args = 2,
    .flags = CMD_RESULT | CMD_IMAGES,
    .run = run,
};
