// SPDX-License-Identifier: MIT
// Runs tests/fleet/*.case: what a VMFile is read as, and the mistakes in it. Paths are relative to
// tests/fleet/files, '~' is tests/fleet/home.
#include "fleet/fleet.h"
#include "tests/unit/cases_fixture.h"

static void add(struct buf *out, const char *name, const char *value)
{
    if (value)
        buf_addf(out, "  %s %s\n", name, value);
}

static void add_devices(struct buf *out, const struct fleet_vm *vm)
{
    add(out, "bridge", vm->bridge);
    for (size_t i = 0; i < vm->n_networks; i++)
        add(out, "network", vm->networks[i]);
    for (size_t i = 0; i < vm->n_forwards; i++)
        buf_addf(out, "  forward %s %u %u %s\n", vm->forwards[i].address, vm->forwards[i].host,
                 vm->forwards[i].guest, vm->forwards[i].udp ? "udp" : "tcp");
    for (size_t i = 0; i < vm->n_shares; i++)
        buf_addf(out, "  share %s %s%s\n", vm->shares[i].host, vm->shares[i].guest,
                 vm->shares[i].read_only ? " ro" : "");
    for (size_t i = 0; i < vm->n_volumes; i++)
        buf_addf(out, "  volume %s %u\n", vm->volumes[i].name, vm->volumes[i].gigabytes);
    for (size_t i = 0; i < vm->n_qemu_args; i++)
        add(out, "qemu", vm->qemu_args[i]);
}

static void add_vm(struct buf *out, const struct fleet_vm *vm)
{
    static const char *const sources[] = {"name", "file", "url", "oci", "build"};
    static const char *const kinds[] = {"inline", "script", "upload"};
    buf_addf(out, "%u:%u %s: %s %s, %u CPUs, %u MB, %u GB%s%s%s\n", vm->line, vm->column, vm->name,
             sources[vm->source], vm->image ? vm->image : "-", vm->vcpus, vm->memory_mb,
             vm->disk_gb, vm->no_grow ? " not grown" : "",
             vm->user_network ? "" : ", no user network", vm->uefi ? ", uefi" : "");
    add(out, "file", vm->build.file);
    add(out, "target", vm->build.target);
    for (size_t i = 0; i < vm->build.n_args; i++)
        add(out, "arg", vm->build.args[i]);
    if (vm->cloud_init)
        buf_adds(out, "  cloud-init\n");
    if (vm->inject)
        buf_adds(out, "  inject\n");
    add(out, "hostname", vm->hostname);
    add(out, "ssh-key", vm->ssh_key);
    add(out, "user-data", vm->user_data);
    add(out, "network-config", vm->network_config);
    add(out, "user", vm->user);
    add(out, "private-key", vm->private_key);
    if (vm->ssh_seconds)
        buf_addf(out, "  timeout %u s\n", vm->ssh_seconds);
    add_devices(out, vm);
    for (size_t i = 0; i < vm->n_after; i++)
        add(out, "after", vm->after[i]);
    for (size_t i = 0; i < vm->n_steps; i++)
        buf_addf(out, "  %u:%u %s %s %s\n", vm->steps[i].line, vm->steps[i].column,
                 kinds[vm->steps[i].kind], vm->steps[i].text ? vm->steps[i].text : "-",
                 vm->steps[i].destination ? vm->steps[i].destination : "");
}

static void read_case(struct str input, struct buf *out)
{
    struct fleet_given given = {"VMFile.kdl", "tests/fleet/files", "tests/fleet/home"};
    CLEANUP(fleet_freep)
    struct fleet *f = fleet_parse(&given, input.ptr ? input.ptr : "", input.len);
    for (size_t i = 0; !f->doc->diags.errors && i < f->n_vms; i++)
        add_vm(out, &f->vms[i]);
    for (size_t i = 0; i < f->doc->diags.len; i++)
        diag_format(&f->doc->source, &f->doc->diags.ptr[i], out);
}

int main(void)
{
    return cases_run("tests/fleet/*.case", read_case);
}
