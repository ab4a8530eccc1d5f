/* SPDX-License-Identifier: MIT
 *
 * What kiln (the host) and the agent (PID 1 of the builder VM) say to each other. This header is
 * shared by both ends; it and message.h are all that either knows of the other.
 *
 * Transport: one virtio-serial port named AGENT_PORT, a byte stream both ways. It carries frames:
 *
 *   u32 length of the payload | u32 id | u16 type | u16 zero | payload
 *
 * all numbers little endian. A payload has at most AGENT_REQUEST_MAX bytes from the host, and
 * AGENT_FRAME_MAX from the agent, which the host does not trust. It is a list of fields
 * (message.h):
 *
 *   u16 tag | u16 zero | u32 length | bytes
 *
 * numbers in fields are u64; strings are bytes without a NUL and need not be UTF-8. A tag may stand
 * several times (argv). Unknown tags are ignored, unknown types are answered with FAIL.
 *
 * The host sends requests, each with an id of its own (from 1). The agent answers each with any
 * number of OUTPUT and WARN frames and then exactly one DONE or FAIL, all carrying the request's
 * id. Requests are run one after the other, but the frames that belong to a running EXEC
 * (INPUT, RESIZE, SIGNAL, with its id) are taken meanwhile, and PING is answered at any time. A running
 * EXEC with mounts of type "ssh" sends RELAY frames, too.
 *
 * After boot and after every restore the agent waits until the host has the port open and then
 * answers; the host's first request is HELLO.
 */
#ifndef BUILDER_AGENT_PROTOCOL_H
#define BUILDER_AGENT_PROTOCOL_H

#define AGENT_PROTOCOL_VERSION 1
#define AGENT_PORT "kiln.agent"
#define AGENT_PULSE_PORT "kiln.pulse" /* bytes come back as they are sent: pulse.h */
#define AGENT_GUESTFS_PORT "org.libguestfs.channel.0" /* where libguestfs's daemon looks for it */
#define AGENT_FRAME_MAX (256 * 1024)
#define AGENT_REQUEST_MAX (80 << 20) /* a here-document may be as long as an Imagefile */
#define AGENT_FRAME_HEADER 12

/* Disk slots: virtio-blk devices that are there from the start, told apart by their serial
 * "kiln0".."kiln7". A slot without a disk has a size of AGENT_EMPTY_SIZE bytes. */
enum {
    AGENT_DISK_TARGET = 0, /* the disk being built */
    AGENT_DISK_STREAM = 1, /* host → guest bulk data, see stream.h */
    AGENT_DISK_EXTRA = 2,  /* 2..7: cache disks, images of COPY --from */
    AGENT_DISKS = 8,
    AGENT_EMPTY_SIZE = 1 << 20,
};

enum agent_type {
    /* agent → host */
    AGENT_OUTPUT = 1, /* STREAM (1 stdout, 2 stderr), DATA */
    AGENT_DONE = 2,   /* fields by request */
    AGENT_FAIL = 3,   /* MESSAGE [HINT] [ERRNO] */
    AGENT_WARN = 4,   /* MESSAGE: told to the user, nothing has failed */
    AGENT_RELAY = 5, /* CHANNEL (a client of a socket, never used again), NUMBER (of the socket: the
                       * "ssh" mounts in their order, from 0), DATA; no DATA = it sends no more */

