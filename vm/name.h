/* SPDX-License-Identifier: MIT
 *
 * Names of VMs and of their folders in the VM store.
 *
 * A name is any UTF-8 text without control characters; its folder's name is that of the VM with %XX in
 * place of each byte that is not a letter, a digit, '.', '_' or '-' of ASCII, so "my vm" is "my%20vm".
 *
 *     if (vm_name_check("my vm", &err) == 0) {
 *         AUTO_FREE char *folder = vm_name_encode("my vm");
 *     }
 */
#ifndef VM_NAME_H
#define VM_NAME_H

#include "base/error.h"

/* ERR_USER, with what is wrong: empty, longer than 128 bytes, or 240 encoded, not UTF-8, a control
 * character, or "." or "-" or ":" in front (hidden folders, options, paths of a host). */
int vm_name_check(const char *name, struct error **err);
/* Of a name that is one; owned. */
char *vm_name_encode(const char *name);
/* Owned; NULL: no name has that folder. */
char *vm_name_decode(const char *folder);
/* A name made from any text, of plain letters: what is not one becomes '-'. Owned. */
char *vm_name_plain(const char *text);

#endif
