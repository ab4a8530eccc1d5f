// SPDX-License-Identifier: MIT
#include "vm/run_machine.h"

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "vm/bridge.h"
#include "vm/machine.h"
#include "vm/qmp.h"
#include "vm/share.h"
#include "vm/uefi.h"
#include "vm/warm.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SSH_PORT = 22 };

/* Whether QEMU's argument is the option `name`, with one dash or two. */
static bool is_option(const char *arg, const char *name)
{
    if (*arg++ != '-')
        return false;
    arg += *arg == '-';
    return !strcmp(arg, name);
}

bool vm_run_args_choose_accel(char *const *args)
{
    for (; args && *args; args++) {
        if (is_option(*args, "accel") || is_option(*args, "enable-kvm"))
            return true;
        bool machine = is_option(*args, "machine") || is_option(*args, "M");
        if (machine && args[1] && strstr(args[1], "accel="))
            return true;
    }
    return false;
}

static bool args_choose_network(char *const *args)
{
    for (; args && *args; args++)
        if (is_option(*args, "nic") || is_option(*args, "net") || is_option(*args, "netdev"))
            return true;
    return false;
}

/* The guest's NICs: those of the spec, with the way to its SSH server through the first; none where
 * the user's own arguments have one and nobody needs ours. Returns how many; the forwards of the
 * first go to *first, whose addresses stay borrowed. */
static size_t make_nics(const struct vm_run_options *o, struct vm_machine_nic *nics,
                        struct vm_forwards *first, struct strv *texts)
{
    const struct vm_spec *spec = o->spec;
    bool foreign = args_choose_network(spec->qemu_args.ptr);
    bool ssh = vm_spec_has_user_network(spec) &&
               (spec->session != VM_SERIAL || spec->ssh.port || (o->keep && !foreign));
    if (!spec->nics.len || (!ssh && !spec->nics.ptr[0].forwards.len && foreign))
        return 0;
    for (size_t i = 0; i < spec->nics.len; i++) {
        const struct vm_nic *nic = &spec->nics.ptr[i];
        strv_addf(texts, "kiln%zu", i);
        strv_add_take(texts, qemu_escape(nic->driver));
        nics[i] =
            (struct vm_machine_nic){.forwards = nic->forwards.ptr, .n_forwards = nic->forwards.len};
    }
    for (size_t i = 0; i < spec->nics.len; i++) {
        nics[i].id = texts->ptr[2 * i];
        nics[i].device = texts->ptr[2 * i + 1];
        nics[i].bridge = spec->nics.ptr[i].bridge;
        nics[i].group = spec->nics.ptr[i].group;
        nics[i].mac = spec->nics.ptr[i].mac;
    }
    if (!ssh)
        return spec->nics.len;
    vec_foreach (const struct vm_forward *, f, &spec->nics.ptr[0].forwards)
        *vm_forwards_push(first) = *f;
    *vm_forwards_push(first) =
        (struct vm_forward){(char *)"127.0.0.1", spec->ssh.port, SSH_PORT, false};
    nics[0].forwards = first->ptr;
    nics[0].n_forwards = first->len;
    return spec->nics.len;
}

/* QEMU's own message would be about a "host forwarding rule". */
static int check_port(const char *address, unsigned port, bool udp, const char *option,
                      struct error **err)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    AUTO_CLOSE int fd = socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    int yes = 1;
    if (!port || fd < 0 || inet_pton(AF_INET, address, &at.sin_addr) != 1)
        return 0;
    if (!udp)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) == 0)
        return 0;
    error_errno(err, "cannot use port %u of %s", port, address);
    return error_hint(err, "choose another one with %s", option);
}