    /* host → agent */
    AGENT_HELLO = 16, /* VERSION, TIME (ns since the epoch: the clock is stepped), ENTROPY (bytes
                       * for the kernel's pool, which is reseeded), FLAGS (AGENT_REHEARSE,
                       * AGENT_WARM_SHELL) → VERSION, RELEASE (uname -r) */
    AGENT_PING,       /* → */
    AGENT_DISK, /* SLOT, SIZE: waits until the slot has this size, rereads its partitions → */
    AGENT_PARTITION, /* SLOT, TABLE ("gpt"/"mbr"), then for each partition PART_SIZE (bytes, 0 =
                      * the rest), PART_FS ("" none), PART_OPTIONS, PART_MOUNT ("" none),
                      * PART_FLAGS ("boot,efi"), in that order. Partitions the disk and makes the
                      * file systems → */
    AGENT_MOUNT,     /* SLOT, FLAGS (AGENT_READ_ONLY), and for a disk just partitioned its mounts as
                      * pairs DEVICE_INDEX (1-based partition number), PATH (missing mount points are
                      * made and stay). Without pairs: finds the root file system (GPT type, fstab,
                      * os-release; LVM; btrfs subvolume), or takes DEVICE when it is given (a
                      * partition's number, /dev/…, UUID=, LABEL=, PARTUUID=, PARTLABEL=), and mounts
                      * the image's tree as its fstab says (local file systems only). The slot's tree
                      * is then at AGENT_TREE of that slot. FAIL lists what was seen.
                      * → DEVICE (of root), FS */
    AGENT_UMOUNT,    /* SLOT: ends what still runs in it, unmounts its tree → */
    AGENT_EXEC,   /* a command in the image, see AGENT_TAG_* below → STATUS (wait status), CHANGED
                      * (what the command changed of the VM, so that the next one would see it;
                      * absent = nothing) */
    AGENT_INPUT,  /* to a running EXEC: DATA; no DATA = end of input. With CHANNEL it is for that
                   * client of RELAY. Not answered */
    AGENT_RESIZE, /* to a running EXEC with a terminal: ROWS, COLUMNS. Not answered */
    AGENT_SIGNAL, /* to a running EXEC: NUMBER, sent to its process group. Not answered */
    AGENT_RECEIVE, /* OFFSET of a stream on the stream disk (stream.h), PATH (the destination in
                      * the target's tree, absolute), FLAGS (AGENT_DEST_DIR: <dest> is a folder:
                      * it ended in '/'), OWNER (--chown, resolved in the
                      * image's passwd/group; absent   = as in   the entries), MODE (--chmod, octal
                      * text; absent = as in the entries)   → COUNT (entries), SIZE (bytes of content)
                      */
    AGENT_COPY,    /* COPY --from: SLOT (source tree), SOURCE (patterns, repeated), PATH, FLAGS,
                      * OWNER, MODE, EXCLUDE (repeated) → COUNT, SIZE */
    AGENT_MKDIR,   /* PATH, OWNER: WORKDIR: made with its parents if missing, 0755 → */
    AGENT_FREEZE,  /* kills leftovers, syncs and freezes the target's file systems (FIFREEZE); after
                   * DONE nothing is dirty. The next request that may write thaws them → */
    AGENT_OS,     /* SLOT: what is on the disk, for `image inspect` → TEXT (JSON: partitions, file
                   * systems, os-release) */
    AGENT_READ,   /* SLOT, PATH: a file's bytes as OUTPUT frames → SIZE */
    AGENT_FORMAT, /* SLOT: makes an ext4 file system on the whole disk if it has none (cache disks)
                   * and mounts it at AGENT_TREE of that slot → FLAGS (1: it was made new) */
    AGENT_UNPACK, /* OFFSET of a stream: its files go to the guest's memory, where a bind of the
                   * next EXEC, after which they are gone, finds them → NUMBER */
    AGENT_SURVEY, /* SLOT, SOURCE, EXCLUDE as COPY, FLAGS (AGENT_KEEP_OWNER: owners count;
                     * AGENT_TOP_OWNER: of a folder that SOURCE names, too): what COPY would copy,
                     * as a manifest (manifest.h) in OUTPUT frames → FLAGS (1), or nothing if it
                     * is more than SURVEY_COST_MAX */
    AGENT_GROW, /* SLOT, TABLE ("gpt"/"mbr" if it must be that): unmounts its tree; the last partition
                 * takes what room there is behind it, and so does what is on it (ext2 to ext4, xfs,
                 * btrfs, root's volume of LVM) → */
    AGENT_APPLIANCE, /* SLOT of a disk with libguestfs's appliance, SCRIPT: it is mounted, and the
                      * script is run in it, which starts the daemon that serves AGENT_GUESTFS_PORT
                      * and mounts below /sysroot what it is told to → DEVICE (the target's) */
    AGENT_ADOPT,     /* what that daemon has mounted becomes the target's tree → FS (each type) */
    AGENT_SHUTDOWN,  /* unmounts everything, syncs, powers off. → (then the VM ends) */
};

enum agent_tag {
    AGENT_TAG_VERSION = 1,
    AGENT_TAG_TIME,
    AGENT_TAG_ENTROPY,
    AGENT_TAG_RELEASE,
    AGENT_TAG_STREAM,
    AGENT_TAG_DATA,
    AGENT_TAG_MESSAGE,
    AGENT_TAG_HINT,
    AGENT_TAG_ERRNO,
    AGENT_TAG_SLOT,
    AGENT_TAG_SIZE,
    AGENT_TAG_TABLE,
    AGENT_TAG_PART_SIZE,
    AGENT_TAG_PART_FS,
    AGENT_TAG_PART_OPTIONS,
    AGENT_TAG_PART_MOUNT,
    AGENT_TAG_PART_FLAGS,
    AGENT_TAG_FLAGS,
    AGENT_TAG_DEVICE_INDEX,
    AGENT_TAG_PATH,
    AGENT_TAG_DEVICE,
    AGENT_TAG_FS,
    AGENT_TAG_STATUS,
    AGENT_TAG_ROWS,
    AGENT_TAG_COLUMNS,
    AGENT_TAG_NUMBER,
    AGENT_TAG_OFFSET,
    AGENT_TAG_OWNER,
    AGENT_TAG_MODE,
    AGENT_TAG_COUNT,
    AGENT_TAG_SOURCE,
    AGENT_TAG_EXCLUDE,
    AGENT_TAG_TEXT,
    AGENT_TAG_CHANGED,
    AGENT_TAG_CHANNEL,

