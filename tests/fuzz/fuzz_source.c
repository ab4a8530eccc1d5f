// SPDX-License-Identifier: MIT
//
// What servers and strangers' files say behind their headers. The first byte of the input chooses:
// a box (tar archive), in pieces of a size that the second byte gives; the tables of a qcow2; a vmdk
// or vdi; the registry's answer; a checksum file; a text for a terminal.
#include "base/alloc.h"
#include "base/file.h"
#include "base/printable.h"
#include "image/checksum.h"
#include "image/format.h"
#include "image/tar_disk.h"
#include "image/vagrant.h"
#include "qcow2/qcow2.h"

#include <assert.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct box {
    const uint8_t *at;
    size_t left, step;
    uint64_t written;
};

static int read_box(void *arg, const void **ret, size_t *ret_n, struct error **err)
{
    struct box *b = arg;
    (void)err;
    size_t n = b->left < b->step ? b->left : b->step;
    *ret = b->at;
    *ret_n = n;
    b->at += n;
    b->left -= n;
    return n > 0;
}

static int write_box(void *arg, const void *bytes, uint64_t n, struct error **err)
{
    enum { LIMIT = 1 << 24 };
    struct box *b = arg;
    volatile unsigned char sum = 0;
    for (uint64_t i = 0; bytes && i < n; i++)
        sum ^= ((const unsigned char *)bytes)[i];
    (void)sum;
    b->written += n;
    return n > LIMIT || b->written > LIMIT ? error_set(err, ERR_USER, "too much") : 0;
}

static void extract(const uint8_t *data, size_t size)
{
    for (enum tar_disk which = TAR_DISK_BOX; which <= TAR_DISK_CONTAINER; which++) {
        struct box b = {.at = data + 1, .left = size - 1, .step = 1 + data[0] * 16u};
        struct tar_disk_io io = {.read = read_box, .write = write_box, .arg = &b};
        struct error *err = NULL;
        assert((tar_disk_extract(which, &io, &err) == 0) == !err);
        error_free(err);
    }
}

static void walk(int fd)
{
    struct qcow2_info info = {0};
    struct error *err = NULL;
    if (qcow2_read_fd(fd, 0, &info, NULL) < 0)
        return;
    assert((qcow2_check_tables(NULL, fd, &info, &err) == 0) == !err);
    error_free(err);
    qcow2_info_clear(&info);
}

static void judge(int fd, enum format f)
{
    struct error *err = NULL;
    assert((format_check(f, fd, &err) == 0) == !err);
    error_free(err);
}

/* Nothing that a terminal obeys is left, and it is UTF-8: made printable again it stays the same. */
static void print(const char *text, size_t n)
{
    CLEANUP(buf_clear) struct buf once = BUF_INIT, twice = BUF_INIT;
    printable_add(&once, text, n);
    printable_add(&twice, once.data, once.len);
    assert(once.len == twice.len && !memcmp(once.data, twice.data, once.len));
    assert(!memchr(once.data, '\x1b', once.len) && !memchr(once.data, 0, once.len));
}

static void answer(const char *text, size_t n)
{
    struct vagrant_box box = {0};
    struct error *err = NULL;
    assert((vagrant_parse(text, n, "me/box", "v1.0", &box, &err) == 0) == !err);
    if (err && err->hint)
        print(err->hint, strlen(err->hint));
    error_free(err);
    vagrant_box_clear(&box);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct checksum d;
    if (size < 2)
        return 0;
    const char *text = (const char *)data + 1;
    size_t n = size - 1;
    bool file = strchr("qmd", data[0]) && data[0];
    AUTO_CLOSE int fd = file ? memfd_create("fuzz", MFD_CLOEXEC) : -1;
    if (file && (fd < 0 || write_all(fd, text, n) < 0))
        return 0;
    switch (data[0]) {
    case 'b':
        extract(data + 1, n);
        break;
    case 'q':
        walk(fd);
        break;
    case 'm':
        judge(fd, FORMAT_VMDK);
        break;
    case 'd':
        judge(fd, FORMAT_VDI);
        break;
    case 'r':
        answer(text, n);
        break;
    case 's':
        (void)checksum_find((struct str){text, n}, "disk.qcow2", &d);
        break;
    default:
        print(text, n);
    }
    return 0;
}
