// SPDX-License-Identifier: MIT
// Mirrors builder/agent/place.c step by step: a change of one is a change of both. What it knows of
// the kernel: an entry in a folder with the set-group-ID bit gets that folder's group unless it is
// given an owner, and all folders are given one.
#include "builder/ext4/place.h"

#include "base/alloc.h"
#include "base/mode.h"
#include "builder/ext4/acl.h"
#include "builder/ext4/content.h"
#include "builder/ext4/inode.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { FAST_LINK = 60 };

void place_init(struct place *p, struct tree *t, const struct place_spec *spec)
{
    size_t n = strlen(spec->dest);
    memset(p, 0, sizeof *p);
    while (n && spec->dest[n - 1] == '/')
        n--;
    p->tree = t;
    p->spec = *spec;
    p->dest = n ? xstrndup(spec->dest, n) : xstrdup("");
    p->below = spec->folder || !n;
    buf_init(&p->parent_path);
    buf_init(&p->path);
    buf_init(&p->within);
}

void place_clear(struct place *p)
{
    placed_list_clear(&p->dirs);
    made_links_clear(&p->made);
    buf_clear(&p->parent_path);
    buf_clear(&p->path);
    buf_clear(&p->within);
    free(STEAL(p->dest));
    free(STEAL(p->piece));
}

static int stop(const struct place *p, const char *what, struct error **err)
{
    return error_set(err, ERR_USER, "'%s' %s", p->path.data, what);
}

static mode_t mode_of(const struct place *p, mode_t old, bool folder)
{
    mode_t mode = old;
    if (p->spec.chmod)
        (void)mode_apply(p->spec.chmod, old, folder, &mode);
    return mode;
}

static mode_t mode(const struct place *p, const struct entry *e)
{
    return mode_of(p, e->head.mode, e->head.type == STREAM_DIR);
}

static uid_t owner(const struct place *p, const struct entry *e)
{
    return p->spec.has_owner ? p->spec.uid : e->head.uid;
}

static gid_t group(const struct place *p, const struct entry *e)
{
    return p->spec.has_owner ? p->spec.gid : e->head.gid;
}

// The group of what is made in p->parent and is no folder.
static gid_t group_in(const struct place *p, const struct entry *e)
{
    gid_t gid;
    bool setgid = folder_setgid(p->parent, &gid);
    return setgid && !owner(p, e) && !group(p, e) ? gid : group(p, e);
}

static struct timespec mtime(const struct entry *e)
{
    return (struct timespec){(time_t)e->head.mtime, e->head.mtime_ns};
}

static struct resolve fence(const struct place *p)
{
    return (struct resolve){.within = p->within.data, .made = &p->made};
}

// Where a folder is without links. Those that archives made must not lead out of the destination,
// and count only if the path does not do without links.
static int real_folder(struct place *p, const struct entry *e, const char *path, struct buf *ret,
                       struct error **err)
{
    struct resolve r = fence(p);
    bool fenced = p->made.len && e->head.flags & STREAM_ARCHIVE;
    return tree_resolve(p->tree, path, fenced ? &r : NULL, ret, err);
}

static int is_folder(struct place *p, const char *path, struct error **err)
{
    CLEANUP(buf_clear) struct buf real = BUF_INIT;
    ext2_ino_t ino;
    if (tree_resolve(p->tree, path, NULL, &real, err) < 0)
        return -1;
    int got = tree_find(p->tree, real.data, &ino, err);
    mode_t type = got > 0 ? tree_type(p->tree, ino, err) : 0;
    return got > 0 && !type ? -1 : type == S_IFDIR;
}

static void set_plain_path(struct place *p, const struct entry *e)
{
    buf_reset(&p->path);
    buf_adds(&p->path, p->dest);
    if (e->path.len) {
        buf_addc(&p->path, '/');
        buf_add_str(&p->path, e->path);
    }
}

