// SPDX-License-Identifier: MIT
// Up to four runs lie in the inode itself, which is most files; a longer list goes into a tree that
// libext2fs makes.
#include "builder/ext4/inode.h"

#include "base/alloc.h"
#include "builder/agent/entry.h"
#include "builder/ext4/acl.h"

#include <ext2fs/ext3_extents.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { IN_INODE = 4, RUN_MAX = 32768, CAPS_V2 = 20, CAPS_V3 = 24 };

void inode_clear(struct inode *i)
{
    runs_clear(&i->runs);
}

void inode_owner(struct ext2_inode_large *raw, uid_t uid, gid_t gid)
{
    raw->i_uid = (__u16)uid;
    raw->osd2.linux2.l_i_uid_high = (__u16)(uid >> 16);
    raw->i_gid = (__u16)gid;
    raw->osd2.linux2.l_i_gid_high = (__u16)(gid >> 16);
}

// Seconds beyond 32 bits and nanoseconds, as ext4_encode_extra_time has them.
static __u32 extra(struct timespec t)
{
    return (__u32)((((uint64_t)t.tv_sec - (uint64_t)(int64_t)(int32_t)t.tv_sec) >> 32 & 3) |
                   (uint64_t)t.tv_nsec << 2);
}

void inode_changed(const struct volume *v, struct ext2_inode_large *raw)
{
    raw->i_ctime = (__u32)v->now.tv_sec;
    raw->i_ctime_extra = extra(v->now);
}

void inode_times(const struct volume *v, struct ext2_inode_large *raw, struct timespec mtime)
{
    raw->i_mtime = (__u32)mtime.tv_sec;
    raw->i_mtime_extra = extra(mtime);
    inode_changed(v, raw);
}

int inode_new(struct volume *v, ext2_ino_t parent, mode_t mode, uid_t uid, gid_t gid,
              struct inode *ret, struct error **err)
{
    errcode_t rc = ext2fs_new_inode(v->fs, parent, (int)mode, NULL, &ret->ino);
    if (rc)
        return volume_error(v, rc, "make an inode", err);
    ext2fs_inode_alloc_stats2(v->fs, ret->ino, +1, S_ISDIR(mode));
    ret->raw = (struct ext2_inode_large){.i_mode = (__u16)mode, .i_links_count = 1};
    inode_owner(&ret->raw, uid, gid);
    ret->raw.i_extra_isize = sizeof ret->raw - EXT2_GOOD_OLD_INODE_SIZE;
    ret->raw.i_atime = ret->raw.i_crtime = (__u32)v->now.tv_sec;
    ret->raw.i_atime_extra = ret->raw.i_crtime_extra = extra(v->now);
    return 0;
}

static struct ext3_extent_header *root_of(struct inode *i)
{
    return (struct ext3_extent_header *)(void *)i->raw.i_block;
}

static void empty_tree(struct inode *i)
{
    struct ext3_extent_header *h = root_of(i);
    i->raw.i_flags |= EXT4_EXTENTS_FL;
    *h = (struct ext3_extent_header){.eh_magic = htole16(EXT3_EXT_MAGIC),
                                     .eh_max = htole16(IN_INODE)};
}

static void fill_root(struct inode *i)
{
    struct ext3_extent_header *h = root_of(i);
    struct ext3_extent *e = EXT_FIRST_EXTENT(h);
    h->eh_entries = htole16((uint16_t)i->runs.len);
    vec_foreach (const struct run *, r, &i->runs)
        *e++ = (struct ext3_extent){.ee_block = htole32((uint32_t)r->logical),
                                    .ee_len = htole16((uint16_t)r->n),
                                    .ee_start_hi = htole16((uint16_t)(r->block >> 32)),
                                    .ee_start = htole32((uint32_t)r->block)};
}

static errcode_t fill_tree(struct volume *v, struct inode *i)
{
    ext2_extent_handle_t handle;
    errcode_t rc =
        ext2fs_extent_open2(v->fs, i->ino, (struct ext2_inode *)(void *)&i->raw, &handle);
    if (rc)
        return rc;
    for (size_t k = 0; k < i->runs.len && !rc; k++) {
        const struct run *r = &i->runs.ptr[k];
        struct ext2fs_extent e = {.e_lblk = r->logical, .e_pblk = r->block, .e_len = (__u32)r->n};
        rc = ext2fs_extent_insert(handle, k ? EXT2_EXTENT_INSERT_AFTER : 0, &e);
        if (!rc)
            rc = ext2fs_extent_fix_parents(handle);
    }
    ext2fs_extent_free(handle);
    return rc;
}

// A run is at most what one extent can say.
static void split_runs(struct inode *i)
{
    struct runs old = i->runs;
    i->runs = (struct runs){0};
    vec_foreach (const struct run *, r, &old)
        for (blk64_t done = 0; done < r->n; done += RUN_MAX)
            *runs_push(&i->runs) = (struct run){r->logical + done, r->block + done,
                                                r->n - done < RUN_MAX ? r->n - done : RUN_MAX};
    runs_clear(&old);
}

