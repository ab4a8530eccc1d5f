/* SPDX-License-Identifier: MIT
 *
 * The folder beside an export's file in which it is written. A killed kiln leaves it; the next export to the
 * same place removes it. Whoever uses one holds flock(2) on it.
 *
 *     CLEANUP(export_temp_clear) struct export_temp t = EXPORT_TEMP_INIT;
 *     if (export_temp_open(&t, ".", &err) < 0)
 *         return -1;
 *     // write t.file, and rename it
 */
#ifndef IMAGE_EXPORT_TEMP_H
#define IMAGE_EXPORT_TEMP_H

#include "base/error.h"

/* Begins the folder's name. */
#define EXPORT_TEMP ".kiln-export-"

struct export_temp {
    char *folder, *file; /* owned; NULL = none */
    int lock;            /* the folder; -1 = none, where folders cannot be locked (NFS) */
};
#define EXPORT_TEMP_INIT \
    { \
        NULL, NULL, -1 \
    }

/* Removes what dead processes of this user left in dir, and makes a new one. */
int export_temp_open(struct export_temp *t, const char *dir, struct error **err);
/* Removes the folder and what is left in it. */
void export_temp_clear(struct export_temp *t);

#endif
