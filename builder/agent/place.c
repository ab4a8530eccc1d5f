// SPDX-License-Identifier: MIT
// The folder of the last entry stays open, as entries come folder by folder: most files then cost
// an open, a write, a time and a close. Modes are given when a file is made (the agent's umask is
// 0); what a chown takes away again (set-user-ID) is set after it.
#include "builder/agent/place.h"

#include "base/mode.h"
#include "builder/agent/sys.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

void place_init(struct place *p, int root, const char *dest, bool dest_dir)
{
    size_t n = strlen(dest);
    memset(p, 0, sizeof *p);
    while (n && dest[n - 1] == '/')
        n--;
    p->root = root;
    p->dest = n ? xstrndup(dest, n) : xstrdup("");
    p->dest_dir = dest_dir || !n;
    p->parent = -1;
    buf_init(&p->parent_path);
    buf_init(&p->path);
    buf_init(&p->within);
}

void place_clear(struct place *p)
{
    vec_foreach (struct placed_dir *, d, &p->dirs)
        free(d->path);
    placed_dirs_clear(&p->dirs);
    buf_clear(&p->parent_path);
    buf_clear(&p->path);
    buf_clear(&p->within);
    made_links_clear(&p->made);
    free(p->dest);
    free(p->chmod);
    if (p->parent >= 0)
        close(p->parent);
    p->parent = -1;
    p->dest = NULL;
}

static mode_t mode_of(const struct place *p, mode_t old, bool folder)
{
    mode_t mode = old;
    if (p->chmod)
        (void)mode_apply(p->chmod, old, folder, &mode);
    return mode;
}

int place_error(const struct place *p, const char *what, struct error **err)
{
    struct statfs fs;
    int saved = errno;
    error_errno(err, "cannot %s '%s' in the image", what, p->path.data);
    if (saved != ENOSPC || p->parent < 0 || fstatfs(p->parent, &fs) < 0)
        return -1;
    return error_hint(err, fs.f_files && !fs.f_ffree
                               ? "the file system has no inodes left: make it larger"
                               : "the file system is full: make the DISK or PARTITION larger");
}

static int make_folder(int parent, const char *name, const struct place_as *as)
{
    if (mkdirat(parent, name, as->mode) < 0)
        return -1;
    if ((as->uid || as->gid) && fchownat(parent, name, as->uid, as->gid, AT_SYMLINK_NOFOLLOW) < 0 &&
        errno != EPERM)
        return -1;
    return (as->mode & 07000) && fchmodat(parent, name, as->mode, 0) < 0 && errno != EPERM ? -1 : 0;
}

// `real` holds no links.
static int make_folders(int root, const char *real, const struct place_as *as)
{
    AUTO_CLOSE int at = sys_open_in(root, "/", O_PATH | O_DIRECTORY);
    while (at >= 0 && *real) {
        real++;
        AUTO_FREE char *name = xstrndup(real, strcspn(real, "/"));
        const int flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
        int fd = openat(at, name, flags);
        if (fd < 0 && errno == ENOENT && make_folder(at, name, as) == 0)
            fd = openat(at, name, flags);
        int saved = errno;
        close(at);
        errno = saved;
        at = fd;
        real += strlen(name);
    }
    return STEAL_FD(at);
}

int place_folder(int root, const char *path, const struct place_as *as, struct error **err)
{
    int fd = sys_open_in(root, *path ? path : "/", O_PATH | O_DIRECTORY);
    if (fd >= 0 || errno != ENOENT)
        return fd >= 0 ? fd : error_errno(err, "cannot use the folder '%s' in the image", path);
    CLEANUP(buf_clear) struct buf real = BUF_INIT;
    struct resolve r = {.root = root, .within = ""};
    if (resolve_path(&r, path, &real) == 0)
        fd = make_folders(root, real.data, as);
    return fd >= 0 ? fd : error_errno(err, "cannot make the folder '%s' in the image", path);
}