// All of it: what an earlier inode of the number left behind it (attributes) is gone.
static errcode_t write_whole(struct volume *v, struct inode *i)
{
    size_t n = EXT2_INODE_SIZE(v->fs->super);
    AUTO_FREE char *bytes = xcalloc(1, n);
    memcpy(bytes, &i->raw, sizeof i->raw);
    return ext2fs_write_inode_full(v->fs, i->ino, (struct ext2_inode *)(void *)bytes, (int)n);
}

int inode_write(struct volume *v, struct inode *i, uint64_t size, struct timespec mtime,
                struct error **err)
{
    struct ext2_inode *raw = (struct ext2_inode *)(void *)&i->raw;
    blk64_t blocks = 0;
    split_runs(i);
    vec_foreach (const struct run *, r, &i->runs)
        blocks += r->n;
    errcode_t rc = ext2fs_inode_size_set(v->fs, raw, (ext2_off64_t)size);
    if (!rc)
        rc = ext2fs_iblk_set(v->fs, raw, blocks);
    if (S_ISREG(i->raw.i_mode) || S_ISDIR(i->raw.i_mode) || i->runs.len)
        empty_tree(i);
    if (i->runs.len <= IN_INODE && i->runs.len)
        fill_root(i);
    inode_times(v, &i->raw, mtime);
    if (!rc)
        rc = write_whole(v, i);
    if (!rc && i->runs.len > IN_INODE) {
        rc = fill_tree(v, i);
        if (!rc)
            rc = ext2fs_write_inode(v->fs, i->ino, raw);
    }
    return rc ? volume_error(v, rc, "write an inode", err) : 0;
}

int inode_read(struct volume *v, ext2_ino_t ino, struct ext2_inode_large *ret, struct error **err)
{
    errcode_t rc =
        ext2fs_read_inode_full(v->fs, ino, (struct ext2_inode *)(void *)ret, sizeof *ret);
    return rc ? volume_error(v, rc, "read an inode", err) : 0;
}

int inode_store(struct volume *v, ext2_ino_t ino, struct ext2_inode_large *raw, struct error **err)
{
    errcode_t rc =
        ext2fs_write_inode_full(v->fs, ino, (struct ext2_inode *)(void *)raw, sizeof *raw);
    return rc ? volume_error(v, rc, "write an inode", err) : 0;
}

// What the kernel refuses, changes or reads meaning into is left to it.
static bool plain_xattr(mode_t mode, struct str name, struct str value)
{
    if (str_is(name, "security.capability"))
        return S_ISREG(mode) && (value.len == CAPS_V2 || value.len == CAPS_V3);
    if (acl_is_access(name))
        return (S_ISREG(mode) || S_ISDIR(mode)) && acl_is_kept(value);
    if (acl_is_default(name))
        return S_ISDIR(mode) && acl_is_kept(value);
    if (str_starts(name, "user."))
        return S_ISREG(mode) || (S_ISDIR(mode) && !(mode & S_ISVTX));
    return str_starts(name, "trusted.") || str_starts(name, "security.");
}

static errcode_t open_xattrs(struct volume *v, ext2_ino_t ino, struct ext2_xattr_handle **ret)
{
    errcode_t rc = ext2fs_xattrs_open(v->fs, ino, ret);
    if (rc)
        return rc;
    rc = ext2fs_xattrs_read(*ret);
    if (rc)
        ext2fs_xattrs_close(ret);
    return rc;
}

// An access ACL sets the mode, too.
static int set_mode(struct volume *v, ext2_ino_t ino, struct str acl, struct error **err)
{
    struct ext2_inode_large raw;
    if (inode_read(v, ino, &raw, err) < 0)
        return -1;
    raw.i_mode = (__u16)acl_mode(acl, raw.i_mode);
    return inode_store(v, ino, &raw, err);
}

int inode_xattrs(struct volume *v, ext2_ino_t ino, mode_t mode, struct str xattrs,
                 struct error **err)
{
    struct ext2_xattr_handle *handle;
    struct entry e = {.xattrs = xattrs};
    struct str name, value, acl = {NULL, 0};
    size_t at = 0;
    if (!xattrs.len)
        return 0;
    errcode_t rc = open_xattrs(v, ino, &handle);
    if (rc)
        return volume_error(v, rc, "read attributes", err);
    bool plain = true;
    while (!rc && plain && entry_xattr(&e, &at, &name, &value)) {
        AUTO_FREE char *text = str_dup(name);
        plain = plain_xattr(mode, name, value);
        if (plain)
            rc = ext2fs_xattr_set(handle, text, value.ptr, value.len);
        if (acl_is_access(name))
            acl = value;
    }
    ext2fs_xattrs_close(&handle);
    if (!plain)
        return error_set(err, ERR_USER, "the attribute " STR_FMT " is unusual", STR_ARG(name));
    if (rc)
        return volume_error(v, rc, "set an attribute", err);
    return acl.len ? set_mode(v, ino, acl, err) : 0;
}

