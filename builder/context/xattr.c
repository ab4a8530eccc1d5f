// SPDX-License-Identifier: MIT
//
// Almost no file has an attribute, so that case is one flistxattr and nothing else.
#include "builder/context/xattr.h"

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/vector.h"
#include "builder/agent/stream.h"
#include "builder/context/acl.h"

#include <endian.h>
#include <errno.h>
#include <linux/limits.h>
#include <linux/xattr.h>
#include <stdbool.h>
#include <sys/xattr.h>

static bool is_kept(const char *name)
{
    return str_starts(str_of(name), XATTR_USER_PREFIX) || !strcmp(name, XATTR_NAME_CAPS) ||
           acl_is_xattr(name);
}

void xattrs_add(struct buf *b, const char *name, const void *value, size_t n)
{
    uint16_t name_len = htole16((uint16_t)strlen(name));
    uint32_t value_len = htole32((uint32_t)n);
    buf_add(b, &name_len, sizeof name_len);
    buf_add(b, &value_len, sizeof value_len);
    buf_adds(b, name);
    buf_add(b, value, n);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The kernel's limit of one value is 64 KiB. */
static int add_value(int fd, const char *name, char *value, struct buf *ret)
{
    ssize_t n = fgetxattr(fd, name, value, XATTR_SIZE_MAX);
    if (n < 0)
        return errno == ENODATA ? 0 : -1;
    xattrs_add(ret, name, value, (size_t)n);
    if (ret->len <= STREAM_XATTR_MAX)
        return 0;
    errno = E2BIG;
    return -1;
}

int xattrs_read(int fd, struct buf *ret)
{
    buf_reset(ret);
    char few[256];
    ssize_t n = flistxattr(fd, few, sizeof few);
    if (n == 0 || (n < 0 && errno == ENOTSUP))
        return 0;
    AUTO_FREE char *list = NULL;
    if (n < 0 && errno == ERANGE) {
        list = xmalloc(XATTR_LIST_MAX + 1);
        n = flistxattr(fd, list, XATTR_LIST_MAX);
    } else if (n > 0) {
        list = xmalloc((size_t)n + 1);
        memcpy(list, few, (size_t)n);
    }
    if (n < 0)
        return -1;
    list[n] = '\0';

    CLEANUP(strv_clear) struct strv names = {0};
    for (const char *name = list; name < list + n; name += strlen(name) + 1)
        if (is_kept(name))
            strv_add(&names, name);
    if (!names.len)
        return 0;
    qsort(names.ptr, names.len, sizeof *names.ptr, compare_names);
    AUTO_FREE char *value = xmalloc(XATTR_SIZE_MAX);
    for (size_t i = 0; i < names.len; i++)
        if (add_value(fd, names.ptr[i], value, ret) < 0)
            return -1;
    return 0;
}