static struct resolve resolver(const struct place *p)
{
    return (struct resolve){.root = p->root, .within = p->within.data, .made = &p->made};
}

// Where a folder is once the links that archives made are followed, which must not lead out of the
// destination. Without one of them on the way it is just `path`.
static int real_folder(const struct place *p, const struct entry *e, const char *path,
                       struct buf *ret, struct error **err)
{
    buf_reset(ret);
    buf_adds(ret, path);
    if (!p->made.len || !(e->head.flags & STREAM_ARCHIVE))
        return 0;
    AUTO_CLOSE int plain = sys_openat2(p->root, *path ? path : "/", O_PATH | O_DIRECTORY, 0,
                                       RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
    struct resolve r = resolver(p);
    if (plain >= 0 || resolve_path(&r, path, ret) == 0)
        return 0;
    if (errno != EXDEV)
        return error_errno(err, "cannot use the folder '%s' in the image", path);
    error_set(err, ERR_USER, "the archive's entry '" STR_FMT "' leads out of '%s' by a link",
              STR_ARG(e->path), p->dest);
    return error_hint(err,
                      "the archive has that link, too; archives must not write outside of "
                      "their destination");
}

// Remembers a link that an archive made. In the root, every link leads inside.
static void note_link(struct place *p, const struct entry *e, const char *name)
{
    struct stat st;
    if (!*p->dest || e->head.type != STREAM_SYMLINK || !(e->head.flags & STREAM_ARCHIVE) ||
        fstatat(p->parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    struct resolve r = {.root = p->root, .within = ""};
    if (!p->made.len)
        (void)resolve_path(&r, p->dest, &p->within);
    *made_links_push(&p->made) = (struct made_link){st.st_dev, st.st_ino};
}

static bool is_folder(struct place *p, const char *path)
{
    AUTO_CLOSE int fd = sys_open_in(p->root, *path ? path : "/", O_PATH | O_DIRECTORY);
    return fd >= 0;
}

// Where the entry goes, into p->path.
static void set_path(struct place *p, const struct entry *e)
{
    buf_reset(&p->path);
    buf_adds(&p->path, p->dest);
    if (e->path.len) {
        buf_addc(&p->path, '/');
        buf_add_str(&p->path, e->path);
    } else if (e->head.type != STREAM_DIR && e->head.type != STREAM_SYMLINK &&
               e->head.type != STREAM_HARDLINK && e->link.len &&
               (p->dest_dir || is_folder(p, p->dest))) {
        buf_addc(&p->path, '/');
        buf_add_str(&p->path, e->link);
    }
}

// Opens the folder p->path lies in, unless it is the one that is open. The entry's name in it.
static const char *enter(struct place *p, const struct entry *e, struct error **err)
{
    set_path(p, e);
    CLEANUP(buf_clear) struct buf folder = BUF_INIT;
    const char *slash = strrchr(p->path.data, '/');
    size_t n = slash ? (size_t)(slash - p->path.data) : 0;
    if (!slash || !slash[1]) {
        error_set(err, ERR_USER, "'%s' is the root of the image and cannot be replaced",
                  p->path.len ? p->path.data : "/");
        return NULL;
    }
    if (p->parent >= 0 && p->parent_path.len == n &&
        memcmp(p->parent_path.data, p->path.data, n) == 0)
        return slash + 1;
    if (p->parent >= 0)
        close(STEAL_FD(p->parent));
    buf_reset(&p->parent_path);
    buf_add(&p->parent_path, p->path.data, n);
    if (real_folder(p, e, p->parent_path.data, &folder, err) < 0)
        return NULL;
    mode_t mode = mode_of(p, 0755, true);
    mode |= (mode & 0444) >> 2; // who may read such a folder may enter it: 600 is 700 for a .ssh
    struct place_as as = {p->has_owner ? p->uid : 0, p->has_owner ? p->gid : 0, mode};
    p->parent = place_folder(p->root, folder.data, &as, err);
    return p->parent < 0 ? NULL : slash + 1;
}

static uid_t owner(const struct place *p, const struct entry *e)
{
    return p->has_owner ? p->uid : e->head.uid;
}

static gid_t group(const struct place *p, const struct entry *e)
{
    return p->has_owner ? p->gid : e->head.gid;
}

static mode_t mode(const struct place *p, const struct entry *e)
{
    return mode_of(p, e->head.mode, e->head.type == STREAM_DIR);
}

void place_attrs(const struct place *p, const struct entry *e, uid_t *ret_uid, gid_t *ret_gid,
                 mode_t *ret_mode)
{
    *ret_uid = owner(p, e);
    *ret_gid = group(p, e);
    *ret_mode = mode(p, e);
}

static struct timespec mtime(const struct entry *e)
{
    return (struct timespec){(time_t)e->head.mtime, e->head.mtime_ns};
}

// Makes room for an entry that is not a folder. Archives may replace an empty folder.
static int remove_old(struct place *p, const struct entry *e, const char *name, struct error **err)
{
    bool archive = e->head.flags & STREAM_ARCHIVE;
    if (unlinkat(p->parent, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (archive && errno == EISDIR && unlinkat(p->parent, name, AT_REMOVEDIR) == 0)
        return 0;
    if (errno == EISDIR || errno == ENOTEMPTY || errno == EBUSY)
        return error_set(err, ERR_USER, "'%s' is a folder in the image and cannot become a file",
                         p->path.data);
    return place_error(p, "replace", err);
}

int place_file(struct place *p, const struct entry *e, struct error **err)
{
    const char *name = enter(p, e, err);
    if (!name)
        return -1;
    const int flags = O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(p->parent, name, flags, mode(p, e));
    if (fd < 0 && errno == EEXIST) {
        if (remove_old(p, e, name, err) < 0)
            return -1;
        fd = openat(p->parent, name, flags, mode(p, e));
    }
    return fd < 0 ? place_error(p, "make the file", err) : fd;
}

// A file system without owners (vfat) is reported once and otherwise ignored.
static bool owner_refused(struct place *p)
{
    if (errno != EPERM)
        return false;
    p->no_owner = true;
    return true;
}

/* ENOSPC is also what a file system with room says of an attribute that it has no place for. */
static int xattr_error(const struct place *p, const char *name, struct error **err)
{
    struct statfs fs;
    int saved = errno;
    AUTO_FREE char *what = xasprintf("set the attribute %s of", name);
    bool room = p->parent >= 0 && fstatfs(p->parent, &fs) == 0 && fs.f_bfree;
    errno = saved;
    if (saved != E2BIG && (saved != ENOSPC || !room))
        return place_error(p, what, err);
    error_errno(err, "cannot %s '%s' in the image", what, p->path.data);
    if (!room || fs.f_type != EXT4_SUPER_MAGIC)
        return error_hint(err, "it is too large for an attribute of this file system");
    return error_hint(err,
                      "it is too large for this file system: all attributes of a file fit in one "
                      "block, of %ld bytes here; larger blocks: OPTIONS \"-b 4096\" of PARTITION",
                      (long)fs.f_bsize);
}

static int set_xattrs(struct place *p, const struct entry *e, int fd, const char *path,
                      struct error **err)
{
    size_t at = 0;
    struct str name, value;
    while (entry_xattr(e, &at, &name, &value)) {
        char text[256];
        snprintf(text, sizeof text, STR_FMT, STR_ARG(name));
        int done = fd >= 0 ? fsetxattr(fd, text, value.ptr, value.len, 0)
                           : lsetxattr(path, text, value.ptr, value.len, 0);
        if (done < 0 && errno != EOPNOTSUPP)
            return xattr_error(p, text, err);
        if (done < 0)
            p->no_owner = true;
    }
    return 0;
}

int place_file_done(struct place *p, const struct entry *e, int fd, struct error **err)
{
    AUTO_CLOSE int file = fd;
    struct timespec times[2] = {{0, UTIME_OMIT}, mtime(e)};
    uid_t uid = owner(p, e);
    gid_t gid = group(p, e);
    bool chowned = uid || gid;
    if (chowned && fchown(file, uid, gid) < 0 && !owner_refused(p))
        return place_error(p, "set the owner of", err);
    if ((mode(p, e) & 07000) && fchmod(file, mode(p, e)) < 0 && !owner_refused(p))
        return place_error(p, "set the mode of", err);
    if (e->xattrs.len && set_xattrs(p, e, file, NULL, err) < 0)
        return -1;
    // an ACL has set the mode, too
    if (e->xattrs.len && p->chmod && fchmod(file, mode(p, e)) < 0 && !owner_refused(p))
        return place_error(p, "set the mode of", err);
    if (futimens(file, times) < 0 && errno != EPERM)
        return place_error(p, "set the time of", err);
    p->count++;
    return 0;
}

static void remember_time(struct place *p, const struct entry *e)
{
    struct placed_dir *d = placed_dirs_push(&p->dirs);
    d->path = xstrdup(p->path.data);
    d->mtime = mtime(e);
}

static int set_folder_attrs(struct place *p, const struct entry *e, int fd, struct error **err)
{
    char path[64];
    uid_t uid = owner(p, e);
    gid_t gid = group(p, e);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0 && !owner_refused(p))
        return place_error(p, "set the owner of", err);
    if (chmod(path, mode(p, e)) < 0 && !owner_refused(p))
        return place_error(p, "set the mode of", err);
    size_t at = 0;
    struct str name, value;
    while (entry_xattr(e, &at, &name, &value)) {
        char text[256];
        snprintf(text, sizeof text, STR_FMT, STR_ARG(name));
        if (setxattr(path, text, value.ptr, value.len, 0) < 0 && errno != EOPNOTSUPP)
            return xattr_error(p, text, err);
    }
    if (at && p->chmod && chmod(path, mode(p, e)) < 0 && !owner_refused(p))
        return place_error(p, "set the mode of", err);
    remember_time(p, e);
    return 0;
}

// A folder that is there (or that a symbolic link leads to) stays; an archive gives it attributes.
static int place_dir(struct place *p, const struct entry *e, struct error **err)
{
    bool archive = e->head.flags & STREAM_DIR_ATTRS;
    buf_reset(&p->path);
    buf_adds(&p->path, p->dest);
    if (e->path.len) {
        buf_addc(&p->path, '/');
        buf_add_str(&p->path, e->path);
    }
    CLEANUP(buf_clear) struct buf real = BUF_INIT;
    if (real_folder(p, e, p->path.data, &real, err) < 0)
        return -1;
    AUTO_CLOSE int fd = sys_open_in(p->root, real.len ? real.data : "/", O_PATH | O_DIRECTORY);
    if (fd >= 0)
        return archive ? set_folder_attrs(p, e, fd, err) : 0;
    const char *name = enter(p, e, err);
    if (!name)
        return -1;
    if (mkdirat(p->parent, name, mode(p, e)) < 0) {
        if (errno != EEXIST)
            return place_error(p, "make the folder", err);
        if (!archive)
            return error_set(err, ERR_USER, "'%s' is not a folder in the image, and the source is",
                             p->path.data);
        if (remove_old(p, e, name, err) < 0)
            return -1;
        if (mkdirat(p->parent, name, mode(p, e)) < 0)
            return place_error(p, "make the folder", err);
    }
    fd = openat(p->parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? place_error(p, "open the folder", err) : set_folder_attrs(p, e, fd, err);
}

static int place_hardlink(struct place *p, const struct entry *e, const char *name,
                          struct error **err)
{
    AUTO_FREE char *old = xasprintf("%s/" STR_FMT, p->dest, STR_ARG(e->link));
    char *slash = strrchr(old, '/');
    *slash = '\0';
    CLEANUP(buf_clear) struct buf real = BUF_INIT;
    if (real_folder(p, e, old, &real, err) < 0)
        return -1;
    AUTO_CLOSE int folder = sys_open_in(p->root, real.len ? real.data : "/", O_PATH | O_DIRECTORY);
    if (folder >= 0 && linkat(folder, slash + 1, p->parent, name, 0) == 0)
        return 0;
    if (folder >= 0 && errno == EEXIST && remove_old(p, e, name, err) == 0 &&
        linkat(folder, slash + 1, p->parent, name, 0) == 0)
        return 0;
    return err && *err ? -1 : place_error(p, "make the hard link", err);
}

static int make_node(struct place *p, const struct entry *e, const char *name)
{
    dev_t dev = makedev(e->head.rdev_major, e->head.rdev_minor);
    AUTO_FREE char *target = str_dup(e->link);
    switch (e->head.type) {
    case STREAM_SYMLINK:
        return symlinkat(target, p->parent, name);
    case STREAM_CHAR:
        return mknodat(p->parent, name, S_IFCHR | mode(p, e), dev);
    case STREAM_BLOCK:
        return mknodat(p->parent, name, S_IFBLK | mode(p, e), dev);
    default:
        return mknodat(p->parent, name, S_IFIFO | mode(p, e), 0);
    }
}

static int place_node(struct place *p, const struct entry *e, const char *name, struct error **err)
{
    struct timespec times[2] = {{0, UTIME_OMIT}, mtime(e)};
    uid_t uid = owner(p, e);
    gid_t gid = group(p, e);
    if (make_node(p, e, name) < 0) {
        if (errno != EEXIST)
            return place_error(p, "make", err);
        if (remove_old(p, e, name, err) < 0)
            return -1;
        if (make_node(p, e, name) < 0)
            return place_error(p, "make", err);
    }
    note_link(p, e, name);
    if ((uid || gid) && fchownat(p->parent, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0 &&
        !owner_refused(p))
        return place_error(p, "set the owner of", err);
    if (e->head.type != STREAM_SYMLINK && (mode(p, e) & 07000) &&
        fchmodat(p->parent, name, mode(p, e), 0) < 0)
        return place_error(p, "set the mode of", err);
    AUTO_FREE char *path = xasprintf("/proc/self/fd/%d/%s", p->parent, name);
    if (e->xattrs.len && set_xattrs(p, e, -1, path, err) < 0)
        return -1;
    if (utimensat(p->parent, name, times, AT_SYMLINK_NOFOLLOW) < 0 && errno != EPERM)
        return place_error(p, "set the time of", err);
    return 0;
}

int place_other(struct place *p, const struct entry *e, struct error **err)
{
    p->count++;
    if (e->head.type == STREAM_DIR)
        return place_dir(p, e, err);
    const char *name = enter(p, e, err);
    if (!name)
        return -1;
    return e->head.type == STREAM_HARDLINK ? place_hardlink(p, e, name, err)
                                           : place_node(p, e, name, err);
}

// Folders last, as everything put into them has touched them; the deepest first does not matter.
// One that an archive has replaced by a link that leads out is none any more.
int place_finish(struct place *p, struct error **err)
{
    CLEANUP(buf_clear) struct buf real = BUF_INIT;
    struct resolve r = resolver(p);
    vec_foreach (const struct placed_dir *, d, &p->dirs) {
        struct timespec times[2] = {{0, UTIME_OMIT}, d->mtime};
        if (p->made.len && resolve_path(&r, d->path, &real) < 0 && errno == EXDEV)
            continue;
        const char *path = p->made.len ? real.data : d->path;
        AUTO_CLOSE int fd = sys_open_in(p->root, *path ? path : "/", O_RDONLY | O_DIRECTORY);
        if (fd < 0 && p->made.len && errno == ENOTDIR)
            continue;
        if (fd < 0 || (futimens(fd, times) < 0 && errno != EPERM))
            return error_errno(err, "cannot set the time of '%s' in the image", d->path);
    }
    return 0;
}
