// SPDX-License-Identifier: MIT
// Paths are worked off by resolve.c, the same that the agent uses for what is missing.
#include "builder/ext4/tree.h"

#include "base/alloc.h"
#include "builder/ext4/inode.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

void tree_clear(struct tree *t)
{
    folders_free(STEAL(t->folders));
    strv_clear(&t->mounts);
    error_free(STEAL(t->why));
}

mode_t tree_type(struct tree *t, ext2_ino_t ino, struct error **err)
{
    struct ext2_inode_large raw;
    if (inode_read(t->v, ino, &raw, err) < 0)
        return 0;
    mode_t type = raw.i_mode & S_IFMT;
    if (!type || !raw.i_links_count)
        error_set(err, ERR_USER, "a name leads to an inode that is not in use");
    return raw.i_links_count ? type : 0;
}

int tree_find(struct tree *t, const char *real, ext2_ino_t *ret, struct error **err)
{
    *ret = EXT2_ROOT_INO;
    while (*real) {
        char name[256];
        size_t n = strcspn(++real, "/");
        mode_t type = tree_type(t, *ret, err);
        struct folder *f = type == S_IFDIR ? folder_open(t->folders, *ret, err) : NULL;
        if (!f)
            return !type || type == S_IFDIR ? -1 : 0;
        if (n >= sizeof name)
            return error_set(err, ERR_USER, "a name is too long");
        snprintf(name, sizeof name, "%.*s", (int)n, real);
        if (!folder_find(f, name, ret))
            return 0;
        real += n;
    }
    return 1;
}

// A resolve_look_fn.
static int look(void *arg, const char *path, struct resolve_seen *ret)
{
    struct tree *t = arg;
    ext2_ino_t ino;
    int got = tree_find(t, path, &ino, &t->why);
    mode_t type = got > 0 ? tree_type(t, ino, &t->why) : 0;
    ret->dev = 0;
    ret->ino = ino;
    ret->is_link = type == S_IFLNK;
    if (got > 0 && !type)
        got = -1;
    if (got > 0 && ret->is_link) {
        AUTO_FREE char *target = inode_target(t->v, ino, &t->why);
        got = target ? 1 : -1;
        snprintf(ret->target, sizeof ret->target, "%s", target ? target : "");
    }
    errno = EIO;
    return got;
}

static bool is_mounted(const struct tree *t, const char *real)
{
    for (size_t i = 0; i < t->mounts.len; i++) {
        size_t n = strlen(t->mounts.ptr[i]);
        if (!strncmp(real, t->mounts.ptr[i], n) && (!real[n] || real[n] == '/'))
            return true;
    }
    return false;
}

int tree_resolve(struct tree *t, const char *path, const struct resolve *made, struct buf *ret,
                 struct error **err)
{
    struct resolve r = made ? *made : (struct resolve){.within = ""};
    r.look = look;
    r.arg = t;
    if (resolve_path(&r, path, ret) < 0) {
        if (t->why)
            return error_propagate(err, STEAL(t->why));
        return error_errno(err, "cannot follow '%s'", path);
    }
    return is_mounted(t, ret->data)
               ? error_set(err, ERR_USER, "'%s' is on another file system", ret->data)
               : 0;
}

int tree_read(struct tree *t, const char *path, size_t limit, struct buf *ret, struct error **err)
{
    CLEANUP(buf_clear) struct buf real = BUF_INIT;
    ext2_ino_t ino;
    buf_reset(ret);
    if (tree_resolve(t, path, NULL, &real, err) < 0)
        return -1;
    int got = tree_find(t, real.data, &ino, err);
    if (got <= 0)
        return got;
    mode_t type = tree_type(t, ino, err);
    return !type ? -1 : type == S_IFREG ? inode_content(t->v, ino, limit, ret, err) : 0;
}

static struct folder *make_one(struct folder *parent, const char *name, const struct tree_as *as,
                               struct error **err)
{
    gid_t gid;
    mode_t mode = as->mode;
    bool setgid = folder_setgid(parent, &gid), owned = as->uid || as->gid;
    if (setgid && !(as->mode & 07000)) // a chmod would take it away again
        mode |= S_ISGID;
    if (owned || !setgid)
        gid = as->gid;
    struct folder *f = folder_new(parent, mode, as->uid, gid, err);
    return f && folder_add(parent, name, folder_ino(f), EXT2_FT_DIR, err) == 0 ? f : NULL;
}

struct folder *tree_folder(struct tree *t, const char *real, const struct tree_as *as,
                           struct error **err)
{
    struct folder *f = folder_open(t->folders, EXT2_ROOT_INO, err);
    while (f && *real) {
        char name[256];
        ext2_ino_t ino;
        size_t n = strcspn(++real, "/");
        if (n >= sizeof name) {
            error_set(err, ERR_USER, "a name is too long");
            return NULL;
        }
        snprintf(name, sizeof name, "%.*s", (int)n, real);
        f = folder_find(f, name, &ino) ? folder_open(t->folders, ino, err)
                                       : make_one(f, name, as, err);
        real += n;
    }
    return f;
}
