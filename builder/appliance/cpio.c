// SPDX-License-Identifier: MIT
//
// An entry is a header of "070701" and 13 hexadecimal numbers of 8 letters, the name with its NUL,
// and the content; name and content are each padded to a multiple of 4 bytes, counted from the
// start of the archive.
#include "builder/appliance/cpio.h"

#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FLUSH_AT = 256 * 1024 };

void cpio_init(struct cpio *c, int fd)
{
    *c = (struct cpio){.fd = fd, .next_ino = 1, .pending = BUF_INIT};
}

void cpio_clear(struct cpio *c)
{
    buf_clear(&c->pending);
    strv_clear(&c->names);
}

static int flush(struct cpio *c, struct error **err)
{
    if (write_all(c->fd, c->pending.data, c->pending.len) < 0)
        return error_errno(err, "cannot write the initramfs");
    buf_reset(&c->pending);
    return 0;
}

static int put(struct cpio *c, const void *bytes, size_t n, struct error **err)
{
    buf_add(&c->pending, bytes, n);
    c->written += n;
    return c->pending.len >= FLUSH_AT ? flush(c, err) : 0;
}

static int pad(struct cpio *c, struct error **err)
{
    return put(c, "\0\0\0", (4 - c->written % 4) % 4, err);
}

struct entry {
    const char *path;
    mode_t mode; /* with the type */
    uint64_t size;
    unsigned major, minor;
};

static int put_header(struct cpio *c, const struct entry *e, struct error **err)
{
    if (e->size > UINT32_MAX)
        return error_set(err, ERR_USER, "'%s' is too large for an initramfs", e->path);
    size_t name = strlen(e->path) + 1;
    char head[128];
    // magic, inode, mode, uid, gid, links, mtime, size, device of the file (2), rdev (2), length
    // of the name, checksum (unused)
    int n =
        snprintf(head, sizeof head, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
                 c->next_ino++, (unsigned)e->mode, 0u, 0u, S_ISDIR(e->mode) ? 2u : 1u, 0u,
                 (unsigned)e->size, 0u, 0u, e->major, e->minor, (unsigned)name, 0u);
    if (put(c, head, (size_t)n, err) < 0 || put(c, e->path, name, err) < 0)
        return -1;
    return pad(c, err);
}

bool cpio_has(const struct cpio *c, const char *path)
{
    for (size_t i = 0; i < c->names.len; i++)
        if (strcmp(c->names.ptr[i], path) == 0)
            return true;
    return false;
}

static int put_parents(struct cpio *c, const char *path, struct error **err)
{
    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        AUTO_FREE char *dir = xstrndup(path, (size_t)(slash - path));
        if (!cpio_has(c, dir) && cpio_dir(c, dir, 0755, err) < 0)
            return -1;
    }
    return 0;
}

static int begin(struct cpio *c, const struct entry *e, struct error **err)
{
    if (put_parents(c, e->path, err) < 0)
        return -1;
    strv_add(&c->names, e->path);
    return put_header(c, e, err);
}

int cpio_dir(struct cpio *c, const char *path, mode_t mode, struct error **err)
{
    return begin(c, &(struct entry){.path = path, .mode = S_IFDIR | mode}, err);
}

int cpio_file(struct cpio *c, const char *path, mode_t mode, const void *bytes, size_t n,
              struct error **err)
{
    struct entry e = {.path = path, .mode = S_IFREG | mode, .size = n};
    if (begin(c, &e, err) < 0 || put(c, bytes, n, err) < 0)
        return -1;
    return pad(c, err);
}

int cpio_copy(struct cpio *c, const char *path, mode_t mode, const char *source, struct error **err)
{
    AUTO_CLOSE int fd = open(source, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_errno(err, "cannot read '%s'", source);
    struct entry e = {.path = path, .mode = S_IFREG | mode, .size = (uint64_t)st.st_size};
    if (begin(c, &e, err) < 0)
        return -1;
    AUTO_FREE char *chunk = xmalloc(FLUSH_AT);
    for (uint64_t left = e.size; left > 0;) {
        ssize_t n = read_all(fd, chunk, left < FLUSH_AT ? (size_t)left : FLUSH_AT);
        if (n < 0)
            return error_errno(err, "cannot read '%s'", source);
        if (n == 0)
            return error_set(err, ERR_SYSTEM, "'%s' shrank while it was read", source);
        if (put(c, chunk, (size_t)n, err) < 0)
            return -1;
        left -= (uint64_t)n;
    }
    return pad(c, err);
}

int cpio_symlink(struct cpio *c, const char *path, const char *target, struct error **err)
{
    struct entry e = {.path = path, .mode = S_IFLNK | 0777, .size = strlen(target)};
    if (begin(c, &e, err) < 0 || put(c, target, e.size, err) < 0)
        return -1;
    return pad(c, err);
}

int cpio_device(struct cpio *c, const char *path, mode_t mode, unsigned major, unsigned minor,
                struct error **err)
{
    struct entry e = {.path = path, .mode = S_IFCHR | mode, .major = major, .minor = minor};
    return begin(c, &e, err);
}

int cpio_finish(struct cpio *c, struct error **err)
{
    c->next_ino = 0;
    if (begin(c, &(struct entry){.path = "TRAILER!!!"}, err) < 0)
        return -1;
    return flush(c, err);
}