int vm_run_check_ports(const struct vm_spec *spec, struct error **err)
{
    struct vm_forward to_ssh = {(char *)"127.0.0.1", spec->ssh.port, SSH_PORT, false};
    CLEANUP(vm_forwards_clear) struct vm_forwards all = {0};
    vec_foreach (const struct vm_nic *, nic, &spec->nics)
        if (nic->bridge && bridge_check(nic->bridge, err) < 0)
            return -1;
    vec_foreach (const struct vm_nic *, nic, &spec->nics)
        vec_foreach (const struct vm_forward *, f, &nic->forwards)
            *vm_forwards_push(&all) = *f;
    *vm_forwards_push(&all) = to_ssh;
    vec_foreach (const struct vm_forward *, f, &all) {
        const char *option = f < &all.ptr[all.len - 1]
                                 ? "--publish"
                                 : "--ssh-port; without the option a free one is taken";
        if (check_port(f->address, f->host_port, f->udp, option, err) < 0)
            return -1;
    }
    return 0;
}

int vm_run_explain(const struct vm_spec *spec, struct error **err)
{
    if (!err || !*err || !strstr((*err)->message, "host forwarding rule"))
        return -1;
    struct error *why = NULL;
    if (vm_run_check_ports(spec, &why) < 0) {
        error_free(STEAL(*err));
        return error_propagate(err, why);
    }
    return -1;
}

/* systemd (252 or newer) in the guest writes it to root's authorized_keys, unless there is that
 * file: systemd.system-credentials(7), "ssh.authorized_keys.root". Owned. */
static char *key_credential(const char *key)
{
    AUTO_FREE char *line = xasprintf("%s\n", key);
    size_t n = strlen(line);
    AUTO_FREE char *coded = xcalloc(4, n / 3 + 2);
    EVP_EncodeBlock((unsigned char *)coded, (const unsigned char *)line, (int)n);
    return xasprintf("type=11,value=io.systemd.credential.binary:ssh.authorized_keys.root=%s",
                     coded);
}

/* One device for each disk; the texts are owned by *texts. */
static void make_disks(const struct vm_run_options *o, const json_t *nodes,
                       struct vm_machine_disk *ret, struct strv *texts)
{
    static const char *const devices[] = {
        [VM_BUS_VIRTIO] = "virtio-blk-pci", [VM_BUS_IDE] = "ide-hd", [VM_BUS_SCSI] = "scsi-hd"};
    for (size_t i = 0; i < o->n_disks; i++)
        strv_addf(texts, "%s%s,werror=%s,rerror=report", devices[o->spec->disk_bus],
                  i ? "" : ",bootindex=1", o->stop_when_full ? "enospc" : "report");
    for (size_t i = 0; i < o->n_disks; i++)
        ret[i] = (struct vm_machine_disk){json_array_get(nodes, i), texts->ptr[i]};
}

/* A CD-ROM on virtio-scsi: a guest's kernel for clouds has no driver for AHCI or USB, and a second
 * virtio-blk could come before the disk. cloud-init's generator looks before the CD-ROM's driver is
 * loaded, and turns cloud-init off if it finds nothing; the serial number tells it. */
static void add_seed(struct strv *args, const char *path)
{
    AUTO_FREE char *escaped = qemu_escape(path);
    strv_add(args, "-blockdev");
    strv_addf(args, "driver=raw,read-only=on,node-name=seed,file.driver=file,file.filename=%s",
              escaped);
    strv_add(args, "-device");
    strv_add(args, "virtio-scsi-pci,id=seedbus");
    strv_add(args, "-device");
    strv_add(args, "scsi-cd,bus=seedbus.0,drive=seed");
    strv_add(args, "-smbios");
    strv_add(args, "type=1,serial=ds=nocloud");
}

