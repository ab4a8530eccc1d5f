// SPDX-License-Identifier: MIT
// The last block of the folder that was added to last is held back until another folder is added
// to, so that 100 names cost one write. libext2fs would read all blocks for each name.
#include "builder/ext4/folder.h"

#include "base/alloc.h"
#include "base/vector.h"
#include "builder/ext4/inode.h"

#include <string.h>
#include <sys/stat.h>

enum { LINKS_MAX = 64000, TAIL = 12, NAME_MAX_BYTES = 255 };

struct name {
    uint32_t hash;
    ext2_ino_t ino; /* 0 = removed */
    char *text;     /* NULL = free */
};

struct folder {
    struct folders *all;
    ext2_ino_t ino;
    bool indexed, changed, setgid;
    bool acl, default_acl;
    gid_t gid;
    blk64_t blocks;
    struct name *names;  /* a table of open addressing */
    size_t room, used;   /* a power of 2; with the removed ones */
    struct folder *next; /* in its bucket */
};

enum { BUCKETS = 4096 };
struct folders {
    struct volume *v;
    struct folder *buckets[BUCKETS];
    struct folder *active; /* whose last block is in `block`; NULL = none */
    char *block;
    blk64_t where; /* of it */
    unsigned at;   /* where the last name in it is */
    bool dirty;
};

static uint32_t hash_of(const char *s)
{
    uint32_t h = 2166136261u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 16777619u;
    return h;
}

static struct name *slot_of(const struct folder *f, const char *text)
{
    uint32_t hash = hash_of(text);
    size_t i = hash & (f->room - 1);
    while (f->names[i].text && (f->names[i].hash != hash || strcmp(f->names[i].text, text) != 0))
        i = (i + 1) & (f->room - 1);
    f->names[i].hash = hash;
    return &f->names[i];
}

static void know(struct folder *f, const char *text, ext2_ino_t ino)
{
    if (f->used * 2 >= f->room) {
        struct folder old = *f;
        f->room = old.room ? old.room * 2 : 16;
        f->names = xcalloc(f->room, sizeof *f->names);
        for (size_t i = 0; i < old.room; i++)
            if (old.names[i].text)
                *slot_of(f, old.names[i].text) = old.names[i];
        free(old.names);
    }
    struct name *n = slot_of(f, text);
    if (!n->text) {
        n->text = xstrdup(text);
        f->used++;
    }
    n->ino = ino;
}

int folder_find(const struct folder *f, const char *name, ext2_ino_t *ret)
{
    const struct name *n = f->room ? slot_of(f, name) : NULL;
    *ret = n && n->text ? n->ino : 0;
    return *ret != 0;
}

ext2_ino_t folder_ino(const struct folder *f)
{
    return f->ino;
}

bool folder_setgid(const struct folder *f, gid_t *ret)
{
    *ret = f->gid;
    return f->setgid;
}

void folder_set_group(struct folder *f, bool setgid, gid_t gid)
{
    f->setgid = setgid;
    f->gid = gid;
}

bool folder_is_plain(const struct folder *f)
{
    return !f->acl && !f->default_acl;
}

int folder_read_acls(struct folder *f, struct error **err)
{
    return inode_acls(f->all->v, f->ino, &f->acl, &f->default_acl, err);
}

struct folders *folders_new(struct volume *v)
{
    struct folders *all = xcalloc(1, sizeof *all);
    all->v = v;
    all->block = xcalloc(1, v->block);
    return all;
}

void folders_free(struct folders *all)
{
    if (!all)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        while (all->buckets[i]) {
            struct folder *f = all->buckets[i];
            all->buckets[i] = f->next;
            for (size_t k = 0; k < f->room; k++)
                free(f->names[k].text);
            free(f->names);
            free(f);
        }
    free(all->block);
    free(all);
}

static struct folder *remember(struct folders *all, ext2_ino_t ino)
{
    struct folder *f = xcalloc(1, sizeof *f);
    f->all = all;
    f->ino = ino;
    f->next = all->buckets[ino % BUCKETS];
    all->buckets[ino % BUCKETS] = f;
    return f;
}

