/* SPDX-License-Identifier: MIT
 *
 * File modes as chmod(1) takes them: octal ("0644") or symbolic ("u=rwX,go-w").
 */
#ifndef BASE_MODE_H
#define BASE_MODE_H

#include <stdbool.h>
#include <sys/types.h>

/* The mode (0..07777) that `text` makes of `old`; false when it is not a mode. As POSIX has it, X is
 * x for a folder and for what somebody may run already; without u, g, o or a it is for all (no umask
 * counts). */
bool mode_apply(const char *text, mode_t old, bool folder, mode_t *ret);

#endif