void vm_run_machine(const struct vm_run_options *o, const json_t *nodes, struct strv *args)
{
    const struct vm_spec *spec = o->spec;
    AUTO_FREE struct vm_machine_nic *nics = xcalloc(spec->nics.len, sizeof *nics);
    CLEANUP(vm_forwards_clear) struct vm_forwards first = {0};
    CLEANUP(strv_clear) struct strv texts = {0}, devices = {0};
    AUTO_FREE struct vm_machine_disk *disks = xcalloc(o->n_disks, sizeof *disks);
    make_disks(o, nodes, disks, &devices);
    AUTO_FREE char *smbios = o->public_keys ? key_credential(o->public_keys) : NULL;
    struct vm_machine machine = {.accel = o->accel,
                                 .memory_mb = spec->memory_mb,
                                 .cpus = spec->cpus,
                                 .nics = nics,
                                 .n_nics = make_nics(o, nics, &first, &texts),
                                 .no_nics = !spec->nics.len,
                                 .scsi = spec->disk_bus == VM_BUS_SCSI,
                                 .incoming = o->restore,
                                 .smbios = smbios,
                                 .kernel = spec->kernel,
                                 .initrd = spec->initrd,
                                 .append = spec->append,
                                 .disks = disks,
                                 .n_disks = o->n_disks,
                                 .extra = spec->qemu_args.ptr};
    for (size_t i = 0; o->share_fds && i < spec->shares.len; i++)
        machine.ram_shared |= o->share_fds[i] >= 0;
    CLEANUP(strv_clear) struct strv extra = {0};
    if (o->warm) {
        machine.ram = o->warm->ram;
        machine.ram_shared = o->warm->ram_fd >= 0 || o->warm->again;
        vm_warm_args(o->warm, &extra);
    } else {
        vm_share_args(&extra, spec, o->share_fds);
    }
    if (o->uefi)
        vm_uefi_args(&extra, o->uefi);
    if (o->seed)
        add_seed(&extra, o->seed);
    for (char *const *arg = spec->qemu_args.ptr; arg && *arg; arg++)
        strv_add(&extra, *arg);
    machine.extra = extra.ptr;
    vm_machine_args(args, &machine);
}

size_t vm_run_keep(const struct vm_run_options *o, const int *held, size_t n, int *ret)
{
    if (n)
        memcpy(ret, held, n * sizeof *held);
    for (size_t i = 0; o->share_fds && i < o->spec->shares.len; i++)
        if (o->share_fds[i] >= 0)
            ret[n++] = o->share_fds[i];
    return n;
}

/* From QEMU's "info usernet": "TCP[HOST_FORWARD]  11  127.0.0.1 38969  10.0.2.15  22  0  0". */
json_t *vm_run_ports(struct qmp *qmp)
{
    static const char mark[] = "[HOST_FORWARD]";
    json_auto_t *reply = NULL;
    json_t *list = json_array();
    if (qmp_callf(qmp, 10000, &reply, NULL, "human-monitor-command", "{s:s}", "command-line",
                  "info usernet") < 0)
        return list;
    const char *text = json_string_value(reply);
    for (const char *p = text; p && (p = strstr(p, mark)); p++) {
        unsigned port, guest;
        char address[16];
        bool udp = p - text >= 3 && !memcmp(p - 3, "UDP", 3);
        if (sscanf(p, "[HOST_FORWARD] %*d %15s %u %*s %u", address, &port, &guest) == 3)
            (void)json_array_append_new(list, json_pack("{s:s, s:i, s:i, s:b}", "address", address,
                                                        "host_port", (int)port, "guest_port",
                                                        (int)guest, "udp", (int)udp));
    }
    return list;
}

int vm_run_ssh_port(struct qmp *qmp, unsigned *ret, struct error **err)
{
    json_auto_t *ports = vm_run_ports(qmp);
    size_t i;
    json_t *v;
    json_array_foreach (ports, i, v)
        if (json_int(v, "guest_port", 0) == SSH_PORT && !json_flag(v, "udp") &&
            !strcmp(json_str(v, "address"), "127.0.0.1")) {
            *ret = (unsigned)json_int(v, "host_port", 0);
            return 0;
        }
    return error_set(err, ERR_GUEST,
                     "QEMU does not report the port it forwards to the guest's SSH");
}
