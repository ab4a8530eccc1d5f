// SPDX-License-Identifier: MIT
#include "vm/machine.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/json.h"
#include "vm/qemu.h"

static void add(struct strv *args, const char *option, const char *value)
{
    if (!value)
        return;
    strv_add(args, option);
    strv_add(args, value);
}

static void add_processor(struct strv *args, const struct vm_machine *m)
{
    if (m->accel != ACCEL_AUTO) {
        add(args, "-accel", m->accel == ACCEL_KVM ? "kvm" : "tcg,thread=multi");
        add(args, "-cpu", m->cpu ? m->cpu : accel_cpu(m->accel));
    }
    strv_add(args, "-smp");
    strv_addf(args, "%u", m->cpus);
}

static void add_memory(struct strv *args, const struct vm_machine *m)
{
    strv_add(args, "-m");
    strv_addf(args, "%u", m->memory_mb);
    bool backend = m->ram || m->ram_shared;
    if (m->type || backend) {
        strv_add(args, "-machine");
        strv_addf(args, "%s%s%s", m->type ? m->type : "", m->type && backend ? "," : "",
                  backend ? "memory-backend=ram" : "");
    }
    if (!m->ram && m->ram_shared) {
        strv_add(args, "-object");
        strv_addf(args, "memory-backend-memfd,id=ram,size=%uM,share=on", m->memory_mb);
    }
    if (!m->ram)
        return;
    AUTO_FREE char *path = qemu_escape(m->ram);
    strv_add(args, "-object");
    strv_addf(args, "memory-backend-file,id=ram,size=%uM,mem-path=%s,share=%s", m->memory_mb, path,
              m->ram_shared ? "on" : "off");
}

static void add_ports(struct strv *args, const struct vm_machine *m)
{
    if (m->n_ports)
        add(args, "-device", "virtio-serial-pci,id=serial");
    for (size_t i = 0; i < m->n_ports; i++) {
        strv_add(args, "-device");
        strv_addf(args, "virtserialport,chardev=%s,name=%s", m->ports[i].chardev, m->ports[i].name);
    }
}

static void add_nic(struct strv *args, const struct vm_machine_nic *nic)
{
    CLEANUP(buf_clear) struct buf user = BUF_INIT;
    if (nic->bridge)
        buf_addf(&user, "bridge,id=%s,br=%s", nic->id, nic->bridge);
    else if (nic->group)
        buf_addf(&user, "socket,id=%s,mcast=%s,localaddr=127.0.0.1", nic->id, nic->group);
    else
        buf_addf(&user, "user,id=%s", nic->id);
    if (nic->user)
        buf_addf(&user, ",%s", nic->user);
    for (size_t i = 0; i < nic->n_forwards; i++) {
        const struct vm_forward *f = &nic->forwards[i];
        buf_addf(&user, ",hostfwd=%s:%s:%u-:%u", f->udp ? "udp" : "tcp", f->address, f->host_port,
                 f->guest_port);
    }
    add(args, "-netdev", user.data);
    strv_add(args, "-device");
    strv_addf(args, "%s,netdev=%s%s%s", nic->device, nic->id, nic->mac ? ",mac=" : "",
              nic->mac ? nic->mac : "");
}

static void add_disk(struct strv *args, const struct vm_machine_disk *disk)
{
    const char *drive = NULL;
    for (size_t i = 0; i < json_array_size(disk->nodes); i++) {
        const json_t *node = json_array_get(disk->nodes, i);
        AUTO_FREE char *text = json_text(node);
        add(args, "-blockdev", text);
        drive = json_str(node, "node-name");
    }
    strv_add(args, "-device");
    strv_addf(args, "%s,drive=%s", disk->device, drive ? drive : "");
}

void vm_machine_args(struct strv *args, const struct vm_machine *m)
{
    add_processor(args, m);
    add_memory(args, m);
    for (size_t i = 0; m->bare && i < 3; i++)
        strv_add(args, (const char *const[]){"-nodefaults", "-no-user-config", "-no-reboot"}[i]);
    add(args, "-kernel", m->kernel);
    add(args, "-initrd", m->initrd);
    add(args, "-append", m->append);
    if (m->incoming)
        add(args, "-incoming", "defer");
    add(args, "-serial", "chardev:console");
    add_ports(args, m);
    add(args, "-device", "virtio-rng-pci");
    add(args, "-smbios", m->smbios);
    add(args, "-device", m->scsi ? "virtio-scsi-pci,id=scsi" : NULL);
    for (size_t i = 0; i < m->n_nics; i++)
        add_nic(args, &m->nics[i]);
    if (m->no_nics)
        add(args, "-nic", "none");
    for (size_t i = 0; i < m->n_disks; i++)
        add_disk(args, &m->disks[i]);
    for (char *const *a = m->extra; a && *a; a++)
        strv_add(args, *a);
}
