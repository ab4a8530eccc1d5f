/* SPDX-License-Identifier: MIT
 *
 * What kiln and the program that waits in a saved guest (vm/guest/wake.c) say to each other over a
 * port of virtio-serial, or the guest's second serial port if its kernel has no driver. The program is static, 64-bit, needs no library, and runs as root. Another
 * process of it belongs to the user who was logged in, and runs his commands over a port of virtio-serial
 * (virtio 1.1, 5.3), each with struct command_frame before its data.
 *
 *   guest → kiln   'r'                          it waits; the guest has become idle, or does not
 *   kiln → guest   struct wake_request          as often as kiln likes
 *   guest → kiln   struct wake_answer           one each; after WAKE_END the program has gone
 *
 *   kiln → guest   COMMAND_PING                 COMMAND_PING comes back
 *   kiln → guest   COMMAND_RUN                  for the user's shell, with its NUL
 *   kiln → guest   COMMAND_INPUT                standard input, as often as there is some; empty = its end
 *   guest → kiln   COMMAND_OUTPUT, _ERRORS      what it writes
 *   guest → kiln   COMMAND_STATUS               as wait(2) has it, when it and its output have ended
 *   kiln → guest   COMMAND_END                  the program ends
 */
#ifndef VM_WAKE_H
#define VM_WAKE_H

#include <stdint.h>

#define WAKE_TTY "/dev/ttyS1"
#define WAKE_PORT "kiln.wake"
#define WAKE_READY 'r'

enum { WAKE_CLOCK = 1, WAKE_SEED = 2, WAKE_END = 4 }; /* what to do */

/* Little endian, as both sides are. */
struct wake_request {
    char mark[4]; /* "kiln" */
    uint32_t what;
    int64_t seconds, nanoseconds; /* WAKE_CLOCK: since 1970 */
    unsigned char seed[64];       /* WAKE_SEED: goes to the kernel's random pool, as 512 bits */
};

struct wake_answer {
    char mark[4];           /* "done" */
    int32_t clock, entropy; /* errno of each, 0 = done */
    int32_t reseed;
};

#define COMMAND_PORT "kiln.command"

enum {
    COMMAND_PING = 1,
    COMMAND_RUN,
    COMMAND_INPUT,
    COMMAND_OUTPUT,
    COMMAND_ERRORS,
    COMMAND_STATUS,
    COMMAND_END
};
enum { COMMAND_PART = 32768, COMMAND_MAX = 65536 }; /* bytes of one input or output; of a command */

struct command_frame {
    uint32_t kind, n; /* n bytes follow */
};

#endif
