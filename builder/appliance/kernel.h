/* SPDX-License-Identifier: MIT
 *
 * The builder VM's Linux: one of the distribution's, with its modules.
 *
 *     CLEANUP(kernel_clear) struct kernel k = KERNEL_INIT;
 *     kernel_find(session, &k, &err);
 *
 * Looked for in this order: KILN_KERNEL; the newest readable /boot/vmlinuz-* that has modules, a
 * "cloud" one first (it is small); one that was downloaded before; the distribution's kernel
 * package, downloaded with apt-get and unpacked into the session's cache without root (Ubuntu's
 * /boot/vmlinuz is readable by root only).
 */
#ifndef BUILDER_APPLIANCE_KERNEL_H
#define BUILDER_APPLIANCE_KERNEL_H

#include "base/error.h"

#include <stdbool.h>

struct session;

struct kernel {
    char *path;    /* the bzImage */
    char *version; /* as uname -r tells it */
    char *modules; /* folder with modules.dep */
};
#define KERNEL_INIT \
    { \
        NULL, NULL, NULL \
    }

/* A download is reported as a notice. Errors: ERR_NOT_FOUND or ERR_USER with what to do. */
int kernel_find(const struct session *s, struct kernel *ret, struct error **err);
void kernel_clear(struct kernel *k);
/* The same without a download: 1 found, 0 there is none, -1 KILN_KERNEL is of no use.
 * *ret_unreadable: /boot has one that we may not read. */
int kernel_here(const struct session *s, struct kernel *ret, bool *ret_unreadable,
                struct error **err);

/* Downloads and unpacks the kernel package, whatever /boot has; for kernel_find and its tests. */
int kernel_download(const struct session *s, struct kernel *ret, struct error **err);
/* The version from the header of a bzImage (Linux Documentation/x86/boot.rst, "kernel_version"
 * at offset 0x20e); owned. */
char *kernel_version(const char *path, struct error **err);

#endif