// Where the entry goes, into p->path.
static int set_path(struct place *p, const struct entry *e, struct error **err)
{
    set_plain_path(p, e);
    if (e->path.len || e->head.type == STREAM_DIR || e->head.type == STREAM_SYMLINK ||
        e->head.type == STREAM_HARDLINK || !e->link.len)
        return 0;
    int below = p->below ? 1 : is_folder(p, p->dest, err);
    if (below < 0)
        return -1;
    if (below) {
        buf_addc(&p->path, '/');
        buf_add_str(&p->path, e->link);
    }
    return 0;
}

static const char *enter_folder(struct place *p, const struct entry *e, const char *slash,
                                struct error **err)
{
    CLEANUP(buf_clear) struct buf real = BUF_INIT;
    size_t n = (size_t)(slash - p->path.data);
    if (p->parent && p->parent_path.len == n && !memcmp(p->parent_path.data, p->path.data, n))
        return slash + 1;
    p->parent = NULL;
    buf_reset(&p->parent_path);
    buf_add(&p->parent_path, p->path.data, n);
    if (real_folder(p, e, p->parent_path.data, &real, err) < 0)
        return NULL;
    mode_t new = mode_of(p, 0755, true);
    new |= (new & 0444) >> 2;
    struct tree_as as = {p->spec.has_owner ? p->spec.uid : 0, p->spec.has_owner ? p->spec.gid : 0,
                         new};
    p->parent = tree_folder(p->tree, real.data, &as, err);
    return p->parent ? slash + 1 : NULL;
}

// Opens the folder p->path lies in. The entry's name in it.
static const char *enter(struct place *p, const struct entry *e, struct error **err)
{
    if (set_path(p, e, err) < 0)
        return NULL;
    const char *slash = strrchr(p->path.data, '/');
    if (!slash || !slash[1]) {
        stop(p, "is the root of the image and cannot be replaced", err);
        return NULL;
    }
    return enter_folder(p, e, slash, err);
}

// Makes room for an entry that is no folder.
static int remove_old(struct place *p, const char *name, struct error **err)
{
    ext2_ino_t old;
    if (!folder_find(p->parent, name, &old))
        return 0;
    mode_t type = tree_type(p->tree, old, err);
    if (!type)
        return -1;
    if (type == S_IFDIR) // an archive may replace an empty one
        return stop(p, "is a folder in the image", err);
    return folder_remove(p->parent, name, err) < 0 ? -1 : inode_unlink(p->tree->v, old, err);
}

static int add_name(struct place *p, const char *name, ext2_ino_t ino, int type, struct error **err)
{
    CLEANUP(buf_clear) struct buf real = BUF_INIT;
    // a mount point is hidden by what is mounted there
    if (p->tree->mounts.len && tree_resolve(p->tree, p->path.data, NULL, &real, err) < 0)
        return -1;
    return folder_add(p->parent, name, ino, type, err);
}

// --chmod would change an ACL.
static int set_xattrs(struct place *p, const struct entry *e, ext2_ino_t ino, mode_t type,
                      struct error **err)
{
    struct str name, value;
    size_t at = 0;
    while (p->spec.chmod && entry_xattr(e, &at, &name, &value))
        if (acl_is_access(name))
            return stop(p, "has an ACL, and a mode is given", err);
    return inode_xattrs(p->tree->v, ino, type, e->xattrs, err);
}

static int place_file(struct place *p, struct tap *tap, const struct entry *e, const char *name,
                      struct error **err)
{
    CLEANUP(inode_clear) struct inode i = {0};
    struct volume *v = p->tree->v;
    if (remove_old(p, name, err) < 0 ||
        inode_new(v, folder_ino(p->parent), S_IFREG | mode(p, e), owner(p, e), group_in(p, e), &i,
                  err) < 0 ||
        content_write(v, tap, e, &p->piece, &i.runs, err) < 0 ||
        inode_write(v, &i, e->head.size, mtime(e), err) < 0 ||
        set_xattrs(p, e, i.ino, S_IFREG, err) < 0)
        return -1;
    return add_name(p, name, i.ino, EXT2_FT_REG_FILE, err);
}

