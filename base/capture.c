// SPDX-License-Identifier: MIT
#include "base/capture.h"

#include "base/alloc.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int capture_open(size_t most, struct error **err)
{
    AUTO_CLOSE int fd = memfd_create("output", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)most) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_GROW) < 0)
        return error_errno(err, "cannot make a file in memory");
    return STEAL_FD(fd);
}

void capture_read(int fd, struct buf *ret)
{
    struct stat st;
    size_t most = fstat(fd, &st) == 0 ? (size_t)st.st_size : 0;
    AUTO_FREE char *bytes = xcalloc(most + 1, 1);
    (void)pread(fd, bytes, most, 0);
    buf_adds(ret, bytes);
    if (ret->len && ret->data[ret->len - 1] == '\n')
        ret->data[--ret->len] = '\0';
}
