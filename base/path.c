// SPDX-License-Identifier: MIT
#include "base/path.h"

#include <string.h>

bool path_part(struct str path, size_t *at, struct str *ret)
{
    while (*at < path.len) {
        const char *p = path.ptr + *at, *slash = memchr(p, '/', path.len - *at);
        struct str part = {p, slash ? (size_t)(slash - p) : path.len - *at};
        *at += part.len + (slash != NULL);
        if (!part.len || str_is(part, "."))
            continue;
        *ret = part;
        return true;
    }
    return false;
}

void path_push(struct buf *path, struct str part)
{
    if (path->len)
        buf_addc(path, '/');
    buf_add_str(path, part);
}

bool path_pop(struct buf *path)
{
    if (!path->len)
        return false;
    const char *slash = memrchr(path->data, '/', path->len);
    path->len = slash ? (size_t)(slash - path->data) : 0;
    path->data[path->len] = '\0';
    return true;
}