static void remember_time(struct place *p, const struct entry *e, ext2_ino_t ino)
{
    *placed_list_push(&p->dirs) = (struct placed){ino, mtime(e)};
}

// The attributes of a folder that is there.
static int set_attrs(struct place *p, const struct entry *e, ext2_ino_t ino, struct error **err)
{
    struct volume *v = p->tree->v;
    struct ext2_inode_large raw;
    mode_t new = mode(p, e);
    struct folder *f = folder_open(p->tree->folders, ino, err);
    if (!f || inode_read(v, ino, &raw, err) < 0)
        return -1;
    if (!folder_is_plain(f))
        return stop(p, "has ACLs already", err);
    raw.i_mode = (__u16)(S_IFDIR | new);
    inode_owner(&raw, owner(p, e), group(p, e));
    inode_changed(v, &raw);
    folder_set_group(f, new &S_ISGID, group(p, e));
    if (inode_store(v, ino, &raw, err) < 0 || set_xattrs(p, e, ino, S_IFDIR | new, err) < 0 ||
        (e->xattrs.len && folder_read_acls(f, err) < 0))
        return -1;
    remember_time(p, e, ino);
    return 0;
}

static int place_new_dir(struct place *p, const struct entry *e, struct error **err)
{
    const char *name = enter(p, e, err);
    ext2_ino_t old;
    if (!name)
        return -1;
    if (folder_find(p->parent, name, &old) && !(e->head.flags & STREAM_DIR_ATTRS))
        return stop(p, "is not a folder in the image, and the source is", err);
    if (remove_old(p, name, err) < 0)
        return -1;
    struct folder *f = folder_new(p->parent, mode(p, e), owner(p, e), group(p, e), err);
    if (!f || set_xattrs(p, e, folder_ino(f), S_IFDIR | mode(p, e), err) < 0 ||
        (e->xattrs.len && folder_read_acls(f, err) < 0))
        return -1;
    remember_time(p, e, folder_ino(f));
    return add_name(p, name, folder_ino(f), EXT2_FT_DIR, err);
}

// A folder that is there (or that a symbolic link leads to) stays; an archive gives it attributes.
static int place_dir(struct place *p, const struct entry *e, struct error **err)
{
    CLEANUP(buf_clear) struct buf real = BUF_INIT;
    ext2_ino_t ino;
    set_plain_path(p, e);
    if (real_folder(p, e, p->path.data, &real, err) < 0)
        return -1;
    int got = tree_find(p->tree, real.data, &ino, err);
    mode_t type = got > 0 ? tree_type(p->tree, ino, err) : 0;
    if (got < 0 || (got && !type))
        return -1;
    if (type == S_IFDIR)
        return e->head.flags & STREAM_DIR_ATTRS ? set_attrs(p, e, ino, err) : 0;
    return place_new_dir(p, e, err);
}

static int type_of_inode(mode_t type)
{
    static const struct {
        mode_t mode;
        int type;
    } known[] = {{S_IFREG, EXT2_FT_REG_FILE}, {S_IFLNK, EXT2_FT_SYMLINK}, {S_IFCHR, EXT2_FT_CHRDEV},
                 {S_IFBLK, EXT2_FT_BLKDEV},   {S_IFIFO, EXT2_FT_FIFO},    {S_IFSOCK, EXT2_FT_SOCK}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].mode == type)
            return known[i].type;
    return EXT2_FT_UNKNOWN;
}

