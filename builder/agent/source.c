// SPDX-License-Identifier: MIT
#include "builder/agent/source.h"

#include "builder/agent/sys.h"
#include "builder/agent/tree.h"
#include "imagefile/glob.h"
#include "imagefile/ignore.h"

#include <dirent.h>
#include <endian.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { XATTRS_MAX = 64 * 1024 }; // of a list of names, and of one value

void source_clear(struct source *s)
{
    if (s->root >= 0)
        close(STEAL_FD(s->root));
    ignore_free(STEAL(s->excludes));
    strv_clear(&s->paths);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int source_list(int fd, struct strv *ret, struct error **err)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = copy < 0 ? NULL : fdopendir(copy);
    if (!d)
        return error_errno(err, "cannot list a folder of the source");
    for (struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            strv_add(ret, e->d_name);
    closedir(d);
    if (ret->len)
        qsort(ret->ptr, ret->len, sizeof *ret->ptr, by_name);
    return 0;
}

void source_xattrs(int fd, struct buf *ret)
{
    char path[64], list[XATTRS_MAX], value[XATTRS_MAX];
    CLEANUP(strv_clear) struct strv names = {0};
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t n = listxattr(path, list, sizeof list);
    for (char *name = list; n > 0 && name < list + n; name += strlen(name) + 1)
        strv_add(&names, name);
    if (names.len)
        qsort(names.ptr, names.len, sizeof *names.ptr, by_name);
    for (size_t i = 0; i < names.len; i++) {
        ssize_t size = getxattr(path, names.ptr[i], value, sizeof value);
        uint16_t name_length = htole16((uint16_t)strlen(names.ptr[i]));
        uint32_t length = htole32((uint32_t)size);
        if (size < 0)
            continue;
        buf_add(ret, &name_length, sizeof name_length);
        buf_add(ret, &length, sizeof length);
        buf_adds(ret, names.ptr[i]);
        buf_add(ret, value, (size_t)size);
    }
}

int source_type(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return STREAM_FILE;
    case S_IFDIR:
        return STREAM_DIR;
    case S_IFLNK:
        return STREAM_SYMLINK;
    case S_IFCHR:
        return STREAM_CHAR;
    case S_IFBLK:
        return STREAM_BLOCK;
    case S_IFIFO:
        return STREAM_FIFO;
    default:
        return 0;
    }
}

int source_is_socket(const char *path, struct error **err)
{
    return error_set(err, ERR_USER, "the source '%s' is a socket, which can't be copied", path);
}

static int expand(const struct source *s, const char *base, const char *rest, struct strv *ret,
                  struct error **err);

// `rest` below base, and below each folder in it; links are not followed.
static int expand_below(const struct source *s, const char *base, const char *rest,
                        struct strv *ret, struct error **err)
{
    CLEANUP(strv_clear) struct strv names = {0};
    AUTO_CLOSE int fd = sys_open_in(s->root, *base ? base : "/", O_PATH | O_DIRECTORY | O_NOFOLLOW);
    if (fd < 0)
        return 0;
    if (expand(s, base, rest, ret, err) < 0 || source_list(fd, &names, err) < 0)
        return -1;
    for (size_t i = 0; i < names.len; i++) {
        AUTO_FREE char *path = xasprintf("%s/%s", base, names.ptr[i]);
        if (expand_below(s, path, rest, ret, err) < 0)
            return -1;
    }
    return 0;
}

// Adds what matches `rest` below `base` (both without a '/' at the start).
static int expand(const struct source *s, const char *base, const char *rest, struct strv *ret,
                  struct error **err)
{
    rest += strspn(rest, "/");
    if (!*rest) {
        strv_add(ret, base);
        return 0;
    }
    AUTO_FREE char *part = xstrndup(rest, strcspn(rest, "/"));
    const char *more = rest + strlen(part);
    if (s->parents && !strcmp(part, "**") && more[strspn(more, "/")])
        return expand_below(s, base, more, ret, err);
    if (!glob_magic(part)) {
        AUTO_FREE char *path = xasprintf("%s/%s", base, part);
        AUTO_CLOSE int there = sys_open_in(s->root, path, O_PATH | O_NOFOLLOW);
        return there < 0 ? 0 : expand(s, path, more, ret, err);
    }
    CLEANUP(strv_clear) struct strv names = {0};
    AUTO_CLOSE int fd = sys_open_in(s->root, *base ? base : "/", O_PATH | O_DIRECTORY);
    if (fd < 0)
        return 0;
    if (source_list(fd, &names, err) < 0)
        return -1;
    for (size_t i = 0; i < names.len; i++) {
        AUTO_FREE char *path = xasprintf("%s/%s", base, names.ptr[i]);
        if (glob_match(part, names.ptr[i]) && expand(s, path, more, ret, err) < 0)
            return -1;
    }
    return 0;
}

int source_open(struct agent *a, const struct request *rq, struct source *ret, struct error **err)
{
    struct field f = {0};
    int slot = (int)message_num(&rq->fields, AGENT_TAG_SLOT, AGENT_DISK_EXTRA);
    ret->root = tree_open(a, slot, err);
    if (ret->root < 0)
        return -1;
    ret->excludes = ignore_new();
    ret->parents = message_num(&rq->fields, AGENT_TAG_FLAGS, 0) & AGENT_PARENTS;
    while (message_next(&rq->fields, &f)) {
        AUTO_FREE char *text = str_dup(f.value);
        size_t before = ret->paths.len;
        if (f.tag == AGENT_TAG_EXCLUDE && ignore_add(ret->excludes, text, err) < 0)
            return -1;
        if (f.tag != AGENT_TAG_SOURCE)
            continue;
        if (expand(ret, "", text, &ret->paths, err) < 0)
            return -1;
        // a pattern without a match is nothing to copy, as in the build directory
        if (ret->paths.len == before && !glob_magic(text))
            return error_set(err, ERR_USER, "'%s' was not found in the source image", text);
        ret->globs |= glob_magic(text);
    }
    return 0;
}
