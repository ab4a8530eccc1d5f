/* SPDX-License-Identifier: MIT
 *
 * POSIX ACLs of an archive's entry as the extended attributes that Linux keeps them in:
 * system.posix_acl_access and system.posix_acl_default, in the layout of
 * include/uapi/linux/posix_acl_xattr.h (u32 version 2, then u16 tag | u16 permissions | u32 id for
 * each, little endian, sorted by tag and id).
 */
#ifndef BUILDER_CONTEXT_ACL_H
#define BUILDER_CONTEXT_ACL_H

#include "base/buf.h"

#include <stdbool.h>

struct archive_entry;

/* Adds the attributes an entry's ACLs make, in the form of stream.h. ACLs that say no more than the
 * mode does, and kinds that Linux does not have (NFSv4), add nothing. Somebody who is given by name
 * only, without a number, is left out: names are the other system's. */
void acl_add_xattrs(struct archive_entry *e, struct buf *xattrs);
bool acl_is_xattr(const char *name); /* is it the name of one of these attributes? */

#endif
