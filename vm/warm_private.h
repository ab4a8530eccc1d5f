/* SPDX-License-Identifier: MIT
 *
 * What vm/warm.c (in front) and vm/warm_detach.c (in the background) share. Nobody else includes it.
 */
#ifndef VM_WARM_PRIVATE_H
#define VM_WARM_PRIVATE_H

#include "vm/warm.h"

/* Why this VM has to boot, a phrase; NULL = it need not. */
const char *warm_obstacle(const struct vm_run_options *o);
/* The saved boot for it; *kind is borrowed by *t. */
int warm_open(const struct session *s, const struct vm_run_options *o,
              const struct vm_warm_wish *wish, struct saved_kind *kind, struct saved *t,
              struct error **err);
/* It is there, or is made now. */
int warm_get_ready(const struct session *s, const struct vm_run_options *o,
                   const struct vm_warm_wish *wish, struct saved *t, struct error **err);
/* What a copy needs is missing: refused, or told. */
int warm_tell_lacking(const struct session *s, const struct vm_warm_wish *wish, const json_t *note,
                      struct error **err);
/* Whether a boot would not help. restored: it happened to a copy. */
bool warm_is_final(const struct error *e, const struct vm_run_options *o, bool restored);
/* The file of a disk in the saved boot's folder; owned. */
char *warm_disk_name(size_t i);

#endif