    /* EXEC. The command runs in the target's tree in PID, mount, IPC and UTS namespaces of its own;
     * stdin is empty unless AGENT_STDIN or AGENT_TTY. What it leaves running is killed. */
    AGENT_TAG_ARG = 64,   /* argv, repeated; looked up in the image's PATH */
    AGENT_TAG_ENV,        /* "name=value", repeated: the whole environment; HOME, when it is not
                           * among them, is set from the image's passwd */
    AGENT_TAG_CWD,        /* absolute; absent = / */
    AGENT_TAG_USER,       /* "name|uid[:group|gid]", resolved in the image; absent = root */
    AGENT_TAG_TERM,       /* with AGENT_TTY: the value of TERM */
    AGENT_TAG_HOSTNAME,   /* of the UTS namespace; absent = see hostname.h */
    AGENT_TAG_SCRIPT,     /* bytes placed, mode 0755, at AGENT_SCRIPT (a file that is never in the
                           * image), which ARG may name: for here-documents with a "#!" line or too
                           * long for an argument (128 KiB) */
    AGENT_TAG_NAMESERVER, /* IPv4 address of who answers its DNS queries (resolver.h); absent =
                           * QEMU's own, 10.0.2.3 */
    /* Mounts, repeated; each starts with MOUNT_TYPE, the following MOUNT_* tags belong to it. */
    AGENT_TAG_MOUNT_TYPE, /* "tmpfs", "cache", "bind", "secret", "hosts" (DATA and then the image's
                             * /etc/hosts), "ssh" (a socket, see RELAY) */
    AGENT_TAG_MOUNT_TARGET, /* absolute path in the image; made for the run if missing, then removed
                             */
    AGENT_TAG_MOUNT_SLOT,   /* cache, bind: whose tree holds the source */
    AGENT_TAG_MOUNT_SOURCE, /* bind: path in that tree; cache: absent (its root) */
    AGENT_TAG_MOUNT_DATA,   /* secret: its bytes */
    AGENT_TAG_MOUNT_MODE,   /* octal text */
    AGENT_TAG_MOUNT_OWNER,  /* "uid[:gid]" or names */
    AGENT_TAG_MOUNT_FLAGS,  /* AGENT_READ_ONLY, AGENT_DISCARD; tmpfs SIZE in MOUNT_SIZE */
    AGENT_TAG_MOUNT_SIZE,
    AGENT_TAG_MOUNT_UNPACKED, /* bind without a slot: the NUMBER that UNPACK gave */
};

/* Bits of FLAGS fields. */
enum {
    AGENT_READ_ONLY = 1,
    AGENT_DEST_DIR = 2,
    AGENT_TTY = 4,   /* EXEC on a pseudo-terminal of its own session, stdout and stderr joined */
    AGENT_STDIN = 8, /* EXEC: INPUT frames are its stdin */
    AGENT_NO_NETWORK = 16,
    AGENT_KEEP_OWNER =
        32, /* COPY: owners as in the source (ADD of an archive has them in the entries) */
    AGENT_REHEARSE = 64,    /* HELLO: see rehearse.h */
    AGENT_WARM_SHELL = 128, /* HELLO: see warm.h */
    AGENT_SHELL = 256,      /* EXEC: the first ARG is a POSIX shell */
    AGENT_INSECURE = 512,   /* EXEC: with all capabilities, /proc/sys and /sys writable */
    AGENT_PARENTS = 1024,   /* COPY: a SOURCE keeps its folders, from "/./" on if it has that, and
                             * "**" in it is any number of folders */
    AGENT_DISCARD = 4096,   /* a bind that can be written to; what is written is gone afterwards */
    AGENT_TOP_OWNER = 512,  /* SURVEY */
};

/* How much SURVEY reads: bytes of content, and 4 KiB for each entry. Under TCG the digest of more
 * would cost more than it could save. */
#define SURVEY_COST_MAX (64u << 20)

/* Where a slot's tree is mounted in the builder VM: "/tree/<slot>". */
#define AGENT_TREE "/tree/"
/* Where an EXEC's SCRIPT is seen by its command. */
#define AGENT_SCRIPT "/dev/kiln-script"

#endif
