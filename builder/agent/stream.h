/* SPDX-License-Identifier: MIT
 *
 * The form in which files travel into the guest: a stream of entries, read by the agent from the
 * stream disk (a virtio-blk device whose content kiln makes up as it is read). COPY, ADD and
 * unpacked archives all become this; the agent knows no other archive format.
 *
 * A stream starts at an offset that is a multiple of STREAM_ALIGN. An entry:
 *
 *   struct stream_entry (little endian, packed)
 *   path       path_len bytes: relative to the destination, no leading '/', no "." or ".." part;
 *              "" is the destination itself (a single file copied to a name, or the root of a
 *              copied folder)
 *   link       link_len bytes: target of a symbolic link, any bytes; for a hard link, the path of
 *              an earlier entry of this stream; for anything else with the path "" that is not a
 *              folder, its own name, which it gets when the destination is an existing folder
 *              (COPY app.conf /etc with an /etc: /etc/app.conf)
 *   xattrs     xattr_len bytes: each u16 name length | u32 value length | name | value
 *   extents    n_extents times u64 offset | u64 length: the parts of a file that hold data, in
 *              order; the rest of `size` is a hole
 *   data       the bytes of the extents. When they are STREAM_BIG or more in all, each extent's
 *              bytes start at a multiple of STREAM_ALIGN in the stream (zeros before), so that
 *              the agent can write them from where they were read
 *
 * The agent reads strictly in order, in requests of up to STREAM_READ bytes, and reads ahead: up to
 * STREAM_AHEAD bytes past STREAM_END may be asked for (answer zeros; the next stream starts later).
 *
 * Entries follow each other directly. A folder comes before what is in it. The last entry is
 * STREAM_END, or STREAM_ABORT whose path is a message: the host could not go on (a file changed
 * while it was read), and the agent fails the request with that message.
 *
 * Order in which the agent sets attributes: content, owner, mode, xattrs, mtime (a chown drops
 * capabilities). It works below the opened root, follows no symbolic link in the destination that
 * would leave it, replaces files by unlinking, keeps existing folders (and their attributes, unless
 * STREAM_DIR_ATTRS), and makes missing parents, with the owner and mode that --chown and --chmod
 * give, else root:root 0755. Parents may be links that lead nowhere: then their targets are made.
 */
#ifndef BUILDER_AGENT_STREAM_H
#define BUILDER_AGENT_STREAM_H

#include <stdint.h>

#define STREAM_MAGIC 0x4b454e54u /* "TNEK" in memory */
#define STREAM_ALIGN 4096
#define STREAM_BIG (64 * 1024)
#define STREAM_READ (1 << 20)
#define STREAM_AHEAD (8 << 20)
/* The size of the stream disk; offsets only grow within one VM's life. */
#define STREAM_DISK_SIZE (1ull << 46)

enum stream_type {
    STREAM_FILE = 1,
    STREAM_DIR,
    STREAM_SYMLINK,
    STREAM_HARDLINK,
    STREAM_CHAR,
    STREAM_BLOCK,
    STREAM_FIFO,
    STREAM_END = 100,
    STREAM_ABORT,
};

/* flags */
enum {
    STREAM_DIR_ATTRS = 1, /* an existing folder gets this entry's attributes (archives) */
    STREAM_ARCHIVE = 2,   /* of an archive: goes through no link of this stream out of <dest>, and
                           * may replace an empty folder */
};

struct stream_entry {
    uint32_t magic;
    uint8_t type;
    uint8_t flags;
    uint16_t zero;
    uint32_t mode; /* permission bits with setuid, setgid, sticky */
    uint32_t uid, gid;
    uint32_t rdev_major, rdev_minor;
    uint32_t mtime_ns;
    int64_t mtime;
    uint64_t size; /* of a file, holes included */
    uint32_t path_len, link_len, xattr_len, n_extents;
} __attribute__((packed));

/* Limits both ends hold to. */
enum {
    STREAM_PATH_MAX = 4096,
    STREAM_XATTR_MAX = 1 << 20,
    STREAM_EXTENTS_MAX = 1 << 16, /* a file with more holes is sent with small ones filled */
};

#endif
