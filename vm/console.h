/* SPDX-License-Identifier: MIT
 *
 * The last bytes of a stream without end: what a VM wrote to its console, or QEMU to stderr. Memory
 * is bounded; text for error reports comes without escape sequences and control characters.
 */
#ifndef VM_CONSOLE_H
#define VM_CONSOLE_H

#include "base/buf.h"

enum { CONSOLE_KEPT = 64 * 1024 }; /* bytes */

struct console {
    struct buf bytes; /* at most twice CONSOLE_KEPT */
};
#define CONSOLE_INIT \
    { \
        BUF_INIT \
    }

void console_add(struct console *c, const void *bytes, size_t n);
void console_clear(struct console *c);
/* The last `lines` lines that hold anything, joined by newlines, without a final one; each cut at
 * 200 bytes. Terminal sequences and control characters are left out. Owned; "" when there are none.
 */
char *console_last_lines(const struct console *c, unsigned lines);

#endif
