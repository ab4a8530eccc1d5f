// SPDX-License-Identifier: MIT
//
// A vmdk is the dangerous one: it holds a text, the descriptor, that names files. QEMU reads it
// when the capacity of the sparse header is 0, and for the parent; so the capacity must not be 0
// and the descriptor, wherever QEMU would look for it, may name one extent and no parent.
#include "image/format.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/endian.h"
#include "base/file.h"
#include "qcow2/qcow2.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { SECTOR = 512, VMDK_HEADER = 512, VMDK_DESCRIPTOR_MAX = 64 * 1024, VDI_HEADER = 512 };

struct magic {
    size_t at;
    const char *bytes;
    size_t n;
    const char *what;
};

static bool has(const unsigned char *p, size_t n, const struct magic *m)
{
    return n >= m->at + m->n && !memcmp(p + m->at, m->bytes, m->n);
}

/* A disk or filesystem without a container. */
static bool looks_raw(const unsigned char *p, size_t n)
{
    static const struct magic known[] = {
        {510, "\x55\xaa", 2, "boot sector"},
        {512, "EFI PART", 8, "GPT"},
        {4096, "EFI PART", 8, "GPT"},
        {0x438, "\x53\xef", 2, "ext"},
        {0, "XFSB", 4, "xfs"},
        {0x10040, "_BHRfS_M", 8, "btrfs"},
        {0x400, "\x10\x20\xf5\xf2", 4, "f2fs"},
        {0x400, "\xe2\xe1\xf5\xe0", 4, "erofs"},
        {0x400, "\2\0\0\0\0\0\x34\x34", 8, "nilfs2"},
        {0x400, "H+\0\4", 4, "HFS+"},
        {0x8000, "JFS1", 4, "jfs"},
        {0x10034, "ReIsEr", 6, "reiserfs"},
        {0x1018, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca", 8, "bcachefs"},
        {0x255c, "\x54\x19\1\0", 4, "UFS"},
        {0x1055c, "\x19\1\x54\x19", 4, "UFS2"},
        {0, "LABELONE", 8, "LVM"},
        {512, "LABELONE", 8, "LVM"},
        {1024, "LABELONE", 8, "LVM"},
        {1536, "LABELONE", 8, "LVM"},
        {0, "LUKS\xba\xbe", 6, "LUKS"},
        {0, "\xfc\x4e\x2b\xa9", 4, "RAID"},
        {4096, "\xfc\x4e\x2b\xa9", 4, "RAID"},
        {0x8001, "CD001", 5, "ISO 9660"},
        {0x8001, "BEA01", 5, "UDF"},
        {4086, "SWAPSPACE2", 10, "swap"},
        {0, "hsqs", 4, "squashfs"},
        {0, "\x45\x3d\xcd\x28", 4, "cramfs"},
        {0, "-rom1fs-", 8, "romfs"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (has(p, n, &known[i]))
            return true;
    return false;
}

enum format format_of(const void *head, size_t n)
{
    static const struct {
        struct magic magic;
        enum format is;
    } known[] = {
        {{0, "QFI\xfb", 4, NULL}, FORMAT_QCOW2},
        {{0, "KDMV", 4, NULL}, FORMAT_VMDK},
        {{0, "vhdxfile", 8, NULL}, FORMAT_VHDX},
        {{0x40, "\x7f\x10\xda\xbe", 4, NULL}, FORMAT_VDI},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (has(head, n, &known[i].magic))
            return known[i].is;
    return looks_raw(head, n) ? FORMAT_RAW : FORMAT_UNKNOWN;
}

const char *format_name(enum format f)
{
    static const char *const names[] = {"unknown", "qcow2", "raw", "vmdk", "vhdx", "vdi"};
    return names[f];
}

enum format format_by_name(const char *name)
{
    for (enum format f = FORMAT_QCOW2; f <= FORMAT_VDI; f++)
        if (!strcmp(name, format_name(f)))
            return f;
    return FORMAT_UNKNOWN;
}

enum format format_by_ending(const char *path)
{
    static const struct {
        const char *ending;
        enum format is;
    } known[] = {
        {".raw", FORMAT_RAW},     {".img", FORMAT_RAW},     {".bin", FORMAT_RAW},
        {".dd", FORMAT_RAW},      {".qcow2", FORMAT_QCOW2}, {".vmdk", FORMAT_VMDK},
        {".vhdx", FORMAT_VHDX},   {".vdi", FORMAT_VDI},     {".vhd", FORMAT_UNKNOWN},
        {".vpc", FORMAT_UNKNOWN}, {".qed", FORMAT_UNKNOWN}, {".ova", FORMAT_UNKNOWN},
        {".ovf", FORMAT_UNKNOWN}, {".iso", FORMAT_UNKNOWN}, {".box", FORMAT_UNKNOWN},
        {".tar", FORMAT_UNKNOWN}, {".tgz", FORMAT_UNKNOWN}, {".gz", FORMAT_UNKNOWN},
        {".xz", FORMAT_UNKNOWN},  {".zst", FORMAT_UNKNOWN}, {".bz2", FORMAT_UNKNOWN},
        {".zip", FORMAT_UNKNOWN},
    };
    const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');
    for (size_t i = 0; dot && i < sizeof known / sizeof *known; i++)
        if (!strcasecmp(dot, known[i].ending))
            return known[i].is;
    return FORMAT_QCOW2;
}

int format_refuse(const void *head, size_t n, struct error **err)
{
    static const struct magic known[] = {
        {0, "# Disk DescriptorFile", 21,
         "a vmdk descriptor, which names other files; convert the disk to one file first"},
        {0, "COWD", 4, "a vmdk of an old ESX server, which is not supported"},
        {0, "conectix", 8, "a VHD, which is not supported (VHDX is)"},
        {257, "ustar", 5, "a tar archive, not a disk image"},
        {0, "PK\3\4", 4, "a zip archive, not a disk image"},
        {0, "7z\xbc\xaf\x27\x1c", 6, "a 7z archive, not a disk image"},
        {0, "<!DOCTYPE", 9, "a web page, not a disk image"},
        {0, "<!doctype", 9, "a web page, not a disk image"},
        {0, "<html", 5, "a web page, not a disk image"},
        {0, "<?xml", 5, "an XML text, not a disk image"},
    };
    if (!n)
        return error_set(err, ERR_USER, "it is empty");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (has(head, n, &known[i]))
            return error_set(err, ERR_USER, "it is %s", known[i].what);
    return error_set(err, ERR_USER,
                     "not a disk image: neither qcow2, vmdk, vhdx, vdi nor a raw disk with a "
                     "partition table or file system");
}

static int check_size(uint64_t bytes, struct error **err)
{
    if (bytes == 0 || bytes > QCOW2_SIZE_MAX)
        return error_set(err, ERR_USER, "invalid disk size of %llu bytes (the limit is 8 TiB)",
                         (unsigned long long)bytes);
    return 0;
}

/* Without blanks and in lower case: "createType = "x"" -> "createtype="x"". */
static void squeeze(const char *line, size_t n, struct buf *ret)
{
    buf_reset(ret);
    for (size_t i = 0; i < n; i++)
        if (!isspace((unsigned char)line[i]))
            buf_addc(ret, (char)tolower((unsigned char)line[i]));
}

static int judge_line(const char *line, size_t n, unsigned *extents, struct error **err)
{
    static const char *const access[] = {"rw", "rdonly", "noaccess"};
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    squeeze(line, n, &b);
    struct str s = buf_str(&b);
    if (str_starts(s, "parentcid=") && !str_is(s, "parentcid=ffffffff"))
        return error_set(err, ERR_USER, "the vmdk needs a parent");
    if (strstr(b.data, "parentfilenamehint")) // QEMU finds it anywhere in a line
        return error_set(err, ERR_USER, "the vmdk needs a parent file");
    if (str_starts(s, "createtype=") && !str_is(s, "createtype=\"monolithicsparse\"") &&
        !str_is(s, "createtype=\"streamoptimized\""))
        return error_set(err, ERR_USER, "the vmdk is not one self-contained file: %s", b.data);
    for (size_t i = 0; i < sizeof access / sizeof *access; i++) {
        size_t len = strlen(access[i]);
        if (!str_starts(s, access[i]) || !isdigit((unsigned char)b.data[len]))
            continue;
        len += strspn(b.data + len, "0123456789");
        if (++*extents > 1 || strncmp(b.data + len, "sparse\"", 7))
            return error_set(err, ERR_USER, "the vmdk names other files: %s", b.data);
    }
    return 0;
}

/* A descriptor, or whatever stands where one is looked for. */
static int judge_descriptor(const char *text, size_t n, struct error **err)
{
    unsigned extents = 0;
    size_t end = strnlen(text, n);
    for (size_t at = 0; at < end;) {
        size_t len = 0;
        while (at + len < end && text[at + len] != '\n' && text[at + len] != '\r')
            len++;
        if (judge_line(text + at, len, &extents, err) < 0)
            return -1;
        at += len + 1;
    }
    return 0;
}

static int judge_descriptor_at(int fd, uint64_t at, uint64_t n, struct error **err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_errno(err, "cannot read the image");
    if (n > VMDK_DESCRIPTOR_MAX || at > (uint64_t)st.st_size)
        return error_set(err, ERR_USER, "the vmdk descriptor is invalid");
    AUTO_FREE char *text = xmalloc((size_t)n + 1);
    ssize_t got = pread_all(fd, text, (size_t)n, (off_t)at);
    if (got < 0)
        return error_errno(err, "cannot read the image");
    return judge_descriptor(text, (size_t)got, err);
}

static int check_vmdk(int fd, struct error **err)
{
    unsigned char h[VMDK_HEADER];
    if (pread_all(fd, h, sizeof h, 0) != (ssize_t)sizeof h)
        return error_set(err, ERR_USER, "the vmdk header is truncated");
    uint32_t version = le32_at(h + 4);
    uint64_t capacity = le64_at(h + 12), descriptor = le64_at(h + 28), length = le64_at(h + 36);
    if (version < 1 || version > 3)
        return error_set(err, ERR_USER, "vmdk version %u is not supported", version);
    if (!capacity || capacity > QCOW2_SIZE_MAX / SECTOR)
        return error_set(err, ERR_USER, "invalid vmdk size of %llu sectors",
                         (unsigned long long)capacity);
    if (descriptor > UINT32_MAX || length > VMDK_DESCRIPTOR_MAX / SECTOR)
        return error_set(err, ERR_USER, "the vmdk descriptor is invalid");
    // where the header says, and where QEMU looks for a parent whatever the header says
    if (descriptor && judge_descriptor_at(fd, descriptor * SECTOR, length * SECTOR, err) < 0)
        return -1;
    return judge_descriptor_at(fd, SECTOR, 20 * SECTOR, err);
}

static int check_vdi(int fd, struct error **err)
{
    unsigned char h[VDI_HEADER];
    static const unsigned char none[16];
    if (pread_all(fd, h, sizeof h, 0) != (ssize_t)sizeof h)
        return error_set(err, ERR_USER, "the vdi header is truncated");
    if (le32_at(h + 0x44) != 0x00010001)
        return error_set(err, ERR_USER, "this vdi version is not supported");
    if (le32_at(h + 0x4c) != 1 && le32_at(h + 0x4c) != 2)
        return error_set(err, ERR_USER, "vdi type %u is not supported", le32_at(h + 0x4c));
    if (memcmp(h + 0x1a8, none, 16) || memcmp(h + 0x1b8, none, 16))
        return error_set(err, ERR_USER, "the vdi needs a parent");
    return check_size(le64_at(h + 0x170), err);
}

int format_check(enum format f, int fd, struct error **err)
{
    switch (f) {
    case FORMAT_VMDK:
        return check_vmdk(fd, err);
    case FORMAT_VDI:
        return check_vdi(fd, err);
    case FORMAT_UNKNOWN:
    case FORMAT_QCOW2:
    case FORMAT_RAW:
    case FORMAT_VHDX:
        break;
    }
    return 0;
}
