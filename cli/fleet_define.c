// SPDX-License-Identifier: MIT
// Each row of the table makes the text of one part of the definition, and says what a change of it
// takes.
#include "cli/fleet_define.h"

#include "base/alloc.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/fleet_network.h"
#include "cli/fleet_volume.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* 16 letters of a text's digest: enough to tell what is ours apart. */
static void short_digest(const char *text, char out[17])
{
    char hex[DIGEST_HEX + 1];
    struct digest d = digest_of(text, strlen(text));
    digest_hex(&d, hex);
    memcpy(out, hex, 16);
    out[16] = '\0';
}

static int add_file(struct buf *out, const char *name, const char *path, struct error **err)
{
    char hex[DIGEST_HEX + 1];
    struct digest d;
    if (!path)
        return 0;
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, "cannot open '%s'", path);
    if (digest_of_fd(fd, &d, err) < 0)
        return error_wrap(err, "'%s'", path);
    digest_hex(&d, hex);
    buf_addf(out, "%s%s=%s", out->len ? " " : "", name, hex);
    return 0;
}

/* What is made into a disk name: the last part of a path without its endings. */
static char *base_name(const char *path)
{
    const char *last = strrchr(path, '/');
    last = last && last[1] ? last + 1 : path;
    char *name = xstrndup(last, strcspn(last, "?#"));
    static const char *const endings[] = {".zst", ".zstd", ".xz", ".gz", ".qcow2", ".img", ".raw"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t n = strlen(name), e = strlen(endings[i]);
        if (n > e && !strcmp(name + n - e, endings[i]))
            name[n - e] = '\0';
    }
    for (char *p = name; *p; p++)
        if (*p == ',' || *p == ':' || *p == '/' || *p == '@')
            *p = '-';
    return name;
}

char *fleet_build_name(const struct fleet_vm *vm)
{
    AUTO_FREE char *base = base_name(vm->image);
    CLEANUP(buf_clear) struct buf all = BUF_INIT;
    char digest[17];
    buf_addf(&all, "%s\n%s\n%s", vm->image, vm->build.file ? vm->build.file : "",
             vm->build.target ? vm->build.target : "");
    for (size_t i = 0; i < vm->build.n_args; i++)
        buf_addf(&all, "\n%s", vm->build.args[i]);
    short_digest(all.data, digest);
    return xasprintf("%s-%.8s", base, digest);
}

char *fleet_image(const struct fleet_vm *vm)
{
    char digest[17];
    AUTO_FREE char *base = base_name(vm->image);
    short_digest(vm->image, digest);
    switch (vm->source) {
    case FLEET_FILE:
        return xasprintf("%s-%.8s,file=%s", base, digest, vm->image);
    case FLEET_URL:
        return xasprintf("%s-%.8s,http=%s", base, digest, vm->image);
    case FLEET_BUILD:
        return fleet_build_name(vm);
    case FLEET_NAME:
    case FLEET_OCI:
        break;
    }
    return xstrdup(vm->image);
}

typedef int part_fn(const struct fleet_file *f, const struct fleet_vm *vm, struct buf *out,
                    struct error **err);

static int add_image(const struct fleet_file *f, const struct fleet_vm *vm, struct buf *out,
                     struct error **err)
{
    (void)f, (void)err;
    buf_addf(out, "%s%s", vm->source == FLEET_BUILD ? "build " : "", vm->image);
    if (vm->build.file)
        buf_addf(out, " file=%s", vm->build.file);
    if (vm->build.target)
        buf_addf(out, " target=%s", vm->build.target);
    for (size_t i = 0; i < vm->build.n_args; i++)
        buf_addf(out, " %s", vm->build.args[i]);
    return 0;
}

static int add_disk(const struct fleet_file *f, const struct fleet_vm *vm, struct buf *out,
                    struct error **err)
{
    (void)f, (void)err;
    if (vm->disk_gb)
        buf_addf(out, "%u%s", vm->disk_gb, vm->no_grow ? " grow=false" : "");
    return 0;
}