static int take_name(ext2_ino_t dir, int entry, struct ext2_dir_entry *e, int offset, int size,
                     char *block, void *arg)
{
    char text[NAME_MAX_BYTES + 1];
    (void)dir, (void)offset, (void)size, (void)block;
    if (entry != DIRENT_OTHER_FILE)
        return 0;
    size_t n = (size_t)ext2fs_dirent_name_len(e);
    memcpy(text, e->name, n);
    text[n] = '\0';
    know(arg, text, e->inode);
    return 0;
}

static int read_folder(struct folder *f, struct error **err)
{
    const __u32 flags = EXT4_EXTENTS_FL | EXT2_INDEX_FL;
    struct volume *v = f->all->v;
    struct ext2_inode_large raw;
    if (inode_read(v, f->ino, &raw, err) < 0)
        return -1;
    if (!S_ISDIR(raw.i_mode))
        return error_set(err, ERR_USER, "what should be a folder is not one");
    if (raw.i_flags & ~flags)
        return error_set(err, ERR_USER, "a folder has unusual attributes");
    if (folder_read_acls(f, err) < 0)
        return -1;
    f->indexed = raw.i_flags & EXT2_INDEX_FL;
    f->blocks = EXT2_I_SIZE(&raw) / v->block;
    f->gid = inode_gid(raw);
    f->setgid = raw.i_mode & S_ISGID;
    errcode_t rc = ext2fs_dir_iterate2(v->fs, f->ino, 0, NULL, take_name, f);
    return rc ? volume_error(v, rc, "read a folder", err) : 0;
}

struct folder *folder_open(struct folders *all, ext2_ino_t ino, struct error **err)
{
    for (struct folder *f = all->buckets[ino % BUCKETS]; f; f = f->next)
        if (f->ino == ino)
            return f;
    struct folder *f = remember(all, ino);
    return read_folder(f, err) < 0 ? NULL : f;
}

struct folder *folder_new(struct folder *parent, mode_t mode, uid_t uid, gid_t gid,
                          struct error **err)
{
    struct folders *all = parent->all;
    struct volume *v = all->v;
    CLEANUP(inode_clear) struct inode i = {0};
    struct run run = {0};
    char *block = NULL;
    if (inode_new(v, parent->ino, S_IFDIR | mode, uid, gid, &i, err) < 0 ||
        volume_take(v, 1, &run.block, &run.n, err) < 0)
        return NULL;
    *runs_push(&i.runs) = run;
    i.raw.i_links_count = 2;
    if (inode_write(v, &i, v->block, v->now, err) < 0)
        return NULL;
    errcode_t rc = ext2fs_new_dir_block(v->fs, i.ino, parent->ino, &block);
    if (!rc)
        rc = ext2fs_write_dir_block4(v->fs, run.block, block, 0, i.ino);
    ext2fs_free_mem(&block);
    if (rc) {
        volume_error(v, rc, "make a folder", err);
        return NULL;
    }
    struct folder *f = remember(all, i.ino);
    f->blocks = 1;
    folder_set_group(f, mode & S_ISGID, gid);
    return f;
}

static int put_block(struct folders *all, struct error **err)
{
    if (!all->dirty)
        return 0;
    errcode_t rc = ext2fs_write_dir_block4(all->v->fs, all->where, all->block, 0, all->active->ino);
    all->dirty = false;
    return rc ? volume_error(all->v, rc, "write a folder", err) : 0;
}

static int get_block(struct folder *f, struct error **err)
{
    struct folders *all = f->all;
    if (all->active == f)
        return 0;
    if (put_block(all, err) < 0)
        return -1;
    all->active = NULL;
    ext2_filsys fs = all->v->fs;
    errcode_t rc = ext2fs_bmap2(fs, f->ino, NULL, NULL, 0, f->blocks - 1, NULL, &all->where);
    if (!rc)
        rc = ext2fs_read_dir_block4(fs, all->where, all->block, 0, f->ino);
    if (rc || !all->where)
        return volume_error(all->v, rc, "read a folder", err);
    all->active = f;
    all->at = 0;
    return 0;
}

static void set_entry(struct ext2_dir_entry *e, const char *name, ext2_ino_t ino, int type)
{
    e->inode = ino;
    ext2fs_dirent_set_name_len(e, (int)strlen(name));
    ext2fs_dirent_set_file_type(e, type);
    memcpy(e->name, name, strlen(name));
}

