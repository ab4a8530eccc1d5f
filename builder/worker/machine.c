// SPDX-License-Identifier: MIT
//
// The machine, measured on QEMU 7.2 (TCG, 2 cores): q35 and pc start and boot equally fast; each of
// the eight virtio-blk devices costs 1 ms at the start, and all are there from the beginning since
// a hot-plug costs 140 ms; reading a 14 MB kernel costs 15 ms, so a restored VM gets a stand-in.
// What differs between making a template and using it: the memory's sharing, the kernel's file and
// the block nodes behind the disks, none of which is device state.
#include "builder/agent/stream.h"
#include "builder/worker/internal.h"

#include "base/buf.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "vm/machine.h"

#include <sys/sysinfo.h>
#include <unistd.h>

/* Raised when something changes that the key does not see otherwise. */
#define TEMPLATE_FORMAT 4

/*
 * norandmaps: what TCG has translated is found again by virtual address too. With random addresses
 * a program that is run a second time is translated a second time: a RUN of `true` took 50 ms in
 * place of 22, and a package manager runs hundreds of programs.
 * lsm=: without it a kernel that ignores selinux=0, as Debian's does, asks SELinux about every
 * access once apparmor=0 has made room for it. Landlock is what programs in a RUN may ask for.
 * init_on_alloc=0: a page that is about to be filled need not be cleared.
 */
#define KERNEL_ARGS \
    "console=ttyS0 quiet panic=-1 tsc=reliable random.trust_cpu=on no5lvl mitigations=off " \
    "audit=0 nowatchdog rcupdate.rcu_expedited=1 cryptomgr.notests " \
    "8250.nr_uarts=1 net.ifnames=0 nokaslr norandmaps psi=0 no_timer_check " \
    "init_on_alloc=0 lsm=landlock"

void machine_size(struct machine *m, const struct runner_options *o)
{
    struct sysinfo info = {0};
    (void)sysinfo(&info);
    uint64_t total = (uint64_t)info.totalram * info.mem_unit >> 20;
    long host = sysconf(_SC_NPROCESSORS_ONLN);
    // few different sizes, by what the host has and not by what is free: a template serves one
    m->memory_mb = o->memory_mb ? o->memory_mb : total >= 7500 ? 2048 : total >= 3500 ? 1024 : 512;
    m->cpus = o->cpus ? o->cpus : host < 1 ? 1 : host > 4 ? 4 : (unsigned)host;
}

void machine_clear(struct machine *m)
{
    qemu_clear(&m->qemu);
    appliance_clear(&m->appliance);
}

uint64_t machine_placeholder_size(int slot)
{
    return slot == AGENT_DISK_STREAM ? STREAM_DISK_SIZE : AGENT_EMPTY_SIZE;
}

char *machine_placeholder_node(int slot)
{
    return xasprintf("empty%d", slot);
}

/* The block nodes of a slot; the placeholder is there in any case, to be put back when a disk is
 * taken out. New reference. */
static json_t *slot_nodes(int slot, json_t *nodes)
{
    AUTO_FREE char *empty = machine_placeholder_node(slot);
    json_t *all = json_pack("[{s:s, s:s, s:I, s:b, s:b}]", "driver", "null-co", "node-name", empty,
                            "size", (json_int_t)machine_placeholder_size(slot), "read-zeroes", 1,
                            "read-only", slot == AGENT_DISK_STREAM);
    if (nodes)
        (void)json_array_extend(all, nodes);
    return all;
}

void machine_args(struct strv *args, const struct machine *m, enum machine_start start,
                  const struct saved *t, json_t *const nodes[AGENT_DISKS])
{
    static const struct vm_machine_port ports[] = {
        {"agent", AGENT_PORT}, {"pulse", AGENT_PULSE_PORT}, {"guestfs", AGENT_GUESTFS_PORT}};
    // no announcement: after a restore the guest would tell the network of itself, which is a
    // quarter of all it does before the agent answers
    static const struct vm_machine_nic nic = {
        .id = "net", .device = "virtio-net-pci,romfile=,guest_announce=off", .user = "ipv6=off"};
    bool restore = start == MACHINE_RESTORE;
    AUTO_FREE char *stand_in = restore ? path_join(t->dir, TEMPLATE_KERNEL) : NULL;
    struct vm_machine_disk disks[AGENT_DISKS];
    char *devices[AGENT_DISKS];
    for (int i = 0; i < AGENT_DISKS; i++) {
        // werror=stop: a host disk that is full or broken stops the VM and is told, where the guest
        // would only see an I/O error
        devices[i] =
            xasprintf("virtio-blk-pci,id=kiln%d,serial=kiln%d,num-queues=1,%s", i, i,
                      i == AGENT_DISK_STREAM ? "rerror=report" : "werror=stop,rerror=stop");
        disks[i] = (struct vm_machine_disk){slot_nodes(i, nodes[i]), devices[i]};
    }
    struct vm_machine machine = {
        .accel = m->accel,
        .type = "q35,sata=off,smbus=off,usb=off,vmport=off,smm=off,hpet=off",
        .bare = true,
        .memory_mb = m->memory_mb,
        .cpus = m->cpus,
        .ram = start == MACHINE_COLD ? NULL : t->ram,
        .ram_shared = start == MACHINE_TEMPLATE,
        .kernel = restore ? stand_in : m->appliance.kernel.path,
        .initrd = restore ? NULL : m->appliance.initrd,
        .append = restore ? NULL : KERNEL_ARGS,
        .incoming = restore,
        .ports = ports,
        .n_ports = 3,
        .nics = &nic,
        .n_nics = 1,
        .disks = disks,
        .n_disks = AGENT_DISKS,
    };
    vm_machine_args(args, &machine);
    for (int i = 0; i < AGENT_DISKS; i++) {
        json_decref((json_t *)disks[i].nodes);
        free(devices[i]);
    }
}

char *machine_key(const struct machine *m)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    CLEANUP(strv_clear) struct strv args = {0};
    json_t *const none[AGENT_DISKS] = {NULL};
    buf_addf(&b, "kiln builder template %d, agent protocol %d\n", TEMPLATE_FORMAT,
             AGENT_PROTOCOL_VERSION);
    buf_addf(&b, "appliance %s\n", m->appliance.digest);
    qemu_add_identity(&b, &m->qemu);
    machine_args(&args, m, MACHINE_COLD, NULL, none);
    vec_foreach (char **, a, &args)
        buf_addf(&b, "%s\n", *a);
    if (m->accel == ACCEL_KVM)
        accel_add_host(&b);
    return buf_detach(&b, NULL);
}
