/* SPDX-License-Identifier: MIT
 *
 * What kiln and the program that waits in a saved guest (vm/guest/wake.c) say to each other over the
 * guest's second serial port. The program is static, 64-bit, needs no library, and runs as root.
 *
 *   guest → kiln   'r'                          it waits; the guest has become idle, or does not
 *   kiln → guest   struct wake_request          as often as kiln likes
 *   guest → kiln   struct wake_answer           one each; after WAKE_END the program has gone
 */
#ifndef VM_WAKE_H
#define VM_WAKE_H

#include <stdint.h>

#define WAKE_TTY "/dev/ttyS1"
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

#endif
