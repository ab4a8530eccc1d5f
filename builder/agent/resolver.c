// SPDX-License-Identifier: MIT
// BPF programs on the root cgroup, where connect(2), sendto(2) and recvfrom(2) pass by: they change
// the address that is asked, and in answers the address that has answered, as some C libraries look
// at it (bpf-helpers(7); struct bpf_sock_addr in linux/bpf.h). A map has, by socket, who was meant.
// IPv6 has no way out of the VM: a socket of it is connected to the IPv4 address.
#include "builder/agent/resolver.h"

#include "base/cleanup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOUNT_POINT "/run/kiln-cgroup"

enum { ROOM = 64, SOCKETS = 1024 };

// Offsets in the stack frame, below its end. `MEANT` is an IPv6 address.
enum { COOKIE = -8, MEANT = -24, TUPLE = -40 };

struct program {
    struct bpf_insn code[ROOM];
    size_t n;
    size_t leave[ROOM]; // jumps to the end
    size_t n_leave;
    int map;
    uint32_t server; // network order
    bool six;        // the socket is AF_INET6
};

static void put(struct program *p, uint8_t code, uint8_t dst, uint8_t src, short off, int imm)
{
    p->code[p->n++] =
        (struct bpf_insn){.code = code, .dst_reg = dst, .src_reg = src, .off = off, .imm = imm};
}

static void set(struct program *p, uint8_t dst, int imm)
{
    put(p, BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, imm);
}

// As set, for 32 bits of an address: the upper half becomes 0.
static void set32(struct program *p, uint8_t dst, uint32_t imm)
{
    put(p, BPF_ALU | BPF_MOV | BPF_K, dst, 0, 0, (int)imm);
}

static void copy(struct program *p, uint8_t dst, uint8_t src)
{
    put(p, BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0);
}

static void load(struct program *p, uint8_t dst, uint8_t from, size_t off)
{
    put(p, BPF_LDX | BPF_MEM | BPF_W, dst, from, (short)off, 0);
}

static void store(struct program *p, uint8_t to, int off, uint8_t src)
{
    put(p, BPF_STX | BPF_MEM | BPF_W, to, src, (short)off, 0);
}

static void address_of(struct program *p, uint8_t dst, int off)
{
    copy(p, dst, BPF_REG_10);
    put(p, BPF_ALU64 | BPF_ADD | BPF_K, dst, 0, 0, off);
}

static void call(struct program *p, int helper)
{
    put(p, BPF_JMP | BPF_CALL, 0, 0, 0, helper);
}

// A jump whose target is land()ed later.
static size_t jump(struct program *p, uint8_t how, uint8_t reg, int imm)
{
    put(p, BPF_JMP | how | BPF_K, reg, 0, 0, imm);
    return p->n - 1;
}

static void land(struct program *p, size_t from)
{
    p->code[from].off = (short)(p->n - from - 1);
}

static void leave_if(struct program *p, uint8_t how, uint8_t reg, int imm)
{
    p->leave[p->n_leave++] = jump(p, how, reg, imm);
}

static void first_of_map(struct program *p)
{
    put(p, BPF_LD | BPF_DW | BPF_IMM, BPF_REG_1, BPF_PSEUDO_MAP_FD, 0, p->map);
    put(p, 0, 0, 0, 0, 0);
    address_of(p, BPF_REG_2, COOKIE);
}

static void get_cookie(struct program *p)
{
    copy(p, BPF_REG_1, BPF_REG_6);
    call(p, BPF_FUNC_get_socket_cookie);
    put(p, BPF_STX | BPF_MEM | BPF_DW, BPF_REG_10, BPF_REG_0, COOKIE, 0);
}

// r6 is the context in all programs.
static void begin(struct program *p)
{
    copy(p, BPF_REG_6, BPF_REG_1);
    load(p, BPF_REG_2, BPF_REG_6, offsetof(struct bpf_sock_addr, user_port));
    leave_if(p, BPF_JNE, BPF_REG_2, htons(53));
}

