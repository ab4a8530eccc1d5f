// SPDX-License-Identifier: MIT
//
// Three ways to a talking agent: making the template (memory in a shared file, placeholders for
// disks; then device state goes to a file, and x-ignore-shared leaves the memory where it is),
// restoring it (the same file mapped copy-on-write, with the build's real disks), and a cold boot
// where that fails. A QEMU that somebody kills on the way is not replaced by another, as it would
// not be later in the build: that is an error, and its template stays.
#include "builder/worker/internal.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "base/session.h"
#include "builder/agent/rehearse.h"
#include "vm/kvm_probe.h"
#include "vm/migrate.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

/* What a template may grow to on disk, roughly: less free space is not worth a try. */
#define TEMPLATE_ROOM (700ull << 20)

static void on_event(void *arg, const char *event, const json_t *data)
{
    struct builder_vm *vm = arg;
    const char *action = json_str(data, "action"), *node = json_str(data, "node-name");
    if (strcmp(event, "BLOCK_IO_ERROR") != 0 || !action || strcmp(action, "stop") != 0)
        return;
    vm->io_slot = AGENT_DISK_TARGET;
    for (int i = 0; i < AGENT_DISKS; i++)
        for (size_t j = 0; node && j < vm->slots[i].nodes.len; j++)
            if (strcmp(vm->slots[i].nodes.ptr[j], node) == 0)
                vm->io_slot = i;
    vm->io_nospace = json_flag(data, "nospace");
    free(vm->io_reason);
    const char *reason = json_str(data, "reason");
    vm->io_reason = reason ? xstrdup(reason) : NULL;
}

void builder_vm_kill(struct builder_vm *vm)
{
    vm_free(vm->vm);
    vm->vm = NULL;
    stream_server_free(vm->stream);
    vm->stream = NULL;
    buf_reset(&vm->received);
    vm->pulse = (struct pulse){0};
    vm->out_of_step = false;
    vm->io_slot = -1;
}

/* The stream disk's server and, in *ret, QEMU's end of its socket. */
static int start_stream(struct builder_vm *vm, int *ret, struct error **err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return error_errno(err, "cannot make a socket pair");
    vm->stream = stream_server_new_take(pair[0], err);
    *ret = pair[1];
    return vm->stream ? 0 : -1;
}

static int launch(struct builder_vm *vm, enum machine_start start, const struct saved *t,
                  json_t *target, struct error **err)
{
    CLEANUP(strv_clear) struct strv args = {0};
    AUTO_CLOSE int stream_fd = -1;
    json_auto_t *stream = NULL;
    json_t *nodes[AGENT_DISKS] = {NULL};
    if (start != MACHINE_TEMPLATE) {
        if (start_stream(vm, &stream_fd, err) < 0)
            return -1;
        AUTO_FREE char *fd = xasprintf("%d", stream_fd);
        stream = json_pack("[{s:s, s:s, s:b, s:{s:s, s:s}}]", "driver", "nbd", "node-name",
                           "stream", "read-only", 1, "server", "type", "fd", "str", fd);
        nodes[AGENT_DISK_STREAM] = stream;
        nodes[AGENT_DISK_TARGET] = target;
    }
    machine_args(&args, &vm->machine, start, t, nodes);
    struct vm_start_options spec = {.qemu = vm->machine.qemu.path,
                                    .args = &args,
                                    .cwd = vm->cwd,
                                    .ports = ARGV("agent", "pulse", "guestfs"),
                                    .keep = &stream_fd,
                                    .n_keep = stream_fd >= 0};
    vm->vm = vm_start(vm->session, &spec, err);
    if (!vm->vm)
        return -1;
    vm_on_event(vm->vm, on_event, vm);
    return 0;
}

/* Stops the VM before its rehearsal begins (builder/agent/rehearse.h); on a busy host that may take
 * more than one try. */
static int stop_rehearsing(struct builder_vm *vm, int timeout_ms, struct error **err)
{
    struct qmp *q = vm_qmp(vm->vm);
    for (int tries = 5;;) {
        if (builder_vm_hello(vm, AGENT_REHEARSE, timeout_ms, err) < 0)
            return -1;
        long long answered = now_ms();
        if (qmp_command(q, "stop", NULL, QMP_TIMEOUT_MS, NULL, err) < 0)
            return -1;
        if (now_ms() - answered < REHEARSAL_DELAY_MS / 2 || --tries == 0)
            return 0;
        if (qmp_command(q, "cont", NULL, QMP_TIMEOUT_MS, NULL, err) < 0)
            return -1;
    }
}

static int check_appliance(struct builder_vm *vm, struct error **err)
{
    return appliance_check(vm->session, &vm->machine.appliance, err);
}

/* Boots the machine without disks and keeps it as it is when the agent has answered. */
static int make_template(struct builder_vm *vm, struct saved *t, int timeout_ms, struct error **err)
{
    long long start = now_ms();
    AUTO_FREE char *kernel = path_join(t->dir, TEMPLATE_KERNEL);
    AUTO_CLOSE int fd = open(t->state, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, "cannot make '%s'", t->state);
    int rc = -1;
    if (check_appliance(vm, err) == 0 &&
        template_stand_in(vm->machine.appliance.kernel.path, kernel, err) == 0 &&
        launch(vm, MACHINE_TEMPLATE, t, NULL, err) == 0 &&
        stop_rehearsing(vm, timeout_ms, err) == 0 &&
        vm_migrate(vm->session, vm_qmp(vm->vm), VM_MIGRATE_OUT, fd, true, err) == 0)
        rc = 0;
    if (rc == 0)
        session_debug(vm->session, 1, "builder VM booted in %.2f s", (now_ms() - start) / 1000.0);
    if (vm->vm && rc == 0)
        (void)vm_quit(vm->vm, 5000, NULL);
    builder_vm_kill(vm);
    return rc < 0 ? -1 : saved_commit(vm->session, t, err);
}

