/* SPDX-License-Identifier: MIT
 *
 * The manifest of a COPY or ADD: everything of its sources that can show in the disk (path, type,
 * mode, link target, xattrs, device numbers, content digest; of --from the owner; no times) as
 * canonical bytes. Equal manifests are equal bytes; their SHA-256 goes into the step's key, and the bytes are
 * kept with the layer for manifest_diff (builder/context/manifest.h). The host makes those of the build
 * directory, the agent those of --from.
 *
 * Bytes: MANIFEST_MAGIC, then one record an entry, in order of sources and, within one, of paths
 * ('/' sorts before all else). A record (little endian):
 *
 *   u8 type (enum manifest_type) | u8 fields | u16 mode | u16 path length | path
 *   [32 content digest] [u16 length | link target, or path of the hard link's first name]
 *   [32 digest of the xattrs] [u32 major | u32 minor] [u32 uid | u32 gid]
 *
 * Paths are as the source was written, then '/' and the path below it.
 */
#ifndef BUILDER_AGENT_MANIFEST_H
#define BUILDER_AGENT_MANIFEST_H

#include "base/buf.h"
#include "base/digest.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define MANIFEST_MAGIC "kiln manifest 1\n"

enum manifest_type {
    MANIFEST_NONE = 0,
    MANIFEST_FILE = 'f',
    MANIFEST_DIR = 'd',
    MANIFEST_SYMLINK = 'l',
    MANIFEST_HARDLINK = 'h',
    MANIFEST_CHAR = 'c',
    MANIFEST_BLOCK = 'b',
    MANIFEST_FIFO = 'p',
    MANIFEST_INLINE = 'i',  /* a here-document */
    MANIFEST_REMOTE = 'r',  /* a fetched file */
    MANIFEST_ARCHIVE = 'a', /* a file that ADD unpacks if it is an archive */
};

struct manifest_entry {
    enum manifest_type type;
    uint16_t mode; /* permission bits */
    struct str path;
    bool has_content, has_xattrs, has_device, has_owner;
    struct digest content, xattrs;
    struct str link; /* len 0 = none */
    uint32_t major, minor, uid, gid;
};

/* Of a file's st_mode; MANIFEST_NONE: a socket, or something unknown, which no manifest holds. */
enum manifest_type manifest_type_of(mode_t mode);

void manifest_begin(struct buf *b);
void manifest_add(struct buf *b, const struct manifest_entry *e);
/* Walks a manifest: *at starts at 0; the views point into `bytes`. False at the end or at damage;
 * then *at == bytes.len only if all was sound. */
bool manifest_next(struct str bytes, size_t *at, struct manifest_entry *ret);

#endif
