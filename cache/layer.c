// SPDX-License-Identifier: MIT
//
// What can be asked of a layer that is in hand.
#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "cache/internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#define LOG_MAX ((size_t)1 << 30)      /* bytes of a log that are read at all */
#define MANIFEST_MAX ((size_t)1 << 29) /* bytes of a manifest */

const char *layer_step(const struct layer *l)
{
    const char *step = json_str(l->record, "step");
    return step ? step : "";
}

bool layer_is_base(const struct layer *l)
{
    const char *type = json_str(l->record, "type");
    return type && !strcmp(type, "base");
}

int64_t layer_created(const struct layer *l)
{
    return json_int(l->record, "created", 0);
}

double layer_seconds(const struct layer *l)
{
    return json_num(l->record, "seconds", 0);
}

const char *layer_digest(const struct layer *l)
{
    return json_str(l->record, "digest");
}

uint64_t layer_bytes(const struct layer *l)
{
    uint64_t bytes = 0;
    folder_blocks(l->folder, true, &bytes, NULL);
    return bytes;
}

void folder_blocks(const char *folder, bool shared_too, uint64_t *bytes, uint64_t *inodes)
{
    DIR *d = opendir(folder);
    struct stat st;
    for (struct dirent *e; d && (e = readdir(d));) {
        bool parent = !strcmp(e->d_name, "..");
        if (parent || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (S_ISREG(st.st_mode) && st.st_nlink > 1 && !shared_too)
            continue;
        *bytes += (uint64_t)st.st_blocks * 512;
        if (inodes)
            ++*inodes;
    }
    if (d)
        closedir(d);
}

char *layer_log_path(const struct layer *l)
{
    AUTO_FREE char *path = path_join(l->folder, "log");
    return access(path, R_OK) == 0 ? STEAL(path) : NULL;
}

int layer_log(const struct layer *l, struct buf *ret, struct error **err)
{
    AUTO_FREE char *path = layer_log_path(l);
    buf_reset(ret);
    if (!path)
        return error_set(err, ERR_NOT_FOUND, "layer %.12s has no output", l->id);
    return file_read(path, LOG_MAX, ret, err);
}

int layer_manifest(const struct layer *l, struct buf *ret, struct error **err)
{
    CLEANUP(buf_clear) struct buf packed = BUF_INIT;
    AUTO_FREE char *path = path_join(l->folder, "manifest.zst");
    buf_reset(ret);
    if (file_read(path, MANIFEST_MAX, &packed, err) < 0)
        return -1;
    unsigned long long size = ZSTD_getFrameContentSize(packed.data, packed.len);
    if (size > MANIFEST_MAX) // also the two values that mean "unknown" and "error"
        return error_set(err, ERR_USER, "'%s' is damaged", path);
    buf_reserve(ret, (size_t)size);
    size_t got = ZSTD_decompress(ret->data, (size_t)size, packed.data, packed.len);
    if (ZSTD_isError(got) || got != size)
        return error_set(err, ERR_USER, "'%s' is damaged", path);
    ret->data[ret->len = got] = '\0';
    return 0;
}

int draft_manifest(struct draft *d, const void *text, size_t n, struct error **err)
{
    AUTO_FREE char *path = path_join(draft_folder(d), "manifest.zst");
    size_t room = ZSTD_compressBound(n);
    AUTO_FREE char *packed = xmalloc(room);
    size_t len = ZSTD_compress(packed, room, text, n, 1);
    if (ZSTD_isError(len))
        return error_set(err, ERR_SYSTEM, "cannot compress: %s", ZSTD_getErrorName(len));
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0444);
    if (fd < 0 || write_all(fd, packed, len) < 0) // synced by the commit
        return error_errno(err, "cannot write '%s'", path);
    return 0;
}
