// SPDX-License-Identifier: MIT
//
// KVM_RUN returns when the guest does something for the host to see, or on a signal. So the guest
// runs in a child process, which a timer of its own processor time (guest time counts) or our kill
// ends; what it found is left in a page that both share.
#include "vm/kvm_probe.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

enum { CPU_MS = 500, WALL_MS = 5000 };
enum { MEMORY = 1 << 16, CODE = 0x1000, PML4 = 0x2000, PDPT = 0x3000, PD = 0x4000, STACK = 0x8000 };
enum { ANSWER = 0x42, ANSWER_PORT = 0x80 };

/* What the child leaves; all zero = it did not get that far. */
struct finding {
    const char *what; /* that failed; a literal, which the child has at the same address */
    int errnum;
    unsigned exit_reason;
    bool answered, halted;
};

static const unsigned char code[] = {
    0xb9, 0x40,        0x42, 0x0f, 0x00, // mov ecx, 1000000
    0xff, 0xc9,                          // dec ecx
    0x75, 0xfc,                          // jnz to dec
    0x31, 0xc0,                          // xor eax, eax
    0x0f, 0xa2,                          // cpuid
    0xb8, ANSWER,      0,    0,    0,    // mov eax, ANSWER
    0xe6, ANSWER_PORT,                   // out ANSWER_PORT, al
    0xf4,                                // hlt
};

static int failed(struct finding *f, const char *what)
{
    f->errnum = errno;
    f->what = what;
    return -1;
}

/* Code and page tables: the first 2 MiB of addresses are mapped to themselves. */
static unsigned char *make_memory(void)
{
    unsigned char *m =
        mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (m == MAP_FAILED)
        return NULL;
    enum { PRESENT = 1, WRITABLE = 2, LARGE = 0x80 };
    const uint64_t pml4 = PDPT | PRESENT | WRITABLE, pdpt = PD | PRESENT | WRITABLE,
                   pd = PRESENT | WRITABLE | LARGE;
    memcpy(m + CODE, code, sizeof code);
    memcpy(m + PML4, &pml4, sizeof pml4);
    memcpy(m + PDPT, &pdpt, sizeof pdpt);
    memcpy(m + PD, &pd, sizeof pd);
    return m;
}

/* The processor's own CPUID: without it long mode is not to be had. */
static int set_cpuid(int kvm, int vcpu, struct finding *f)
{
    enum { ENTRIES = 256 };
    AUTO_FREE struct kvm_cpuid2 *cpuid =
        xcalloc(1, sizeof *cpuid + ENTRIES * sizeof *cpuid->entries);
    cpuid->nent = ENTRIES;
    if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid) < 0 || ioctl(vcpu, KVM_SET_CPUID2, cpuid) < 0)
        return failed(f, "CPUID");
    return 0;
}

/* Long mode as a kernel has it after its first instructions (Intel SDM vol. 3, 9.8.5). */
static int set_registers(int vcpu, struct finding *f)
{
    enum { PE = 1, PAE = 1 << 5, LME = 1 << 8, LMA = 1 << 10 };
    struct kvm_sregs s;
    struct kvm_regs r = {.rflags = 2, .rip = CODE, .rsp = STACK};
    if (ioctl(vcpu, KVM_GET_SREGS, &s) < 0)
        return failed(f, "KVM_GET_SREGS");
    s.cs = (struct kvm_segment){
        .limit = ~0u, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1};
    s.ds = s.es = s.fs = s.gs = s.ss = (struct kvm_segment){
        .limit = ~0u, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1};
    s.cr3 = PML4;
    s.cr4 |= PAE;
    s.cr0 |= 1u << 31 | PE; // paging
    s.efer |= LME | LMA;
    if (ioctl(vcpu, KVM_SET_SREGS, &s) < 0 || ioctl(vcpu, KVM_SET_REGS, &r) < 0)
        return failed(f, "KVM_SET_SREGS");
    return 0;
}

static int run_guest(int vcpu, struct kvm_run *run, struct finding *f)
{
    for (;;) {
        if (ioctl(vcpu, KVM_RUN, 0) < 0)
            return failed(f, "KVM_RUN");
        f->exit_reason = run->exit_reason;
        const unsigned char *out = (unsigned char *)run + run->io.data_offset;
        if (run->exit_reason == KVM_EXIT_IO && run->io.port == ANSWER_PORT && *out == ANSWER) {
            f->answered = true;
            continue;
        }
        f->halted = run->exit_reason == KVM_EXIT_HLT;
        return 0;
    }
}

