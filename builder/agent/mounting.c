// SPDX-License-Identifier: MIT
// seccomp_unotify(2). A filter sees the flags of mount(2), but not the name of the type, which is
// therefore read from the caller's memory. What is decided by it harms nobody, so it does not
// matter that the memory may change in between.
#include "builder/agent/mounting.h"

#include "base/alloc.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define OTHER_USES \
    (MS_REMOUNT | MS_BIND | MS_MOVE | MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE)
#define LOAD(field) \
    (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define SKIP_UNLESS(value, n) (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, n)
#define RETURN(what) (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, what)

int mounting_watch(void)
{
    struct sock_filter code[] = {
        LOAD(arch),
        SKIP_UNLESS(AUDIT_ARCH_X86_64, 6),
        LOAD(nr),
        (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fsopen, 3, 0),
        SKIP_UNLESS(SYS_mount, 3),
        LOAD(args[3]),
        (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, OTHER_USES, 1, 0),
        RETURN(SECCOMP_RET_USER_NOTIF),
        RETURN(SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {sizeof code / sizeof *code, code};
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                        &prog);
}

static bool counts(const char *type)
{
    static const char *const kernels[] = {
        "proc",    "sysfs",    "cgroup",      "cgroup2",  "cpuset",   "devtmpfs", "debugfs",
        "tracefs", "configfs", "binfmt_misc", "efivarfs", "bpf",      "pstore",   "securityfs",
        "fusectl", "nfsd",     "rpc_pipefs",  "resctrl",  "selinuxfs"};
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
        if (strcmp(type, kernels[i]) == 0)
            return true;
    return false;
}

// A name is short, but the page it is in may end with it.
static void read_name(pid_t pid, uint64_t at, char *name, size_t size)
{
    memset(name, 0, size);
    for (size_t n = 0; n + 1 < size; n++) {
        struct iovec to = {name + n, 1}, from = {(void *)(uintptr_t)(at + n), 1};
        if (process_vm_readv(pid, &to, 1, &from, 1, 0) != 1 || !name[n])
            return;
    }
}

char *mounting_answer(int fd)
{
    struct seccomp_notif in = {0};
    char type[16];
    if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &in) < 0)
        return NULL;
    read_name((pid_t)in.pid, in.data.args[in.data.nr == SYS_mount ? 2 : 0], type, sizeof type);
    struct seccomp_notif_resp out = {.id = in.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    (void)ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &out);
    return counts(type) ? xstrdup(type) : NULL;
}