static int has_xattr(struct ext2_xattr_handle *handle, const char *name, bool *ret)
{
    void *value = NULL;
    size_t n;
    errcode_t rc = ext2fs_xattr_get(handle, name, &value, &n);
    *ret = !rc;
    if (!rc)
        ext2fs_free_mem(&value);
    return rc && rc != EXT2_ET_EA_KEY_NOT_FOUND ? -1 : 0;
}

int inode_acls(struct volume *v, ext2_ino_t ino, bool *ret_access, bool *ret_default,
               struct error **err)
{
    struct ext2_xattr_handle *handle;
    errcode_t rc = open_xattrs(v, ino, &handle);
    if (rc)
        return volume_error(v, rc, "read attributes", err);
    if (has_xattr(handle, "system.posix_acl_access", ret_access) < 0 ||
        has_xattr(handle, "system.posix_acl_default", ret_default) < 0)
        rc = EXT2_ET_EA_BAD_NAME_LEN;
    ext2fs_xattrs_close(&handle);
    return rc ? volume_error(v, rc, "read attributes", err) : 0;
}

/* chattr's +i and +a keep a file's names: what the kernel says of them is its to say. */
static int may_rename(const struct ext2_inode_large *raw, struct error **err)
{
    return raw->i_flags & (EXT2_IMMUTABLE_FL | EXT2_APPEND_FL)
               ? error_set(err, ERR_USER, "a file is immutable or append-only")
               : 0;
}

int inode_link(struct volume *v, ext2_ino_t ino, struct error **err)
{
    enum { LINKS_MAX = 65000 };
    struct ext2_inode_large raw;
    if (inode_read(v, ino, &raw, err) < 0 || may_rename(&raw, err) < 0)
        return -1;
    // it may just have lost its last name
    if (!raw.i_links_count || ++raw.i_links_count > LINKS_MAX)
        return error_set(err, ERR_USER, "a file cannot have a further name");
    inode_changed(v, &raw);
    return inode_store(v, ino, &raw, err);
}

int inode_unlink(struct volume *v, ext2_ino_t ino, struct error **err)
{
    struct ext2_inode_large raw;
    struct ext2_inode *small = (struct ext2_inode *)(void *)&raw;
    if (inode_read(v, ino, &raw, err) < 0)
        return -1;
    if (S_ISDIR(raw.i_mode) || !raw.i_links_count || ino < EXT2_FIRST_INODE(v->fs->super))
        return error_set(err, ERR_USER, "a name leads to what has no names");
    if (may_rename(&raw, err) < 0)
        return -1;
    inode_changed(v, &raw);
    raw.i_links_count--;
    if (raw.i_links_count)
        return inode_store(v, ino, &raw, err);
    raw.i_dtime = (__u32)v->now.tv_sec;
    errcode_t rc = ext2fs_free_ext_attr(v->fs, ino, &raw);
    if (!rc && ext2fs_inode_has_valid_blocks2(v->fs, small))
        rc = ext2fs_punch(v->fs, ino, small, NULL, 0, ~0ULL);
    if (!rc)
        rc = ext2fs_write_inode_full(v->fs, ino, small, sizeof raw);
    if (!rc)
        ext2fs_inode_alloc_stats2(v->fs, ino, -1, 0);
    return rc ? volume_error(v, rc, "remove a file", err) : 0;
}

int inode_content(struct volume *v, ext2_ino_t ino, size_t limit, struct buf *ret,
                  struct error **err)
{
    ext2_file_t file;
    unsigned got = 0;
    errcode_t rc = ext2fs_file_open(v->fs, ino, 0, &file);
    if (rc)
        return volume_error(v, rc, "read a file", err);
    uint64_t size = 0;
    rc = ext2fs_file_get_lsize(file, (__u64 *)&size);
    buf_reset(ret);
    if (!rc && size <= limit) {
        buf_reserve(ret, (size_t)size);
        rc = ext2fs_file_read(file, ret->data, (unsigned)size, &got);
        ret->data[ret->len = got] = '\0';
    }
    ext2fs_file_close(file);
    return rc ? volume_error(v, rc, "read a file", err) : 0;
}

char *inode_target(struct volume *v, ext2_ino_t ino, struct error **err)
{
    struct ext2_inode_large raw;
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    if (inode_read(v, ino, &raw, err) < 0)
        return NULL;
    if (ext2fs_is_fast_symlink((struct ext2_inode *)(void *)&raw)) {
        if (raw.i_size >= sizeof raw.i_block) {
            error_set(err, ERR_USER, "a symbolic link is damaged");
            return NULL;
        }
        return xstrndup((const char *)raw.i_block, raw.i_size);
    }
    return inode_content(v, ino, 4095, &text, err) < 0 ? NULL : buf_detach(&text, NULL);
}
