/* SPDX-License-Identifier: MIT
 *
 * Programs of the host that work in the builder VM: what they need beside themselves.
 */
#ifndef BUILDER_APPLIANCE_PROGRAMS_H
#define BUILDER_APPLIANCE_PROGRAMS_H

#include "base/error.h"
#include "base/vector.h"

struct session;

/*
 * Adds to *ret the absolute paths of the shared libraries of `program` and of its loader, as the
 * loader itself tells ("ld.so --list"); each path once. A static program needs none. Errors:
 * ERR_SYSTEM, ERR_USER (not an ELF program).
 */
int program_libraries(const struct session *s, const char *program, struct strv *ret,
                      struct error **err);

#endif
