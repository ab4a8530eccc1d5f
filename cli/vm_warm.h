/* SPDX-License-Identifier: MIT
 *
 * --warm: VMs from a saved boot (vm/warm.h), for the commands.
 *
 *     // given struct session *session; struct args *args; struct vm_run_options options;
 *     CLEANUP(vm_warm_request_clear) struct vm_warm_request request = {0};
 *     if (vm_warm_take(session, args, "debian", &request, &err) < 0) ...
 *     options.wish = request.wanted ? &request.wish : NULL;        // for vm_options_boot
 */
#ifndef CLI_VM_WARM_H
#define CLI_VM_WARM_H

#include "cli/command.h"
#include "vm/warm.h"

struct vm_warm_request {
    bool wanted;
    struct vm_warm_wish wish; /* borrows the rest */
    char *image, *backend, *id;
};
void vm_warm_request_clear(struct vm_warm_request *r);

/* By --warm, --ready-when and KILN_WARM; image: the name as it was given, which is found by now.
 * ERR_USAGE, ERR_USER. */
int vm_warm_take(const struct session *s, const struct args *a, const char *image,
                 struct vm_warm_request *ret, struct error **err);
/* Whether they ask for a saved boot; ERR_USER: KILN_WARM is neither 0, 1 nor strict. */
int vm_warm_wanted(const struct session *s, const struct args *a, bool *ret, struct error **err);
/* Removes those whose image is gone or another one now. */
void vm_warm_tidy(const struct session *s);

/* Rows of a command's table of options. */
// clang-format off
#define READY_OPTION \
    {"ready-when", 0, "serial:REGEX|port:N|file:PATH", "With --warm: what must be true, too, before the boot is saved", NULL}
#define WARM_OPTIONS \
    {"warm", 0, "[=strict|off]", "Start from a saved boot, which the first start makes; strict: an error if VMs would have equal random bytes", NULL}, \
    READY_OPTION
// clang-format on

#endif
