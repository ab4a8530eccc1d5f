// SPDX-License-Identifier: MIT
#include "cli/vm_options.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

/* How much longer a guest may take to boot without KVM. */
enum { TCG_SLOWER = 3 };

void vm_options_init(struct vm_options *o)
{
    *o = (struct vm_options){.run = VM_RUN_OPTIONS_INIT};
    o->run.cpus = sysconf(_SC_NPROCESSORS_ONLN) > 1 ? 2 : 1;
}

void vm_options_clear(struct vm_options *o)
{
    strv_clear(&o->qemu_args);
}

static void say(void *arg, const char *line)
{
    (void)arg;
    print_note("", line);
}

/* stdout belongs to the command that is run. */
static void started(void *arg)
{
    const struct vm_run_options *o = arg;
    FILE *to = o->mode == RUN_SSH_COMMAND ? stderr : stdout;
    bool own = vm_run_args_choose_accel(o->qemu_args);
    fprintf(to, "Booting%s%s\n",
            own                     ? ""
            : o->accel == ACCEL_KVM ? " (KVM)"
                                    : " (TCG)",
            o->mode == RUN_SERIAL ? "" : ", waiting for SSH");
    fflush(to);
}

/* Seconds on the command line, milliseconds in the options. */
static int take_seconds(const struct args *a, const char *name, int *ms, struct error **err)
{
    long long seconds = *ms / 1000;
    if (args_seconds(a, name, &seconds, err) < 0)
        return -1;
    if (seconds > INT_MAX / 1000)
        return error_set(err, ERR_USAGE, "argument --%s: at most %d seconds", name, INT_MAX / 1000);
    *ms = (int)seconds * 1000;
    return 0;
}

/* The three options that say how the VM is reached go together: one of them replaces all. A
 * command wins over a console, as in transient. */
static void take_mode(const struct args *a, struct vm_run_options *o)
{
    bool console = args_has(a, "ssh-console"), serial = args_has(a, "ssh-with-serial");
    const char *command = args_get(a, "ssh-command");
    if (!command && !console && !serial)
        return;
    o->ssh_command = command;
    o->serial_too = serial;
    o->mode = command ? RUN_SSH_COMMAND : RUN_SSH_CONSOLE;
}

static void take_text(const struct args *a, const char *name, const char **ret)
{
    if (args_has(a, name))
        *ret = args_get(a, name);
}

int vm_options_take(const struct args *a, struct vm_options *options, struct error **err)
{
    struct vm_run_options *o = &options->run;
    long long port = o->ssh_port, cpus = o->cpus;
    enum accel wish;
    options->ssh_timeout_given |= args_has(a, "ssh-timeout");
    take_text(a, "accel", &options->accel);
    take_text(a, "qemu-bin-name", &options->qemu);
    take_text(a, "ssh-key", &o->ssh_key);
    take_text(a, "ssh-user", &o->ssh_user);
    take_text(a, "ssh-net-driver", &o->net_driver);
    take_mode(a, o);
    if (args_num(a, "ssh-port", 1, 65535, &port, err) < 0 ||
        args_num(a, "cpus", 1, 256, &cpus, err) < 0 || args_memory(a, &o->memory_mb, err) < 0 ||
        take_seconds(a, "ssh-timeout", &o->ssh_timeout_ms, err) < 0 ||
        take_seconds(a, "shutdown-timeout", &o->shutdown_timeout_ms, err) < 0 ||
        take_seconds(a, "qmp-timeout", &o->qmp_timeout_ms, err) < 0 ||
        accel_parse(options->accel, &wish, err) < 0)
        return -1;
    if (o->ssh_key && access(o->ssh_key, R_OK) < 0)
        return error_errno(err, "cannot read the SSH key '%s'", o->ssh_key);
    o->cpus = (unsigned)cpus;
    o->ssh_port = (unsigned)port;
    o->ide |= args_has(a, "no-virtio");
    for (size_t i = 0; i < a->n_rest; i++)
        strv_add(&options->qemu_args, a->rest[i]);
    return 0;
}

int vm_options_boot(const struct session *s, struct vm_options *options, struct error **err)
{
    struct vm_run_options *o = &options->run;
    CLEANUP(qemu_clear) struct qemu qemu = QEMU_INIT;
    int status = 0;
    if (qemu_find(s, options->qemu, &qemu, err) < 0)
        return -1;
    o->qemu = &qemu;
    o->qemu_args = options->qemu_args.ptr;
    if (!vm_run_args_choose_accel(o->qemu_args) &&
        accel_choose(s, options->accel, qemu.version, say, NULL, &o->accel, err) < 0)
        return -1;
    if (!options->ssh_timeout_given && o->accel == ACCEL_TCG)
        o->ssh_timeout_ms *= TCG_SLOWER;
    o->notice = say;
    o->started = started;
    o->arg = o;
    return vm_run(s, o, &status, err) < 0 ? -1 : status;
}