static int add_cloud_init(const struct fleet_file *f, const struct fleet_vm *vm, struct buf *out,
                          struct error **err)
{
    (void)f;
    if (!vm->cloud_init)
        return 0;
    buf_addf(out, "hostname=%s", vm->hostname ? vm->hostname : vm->name);
    if (!vm->user_data)
        buf_addf(out, " user=%s", vm->user ? vm->user : "vm");
    return add_file(out, "ssh-key", vm->ssh_key, err) < 0 ||
                   add_file(out, "user-data", vm->user_data, err) < 0 ||
                   add_file(out, "network-config", vm->network_config, err) < 0
               ? -1
               : 0;
}

static int add_inject(const struct fleet_file *f, const struct fleet_vm *vm, struct buf *out,
                      struct error **err)
{
    (void)f, (void)err;
    if (vm->inject)
        buf_addf(out, "user=%s hostname=%s", vm->user ? vm->user : "-",
                 vm->hostname ? vm->hostname : vm->name);
    return 0;
}

static int add_volumes(const struct fleet_file *f, const struct fleet_vm *vm, struct buf *out,
                       struct error **err)
{
    (void)f, (void)err;
    for (size_t i = 0; i < vm->n_volumes; i++)
        buf_addf(out, "%s%s %u", i ? ", " : "", vm->volumes[i].name, vm->volumes[i].gigabytes);
    return 0;
}

static int add_vcpus(const struct fleet_file *f, const struct fleet_vm *vm, struct buf *out,
                     struct error **err)
{
    (void)f, (void)err;
    buf_addf(out, "%u", vm->vcpus);
    return 0;
}

static int add_memory(const struct fleet_file *f, const struct fleet_vm *vm, struct buf *out,
                      struct error **err)
{
    (void)f, (void)err;
    buf_addf(out, "%u", vm->memory_mb);
    return 0;
}

static int add_network(const struct fleet_file *f, const struct fleet_vm *vm, struct buf *out,
                       struct error **err)
{
    (void)err;
    if (vm->user_network)
        buf_adds(out, "user");
    if (vm->bridge)
        buf_addf(out, "%stap=%s", out->len ? " " : "", vm->bridge);
    for (size_t i = 0; i < vm->n_networks; i++) {
        buf_addf(out, "%s%s=", out->len ? " " : "", vm->networks[i]);
        fleet_network_address(f, vm, vm->networks[i], out);
    }
    if (!out->len)
        buf_adds(out, "none");
    return 0;
}

static int add_forwards(const struct fleet_file *f, const struct fleet_vm *vm, struct buf *out,
                        struct error **err)
{
    (void)f, (void)err;
    for (size_t i = 0; i < vm->n_forwards; i++)
        buf_addf(out, "%s%s:%u:%u%s", i ? " " : "", vm->forwards[i].address, vm->forwards[i].host,
                 vm->forwards[i].guest, vm->forwards[i].udp ? "/udp" : "");
    return 0;
}

static int add_shares(const struct fleet_file *f, const struct fleet_vm *vm, struct buf *out,
                      struct error **err)
{
    (void)f, (void)err;
    for (size_t i = 0; i < vm->n_shares; i++)
        buf_addf(out, "%s%s:%s%s", i ? " " : "", vm->shares[i].host, vm->shares[i].guest,
                 vm->shares[i].read_only ? ":ro" : "");
    return 0;
}

static int add_uefi(const struct fleet_file *f, const struct fleet_vm *vm, struct buf *out,
                    struct error **err)
{
    (void)f, (void)err;
    buf_adds(out, vm->uefi ? "yes" : "");
    return 0;
}

static int add_qemu_args(const struct fleet_file *f, const struct fleet_vm *vm, struct buf *out,
                         struct error **err)
{
    (void)f, (void)err;
    for (size_t i = 0; i < vm->n_qemu_args; i++) {
        buf_adds(out, i ? " " : "");
        buf_add_shell_word(out, vm->qemu_args[i]);
    }
    return 0;
}

static int add_ssh(const struct fleet_file *f, const struct fleet_vm *vm, struct buf *out,
                   struct error **err)
{
    (void)f, (void)err;
    buf_adds(out, vm->user ? vm->user : "");
    if (vm->private_key)
        buf_addf(out, " %s", vm->private_key);
    return 0;
}

