// SPDX-License-Identifier: MIT
#include "builder/appliance/template.h"

#include "base/alloc.h"
#include "base/file.h"

#include <fcntl.h>

enum { PAGE = 4096 };

static const struct saved_kind kind = {"template", "template.json", .keep = 4};
static const char *const files[] = {TEMPLATE_KERNEL, NULL};

int template_open(const struct session *s, const char *key_text, struct saved *t,
                  struct error **err)
{
    return saved_open(s, &kind, files, key_text, t, err);
}

bool template_damaged(const struct session *s, const char *key_text)
{
    return saved_damaged(s, &kind, files, key_text);
}

int template_stand_in(const char *kernel, const char *path, struct error **err)
{
    AUTO_CLOSE int fd = open(kernel, O_RDONLY | O_CLOEXEC);
    unsigned char sectors = 0;
    if (fd < 0 || pread_all(fd, &sectors, 1, 0x1f1) != 1)
        return error_errno(err, "cannot read kernel '%s'", kernel);
    // boot sector and set-up code (boot.rst: setup_sects, 0 means 4), then a little of the rest
    size_t n = ((size_t)(sectors ? sectors : 4) + 1) * 512 + PAGE;
    AUTO_FREE char *bytes = xmalloc(n);
    if (pread_all(fd, bytes, n, 0) != (ssize_t)n)
        return error_set(err, ERR_USER, "kernel '%s' is too short", kernel);
    return file_write_whole(path, 0644, bytes, n, err);
}
