// SPDX-License-Identifier: MIT
//
// Life and end of the builder VM. How it boots: boot.c; its machine: machine.c; requests:
// call.c; disks: disk.c; the stream disk: stream.c.
#include "builder/worker/internal.h"
#include "builder/worker/runner.h"

#include "base/alloc.h"
#include "base/json.h"
#include "base/session.h"

/* Until the target, if any, is seen: that is the first thing a VM does after a restore. */
static int start_once(struct builder_vm *vm, json_t *target, struct error **err)
{
    if (builder_vm_boot(vm, target, err) < 0)
        return error_wrap(err, "cannot start the builder VM");
    vm->answered = now_ms();
    builder_vm_pulse_start(vm);
    return target ? builder_vm_seen(vm, AGENT_DISK_TARGET, err) : 0;
}

static int start(struct builder_vm *vm, const struct runner_options *o, struct error **err)
{
    struct machine *m = &vm->machine;
    enum accel wish;
    if (accel_parse(vm->session, o->accel, &wish, err) < 0 ||
        qemu_find(vm->session, NULL, &m->qemu, err) < 0 ||
        accel_choose(vm->session, o->accel, m->qemu.version, &m->accel, err) < 0 ||
        appliance_get(vm->session, &m->appliance, err) < 0)
        return -1;
    vm->may_fall_back = wish == ACCEL_AUTO && m->accel == ACCEL_KVM;
    machine_size(m, o);
    // everything else that QEMU is told by name must be absolute then
    if (o->cwd && *m->qemu.path == '/' && *vm->session->cache == '/')
        vm->cwd = xstrdup(o->cwd);
    json_auto_t *target = NULL;
    if (o->target.n_files) {
        target = builder_vm_disk_nodes(vm, AGENT_DISK_TARGET, &o->target,
                                       &vm->slots[AGENT_DISK_TARGET], err);
        if (!target)
            return -1;
    }
    CLEANUP(error_freep) struct error *why = NULL;
    if (start_once(vm, target, &why) == 0)
        return 0;
    if (why->kind != ERR_GUEST || !builder_vm_template_failed(vm))
        return error_propagate(err, STEAL(why));
    session_notice(vm->session,
                   "the builder VM failed, and its template is damaged: starting another (%.*s)",
                   (int)strcspn(why->message, "\n"), why->message);
    vm->restored = vm->lost = false;
    return start_once(vm, target, err);
}

int builder_vm_start(const struct session *s, const struct runner_options *o,
                     struct builder_vm **ret, struct error **err)
{
    CLEANUP(builder_vm_freep) struct builder_vm *vm = xcalloc(1, sizeof *vm);
    vm->runner.ops = &builder_vm_runner;
    vm->session = s;
    vm->io_slot = -1;
    vm->work = (struct working)WORKING_INIT;
    buf_init(&vm->received);
    long long begin = now_ms();
    if (start(vm, o, err) < 0)
        return -1;
    session_debug(s, 1, "builder VM ready in %lld ms (%s, %u MB, %u CPUs)", now_ms() - begin,
                  accel_name(vm->machine.accel), vm->machine.memory_mb, vm->machine.cpus);
    *ret = STEAL(vm);
    return 0;
}

bool builder_vm_template_failed(struct builder_vm *vm)
{
    if (!vm->restored || !vm->lost)
        return false;
    builder_vm_kill(vm);
    AUTO_FREE char *key = machine_key(&vm->machine);
    return template_damaged(vm->session, key);
}

long long builder_vm_answered(const struct builder_vm *vm)
{
    return vm->answered;
}

int builder_vm_stop(struct builder_vm *vm, struct error **err)
{
    enum { ASK_MS = 20 * 1000, END_MS = 3000 };
    int rc = 0;
    if (vm->vm) {
        rc = builder_vm_call(vm, AGENT_SHUTDOWN, NULL, ASK_MS, NULL, NULL, NULL, err);
        if (rc == 0 && vm_wait_end(vm->vm, END_MS, NULL) < 0)
            (void)vm_quit(vm->vm, END_MS, NULL);
    }
    builder_vm_kill(vm);
    return rc;
}

void builder_vm_free(struct builder_vm *vm)
{
    if (!vm)
        return;
    builder_vm_kill(vm);
    guestfs_free(vm->guestfs);
    for (int i = 0; i < AGENT_DISKS; i++)
        disk_slot_clear(&vm->slots[i]);
    machine_clear(&vm->machine);
    working_clear(&vm->work);
    buf_clear(&vm->received);
    free(vm->io_reason);
    free(vm->cwd);
    free(vm->own_session);
    free(vm);
}

int builder_vm_stream_begin(struct builder_vm *vm, runner_produce_fn *produce, void *arg,
                            uint64_t *ret_offset, struct error **err)
{
    if (!vm->stream)
        return error_set(err, ERR_GUEST, "the builder VM has ended");
    return stream_server_begin(vm->stream, produce, arg, ret_offset, err);
}

void builder_vm_stream_end(struct builder_vm *vm)
{
    if (!vm->stream)
        return;
    uint64_t bytes = stream_server_end(vm->stream);
    session_debug(vm->session, 1, "stream of %llu bytes", (unsigned long long)bytes);
}
