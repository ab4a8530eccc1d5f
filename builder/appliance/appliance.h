/* SPDX-License-Identifier: MIT
 *
 * What the builder VM boots: the distribution's kernel and an initramfs with our agent as PID 1,
 * the modules it needs and the host's programs for making file systems. Made without root.
 *
 *     CLEANUP(appliance_clear) struct appliance a = APPLIANCE_INIT;
 *     appliance_get(session, &a, &err);
 *
 * The initramfs is kept as <cache>/appliance/<digest>/initrd.img under the SHA-256 of its content.
 * <cache>/appliance/index.json says which files of the host it was made from; as long as none of
 * them has changed (device, inode, size, times) getting it costs some hundred stat calls.
 *
 * In the initramfs: /init (the agent), /lib/modules/<name>.ko, /lib/modules.list (their paths in
 * loading order, one a line), /sbin/<program>, their libraries under the host's paths, and
 * /etc/mke2fs.conf. Programs the host does not have are left out.
 */
#ifndef BUILDER_APPLIANCE_APPLIANCE_H
#define BUILDER_APPLIANCE_APPLIANCE_H

#include "base/digest.h"
#include "base/vector.h"
#include "builder/appliance/kernel.h"

struct appliance {
    struct kernel kernel;
    char *initrd;                /* path */
    char digest[DIGEST_HEX + 1]; /* of kernel and initramfs */
    struct strv absent; /* programs the host does not have: "mkfs.xfs (package xfsprogs)" */
};
#define APPLIANCE_INIT \
    { \
        KERNEL_INIT, NULL, "", \
        { \
            NULL, 0, 0 \
        } \
    }

/* Builds that need it at once wait for the one that makes it. Errors: kernel_find's, ERR_NOT_FOUND
 * (the kernel lacks a module), ERR_SYSTEM, ERR_CANCELLED. */
int appliance_get(const struct session *s, struct appliance *ret, struct error **err);
/* For before it is booted: reads kernel and initramfs in full (0.1 s), and makes the initramfs again
 * if they are not what they were when it was made. */
int appliance_check(const struct session *s, struct appliance *a, struct error **err);
void appliance_clear(struct appliance *a);

#endif