static void end(struct program *p)
{
    for (size_t i = 0; i < p->n_leave; i++)
        land(p, p->leave[i]);
    set(p, BPF_REG_0, 1);
    put(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static void find_local(struct program *p, int helper)
{
    copy(p, BPF_REG_1, BPF_REG_6);
    address_of(p, BPF_REG_2, TUPLE);
    set(p, BPF_REG_3, sizeof(((struct bpf_sock_tuple *)NULL)->ipv4));
    set(p, BPF_REG_4, -1); // the network namespace of the socket
    set(p, BPF_REG_5, 0);
    call(p, helper);
}

// Leaves if the address, in r7, is a loopback one and somebody is there.
static void spare_own_server(struct program *p)
{
    copy(p, BPF_REG_2, BPF_REG_7);
    put(p, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xff);
    size_t elsewhere = jump(p, BPF_JNE, BPF_REG_2, 127);
    store(p, BPF_REG_10, TUPLE, BPF_REG_7);
    store(p, BPF_REG_10, TUPLE + 4, BPF_REG_7);
    set32(p, BPF_REG_2, (uint32_t)htons(53) << 16); // from port 0, to port 53
    store(p, BPF_REG_10, TUPLE + 8, BPF_REG_2);
    load(p, BPF_REG_2, BPF_REG_6, offsetof(struct bpf_sock_addr, protocol));
    size_t tcp = jump(p, BPF_JEQ, BPF_REG_2, IPPROTO_TCP);
    find_local(p, BPF_FUNC_sk_lookup_udp);
    size_t found = jump(p, BPF_JA, 0, 0);
    land(p, tcp);
    find_local(p, BPF_FUNC_sk_lookup_tcp);
    land(p, found);
    size_t nobody = jump(p, BPF_JEQ, BPF_REG_0, 0);
    copy(p, BPF_REG_1, BPF_REG_0);
    call(p, BPF_FUNC_sk_release);
    leave_if(p, BPF_JA, 0, 0);
    land(p, nobody);
    land(p, elsewhere);
}

static void store_mapped(struct program *p, uint8_t to, int off)
{
    set(p, BPF_REG_2, 0);
    store(p, to, off, BPF_REG_2);
    store(p, to, off + 4, BPF_REG_2);
    set32(p, BPF_REG_2, htonl(0xffff));
    store(p, to, off + 8, BPF_REG_2);
}

// Notes at MEANT whom the socket means to ask.
static void note_meant(struct program *p)
{
    for (size_t i = 0; p->six && i < 4; i++) {
        load(p, BPF_REG_2, BPF_REG_6, offsetof(struct bpf_sock_addr, user_ip6) + i * 4);
        store(p, BPF_REG_10, MEANT + (int)i * 4, BPF_REG_2);
    }
    if (p->six)
        return;
    load(p, BPF_REG_7, BPF_REG_6, offsetof(struct bpf_sock_addr, user_ip4));
    spare_own_server(p);
    store_mapped(p, BPF_REG_10, MEANT);
    store(p, BPF_REG_10, MEANT + 12, BPF_REG_7);
}

static void ask(struct program *p)
{
    begin(p);
    note_meant(p);
    get_cookie(p);
    first_of_map(p);
    address_of(p, BPF_REG_3, MEANT);
    set(p, BPF_REG_4, BPF_ANY);
    call(p, BPF_FUNC_map_update_elem);
    int to = p->six ? offsetof(struct bpf_sock_addr, user_ip6[3])
                    : offsetof(struct bpf_sock_addr, user_ip4);
    if (p->six)
        store_mapped(p, BPF_REG_6, offsetof(struct bpf_sock_addr, user_ip6));
    set32(p, BPF_REG_2, p->server);
    store(p, BPF_REG_6, to, BPF_REG_2);
    end(p);
}

static void answer(struct program *p)
{
    size_t at = p->six ? offsetof(struct bpf_sock_addr, user_ip6[3])
                       : offsetof(struct bpf_sock_addr, user_ip4);
    begin(p);
    load(p, BPF_REG_2, BPF_REG_6, at);
    set32(p, BPF_REG_3, p->server);
    put(p, BPF_JMP | BPF_JNE | BPF_X, BPF_REG_2, BPF_REG_3, 0, 0);
    p->leave[p->n_leave++] = p->n - 1;
    get_cookie(p);
    first_of_map(p);
    call(p, BPF_FUNC_map_lookup_elem);
    leave_if(p, BPF_JEQ, BPF_REG_0, 0);
    for (size_t i = p->six ? 0 : 3; i < 4; i++) {
        load(p, BPF_REG_2, BPF_REG_0, i * 4);
        store(p, BPF_REG_6, (int)(at - (3 - i) * 4), BPF_REG_2);
    }
    end(p);
}

static int bpf(int command, union bpf_attr *attr)
{
    return (int)syscall(SYS_bpf, command, attr, sizeof *attr);
}

static int attach(int cgroup, const struct program *p, enum bpf_attach_type type)
{
    union bpf_attr program = {.prog_type = BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
                              .insns = (uintptr_t)p->code,
                              .insn_cnt = (uint32_t)p->n,
                              .license = (uintptr_t) "GPL",
                              .expected_attach_type = type};
    AUTO_CLOSE int fd = bpf(BPF_PROG_LOAD, &program);
    union bpf_attr place = {
        .target_fd = (uint32_t)cgroup, .attach_bpf_fd = (uint32_t)fd, .attach_type = type};
    return fd < 0 ? -1 : bpf(BPF_PROG_ATTACH, &place);
}

static int attach_all(int cgroup, uint32_t server)
{
    static const struct {
        enum bpf_attach_type type;
        bool six;
        void (*write)(struct program *p);
    } list[] = {
        {BPF_CGROUP_INET4_CONNECT, false, ask},  {BPF_CGROUP_INET6_CONNECT, true, ask},
        {BPF_CGROUP_UDP4_SENDMSG, false, ask},   {BPF_CGROUP_UDP4_RECVMSG, false, answer},
        {BPF_CGROUP_UDP6_RECVMSG, true, answer},
    };
    union bpf_attr map = {.map_type = BPF_MAP_TYPE_LRU_HASH,
                          .key_size = sizeof(uint64_t),
                          .value_size = sizeof(struct in6_addr),
                          .max_entries = SOCKETS};
    AUTO_CLOSE int fd = bpf(BPF_MAP_CREATE, &map);
    for (size_t i = 0; fd >= 0 && i < sizeof list / sizeof *list; i++) {
        struct program p = {.map = fd, .server = server, .six = list[i].six};
        list[i].write(&p);
        if (attach(cgroup, &p, list[i].type) < 0)
            return -1;
    }
    return fd < 0 ? -1 : 0;
}

// The root of the cgroups, which is there whether it is mounted or not.
static int open_cgroup(void)
{
    mkdir(MOUNT_POINT, 0700);
    if (mount("cgroup2", MOUNT_POINT, "cgroup2", 0, NULL) < 0)
        return -1;
    int fd = open(MOUNT_POINT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    umount2(MOUNT_POINT, MNT_DETACH);
    rmdir(MOUNT_POINT);
    return fd;
}

int resolver_use(const char *address, struct error **err)
{
    struct in_addr server;
    if (inet_pton(AF_INET, address, &server) != 1) {
        error_set(err, ERR_USER, "the name server '%s' has no IPv4 address", address);
        return error_hint(err, "the builder VM's network has no IPv6");
    }
    AUTO_CLOSE int cgroup = open_cgroup();
    if (cgroup < 0 || attach_all(cgroup, server.s_addr) < 0)
        return error_errno(err, "cannot direct DNS queries to '%s'", address);
    return 0;
}
