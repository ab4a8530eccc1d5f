// SPDX-License-Identifier: MIT
// A disk became larger: its last partition takes the new room, and so does the file system on it,
// or root's logical volume. Mounted file systems grow by an ioctl of their own, so no program of
// theirs is needed: EXT4_IOC_RESIZE_FS (fs/ext4/ext4.h), XFS_IOC_FSGROWFSDATA and
// XFS_IOC_FSGEOMETRY_V1 (fs/xfs/libxfs/xfs_fs.h), BTRFS_IOC_RESIZE (linux/btrfs.h).
#include "base/process.h"
#include "builder/agent/program.h"
#include "builder/agent/sys.h"
#include "builder/agent/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define EXT4_RESIZE _IOW('f', 16, uint64_t)
#define XFS_GROW _IOW('X', 110, struct xfs_grow)
#define XFS_GEOMETRY _IOR('X', 100, struct xfs_geometry)

struct xfs_grow {
    uint64_t blocks;
    uint32_t inode_percent;
};

struct xfs_geometry {
    uint32_t block_size, rt_extent, ag_blocks, ag_count, log_blocks, sector_size, inode_size,
        inode_percent;
    uint64_t data_blocks, rt_blocks, rt_extents, log_start;
    unsigned char uuid[16];
    uint32_t stripe_unit, stripe_width;
    int32_t version;
    uint32_t flags, log_sector, rt_sector, dir_block;
};

static bool is_ext(const char *fs)
{
    return strcmp(fs, "ext4") == 0 || strcmp(fs, "ext3") == 0 || strcmp(fs, "ext2") == 0;
}

static bool is_lvm(const struct volume *v)
{
    return v->fs.type && strcmp(v->fs.type, "LVM2_member") == 0;
}

static bool can_grow(const struct volume *v)
{
    const char *fs = v->fs.type;
    return fs && (is_ext(fs) || is_lvm(v) || strcmp(fs, "xfs") == 0 || strcmp(fs, "btrfs") == 0);
}

static bool is_extended(const struct volume *v)
{
    const char *type = v->entry.type;
    return strcmp(type, "0x05") == 0 || strcmp(type, "0x0f") == 0 || strcmp(type, "0x85") == 0;
}

static uint64_t start_of(const struct volume *v)
{
    char path[128];
    snprintf(path, sizeof path, "/sys/class/block/%s/start", v->name);
    return sys_read_num(path, 0);
}

// The one that ends where the new room begins; NULL = there are only extended ones, or none.
static const struct volume *last_of(const struct volumes *list)
{
    const struct volume *last = NULL;
    vec_foreach (const struct volume *, v, list)
        if (!is_extended(v) && (!last || start_of(v) > start_of(last)))
            last = v;
    return last;
}

static int sfdisk(struct agent *a, const char *disk, const char *option, const char *value,
                  struct str input, struct error **err)
{
    AUTO_FREE char *path = xasprintf("/dev/%s", disk);
    // sfdisk takes the number of a partition behind the device, all else before it
    bool number = strcmp(option, "-N") == 0;
    return program_run(
        a,
        (char **)ARGV("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", option, value, path),
        number ? input : (struct str){"", 0}, err);
}

static int grow_partition(struct agent *a, const char *disk, int number, struct error **err)
{
    AUTO_FREE char *text = xasprintf("%d", number);
    return sfdisk(a, disk, "-N", text, STR(", +\n"), err);
}

// The table of the disk: sfdisk moves a GPT's copy to the new end, an MBR's extended partition grows first.
static int grow_table(struct agent *a, struct slot *s, const struct volumes *list,
                      const struct volume *last, const char *table, struct error **err)
{
    enum { FIRST_LOGICAL = 5 };
    vec_foreach (const struct volume *, v, list)
        if (strcmp(table, "mbr") == 0 && last->number >= FIRST_LOGICAL && is_extended(v) &&
            grow_partition(a, s->disk, v->number, err) < 0)
            return -1;
    if (grow_partition(a, s->disk, last->number, err) < 0)
        return -1;
    return disk_reread(s->disk, err);
}

