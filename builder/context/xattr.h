/* SPDX-License-Identifier: MIT
 *
 * The extended attributes that COPY keeps: "user." ones, file capabilities (security.capability)
 * and POSIX ACLs (system.posix_acl_*). Those that belong to the host (SELinux labels, IMA) stay
 * there.
 */
#ifndef BUILDER_CONTEXT_XATTR_H
#define BUILDER_CONTEXT_XATTR_H

#include "base/buf.h"

/* Puts the attributes of an open file or folder into *ret (emptied first), sorted by name, in the
 * form of stream.h; nothing when there are none or the file system has none. 0, or -1 with errno
 * (E2BIG: more than STREAM_XATTR_MAX bytes). */
int xattrs_read(int fd, struct buf *ret);
/* Adds one attribute in the form of stream.h. */
void xattrs_add(struct buf *b, const char *name, const void *value, size_t n);

#endif
