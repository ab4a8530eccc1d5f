// SPDX-License-Identifier: MIT
// libext2fs reads and writes through an I/O manager of ours. Its channel is told the volume by an
// address in its name, as the interface has nothing else. Writes that change nothing (it writes all
// bitmaps at the end) are left out, so that they do not become a part of the layer.
#include "builder/ext4/volume.h"

#include "base/alloc.h"
#include "builder/agent/probe.h"

#include <et/com_err.h>
#include <stdio.h>
#include <string.h>

enum {
    SECTOR = 512,
    KEPT = 64 * 1024, // writes up to this size are compared first
};

#define COMPAT \
    (EXT3_FEATURE_COMPAT_HAS_JOURNAL | EXT2_FEATURE_COMPAT_EXT_ATTR | \
     EXT2_FEATURE_COMPAT_RESIZE_INODE | EXT2_FEATURE_COMPAT_DIR_INDEX)
#define INCOMPAT \
    (EXT2_FEATURE_INCOMPAT_FILETYPE | EXT3_FEATURE_INCOMPAT_EXTENTS | \
     EXT4_FEATURE_INCOMPAT_64BIT | EXT4_FEATURE_INCOMPAT_FLEX_BG)
#define RO_COMPAT \
    (EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER | EXT2_FEATURE_RO_COMPAT_LARGE_FILE | \
     EXT4_FEATURE_RO_COMPAT_HUGE_FILE | EXT4_FEATURE_RO_COMPAT_DIR_NLINK | \
     EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE | EXT4_FEATURE_RO_COMPAT_METADATA_CSUM)

static int odd(struct error **err, const char *what)
{
    return error_set(err, ERR_USER, "%s", what);
}

int volume_error(struct volume *v, errcode_t code, const char *what, struct error **err)
{
    if (v->why) {
        error_propagate(err, STEAL(v->why));
        return error_wrap(err, "cannot %s", what);
    }
    if (code == EXT2_ET_BLOCK_ALLOC_FAIL || code == EXT2_ET_INODE_ALLOC_FAIL)
        return error_set(err, ERR_USER, "cannot %s: the file system is full", what);
    initialize_ext2_error_table();
    return error_set(err, ERR_USER, "cannot %s: %s", what, error_message(code));
}

static struct volume *volume_of(io_channel c)
{
    return c->private_data;
}

/* What is beyond the partition is an error, whatever the file system says. */
static int in_partition(const struct volume *v, uint64_t at, uint64_t n)
{
    return at <= v->size && n <= v->size - at;
}

/* libext2fs counts blocks, or with a minus bytes. */
static size_t length(io_channel c, int count)
{
    return count < 0 ? (size_t) - (long)count : (size_t)count * (size_t)c->block_size;
}

static errcode_t io_read(io_channel c, unsigned long long block, int count, void *data)
{
    struct volume *v = volume_of(c);
    uint64_t at = block * (uint64_t)c->block_size;
    size_t n = length(c, count);
    if (block > v->size / SECTOR || !in_partition(v, at, n))
        return EXT2_ET_SHORT_READ;
    error_free(STEAL(v->why));
    return qcow2_chain_read(v->disk, data, n, v->start + at, &v->why) < 0 ? EXT2_ET_SHORT_READ : 0;
}

static errcode_t write_at(struct volume *v, uint64_t at, const void *data, size_t n)
{
    char old[KEPT];
    if (!in_partition(v, at, n))
        return EXT2_ET_SHORT_WRITE;
    error_free(STEAL(v->why));
    if (n <= KEPT &&
        (qcow2_chain_read(v->disk, old, n, v->start + at, &v->why) < 0 || !memcmp(old, data, n)))
        return v->why ? EXT2_ET_SHORT_WRITE : 0;
    return qcow2_chain_write(v->disk, data, n, v->start + at, &v->why) < 0 ? EXT2_ET_SHORT_WRITE
                                                                           : 0;
}

static errcode_t io_write(io_channel c, unsigned long long block, int count, const void *data)
{
    struct volume *v = volume_of(c);
    if (block > v->size / SECTOR)
        return EXT2_ET_SHORT_WRITE;
    return write_at(v, block * (uint64_t)c->block_size, data, length(c, count));
}

static errcode_t io_read32(io_channel c, unsigned long block, int count, void *data)
{
    return io_read(c, block, count, data);
}

static errcode_t io_write32(io_channel c, unsigned long block, int count, const void *data)
{
    return io_write(c, block, count, data);
}

static errcode_t io_write_byte(io_channel c, unsigned long at, int n, const void *data)
{
    return n < 0 ? EXT2_ET_SHORT_WRITE : write_at(volume_of(c), at, data, (size_t)n);
}

static errcode_t io_set_blksize(io_channel c, int size)
{
    c->block_size = size;
    return 0;
}

static errcode_t io_flush(io_channel c)
{
    (void)c;
    return 0;
}

static errcode_t io_close(io_channel c)
{
    if (--c->refcount > 0)
        return 0;
    free(c->name);
    free(c);
    return 0;
}

static errcode_t io_open(const char *name, int flags, io_channel *ret);

static struct struct_io_manager manager = {
    .magic = EXT2_ET_MAGIC_IO_MANAGER,
    .name = "kiln",
    .open = io_open,
    .close = io_close,
    .set_blksize = io_set_blksize,
    .read_blk = io_read32,
    .write_blk = io_write32,
    .flush = io_flush,
    .write_byte = io_write_byte,
    .read_blk64 = io_read,
    .write_blk64 = io_write,
};