/* In the child, which has nothing to clean up: its end closes all of it. */
static int probe(struct finding *f)
{
    enum { TSS = 0xfffbd000 }; // anywhere that is not memory: Intel's real mode has to have one
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
    if (vm < 0)
        return failed(f, "KVM_CREATE_VM");
    unsigned char *memory = make_memory();
    struct kvm_userspace_memory_region region = {.memory_size = MEMORY,
                                                 .userspace_addr = (uint64_t)(uintptr_t)memory};
    (void)ioctl(vm, KVM_SET_TSS_ADDR, TSS);
    if (!memory || ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return failed(f, "KVM_SET_USER_MEMORY_REGION");
    int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0), size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (vcpu < 0 || size < (int)sizeof(struct kvm_run))
        return failed(f, "KVM_CREATE_VCPU");
    struct kvm_run *run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    if (run == MAP_FAILED)
        return failed(f, "mmap of the processor");
    if (set_cpuid(kvm, vcpu, f) < 0 || set_registers(vcpu, f) < 0)
        return -1;
    return run_guest(vcpu, run, f);
}

static void child(struct finding *f)
{
    struct itimerval limit = {.it_value.tv_usec = CPU_MS * 1000};
    sigset_t none;
    sigemptyset(&none);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPROF, SIG_DFL); // library-clean: of the child
    sigprocmask(SIG_SETMASK, &none, NULL);
    setitimer(ITIMER_PROF, &limit, NULL);
    (void)probe(f);
    _exit(0);
}

/* What became of it, in words. */
static int judge(const struct finding *f, int status, struct error **err)
{
    if (f->answered && f->halted)
        return 0;
    if (f->what) {
        errno = f->errnum;
        error_errno(err, "KVM does not run guests: %s", f->what);
        if (err && *err)
            (*err)->kind = ERR_GUEST;
        return -1;
    }
    if (WIFSIGNALED(status))
        return error_set(err, ERR_GUEST,
                         "KVM is too slow here: a test program that needs a millisecond did not "
                         "end in half a second");
    return error_set(err, ERR_GUEST, "KVM does not run guest code correctly (exit reason %u)",
                     f->exit_reason);
}

int kvm_probe(struct error **err)
{
    CLEANUP(process_clear) struct process p = PROCESS_INIT;
    struct finding *f =
        mmap(NULL, sizeof *f, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (f == MAP_FAILED)
        return error_errno(err, "cannot map memory");
    p.pid = fork();
    if (p.pid == 0)
        child(f);
    if (p.pid < 0) {
        p.pid = 0;
        munmap(f, sizeof *f);
        return error_errno(err, "cannot start a process");
    }
    p.pidfd = (int)syscall(SYS_pidfd_open, p.pid, 0);
    if (process_wait(&p, WALL_MS, NULL) < 0) {
        process_kill(&p, SIGKILL);
        (void)process_wait(&p, WALL_MS, NULL);
        p.status = SIGKILL;
    }
    struct finding found = *f;
    munmap(f, sizeof *f);
    return judge(&found, p.status, err);
}

static const struct module {
    const char *name;
    const char *parameters[4];
} modules[] = {
    {"kvm_intel", {"ept", "nested", "unrestricted_guest", "vpid"}},
    {"kvm_amd", {"npt", "nested", "avic", "vls"}},
    {"kvm_pvm", {NULL}},
};

static const struct module *find_module(void)
{
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
        AUTO_FREE char *path = xasprintf("/sys/module/%s", modules[i].name);
        if (access(path, F_OK) == 0)
            return &modules[i];
    }
    return NULL;
}

const char *kvm_module(void)
{
    const struct module *m = find_module();
    return m ? m->name : NULL;
}

char *kvm_module_text(void)
{
    const struct module *m = find_module();
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    buf_adds(&b, m ? m->name : "kvm");
    for (size_t i = 0; m && i < 4 && m->parameters[i]; i++) {
        CLEANUP(buf_clear) struct buf value = BUF_INIT;
        AUTO_FREE char *path = xasprintf("/sys/module/%s/parameters/%s", m->name, m->parameters[i]);
        if (file_read(path, 100, &value, NULL) == 0)
            buf_addf(&b, " %s=%.*s", m->parameters[i], (int)strcspn(value.data, "\n"), value.data);
    }
    return buf_detach(&b, NULL);
}

int kvm_module_check(struct error **err)
{
    const char *name = kvm_module();
    if (!name || strcmp(name, "kvm_pvm"))
        return 0;
    error_set(err, ERR_GUEST,
              "this host's KVM is kvm_pvm, which interprets ordinary guest kernels");
    return error_hint(err,
                      "a host with kvm_intel or kvm_amd (nested virtualization, if it is a VM) is "
                      "several times faster");
}
