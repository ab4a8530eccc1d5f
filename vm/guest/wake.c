// SPDX-License-Identifier: MIT
//
// Waits in a guest whose boot is saved (vm/warm.h) for what a copy of it needs first: random bytes
// that no other copy has, and the time. Usage, as root: wake PORT IDLE-SECONDS (and, by anybody: wake
// command PORT, vm/guest/command.c). It takes its own file
// away, waits until the guest has little to do (at most that long), says so, and then answers requests
// (vm/wake.h) until the last one. No library, so it is some kilobytes and its first instruction is ours:
// under TCG each function that runs after a restore is translated first.
#include "vm/wake.h"
#include "vm/guest/calls.h"

#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <linux/random.h>
#include <linux/time.h>
#include <stdbool.h>

enum { O_RDWR_NOCTTY = 2 | 0400, TICK_MS = 250, SEED_BITS = 512 };

static void doze(long ms)
{
    struct __kernel_timespec t = {ms / 1000, ms % 1000 * 1000000};
    (void)call(__NR_nanosleep, (long)&t, 0, 0);
}

void *memset(void *to, int byte, size_t n)
{
    for (volatile unsigned char *p = to; n--; p++)
        *p = (unsigned char)byte;
    return to;
}

void *memcpy(void *to, const void *from, size_t n)
{
    const unsigned char *f = from;
    for (volatile unsigned char *p = to; n--; p++)
        *p = *f++;
    return to;
}

/* Ticks of all processors since the boot: the first line of /proc/stat (proc(5)). */
static int read_ticks(unsigned long *ret_idle, unsigned long *ret_all)
{
    char text[512];
    unsigned long field = 0, value = 0;
    long fd = call(__NR_open, (long)"/proc/stat", 0, 0);
    long n = fd < 0 ? -1 : call(__NR_read, fd, (long)text, sizeof text);
    if (fd >= 0)
        (void)call(__NR_close, fd, 0, 0);
    *ret_idle = *ret_all = 0;
    for (long i = 5; i < n && field < 8; i++) {
        if (text[i] >= '0' && text[i] <= '9') {
            value = value * 10 + (unsigned long)(text[i] - '0');
            continue;
        }
        *ret_all += value;
        if (field == 3 || field == 4) // idle, iowait
            *ret_idle += value;
        value = 0;
        field++;
        if (text[i] == '\n')
            break;
    }
    return n < 0 ? -1 : 0;
}

/* Until nine tenths of two seconds were idle. */
static void wait_idle(long seconds)
{
    enum { CALM = 8 };
    unsigned long idle, all, idle_before, all_before;
    int calm = 0;
    if (read_ticks(&idle_before, &all_before) < 0)
        return;
    for (long ms = 0; ms < seconds * 1000 && calm < CALM; ms += TICK_MS) {
        doze(TICK_MS);
        if (read_ticks(&idle, &all) < 0)
            return;
        calm = (idle - idle_before) * 10 >= (all - all_before) * 9 ? calm + 1 : 0;
        idle_before = idle;
        all_before = all;
    }
}

static int open_port(const char *path)
{
    struct termios raw = {.c_cflag = B115200 | CS8 | CREAD | CLOCAL};
    raw.c_cc[VMIN] = 1;
    long fd = call(__NR_open, (long)path, O_RDWR_NOCTTY, 0);
    if (fd >= 0)
        (void)call(__NR_ioctl, fd, TCSETS, (long)&raw); // a port of virtio-serial needs none
    return (int)fd;
}

/* Requests are found by their mark: a byte that noise left in the port is passed over. */
static int take_request(int fd, struct wake_request *r)
{
    static const char mark[4] = "kiln";
    char *at = (char *)r;
    for (size_t have = 0; have < sizeof *r;) {
        long n = call(__NR_read, fd, (long)(at + have), (long)(have < 4 ? 1 : sizeof *r - have));
        if (n <= 0)
            return -1;
        if (have < 4 && at[have] != mark[have])
            have = at[have] == mark[0] ? (at[0] = mark[0], 1) : 0;
        else
            have += (size_t)n;
    }
    return 0;
}

static struct wake_answer carry_out(const struct wake_request *r)
{
    struct wake_answer a = {.mark = {'d', 'o', 'n', 'e'}};
    if (r->what & WAKE_SEED) {
        struct {
            int bits, size;
            unsigned char bytes[sizeof r->seed];
        } pool = {SEED_BITS, sizeof r->seed, {0}};
        memcpy(pool.bytes, r->seed, sizeof r->seed);
        long fd = call(__NR_open, (long)"/dev/urandom", 2, 0);
        a.entropy = (int)-call(__NR_ioctl, fd, RNDADDENTROPY, (long)&pool);
        a.reseed = (int)-call(__NR_ioctl, fd, RNDRESEEDCRNG, 0);
        (void)call(__NR_close, fd, 0, 0);
    }
    if (r->what & WAKE_CLOCK) {
        struct __kernel_timespec t = {r->seconds, r->nanoseconds};
        a.clock = (int)-call(__NR_clock_settime, 0, (long)&t, 0); // CLOCK_REALTIME
    }
    return a;
}

static int serve(char **argv, long argc)
{
    static const char ready = WAKE_READY;
    struct wake_request r;
    int fd = argc == 3 ? open_port(argv[1]) : -1;
    long limit = 0;
    if (argc == 2) // asked whether it can be run at all
        return 0;
    if (fd < 0)
        return 1;
    (void)call(__NR_unlink, (long)argv[0], 0, 0);
    for (const char *p = argv[2]; *p >= '0' && *p <= '9'; p++)
        limit = limit * 10 + (*p - '0');
    wait_idle(limit);
    if (call(__NR_write, fd, (long)&ready, 1) != 1)
        return 1;
    do {
        if (take_request(fd, &r) < 0)
            return 1;
        struct wake_answer a = carry_out(&r);
        (void)call(__NR_write, fd, (long)&a, sizeof a);
    } while (!(r.what & WAKE_END));
    return 0;
}

void wake_start(long *stack);

void wake_start(long *stack)
{
    char **argv = (char **)(stack + 1), **env = argv + stack[0] + 1;
    bool command = stack[0] == 3 && argv[1][0] == 'c';
    int status = command ? command_start(argv, env) : serve(argv, stack[0]);
    (void)call(__NR_exit_group, status, 0, 0);
    __builtin_unreachable();
}

__asm__(
    ".globl _start\n"
    "_start:\n"
    "    xor %ebp, %ebp\n"
    "    mov %rsp, %rdi\n"
    "    and $-16, %rsp\n"
    "    call wake_start\n");
