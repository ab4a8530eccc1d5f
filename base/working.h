/* SPDX-License-Identifier: MIT
 *
 * Folders for what is not finished. Each lies in a common parent (".working" of a backend) as
 * <random>/ beside its lock file <random>.lock. Whoever works in it holds the kernel lock of that
 * file, so a folder whose lock is free is what a dead process left, and the next working_sweep
 * removes it. Other names in the parent are left alone.
 *
 *     CLEANUP(working_clear) struct working w = WORKING_INIT;
 *     if (working_open(&w, dir, &err) < 0) ...
 *     ...                             // files below w.dir; what is to stay is renamed out of it
 */
#ifndef BASE_WORKING_H
#define BASE_WORKING_H

#include "base/error.h"

struct working {
    char *dir;  /* the folder, absolute if parent was; NULL = none */
    char *lock; /* its lock file, which may hold text of the owner's */
    int fd;     /* the held lock, open for reading and writing; close-on-exec; -1 = none */
};
#define WORKING_INIT \
    { \
        NULL, NULL, -1 \
    }

/* Makes parent (make_dirs_inside) and a new empty folder (mode 0700) in it. */
int working_open(struct working *w, const char *parent, struct error **err);
/* Removes folder and lock file, ends the lock. What can't be removed is left to the next sweep. */
void working_clear(struct working *w);
/* Removes every folder in parent whose lock is free. A missing parent is fine; what can't be
 * removed is passed over. Costs one readdir when there is nothing to do. */
void working_sweep(const char *parent);

#endif
