// SPDX-License-Identifier: MIT
#include "qcow2/head.h"

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "base/file.h"

#include <fcntl.h>
#include <string.h>

enum { CORRUPT = 1 << 1, DATA_FILE = 1 << 2, EXTENDED_L2 = 1 << 4 }; /* incompatible features */
enum { HEAD_BYTES = 65536 }; /* QEMU and we put the name right behind the header extensions */

static const char magic[4] = {'Q', 'F', 'I', '\xfb'};

static int parse_backing(const unsigned char *b, size_t n, struct qcow2_head *ret,
                         struct error **err)
{
    uint64_t at = be64_at(b + 8);
    uint32_t len = be32_at(b + 16);
    ret->backing[0] = '\0';
    if (!at)
        return 0;
    if (len >= sizeof ret->backing || at > n || len > n - at)
        return error_set(err, ERR_USER, "invalid backing file name");
    memcpy(ret->backing, b + at, len);
    ret->backing[len] = '\0';
    return 0;
}

int qcow2_head_parse(const unsigned char *b, size_t n, struct qcow2_head *ret, struct error **err)
{
    if (n < 72 || memcmp(b, magic, sizeof magic) != 0)
        return error_set(err, ERR_USER, "not a qcow2 file");
    uint32_t version = be32_at(b + 4), bits = be32_at(b + 20);
    if (version != 2 && version != 3)
        return error_set(err, ERR_USER, "unsupported qcow2 version %u", version);
    if (bits < 9 || bits > 21)
        return error_set(err, ERR_USER, "invalid cluster size");
    if (be32_at(b + 32))
        return error_set(err, ERR_USER, "encryption is not supported");
    if (version == 3 && n < 104)
        return error_set(err, ERR_USER, "truncated header");
    uint64_t incompatible = version == 3 ? be64_at(b + 72) : 0;
    if (incompatible & CORRUPT)
        return error_set(err, ERR_USER, "marked as corrupt by QEMU");
    if (incompatible & DATA_FILE)
        return error_set(err, ERR_USER, "an external data file is not supported");
    ret->virtual_size = be64_at(b + 24);
    if (ret->virtual_size > INT64_MAX)
        return error_set(err, ERR_USER, "invalid virtual size");
    ret->cluster_bits = bits;
    ret->extended_l2 = incompatible & EXTENDED_L2;
    return parse_backing(b, n, ret, err);
}

int qcow2_head_read(const char *path, struct qcow2_head *ret, struct error **err)
{
    AUTO_FREE unsigned char *head = xmalloc(HEAD_BYTES);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, "cannot open '%s'", path);
    ssize_t n = pread_all(fd, head, HEAD_BYTES, 0);
    if (n < 0)
        return error_errno(err, "cannot read '%s'", path);
    return qcow2_head_parse(head, (size_t)n, ret, err) < 0 ? error_wrap(err, "'%s'", path) : 0;
}

int qcow2_size(const char *path, uint64_t *ret, struct error **err)
{
    struct qcow2_head h;
    if (qcow2_head_read(path, &h, err) < 0)
        return -1;
    *ret = h.virtual_size;
    return 0;
}

bool qcow2_claims_backing(const unsigned char *bytes, size_t n)
{
    return n >= 16 && !memcmp(bytes, magic, sizeof magic) && be64_at(bytes + 8);
}
