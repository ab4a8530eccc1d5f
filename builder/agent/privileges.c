// SPDX-License-Identifier: MIT
// What stays is what building an image takes: mounting, device nodes, chroot, file systems, volume
// groups and boot loaders on the disk, other users, raw sockets, and the VM's network (changes.h).
#include "builder/agent/privileges.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const unsigned char dropped[] = {
    CAP_SYS_TIME,      CAP_SYS_MODULE,    CAP_SYS_BOOT,   CAP_SYS_RAWIO,      CAP_SYSLOG,
    CAP_MAC_ADMIN,     CAP_MAC_OVERRIDE,  CAP_SYS_PACCT,  CAP_SYS_TTY_CONFIG, CAP_WAKE_ALARM,
    CAP_BLOCK_SUSPEND, CAP_AUDIT_CONTROL, CAP_AUDIT_READ, CAP_PERFMON,        CAP_BPF,
};

// CAP_SYS_ADMIN, which stays, stands in for CAP_SYSLOG in syslog(2).
static int hide_kernel_log(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_syslog, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {sizeof code / sizeof *code, code};
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

int privileges_drop(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    if (hide_kernel_log() < 0 || syscall(SYS_capget, &head, data) < 0)
        return -1;
    for (size_t i = 0; i < sizeof dropped; i++) {
        uint32_t bit = CAP_TO_MASK(dropped[i]);
        struct __user_cap_data_struct *d = &data[CAP_TO_INDEX(dropped[i])];
        if (prctl(PR_CAPBSET_DROP, dropped[i], 0, 0, 0) < 0)
            return -1;
        d->effective &= ~bit;
        d->permitted &= ~bit;
        d->inheritable &= ~bit;
    }
    return (int)syscall(SYS_capset, &head, data);
}