static int device_size(const char *device, uint64_t *ret)
{
    AUTO_CLOSE int fd = open(device, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -1 : ioctl(fd, BLKGETSIZE64, ret);
}

static int grow_xfs(int fd, uint64_t bytes)
{
    struct xfs_geometry g;
    if (ioctl(fd, XFS_GEOMETRY, &g) < 0)
        return -1;
    struct xfs_grow grow = {bytes / g.block_size, g.inode_percent};
    return grow.blocks <= g.data_blocks ? 0 : ioctl(fd, XFS_GROW, &grow);
}

static int grow_ext(int fd, uint64_t bytes)
{
    struct statfs st;
    if (fstatfs(fd, &st) < 0)
        return -1;
    uint64_t blocks = bytes / (uint64_t)st.f_bsize;
    return ioctl(fd, EXT4_RESIZE, &blocks);
}

static int grow_btrfs(int fd)
{
    struct btrfs_ioctl_vol_args args = {.name = "max"};
    return ioctl(fd, BTRFS_IOC_RESIZE, &args);
}

static int grow_mounted(const struct mounted *m, struct error **err)
{
    AUTO_CLOSE int fd = open(m->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    uint64_t bytes;
    if (fd < 0 || device_size(m->device, &bytes) < 0)
        return error_errno(err, "cannot open '%s'", m->device);
    int rc = is_ext(m->fs)                 ? grow_ext(fd, bytes)
             : strcmp(m->fs, "xfs") == 0   ? grow_xfs(fd, bytes)
             : strcmp(m->fs, "btrfs") == 0 ? grow_btrfs(fd)
                                           : (errno = EOPNOTSUPP, -1);
    return rc < 0 ? error_errno(err, "cannot grow the %s of '%s'", m->fs, m->device) : 0;
}

static int grow_alone(struct slot *s, int number, const struct volume *v, struct error **err)
{
    AUTO_FREE char *device = xasprintf("/dev/%s", v->name);
    AUTO_FREE char *path = xasprintf(AGENT_TREE "%d", number);
    struct tree_mount m = {.device = device, .fs = v->fs.type, .path = path};
    (void)mkdir(path, 0755);
    if (tree_mount(s, &m, err) < 0)
        return -1;
    return grow_mounted(&s->mounts.ptr[s->mounts.len - 1], err);
}

// Root's volume takes what the physical one gained.
static int grow_lvm(struct agent *a, struct slot *s, int number, const struct volume *pv,
                    struct error **err)
{
    AUTO_FREE char *device = xasprintf("/dev/%s", pv->name);
    if (root_mount(a, s, number, NULL, false, err) < 0)
        return -1;
    const struct mounted *root = &s->mounts.ptr[0];
    const struct volume *lv = NULL;
    vec_foreach (const struct volume *, v, s->volumes)
        if (v->lv[0] && strcmp(root->device + strlen("/dev/"), v->name) == 0)
            lv = v;
    if (!lv)
        return error_set(err, ERR_USER, "the last partition, %s, is LVM, and root is not on it",
                         pv->name);
    if (lvm_grow(a, device, lv->lv, err) < 0)
        return -1;
    return grow_mounted(root, err);
}

static int check_last(const struct slot *s, const struct volumes *list, const struct volume *last,
                      struct error **err)
{
    if (last && can_grow(last))
        return 0;
    AUTO_FREE char *seen = disk_describe(list);
    error_set(err, ERR_USER, "cannot grow the last partition of '%s': seen %s", s->disk, seen);
    return error_hint(err, "the last one must be ext2, ext3, ext4, xfs, btrfs or LVM");
}

static int check_table(const struct request *rq, const char *table, struct error **err)
{
    struct str want;
    if (!message_get(&rq->fields, AGENT_TAG_TABLE, &want) || str_is(want, table))
        return 0;
    error_set(err, ERR_USER, "the partition table of the image is %s, not " STR_FMT,
              strcmp(table, "none") == 0 ? "missing" : table, STR_ARG(want));
    return error_hint(err, "DISK keeps an image's table: leave it out");
}

int agent_grow(struct agent *a, const struct request *rq, struct message *reply, struct error **err)
{
    (void)reply;
    CLEANUP(volumes_clear) struct volumes list = {0};
    const char *table;
    struct slot *s;
    int number;
    if (agent_slot(a, rq, &s, &number, err) < 0 || tree_umount(a, s, err) < 0 ||
        disk_volumes(s->disk, &list, &table, err) < 0 || check_table(rq, table, err) < 0)
        return -1;
    const struct volume *last = last_of(&list);
    if (check_last(s, &list, last, err) < 0 ||
        (strcmp(table, "none") != 0 && grow_table(a, s, &list, last, table, err) < 0))
        return -1;
    int rc = is_lvm(last) ? grow_lvm(a, s, number, last, err) : grow_alone(s, number, last, err);
    return tree_umount(a, s, rc < 0 ? NULL : err) < 0 ? -1 : rc;
}
