// SPDX-License-Identifier: MIT
//
// kiln run: options to a struct vm_run_options, an image or NAME@STEP to a chain of files, and the
// choice of the accelerator; the rest is vm/run.
#include "base/alloc.h"
#include "builder/build.h"
#include "builder/vm.h"
#include "cli/build_ui.h"
#include "cli/command.h"
#include "vm/run.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct option_spec options[] = {
    {"ssh-command", 0, "CMD", "Run a command over SSH; its exit status becomes kiln's", NULL},
    {"ssh-console", 0, NULL, "A shell over SSH instead of the serial console", "ssh"},
    {"ssh-with-serial", 0, NULL, "As --ssh, and show the serial console until SSH is there",
     "sshs"},
    {"ssh-user", 0, "USER", "User to log in as [default: vagrant]", NULL},
    {"ssh-key", 0, "FILE", "Private key [default: kiln's own, ssh-agent's, ~/.ssh/id_*]", NULL},
    {"ssh-port", 0, "PORT", "Port on 127.0.0.1 for the guest's SSH [default: a free one]", NULL},
    {"ssh-timeout", 0, "SECONDS", "How long to wait for SSH [default: 90]", NULL},
    {"ssh-net-driver", 0, "DRIVER", "QEMU's network device [default: virtio-net-pci]", NULL},
    {"shutdown-timeout", 0, "SECONDS", "How long the guest may take to power off [default: 20]",
     NULL},
    {"qmp-timeout", 0, "SECONDS", "How long QEMU may take to answer [default: 10]", NULL},
    {"qemu-bin-name", 0, "PROGRAM", "QEMU [default: KILN_QEMU or qemu-system-x86_64]", NULL},
    {"accel", 0, "auto|kvm|tcg", "Accelerator [default: KILN_ACCEL or auto]", NULL},
    {"memory", 0, "SIZE", "Memory of the VM [default: 1GB]", NULL},
    {"cpus", 0, "N", "CPUs of the VM [default: 2, or 1 on a host with one]", NULL},
    {"no-virtio", 0, NULL, "An IDE disk, for guests without virtio drivers", "no-virtio-scsi"},
    {0},
};

static void say(void *arg, const char *line)
{
    (void)arg;
    fprintf(stderr, "%s\n", line);
}

/* stdout belongs to the command that is run. */
static void started(void *arg)
{
    const struct vm_run_options *o = arg;
    FILE *to = o->mode == RUN_SSH_COMMAND ? stderr : stdout;
    fputs("Finished preparation. Starting virtual machine\n", to);
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

static int take_mode(const struct args *a, struct vm_run_options *o, struct error **err)
{
    o->ssh_command = args_get(a, "ssh-command");
    o->serial_too = args_has(a, "ssh-with-serial");
    bool console = args_has(a, "ssh-console");
    if (o->ssh_command && console)
        return error_set(err, ERR_USAGE, "argument --ssh-console: not with --ssh-command");
    o->mode = o->ssh_command             ? RUN_SSH_COMMAND
              : console || o->serial_too ? RUN_SSH_CONSOLE
                                         : RUN_SERIAL;
    return 0;
}

static int take_options(const struct args *a, struct vm_run_options *o, struct error **err)
{
    unsigned long long memory = 1ULL << 30;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    long long port = 0, cpus = online > 1 ? 2 : 1;
    if (take_mode(a, o, err) < 0 || args_num(a, "ssh-port", 1, 65535, &port, err) < 0 ||
        args_num(a, "cpus", 1, 256, &cpus, err) < 0 || args_size(a, "memory", &memory, err) < 0 ||
        take_seconds(a, "ssh-timeout", &o->ssh_timeout_ms, err) < 0 ||
        take_seconds(a, "shutdown-timeout", &o->shutdown_timeout_ms, err) < 0 ||
        take_seconds(a, "qmp-timeout", &o->qmp_timeout_ms, err) < 0)
        return -1;
    if (memory < 16 << 20 || memory > 1ULL << 44)
        return error_set(err, ERR_USAGE, "argument --memory: from 16M to 16T");
    o->memory_mb = (unsigned)(memory >> 20);
    o->cpus = (unsigned)cpus;
    o->ssh_port = (unsigned)port;
    o->ssh_key = args_get(a, "ssh-key");
    if (args_has(a, "ssh-user"))
        o->ssh_user = args_get(a, "ssh-user");
    if (args_has(a, "ssh-net-driver"))
        o->net_driver = args_get(a, "ssh-net-driver");
    o->ide = args_has(a, "no-virtio");
    o->qemu_args = a->rest;
    return 0;
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    struct vm_run_options o = VM_RUN_OPTIONS_INIT;
    CLEANUP(qemu_clear) struct qemu qemu = QEMU_INIT;
    CLEANUP(image_chain_clear) struct image_chain chain = {0};
    CLEANUP(build_shown_clear) struct build_shown shown = {0};
    enum accel wish;
    int status = 0;
    const char *accel = args_get(a, "accel");
    if (take_options(a, &o, err) < 0 || accel_parse(accel, &wish, err) < 0 ||
        build_shown_init(&shown, NULL, err) < 0)
        return -1;
    progress_init(&shown.bar, stderr, PROGRESS_AUTO); // stdout is the guest's
    if (image_chain_open(s, a->pos[0], &shown.ui, &chain, err) < 0 ||
        qemu_find(s, args_get(a, "qemu-bin-name"), &qemu, err) < 0)
        return -1;
    o.qemu = &qemu;
    o.files = (const char *const *)chain.files.ptr;
    o.n_files = chain.files.len;
    o.size = chain.size;
    if (!vm_run_args_choose_accel(o.qemu_args) &&
        builder_accel(s, accel, say, NULL, &o.accel, err) < 0)
        return -1;
    o.notice = say;
    o.started = started;
    o.arg = &o;
    if (vm_run(s, &o, &status, err) < 0)
        return -1;
    return status;
}

const struct command cmd_run = {
    .name = "run",
    .summary = "Boot an image; what the guest changes is thrown away",
    .usage = "IMAGE [options] [-- QEMU-ARGUMENT...]",
    .detail =
        "Without an SSH option the guest's serial console is yours; Ctrl-A x ends the VM.\n"
        "The VM ends when you leave, and leaves nothing behind.\n",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .flags = CMD_REST,
    .run = run,
};
