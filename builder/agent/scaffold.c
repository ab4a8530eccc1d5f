// SPDX-License-Identifier: MIT
//
// Each name that is made is remembered with its folder's descriptor, its inode, and the folder's
// times before and after. Undone in reverse order: a name goes only if it is still the same inode
// (a file only if nobody wrote to it, a folder only if it is empty), and the folder's times are put
// back only if they are those after the making, so nothing else was made or removed in it.
#include "builder/agent/scaffold.h"

#include "base/file.h"
#include "builder/agent/sys.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

// Makes one name in an open folder and remembers it. The descriptor of a file (open for writing),
// or 0 for a folder.
static int make(struct scaffolds *s, int parent, const char *name, bool folder, mode_t mode)
{
    struct stat before, after, st;
    int fd = 0;
    if (fstat(parent, &before) < 0)
        return -1;
    if (folder ? mkdirat(parent, name, mode) < 0
               : (fd = openat(parent, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, mode)) < 0)
        return -1;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || fstat(parent, &after) < 0)
        return -1;
    struct scaffold *r = scaffolds_push(s);
    *r = (struct scaffold){.parent = fcntl(parent, F_DUPFD_CLOEXEC, 3),
                           .name = xstrdup(name),
                           .folder = folder,
                           .ino = st.st_ino,
                           .made = st.st_mtim,
                           .times = {before.st_atim, before.st_mtim},
                           .after = after.st_mtim};
    return fd;
}

// Opens the folder that holds the last part of path, making what is missing. ret_name is that part.
static int open_parent(struct scaffolds *s, int root, const char *path, const char **ret_name,
                       struct error **err)
{
    AUTO_FREE char *copy = xstrdup(path);
    AUTO_CLOSE int at = sys_open_in(root, ".", O_RDONLY | O_DIRECTORY);
    char *end = copy;
    *ret_name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    size_t length = (size_t)(*ret_name - path);
    while (at >= 0) {
        end += strspn(end, "/");
        if ((size_t)(end - copy) >= length)
            return STEAL_FD(at);
        char *name = end;
        end += strcspn(end, "/");
        *end = '\0';
        int next = sys_open_in(root, copy, O_RDONLY | O_DIRECTORY);
        if (next < 0 && errno == ENOENT && make(s, at, name, true, 0755) == 0)
            next = sys_open_in(root, copy, O_RDONLY | O_DIRECTORY);
        if (next < 0)
            break;
        close(at);
        at = next;
        *end = '/';
    }
    return error_errno(err, "cannot make the mount point '%s' in the image", path);
}

static int ensure(struct scaffolds *s, int root, const char *path, bool folder, struct error **err)
{
    struct stat st;
    const char *name;
    int fd = sys_open_in(root, path, O_PATH);
    if (fd < 0 && errno == ENOENT) {
        AUTO_CLOSE int parent = open_parent(s, root, path, &name, err);
        if (parent < 0)
            return -1;
        int made = make(s, parent, name, folder, folder ? 0755 : 0644);
        if (made > 0)
            close(made);
        if (made >= 0)
            fd = sys_open_in(root, path, O_PATH);
    }
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_errno(err, "cannot make the mount point '%s' in the image", path);
    if (S_ISDIR(st.st_mode) == folder)
        return fd;
    close(fd);
    return error_set(err, ERR_USER, "the mount point '%s' is a %s in the image", path,
                     folder ? "file" : "folder");
}

int scaffold_folder(struct scaffolds *s, int root, const char *path, struct error **err)
{
    return ensure(s, root, path, true, err);
}

int scaffold_file(struct scaffolds *s, int root, const char *path, struct error **err)
{
    return ensure(s, root, path, false, err);
}

int scaffold_write(struct scaffolds *s, int root, const char *path, mode_t mode, const char *text,
                   struct error **err)
{
    const char *name;
    AUTO_CLOSE int parent = open_parent(s, root, path, &name, err);
    if (parent < 0)
        return -1;
    AUTO_CLOSE int fd = make(s, parent, name, false, mode);
    struct stat st;
    if (fd < 0 || write_all(fd, text, strlen(text)) < 0 || fstat(fd, &st) < 0)
        return error_errno(err, "cannot write '%s' in the image", path);
    s->ptr[s->len - 1].made = st.st_mtim;
    return 0;
}

static void undo(const struct scaffold *r)
{
    struct stat st, parent;
    if (fstatat(r->parent, r->name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_ino != r->ino ||
        (!r->folder && !same_time(st.st_mtim, r->made)) || fstat(r->parent, &parent) < 0)
        return;
    if (unlinkat(r->parent, r->name, r->folder ? AT_REMOVEDIR : 0) == 0 &&
        same_time(parent.st_mtim, r->after))
        futimens(r->parent, r->times);
}

void scaffolds_undo(struct scaffolds *s)
{
    for (size_t i = s->len; i-- > 0;) {
        undo(&s->ptr[i]);
        close(s->ptr[i].parent);
        free(s->ptr[i].name);
    }
    scaffolds_clear(s);
}
