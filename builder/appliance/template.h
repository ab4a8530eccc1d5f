/* SPDX-License-Identifier: MIT
 *
 * Templates of the builder VM: saved machines (vm/saved.h) below <cache>/template, with a further
 * file, the kernel's stand-in. Whoever boots the VM fills one.
 *
 *     // given struct session *session; const char *text;
 *     CLEANUP(saved_clear) struct saved t = SAVED_INIT;
 *     if (template_open(session, text, &t, &err) < 0) ...
 *     if (!t.ready) ...                // as vm/saved.h has it
 */
#ifndef BUILDER_APPLIANCE_TEMPLATE_H
#define BUILDER_APPLIANCE_TEMPLATE_H

#include "base/error.h"
#include "vm/saved.h"

#include <stdbool.h>

struct session;

#define TEMPLATE_KERNEL "kernel" /* in its folder */

/* As saved_open and saved_damaged. */
int template_open(const struct session *s, const char *key_text, struct saved *t,
                  struct error **err);
bool template_damaged(const struct session *s, const char *key_text);

/*
 * A stand-in for `kernel`: just its set-up code, so that QEMU has a -kernel of the same kind as
 * when the template was made, but does not read 14 MB that the restored memory holds already.
 */
int template_stand_in(const char *kernel, const char *path, struct error **err);

#endif
