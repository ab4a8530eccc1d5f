// SPDX-License-Identifier: MIT
//
// A backing name is resolved by its text alone, relative to the folder of the file that has it, and
// the result must have one of the two shapes files of a backend have. The file is then opened one
// component at a time without following links, so neither a name nor a link leads out of the
// backend.
#include "image/chain.h"
#include "base/alloc.h"
#include "base/buf.h"
#include "base/path.h"
#include "image/backend.h"
#include "image/name.h"
#include "qcow2/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHAIN_MAX = 256 };

bool layer_id_ok(const char *id, size_t n)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    if (!n || n > 128 || *id == '.')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!id[i] || !strchr(allowed, id[i]))
            return false;
    return true;
}

char *layer_of_file(const char *file)
{
    static const char prefix[] = LAYERS "/";
    if (strncmp(file, prefix, sizeof prefix - 1))
        return NULL;
    const char *id = file + sizeof prefix - 1, *slash = strchr(id, '/');
    if (!slash || strcmp(slash, "/disk.qcow2") || !layer_id_ok(id, (size_t)(slash - id)))
        return NULL;
    return xstrndup(id, (size_t)(slash - id));
}

static bool is_backend_file(const char *file)
{
    AUTO_FREE char *layer = layer_of_file(file), *name = layer ? NULL : image_name_decode(file);
    return layer || name;
}

/* Owned path below the backend, or NULL when name leads out of it or to nothing of ours. */
static char *resolve(const char *from, const char *name)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    const char *slash = strrchr(from, '/');
    if (*name == '/')
        return NULL;
    if (slash)
        buf_add(&b, from, (size_t)(slash - from));
    struct str part;
    for (size_t at = 0; path_part(str_of(name), &at, &part);) {
        if (!str_is(part, ".."))
            path_push(&b, part);
        else if (!path_pop(&b))
            return NULL;
    }
    return is_backend_file(b.data) ? buf_detach(&b, NULL) : NULL;
}

int backend_open(const char *dir, const char *file, struct error **err)
{
    AUTO_CLOSE int at = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (at < 0 && errno == ENOENT)
        return error_set(err, ERR_NOT_FOUND, "'%s/%s' does not exist", dir, file);
    if (at < 0)
        return error_errno(err, "cannot open '%s'", dir);
    for (const char *p = file;;) {
        const char *slash = strchr(p, '/');
        AUTO_FREE char *part = slash ? xstrndup(p, (size_t)(slash - p)) : xstrdup(p);
        int flags = slash ? O_PATH | O_DIRECTORY : O_RDONLY | O_NONBLOCK;
        int fd = openat(at, part, flags | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0 && errno == ENOENT)
            return error_set(err, ERR_NOT_FOUND, "'%s/%s' does not exist", dir, file);
        if (fd < 0)
            return error_errno(err, "cannot open '%s/%s'", dir, file);
        if (!slash)
            return fd;
        close(at);
        at = fd;
        p = slash + 1;
    }
}

/* Reads the header of one file of a chain; *ret_below is the file under it or NULL. */
static int step_down(const char *dir, const char *file, char **ret_below, uint64_t *bytes,
                     struct error **err)
{
    CLEANUP(qcow2_info_clear) struct qcow2_info info = {0};
    AUTO_CLOSE int fd = backend_open(dir, file, err);
    if (fd < 0)
        return -1;
    if (qcow2_read_fd(fd, QCOW2_OWN, &info, err) < 0)
        return error_wrap(err, "'%s/%s'", dir, file);
    struct stat st;
    if (bytes && fstat(fd, &st) == 0)
        *bytes += (uint64_t)st.st_blocks * 512;
    *ret_below = NULL;
    if (!info.backing)
        return 0;
    if (info.backing_format && strcmp(info.backing_format, "qcow2"))
        return error_set(err, ERR_USER, "'%s/%s' has a backing file in format '%s'", dir, file,
                         info.backing_format);
    *ret_below = resolve(file, info.backing);
    if (!*ret_below)
        return error_set(err, ERR_USER,
                         "'%s/%s' has the backing file '%s', which is not in this backend", dir,
                         file, info.backing);
    return 0;
}

int chain_walk(const char *dir, const char *file, struct strv *ret, uint64_t *ret_bytes,
               struct error **err)
{
    CLEANUP(strv_clear) struct strv down = {0};
    uint64_t bytes = 0;
    AUTO_FREE char *at = xstrdup(file);
    while (at) {
        if (down.len == CHAIN_MAX)
            return error_set(err, ERR_USER, "the chain of '%s/%s' has more than %d files", dir,
                             file, CHAIN_MAX);
        char *below = NULL;
        if (step_down(dir, at, &below, &bytes, err) < 0)
            return -1;
        strv_addf(&down, "%s/%s", dir, at);
        free(at);
        at = below;
    }
    for (size_t i = down.len; ret && i-- > 0;)
        strv_add(ret, down.ptr[i]);
    if (ret_bytes)
        *ret_bytes = bytes;
    return 0;
}

int backend_image_chain(const char *dir, const char *name, struct strv *ret, struct error **err)
{
    if (image_name_check(name, err) < 0)
        return -1;
    AUTO_FREE char *file = image_name_encode(name);
    if (!backend_has(dir, name))
        return backend_not_found(dir, name, err);
    return chain_walk(dir, file, ret, NULL, err);
}
