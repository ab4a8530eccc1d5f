// SPDX-License-Identifier: MIT
//
// Headers of disk images from any bytes: qcow2 as a stranger's and as our own, and the judges of
// the other formats.
#include "base/file.h"
#include "image/format.h"
#include "qcow2/qcow2.h"

#include <assert.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse(const uint8_t *data, size_t size, uint64_t file_size, int flags)
{
    struct qcow2_info info = {0};
    struct error *err = NULL;
    if (qcow2_parse(data, size, file_size, flags, &info, &err) == 0) {
        assert(!err && info.size <= QCOW2_SIZE_MAX);
        assert(flags & QCOW2_OWN || !info.backing);
        assert(!info.backing || strlen(info.backing) <= 1023);
        assert(!info.metadata || info.metadata_len <= size);
        qcow2_info_clear(&info);
    } else {
        assert(err && err->kind == ERR_USER);
        error_free(err);
    }
}

static void judge(const uint8_t *data, size_t size)
{
    AUTO_CLOSE int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write_all(fd, data, size) < 0)
        return;
    static const enum format formats[] = {FORMAT_VMDK, FORMAT_VDI, FORMAT_VHDX};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        struct error *err = NULL;
        assert((format_check(formats[i], fd, &err) == 0) == !err);
        error_free(err);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error *err = NULL;
    parse(data, size, size, 0);
    parse(data, size, UINT64_C(1) << 40, QCOW2_OWN);
    assert(format_name(format_of(data, size)));
    assert(format_refuse(data, size, &err) == -1);
    error_free(err);
    judge(data, size);
    return 0;
}
