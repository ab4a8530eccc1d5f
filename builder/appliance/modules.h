/* SPDX-License-Identifier: MIT
 *
 * Which module files of a kernel are needed, in the order in which they can be loaded: read from
 * modules.dep and modules.builtin (kmod's modules.dep(5)).
 */
#ifndef BUILDER_APPLIANCE_MODULES_H
#define BUILDER_APPLIANCE_MODULES_H

#include "base/error.h"
#include "base/vector.h"

/*
 * dir is /lib/modules/<version>. `wanted` are NULL-terminated module names ('-' and '_' mean the
 * same); what they depend on comes before them. *ret gets paths of .ko files, maybe compressed
 * (.ko.xz …). Modules that are built into the kernel are passed over; those that are not there at
 * all go into *missing (may be NULL). Errors: ERR_NOT_FOUND (no modules.dep), ERR_SYSTEM.
 */
int modules_resolve(const char *dir, const char *const *wanted, struct strv *ret,
                    struct strv *missing, struct error **err);

#endif
