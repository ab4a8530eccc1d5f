/* SPDX-License-Identifier: MIT
 *
 * A process for which the host is one folder and what programs need to start.
 *
 *     // given char *program, *folder;
 *     struct confine c = {.program = program, .folder = folder};
 *     enum confined got;
 *     if (confine(&c, &got, &err) < 0 || got != CONFINED_TREE) ...
 *
 * Two fences, as far as the kernel has them: a tree of files of its own in a mount namespace
 * (mount_namespaces(7); not as root also a user namespace), in which nothing else exists; and rules
 * (landlock(7)). The rules alone leave out what needs no open file: mode, owner, times, stat(2), and
 * before Linux 6.2 truncate(2).
 */
#ifndef VM_CONFINE_H
#define VM_CONFINE_H

#include "base/error.h"

#include <stdbool.h>

struct confine {
    const char *program; /* what is to be run: absolute; borrowed */
    const char *folder;  /* absolute; borrowed */
    bool read_only;      /* the folder */
};

enum confined {
    CONFINED_NOT,
    CONFINED_RULES, /* Landlock alone */
    CONFINED_TREE,
};

/* This process, which has one thread, and all that it starts, from now on; its root directory and
 * working directory may be others then. What the kernel has not is no error: see *ret. */
int confine(const struct confine *c, enum confined *ret, struct error **err);
/* What confine can do here; it starts a process to find out. */
enum confined confine_possible(const struct confine *c);

#endif