static int restore(struct builder_vm *vm, const struct saved *t, json_t *target, struct error **err)
{
    AUTO_CLOSE int fd = open(t->state, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, "cannot read '%s'", t->state);
    if (launch(vm, MACHINE_RESTORE, t, target, err) < 0 ||
        vm_migrate(vm->session, vm_qmp(vm->vm), VM_MIGRATE_IN, fd, true, err) < 0 ||
        // the state says that the VM was stopped
        qmp_command(vm_qmp(vm->vm), "cont", NULL, QMP_TIMEOUT_MS, NULL, err) < 0 ||
        // the guest takes note of it on one processor while the agent answers on another
        (target && builder_vm_announce(vm, AGENT_DISK_TARGET, err) < 0))
        return -1;
    return builder_vm_hello(vm, 0, RESTORE_TIMEOUT_MS, err);
}

static int timeout_of(const struct builder_vm *vm)
{
    return vm->may_fall_back && vm->machine.accel == ACCEL_KVM ? KVM_TRIAL_MS : BOOT_TIMEOUT_MS;
}

static int boot_cold(struct builder_vm *vm, json_t *target, struct error **err)
{
    builder_vm_kill(vm);
    if (check_appliance(vm, err) < 0 || launch(vm, MACHINE_COLD, NULL, target, err) < 0)
        return -1;
    return builder_vm_hello(vm, 0, timeout_of(vm), err);
}

/* The first line of an error, for a notice. */
static void tell(const struct builder_vm *vm, const char *what, const struct error *e)
{
    session_notice(vm->session, "%s: %.*s; booting it cold", what, (int)strcspn(e->message, "\n"),
                   e->message);
}

/* A ready template in *t. */
static int get_template(struct builder_vm *vm, struct saved *t, int timeout_ms, struct error **err)
{
    AUTO_FREE char *key = machine_key(&vm->machine);
    if (template_open(vm->session, key, t, err) < 0)
        return -1;
    if (t->ready)
        return 0;
    if (free_bytes(vm->session->cache) < TEMPLATE_ROOM)
        return error_set(err, ERR_SYSTEM, "too little room in '%s'", vm->session->cache);
    session_notice(vm->session, t->damaged ? "the builder VM's template is damaged: rebuilding it"
                                           : "booting the builder VM once to make its template");
    return make_template(vm, t, timeout_ms, err);
}

/* Errors that neither another try nor a cold boot would mend. */
static bool is_final(struct error **why)
{
    if ((*why)->kind == ERR_KILLED)
        error_hint(why,
                   "the kernel kills programs when memory runs out ('dmesg' tells); a smaller "
                   "--memory may help");
    return (*why)->kind == ERR_CANCELLED || (*why)->kind == ERR_KILLED;
}

/* Errors of the VM itself, which another accelerator may not have. */
static bool is_guests(const struct error *why)
{
    return why->kind == ERR_GUEST;
}

/* Under vm->machine.accel. */
static int boot(struct builder_vm *vm, json_t *target, struct error **err)
{
    CLEANUP(saved_clear) struct saved t = SAVED_INIT;
    CLEANUP(error_freep) struct error *why = NULL;
    if (get_template(vm, &t, timeout_of(vm), &why) < 0) {
        if (is_final(&why) || why->hint || (vm->machine.accel == ACCEL_KVM && is_guests(why)))
            return error_propagate(err, STEAL(why));
        tell(vm, "the builder VM's template cannot be made", why);
    } else if (restore(vm, &t, target, &why) == 0) {
        vm->restored = true;
        return 0;
    } else {
        if (is_final(&why))
            return error_propagate(err, STEAL(why));
        saved_reject(&t);
        if (vm->may_fall_back && kvm_probe(err) < 0) // then a boot would fail too, after minutes
            return -1;
        tell(vm, "the builder VM cannot be restored from its template", why);
    }
    saved_clear(&t);
    return boot_cold(vm, target, err);
}

int builder_vm_boot(struct builder_vm *vm, json_t *target, struct error **err)
{
    CLEANUP(error_freep) struct error *why = NULL;
    const char *version = vm->machine.qemu.version;
    if (vm->machine.accel != ACCEL_KVM)
        return boot(vm, target, err);
    if (boot(vm, target, &why) == 0) {
        accel_worked(vm->session, version);
        return 0;
    }
    error_hint(&why, "try it without KVM: --accel tcg, or KILN_ACCEL=tcg");
    if (!vm->may_fall_back || !is_guests(why))
        return error_propagate(err, STEAL(why));
    AUTO_FREE char *text = xasprintf("the builder VM does not start under KVM: %.*s",
                                     (int)strcspn(why->message, "\n"), why->message);
    (void)accel_verdict_store(vm->session, version, ACCEL_FOUND_FAILED, text, NULL);
    accel_tell_tcg(vm->session, text);
    builder_vm_kill(vm);
    vm->machine.accel = ACCEL_TCG;
    return boot(vm, target, err);
}
