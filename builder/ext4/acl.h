/* SPDX-License-Identifier: MIT
 *
 * POSIX ACLs as values of the attributes system.posix_acl_access and system.posix_acl_default:
 * include/uapi/linux/posix_acl_xattr.h. Pure.
 */
#ifndef BUILDER_EXT4_ACL_H
#define BUILDER_EXT4_ACL_H

#include "base/buf.h"

#include <stdbool.h>
#include <sys/types.h>

bool acl_is_access(struct str name);
bool acl_is_default(struct str name);
/* Whether the kernel takes it as it is, and keeps it: well-formed, and saying more than a mode can. */
bool acl_is_kept(struct str value);
/* The mode that a file has with it: an access ACL that acl_is_kept. */
mode_t acl_mode(struct str value, mode_t old);

#endif