static int place_hardlink(struct place *p, const struct entry *e, const char *name,
                          struct error **err)
{
    struct volume *v = p->tree->v;
    CLEANUP(buf_clear) struct buf real = BUF_INIT;
    AUTO_FREE char *old = xasprintf("%s/" STR_FMT, p->dest, STR_ARG(e->link));
    char *slash = strrchr(old, '/');
    *slash = '\0';
    if (real_folder(p, e, old, &real, err) < 0)
        return -1;
    buf_addf(&real, "/%s", slash + 1);
    ext2_ino_t ino;
    if (tree_find(p->tree, real.data, &ino, err) <= 0)
        return err && *err ? -1 : stop(p, "is a hard link to what is not there", err);
    mode_t type = tree_type(p->tree, ino, err);
    if (!type || type == S_IFDIR || remove_old(p, name, err) < 0 || inode_link(v, ino, err) < 0)
        return err && *err ? -1 : stop(p, "is a hard link to a folder", err);
    return add_name(p, name, ino, type_of_inode(type), err);
}

static void set_device(const struct entry *e, struct ext2_inode_large *raw)
{
    unsigned a = e->head.rdev_major, b = e->head.rdev_minor;
    if (a < 256 && b < 256)
        raw->i_block[0] = a << 8 | b;
    else
        raw->i_block[1] = (b & 0xff) | a << 8 | (b & ~0xffu) << 12;
}

// Links that an archive made: in the root, every one leads inside.
static int note_link(struct place *p, const struct entry *e, ext2_ino_t ino, struct error **err)
{
    if (!*p->dest || e->head.type != STREAM_SYMLINK || !(e->head.flags & STREAM_ARCHIVE))
        return 0;
    if (!p->made.len && tree_resolve(p->tree, p->dest, NULL, &p->within, err) < 0)
        return -1;
    *made_links_push(&p->made) = (struct made_link){0, ino};
    return 0;
}

static int place_node(struct place *p, const struct entry *e, const char *name, struct error **err)
{
    static const mode_t types[] = {[STREAM_SYMLINK] = S_IFLNK,
                                   [STREAM_CHAR] = S_IFCHR,
                                   [STREAM_BLOCK] = S_IFBLK,
                                   [STREAM_FIFO] = S_IFIFO};
    CLEANUP(inode_clear) struct inode i = {0};
    struct volume *v = p->tree->v;
    mode_t type = types[e->head.type];
    bool link = type == S_IFLNK;
    if (remove_old(p, name, err) < 0 ||
        inode_new(v, folder_ino(p->parent), type | (link ? 0777 : mode(p, e)), owner(p, e),
                  group_in(p, e), &i, err) < 0)
        return -1;
    if (link && e->link.len >= v->block)
        return stop(p, "is a very long link", err);
    if (link && e->link.len < FAST_LINK)
        memcpy(i.raw.i_block, e->link.ptr, e->link.len);
    else if (link && content_bytes(v, e->link, &i.runs, err) < 0)
        return -1;
    if (type == S_IFCHR || type == S_IFBLK)
        set_device(e, &i.raw);
    if (inode_write(v, &i, link ? e->link.len : 0, mtime(e), err) < 0 ||
        set_xattrs(p, e, i.ino, type, err) < 0 || note_link(p, e, i.ino, err) < 0)
        return -1;
    return add_name(p, name, i.ino, type_of_inode(type), err);
}

int place_entry(struct place *p, struct tap *tap, const struct entry *e, struct error **err)
{
    if (e->head.type == STREAM_DIR)
        return place_dir(p, e, err);
    const char *name = enter(p, e, err);
    if (!name)
        return -1;
    if (e->head.type == STREAM_FILE)
        return place_file(p, tap, e, name, err);
    return e->head.type == STREAM_HARDLINK ? place_hardlink(p, e, name, err)
                                           : place_node(p, e, name, err);
}

int place_finish(struct place *p, struct error **err)
{
    vec_foreach (const struct placed *, d, &p->dirs) {
        struct ext2_inode_large raw;
        if (inode_read(p->tree->v, d->ino, &raw, err) < 0)
            return -1;
        inode_times(p->tree->v, &raw, d->mtime);
        if (inode_store(p->tree->v, d->ino, &raw, err) < 0)
            return -1;
    }
    return 0;
}