/* Behind one of the names in the block: 1, or 0 if there is no room. */
static int insert(struct folders *all, const char *name, ext2_ino_t ino, int type)
{
    ext2_filsys fs = all->v->fs;
    unsigned need = EXT2_DIR_REC_LEN(strlen(name)), size;
    unsigned end = all->v->block - (ext2fs_has_feature_metadata_csum(fs->super) ? TAIL : 0);
    for (unsigned at = all->at; at + 8 <= end; at += size) {
        struct ext2_dir_entry *e = (struct ext2_dir_entry *)(void *)(all->block + at);
        if (ext2fs_get_rec_len(fs, e, &size) || size < 8 || size % 4 || size > end - at)
            return 0;
        unsigned used = e->inode ? EXT2_DIR_REC_LEN((unsigned)ext2fs_dirent_name_len(e)) : 0;
        if (used > size || size - used < need)
            continue;
        if (used) {
            (void)ext2fs_set_rec_len(fs, used, e);
            e = (struct ext2_dir_entry *)(void *)(all->block + at + used);
            (void)ext2fs_set_rec_len(fs, size - used, e);
        }
        set_entry(e, name, ino, type);
        all->at = at + used;
        all->dirty = true;
        return 1;
    }
    return 0;
}

static int add_block(struct folder *f, struct error **err)
{
    struct folders *all = f->all;
    if (f->blocks * all->v->block >= FOLDER_MAX)
        return error_set(err, ERR_USER, "a folder becomes very large");
    if (put_block(all, err) < 0)
        return -1;
    all->active = NULL;
    errcode_t rc = ext2fs_expand_dir(all->v->fs, f->ino);
    if (rc)
        return volume_error(all->v, rc, "make a folder larger", err);
    f->blocks++;
    return get_block(f, err);
}

static int add_linear(struct folder *f, const char *name, ext2_ino_t ino, int type,
                      struct error **err)
{
    if (get_block(f, err) < 0)
        return -1;
    if (insert(f->all, name, ino, type))
        return 0;
    if (add_block(f, err) < 0)
        return -1;
    return insert(f->all, name, ino, type)
               ? 0
               : error_set(err, ERR_USER, "a folder's block is damaged");
}

static int add_link(struct folder *f, struct error **err)
{
    struct ext2_inode_large raw;
    if (inode_read(f->all->v, f->ino, &raw, err) < 0)
        return -1;
    // 1: there have been more than can be counted
    if (raw.i_links_count < 2 || ++raw.i_links_count > LINKS_MAX)
        return error_set(err, ERR_USER, "a folder has very many folders in it");
    return inode_store(f->all->v, f->ino, &raw, err);
}

int folder_add(struct folder *f, const char *name, ext2_ino_t ino, int type, struct error **err)
{
    f->changed = true;
    if (f->default_acl)
        return error_set(err, ERR_USER, "a folder has an ACL for what is made in it");
    if (f->indexed) {
        errcode_t rc = ext2fs_link(f->all->v->fs, f->ino, name, ino, type);
        if (rc)
            return volume_error(f->all->v, rc, "add to a folder", err);
    } else if (add_linear(f, name, ino, type, err) < 0) {
        return -1;
    }
    know(f, name, ino);
    return type == EXT2_FT_DIR ? add_link(f, err) : 0;
}

int folder_remove(struct folder *f, const char *name, struct error **err)
{
    struct folders *all = f->all;
    if (all->active == f) {
        if (put_block(all, err) < 0)
            return -1;
        all->active = NULL;
    }
    errcode_t rc = ext2fs_unlink(all->v->fs, f->ino, name, 0, 0);
    f->changed = true;
    know(f, name, 0);
    return rc ? volume_error(all->v, rc, "remove a name", err) : 0;
}

static int touch(struct folder *f, struct error **err)
{
    struct ext2_inode_large raw;
    if (inode_read(f->all->v, f->ino, &raw, err) < 0)
        return -1;
    inode_times(f->all->v, &raw, f->all->v->now);
    f->changed = false;
    return inode_store(f->all->v, f->ino, &raw, err);
}

int folders_finish(struct folders *all, struct error **err)
{
    if (put_block(all, err) < 0)
        return -1;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct folder *f = all->buckets[i]; f; f = f->next)
            if (f->changed && touch(f, err) < 0)
                return -1;
    return 0;
}
