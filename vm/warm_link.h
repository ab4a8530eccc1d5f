/* SPDX-License-Identifier: MIT
 *
 * The ports of a guest that is saved or restored (vm/wake.h), for vm/warm_*.c; nobody else includes it.
 */
#ifndef VM_WARM_LINK_H
#define VM_WARM_LINK_H

#include "base/error.h"

#include <jansson.h>
#include <stddef.h>

struct session;
struct vm;

enum { WARM_MS = 60000 }; /* for an answer of the programs that wait */

struct warm_link {
    const struct session *session; /* with vm NULL */
    struct vm *vm;                 /* NULL: its QEMU runs in the background */
    int wake, wakeport, command;   /* non-blocking sockets, named as QEMU's chardevs; borrowed */
};
struct warm_link warm_link_of(struct vm *vm);
/* Where the program that waits is reached. */
int warm_wake_port(const struct warm_link *l, const json_t *note);
/* n bytes: 1; 0 = too late, or the other end is closed; -1. */
int warm_receive(const struct warm_link *l, int fd, void *to, size_t n, long long deadline,
                 struct error **err);

#endif
