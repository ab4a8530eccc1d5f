/* SPDX-License-Identifier: MIT
 *
 * What the files of saved boots (vm/warm*.c) share. Nobody else includes it.
 */
#ifndef VM_WARM_PRIVATE_H
#define VM_WARM_PRIVATE_H

#include "vm/share.h"
#include "vm/warm.h"

#include <stdint.h>

/* Names of the chardevs of its ports; with WARM_AGAIN behind in a VM whose ports lead nowhere. */
extern const char *const warm_ports[VM_WARM_PORTS];
#define WARM_AGAIN "-again"
/* Why this VM has to boot, a phrase; NULL = it need not. in_front: its user has its console, or is logged
 * in by vm_run. */
const char *warm_obstacle(const struct vm_run_options *o, const struct vm_warm_wish *wish,
                          bool in_front);
/* The same, once it is known what the saved guest has. */
const char *warm_unfit(const struct vm_run_options *o, const json_t *note);
/* The saved boot for it; *kind is borrowed by *t. */
int warm_open(const struct session *s, const struct vm_run_options *o,
              const struct vm_warm_wish *wish, struct saved_kind *kind, struct saved *t,
              struct error **err);
/* It is there, or is made now. */
int warm_get_ready(const struct session *s, const struct vm_run_options *o,
                   const struct vm_warm_wish *wish, struct saved *t, struct error **err);
/* The memory of a copy; t and wish are borrowed until warm_clear. ERR_SYSTEM. */
#define WARM_INIT \
    { \
        .ram_fd = -1 \
    }
int warm_from(struct vm_warm *w, struct saved *t, const struct vm_run_options *o,
              const struct vm_warm_wish *wish, struct error **err);
void warm_clear(struct vm_warm *w);
/* vm_warm_run of a VM that keeps its disk. */
int warm_run_kept(const struct session *s, const struct vm_run_options *o,
                  const struct vm_warm_wish *wish, int *ret_status, struct error **err);
/* The one line about a VM that boots. */
void warm_tell_boot(const struct session *s, const struct vm_warm_wish *wish, const char *why);
/* For its boot: shared folders as devices. *links: 0, to be cleared when QEMU has them. */
void warm_share(const struct session *s, struct vm_run_options *o, struct vm_share_links *links);
/* What a copy needs is missing: refused, or told. */
int warm_tell_lacking(const struct session *s, const struct vm_warm_wish *wish, const json_t *note,
                      struct error **err);
/* It could not be made: whether a boot would not help. */
bool warm_is_final(const struct error *e, const struct vm_run_options *o);
/* A copy failed: whether the saved boot may be the cause, and not this host, which a boot would meet,
 * too. */
bool warm_is_at_fault(const struct vm_warm *w, const struct error *e);
/* ERR_USAGE: what is awaited can't be seen in a guest without network. */
int warm_ready_check(const struct vm_warm_wish *wish, const struct vm_spec *spec,
                     struct error **err);
/* Until what --ready-when says is true. ssh: NULL = no network. */
int warm_await_ready(const struct vm_run_options *o, struct vm *vm, struct vm_ssh *ssh,
                     struct error **err);
/* Of the program that is put into the guest: the saved one talks to the kiln that restores it. */
uint64_t warm_program_digest(void);
/* The file of a disk in the saved boot's folder; owned. */
char *warm_disk_name(size_t i);

#endif