static errcode_t io_open(const char *name, int flags, io_channel *ret)
{
    void *v = NULL;
    (void)flags;
    if (sscanf(name, "%p", &v) != 1)
        return EXT2_ET_BAD_DEVICE_NAME;
    io_channel c = xcalloc(1, sizeof *c);
    c->magic = EXT2_ET_MAGIC_IO_CHANNEL;
    c->manager = &manager;
    c->name = xstrdup(name);
    c->block_size = 1024;
    c->refcount = 1;
    c->private_data = v;
    *ret = c;
    return 0;
}

static int find_partition(struct volume *v, unsigned number, struct error **err)
{
    unsigned char head[PROBE_TABLE_BYTES];
    CLEANUP(table_entries_clear) struct table_entries list = {0};
    uint64_t disk = qcow2_chain_size(v->disk);
    size_t n = disk < sizeof head ? (size_t)disk : sizeof head;
    if (qcow2_chain_read(v->disk, head, n, 0, err) < 0)
        return -1;
    if (!probe_table(head, n, &list))
        return odd(err, "there is no partition table");
    vec_foreach (const struct table_entry *, e, &list) {
        if (e->number != (int)number)
            continue;
        if (e->start > disk / SECTOR || e->size > disk / SECTOR - e->start)
            return odd(err, "the partition is beyond the end of the disk");
        v->start = e->start * SECTOR;
        v->size = e->size * SECTOR;
        return 0;
    }
    return error_set(err, ERR_USER, "there is no primary partition %u", number);
}

static int judge(const struct volume *v, struct error **err)
{
    const struct ext2_super_block *s = v->fs->super;
    if (s->s_feature_compat & ~(unsigned)COMPAT || s->s_feature_incompat & ~(unsigned)INCOMPAT ||
        s->s_feature_ro_compat & ~(unsigned)RO_COMPAT)
        return odd(err, ext2fs_has_feature_journal_needs_recovery(v->fs->super)
                            ? "the file system's journal has to be replayed"
                            : "the file system has an unusual feature");
    if (!ext2fs_has_feature_extents(v->fs->super) || !ext2fs_has_feature_filetype(v->fs->super) ||
        s->s_inode_size < 256 || s->s_inode_size > 1024)
        return odd(err, "the file system is not ext4 as kiln makes it");
    if (!(s->s_state & EXT2_VALID_FS) || s->s_state & EXT2_ERROR_FS || s->s_last_orphan ||
        s->s_error_count)
        return odd(err, "the file system is not clean");
    if (s->s_default_mount_opts & EXT2_DEFM_BSDGROUPS ||
        ext2fs_has_feature_journal_dev(v->fs->super))
        return odd(err, "the file system has unusual options");
    return 0;
}

int volume_open(struct volume *v, struct qcow2_chain *disk, unsigned partition, struct error **err)
{
    char name[32];
    v->disk = disk;
    clock_gettime(CLOCK_REALTIME, &v->now);
    if (find_partition(v, partition, err) < 0)
        return -1;
    snprintf(name, sizeof name, "%p", (void *)v);
    errcode_t rc = ext2fs_open(name, EXT2_FLAG_RW | EXT2_FLAG_64BITS, 0, 0, &manager, &v->fs);
    if (rc) {
        v->fs = NULL;
        return volume_error(v, rc, "open it as ext4", err);
    }
    v->block = v->fs->blocksize;
    v->fs->flags |= EXT2_FLAG_MASTER_SB_ONLY; // the backups are mkfs's, as the kernel keeps them
    v->fs->now = v->now.tv_sec;
    if (judge(v, err) < 0)
        return -1;
    rc = ext2fs_read_bitmaps(v->fs);
    return rc ? volume_error(v, rc, "read the bitmaps", err) : 0;
}

int volume_close(struct volume *v, struct error **err)
{
    errcode_t rc = ext2fs_flush2(v->fs, EXT2_FLAG_FLUSH_NO_SYNC);
    return rc ? volume_error(v, rc, "write the file system", err) : 0;
}

void volume_clear(struct volume *v)
{
    if (v->fs)
        ext2fs_free(STEAL(v->fs));
    error_free(STEAL(v->why));
}

int volume_write(struct volume *v, blk64_t block, const void *bytes, size_t n, struct error **err)
{
    uint64_t at = block * v->block;
    if (!in_partition(v, at, n))
        return odd(err, "a block is beyond the end of the file system");
    return qcow2_chain_write(v->disk, bytes, n, v->start + at, err);
}

int volume_take(struct volume *v, blk64_t want, blk64_t *ret, blk64_t *ret_n, struct error **err)
{
    blk64_t first = v->fs->super->s_first_data_block, last = ext2fs_blocks_count(v->fs->super) - 1;
    blk64_t begin, used;
    if (v->goal < first || v->goal > last)
        v->goal = first;
    errcode_t rc = ext2fs_find_first_zero_block_bitmap2(v->fs->block_map, v->goal, last, &begin);
    if (rc && v->goal > first)
        rc = ext2fs_find_first_zero_block_bitmap2(v->fs->block_map, first, v->goal - 1, &begin);
    if (rc)
        return volume_error(v, EXT2_ET_BLOCK_ALLOC_FAIL, "find room", err);
    blk64_t end = want - 1 < last - begin ? begin + want - 1 : last;
    rc = ext2fs_find_first_set_block_bitmap2(v->fs->block_map, begin, end, &used);
    *ret = begin;
    *ret_n = (rc ? end + 1 : used) - begin;
    ext2fs_block_alloc_stats_range(v->fs, begin, (blk_t)*ret_n, +1);
    v->goal = begin + *ret_n;
    return 0;
}