static int add_steps(const struct fleet_file *f, const struct fleet_vm *vm, struct buf *out,
                     struct error **err)
{
    (void)f;
    for (size_t i = 0; i < vm->n_steps; i++) {
        const struct fleet_step *step = &vm->steps[i];
        if (step->kind == FLEET_INLINE)
            buf_addf(out, "%s%s", i ? "\n" : "", step->text);
        else if (add_file(out, step->destination ? step->destination : "script", step->text, err) <
                 0)
            return -1;
    }
    return 0;
}

static const struct {
    const char *name;
    part_fn *add;
    enum fleet_change takes;
    bool hidden; /* too long for a message */
} parts[] = {
    {"image", add_image, FLEET_RELOAD, false},
    {"disk", add_disk, FLEET_RELOAD, false},
    {"cloud-init", add_cloud_init, FLEET_RESTART, true},
    {"inject", add_inject, FLEET_RELOAD, false},
    {"volume", add_volumes, FLEET_RESTART, false},
    {"vcpus", add_vcpus, FLEET_RESTART, false},
    {"memory", add_memory, FLEET_RESTART, false},
    {"network", add_network, FLEET_RESTART, false},
    {"forward", add_forwards, FLEET_RESTART, false},
    {"share", add_shares, FLEET_RESTART, false},
    {"uefi", add_uefi, FLEET_RESTART, false},
    {"qemu-args", add_qemu_args, FLEET_RESTART, false},
    {"ssh", add_ssh, FLEET_RESTART, false},
    {"provision", add_steps, FLEET_PROVISION, true},
};
enum { N_PARTS = sizeof parts / sizeof *parts };

json_t *fleet_definition(const struct fleet_file *f, const struct fleet_vm *vm, struct error **err)
{
    json_auto_t *v = json_object();
    for (size_t i = 0; i < N_PARTS; i++) {
        CLEANUP(buf_clear) struct buf text = BUF_INIT;
        if (parts[i].add(f, vm, &text, err) < 0)
            return NULL;
        if (text.len && json_object_set_new(v, parts[i].name, json_string(text.data)) < 0) {
            error_set(err, ERR_USER, "'%s' of VM '%s' is not UTF-8", parts[i].name, vm->name);
            return NULL;
        }
    }
    return STEAL(v);
}

enum fleet_change fleet_changes(const json_t *old, const json_t *now, struct buf *text)
{
    enum fleet_change most = FLEET_SAME;
    for (size_t i = 0; i < N_PARTS; i++) {
        const char *a = json_str(old, parts[i].name), *b = json_str(now, parts[i].name);
        if ((!a && !b) || (a && b && !strcmp(a, b)))
            continue;
        buf_addf(text, "%s%s", text->len ? ", " : "", parts[i].name);
        if (!parts[i].hidden)
            buf_addf(text, " %s → %s", a ? a : "none", b ? b : "none");
        if (parts[i].takes > most)
            most = parts[i].takes;
    }
    return most;
}

void fleet_spec(const struct session *s, const struct fleet_file *f, const struct fleet_vm *vm,
                struct vm_spec *ret)
{
    ret->memory_mb = vm->memory_mb;
    ret->cpus = vm->vcpus;
    ret->uefi = vm->uefi;
    vm_spec_no_network(ret);
    if (vm->user_network)
        vm_spec_user_nic(ret);
    fleet_network_bridge(f, vm, ret);
    for (size_t i = 0; i < vm->n_forwards; i++)
        vm_spec_forward(ret,
                        &(struct vm_forward){(char *)vm->forwards[i].address, vm->forwards[i].host,
                                             vm->forwards[i].guest, vm->forwards[i].udp});
    for (size_t i = 0; i < vm->n_shares; i++)
        vm_spec_share(ret,
                      &(struct vm_share){(char *)vm->shares[i].host, (char *)vm->shares[i].guest,
                                         vm->shares[i].read_only});
    if (vm->user)
        vm_spec_set(&ret->ssh.user, vm->user);
    if (vm->private_key)
        vm_spec_set(&ret->ssh.key, vm->private_key);
    fleet_network_spec(s, f, vm, ret);
    fleet_volumes_spec(s, vm, ret);
    for (size_t i = 0; i < vm->n_qemu_args; i++)
        strv_add(&ret->qemu_args, vm->qemu_args[i]);
}
