/* SPDX-License-Identifier: MIT
 *
 * System calls for the program that waits in a saved guest, which has no library.
 */
#ifndef VM_GUEST_CALLS_H
#define VM_GUEST_CALLS_H

#include <asm/unistd.h>
#include <stddef.h>

/* The kernel's answer: below 0 = the negative errno. */
static inline long call4(long number, long a, long b, long c, long d)
{
    register long fourth __asm__("r10") = d;
    long ret;
    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
                     : "rcx", "r11", "memory");
    return ret;
}

static inline long call(long number, long a, long b, long c)
{
    return call4(number, a, b, c, 0);
}

/* The compiler may call these, too. */
void *memset(void *to, int byte, size_t n);
void *memcpy(void *to, const void *from, size_t n);

/* `FILE command PORT`: vm/guest/command.c. The exit status. */
int command_start(char **argv, char **env);

#endif
