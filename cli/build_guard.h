/* SPDX-License-Identifier: MIT
 *
 * Ends a process that does not take what we write to it, when the user interrupts: a write that waits
 * looks at nothing else.
 *
 *     // given struct session *session; struct process *ssh;
 *     struct build_guard guard;
 *     build_guard_begin(&guard, session, ssh);
 *     ...                                          // write; after an interruption it is EPIPE
 *     build_guard_end(&guard);
 */
#ifndef CLI_BUILD_GUARD_H
#define CLI_BUILD_GUARD_H

#include "base/process.h"

#include <pthread.h>
#include <stdbool.h>

struct session;

struct build_guard {
    const struct session *session;
    struct process *process;
    pthread_t thread;
    int stop[2];
    bool runs;
};
void build_guard_begin(struct build_guard *g, const struct session *s, struct process *p);
void build_guard_end(struct build_guard *g);

#endif
