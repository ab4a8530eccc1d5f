// SPDX-License-Identifier: MIT
//
// Headers of disk images from any bytes: qcow2 as a stranger's and as our own, as a file of a chain,
// and the judges of the other formats.
#include "base/file.h"
#include "image/format.h"
#include "qcow2/chain.h"
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

/* Below an overlay, and written to itself. */
static void chain(const uint8_t *data, size_t size)
{
    static unsigned char bytes[70000];
    AUTO_CLOSE int fd = memfd_create("fuzz", MFD_CLOEXEC);
    AUTO_CLOSE int above = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || above < 0 || write_all(fd, data, size) < 0 || write_all(above, data, size) < 0)
        return;
    CLEANUP(error_freep) struct error *err = NULL;
    CLEANUP(qcow2_chain_freep)
    struct qcow2_chain *c = qcow2_chain_open((int[]){fd, above}, 2, &err);
    assert(!c == !!err);
    uint64_t n = c ? qcow2_chain_size(c) : 0;
    n = n < sizeof bytes ? n : sizeof bytes;
    if (!c || qcow2_chain_read(c, bytes, (size_t)n, 0, &err) < 0)
        return;
    memset(bytes, 7, sizeof bytes);
    if (qcow2_chain_write(c, bytes, (size_t)n, 0, &err) == 0)
        (void)qcow2_chain_finish(c, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error *err = NULL;
    chain(data, size);
    parse(data, size, size, 0);
    parse(data, size, UINT64_C(1) << 40, QCOW2_OWN);
    assert(format_name(format_of(data, size)));
    assert(format_refuse(data, size, &err) == -1);
    error_free(err);
    judge(data, size);
    return 0;
}
