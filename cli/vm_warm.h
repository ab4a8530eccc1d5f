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

#include <jansson.h>

struct named_vm;

struct vm_warm_request {
    bool wanted;
    struct vm_warm_wish wish; /* borrows the rest */
    char *image, *backend, *id;
};
void vm_warm_request_clear(struct vm_warm_request *r);

/* By --warm, --cold, --ready-when and KILN_WARM; image: the name as it was given, which is found by now.
 * ERR_USAGE, ERR_USER. */
int vm_warm_take(const struct session *s, const struct args *a, const char *image,
                 struct vm_warm_request *ret, struct error **err);
/* For a VM that is created: what its first start is to do, and what its image is, as "warm" of config, its
 * vm.json. */
int vm_warm_note(const struct session *s, const struct args *a, const char *image, json_t *config,
                 struct error **err);
/* For a start of it: not wanted if it is not the first one. *ret borrows from vm and args. Before its lock is
 * taken, which forgets earlier starts. */
int vm_warm_take_vm(const struct session *s, const struct args *a, const struct named_vm *vm,
                    struct vm_warm_request *ret, struct error **err);
/* For a VM of ci, on this layer: wanted unless it is switched off; why one is not possible is told with -v
 * alone. */
int vm_warm_take_job(const struct session *s, const struct args *a, const char *image,
                     const char *layer, struct vm_warm_request *ret, struct error **err);
/* Whether they ask for a saved boot. ERR_USAGE, ERR_USER: another value. */
int vm_warm_wanted(const struct session *s, const struct args *a, bool *ret, struct error **err);
/* Removes those whose image is gone or another one now. */
void vm_warm_tidy(const struct session *s);

/* Rows of a command's table of options. */
// clang-format off
#define READY_OPTION \
    {"ready-when", 0, "serial:REGEX|port:N|file:PATH", "With --warm: what must be true, too, before the boot is saved", NULL}
#define WARM_OPTION \
    {"warm", 0, "[=strict|compress|off]", "Start from a saved boot, which the first start makes; strict: an error if VMs would have equal random bytes; compress: it takes less disk", NULL}
#define WARM_OPTIONS \
    WARM_OPTION, READY_OPTION, \
    {"cold", 0, NULL, "Boot, whatever --warm, KILN_WARM and settings files say", "no-warm"}
// clang-format on

#endif
