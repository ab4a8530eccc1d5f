// SPDX-License-Identifier: MIT
// One small function for each signature, tried in a fixed order: what a careless mkfs leaves of an
// older file system at another offset loses against the stronger (later checked in full) magic.
#include "builder/agent/probe.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

struct view {
    const unsigned char *ptr;
    size_t n;
};

static bool has(struct view v, size_t at, const void *magic, size_t n)
{
    return at + n <= v.n && memcmp(v.ptr + at, magic, n) == 0;
}

static uint16_t u16(struct view v, size_t at)
{
    uint16_t x = 0;
    if (at + sizeof x <= v.n)
        memcpy(&x, v.ptr + at, sizeof x);
    return le16toh(x);
}

static uint32_t u32(struct view v, size_t at)
{
    uint32_t x = 0;
    if (at + sizeof x <= v.n)
        memcpy(&x, v.ptr + at, sizeof x);
    return le32toh(x);
}

static uint64_t u64(struct view v, size_t at)
{
    return u32(v, at) | (uint64_t)u32(v, at + 4) << 32;
}

// 16 bytes in the order in which they are printed.
static void put_uuid(char out[40], const unsigned char *b)
{
    char *p = out;
    for (int i = 0; i < 16; i++)
        p += snprintf(p, 4, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", b[i]);
}

// A GUID as GPT stores it: the first three groups are little endian.
static void put_guid(char out[40], const unsigned char *b)
{
    static const unsigned char order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    unsigned char swapped[16];
    for (int i = 0; i < 16; i++)
        swapped[i] = b[order[i]];
    put_uuid(out, swapped);
}

static void put_text(char *out, size_t size, const unsigned char *b, size_t n)
{
    size_t len = 0;
    while (len < n && len + 1 < size && b[len])
        len++;
    while (len && b[len - 1] == ' ')
        len--;
    memcpy(out, b, len);
    out[len] = '\0';
}

static bool ext(struct view v, struct probed *ret)
{
    enum { SUPER = 1024, JOURNAL = 4, EXTENTS = 0x40, FLEX_BG = 0x200, BIT64 = 0x80 };
    if (v.n < SUPER + 1024 || u16(v, SUPER + 56) != 0xef53)
        return false;
    uint32_t compat = u32(v, SUPER + 92), incompat = u32(v, SUPER + 96);
    ret->type = incompat & (EXTENTS | FLEX_BG | BIT64) ? "ext4"
                : compat & JOURNAL                     ? "ext3"
                                                       : "ext2";
    put_uuid(ret->uuid, v.ptr + SUPER + 104);
    put_text(ret->label, sizeof ret->label, v.ptr + SUPER + 120, 16);
    return true;
}

static bool xfs(struct view v, struct probed *ret)
{
    if (v.n < 512 || !has(v, 0, "XFSB", 4))
        return false;
    ret->type = "xfs";
    put_uuid(ret->uuid, v.ptr + 32);
    put_text(ret->label, sizeof ret->label, v.ptr + 108, 12);
    return true;
}

static bool btrfs(struct view v, struct probed *ret)
{
    enum { SUPER = 64 * 1024 };
    if (v.n < SUPER + 4096 || !has(v, SUPER + 64, "_BHRfS_M", 8))
        return false;
    ret->type = "btrfs";
    put_uuid(ret->uuid, v.ptr + SUPER + 32);
    put_text(ret->label, sizeof ret->label, v.ptr + SUPER + 299, 256);
    return true;
}

static bool swap(struct view v, struct probed *ret)
{
    if (v.n < 4096 || !has(v, 4086, "SWAPSPACE2", 10))
        return false;
    ret->type = "swap";
    put_uuid(ret->uuid, v.ptr + 1036);
    put_text(ret->label, sizeof ret->label, v.ptr + 1052, 16);
    return true;
}

static bool lvm(struct view v, struct probed *ret)
{
    for (size_t at = 0; at < 4 * 512 && at + 512 <= v.n; at += 512)
        if (has(v, at, "LABELONE", 8) && has(v, at + 24, "LVM2 001", 8)) {
            ret->type = "LVM2_member";
            return true;
        }
    return false;
}

static bool luks(struct view v, struct probed *ret)
{
    if (!has(v, 0, "LUKS\xba\xbe", 6) || v.n < 512)
        return false;
    ret->type = "crypto_LUKS";
    put_text(ret->uuid, sizeof ret->uuid, v.ptr + 168, 36);
    return true;
}

static bool vfat(struct view v, struct probed *ret)
{
    bool fat32 = has(v, 82, "FAT32   ", 8);
    if (v.n < 512 || !has(v, 510, "\x55\xaa", 2) || (!fat32 && !has(v, 54, "FAT1", 4)))
        return false;
    size_t id = fat32 ? 67 : 39;
    ret->type = "vfat";
    snprintf(ret->uuid, sizeof ret->uuid, "%04X-%04X", u16(v, id + 2), u16(v, id));
    put_text(ret->label, sizeof ret->label, v.ptr + id + 4, 11);
    if (strcmp(ret->label, "NO NAME") == 0)
        ret->label[0] = '\0';
    return true;
}

static bool others(struct view v, struct probed *ret)
{
    static const struct {
        const char *type;
        size_t at, n;
        const char *magic;
    } known[] = {
        {"squashfs", 0, 4, "hsqs"},
        {"iso9660", 32769, 5, "CD001"},
        {"ntfs", 3, 8, "NTFS    "},
        {"erofs", 1024, 4, "\xe2\xe1\xf5\xe0"},
        {"f2fs", 1024, 4, "\x10\x20\xf5\xf2"},
        {"linux_raid_member", 4096, 4, "\xfc\x4e\x2b\xa9"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (has(v, known[i].at, known[i].magic, known[i].n)) {
            ret->type = known[i].type;
            return true;
        }
    return false;
}

bool probe_fs(const unsigned char *bytes, size_t n, struct probed *ret)
{
    struct view v = {bytes, n};
    memset(ret, 0, sizeof *ret);
    return luks(v, ret) || lvm(v, ret) || xfs(v, ret) || btrfs(v, ret) || ext(v, ret) ||
           swap(v, ret) || vfat(v, ret) || others(v, ret);
}

// UTF-16LE of at most 36 units; surrogates become '?'.
static void put_utf16(char *out, size_t size, struct view v, size_t at)
{
    size_t len = 0;
    for (size_t i = 0; i < 36 && len + 4 < size; i++) {
        unsigned c = u16(v, at + 2 * i);
        if (!c)
            break;
        if (c < 0x80) {
            out[len++] = (char)c;
        } else if (c < 0x800) {
            out[len++] = (char)(0xc0 | c >> 6);
            out[len++] = (char)(0x80 | (c & 63));
        } else if (c >= 0xd800 && c < 0xe000) {
            out[len++] = '?';
        } else {
            out[len++] = (char)(0xe0 | c >> 12);
            out[len++] = (char)(0x80 | (c >> 6 & 63));
            out[len++] = (char)(0x80 | (c & 63));
        }
    }
    out[len] = '\0';
}

static void gpt(struct view v, unsigned sector, struct table_entries *ret)
{
    enum { LEGACY_BOOT = 4 };
    static const unsigned char unused[16];
    uint64_t table = u64(v, sector + 72);
    uint32_t count = u32(v, sector + 80), size = u32(v, sector + 84);
    if (table < 2 || table > v.n / sector || size < 128 || size > 4096)
        return;
    for (uint32_t i = 0; i < count; i++) {
        size_t at = (size_t)table * sector + (size_t)i * size;
        if (at + 128 > v.n)
            return;
        if (memcmp(v.ptr + at, unused, 16) == 0)
            continue;
        struct table_entry *e = table_entries_push(ret);
        uint64_t first = u64(v, at + 32), last = u64(v, at + 40);
        e->number = (int)i + 1;
        e->start = first * (sector / 512);
        e->size = last >= first ? (last - first + 1) * (sector / 512) : 0;
        e->active = u64(v, at + 48) & LEGACY_BOOT;
        put_guid(e->type, v.ptr + at);
        put_guid(e->uuid, v.ptr + at + 16);
        put_utf16(e->name, sizeof e->name, v, at + 56);
    }
}

static void mbr(struct view v, struct table_entries *ret)
{
    for (int i = 0; i < 4; i++) {
        size_t at = 446 + (size_t)i * 16;
        unsigned type = v.ptr[at + 4];
        if (!type || !u32(v, at + 12))
            continue;
        struct table_entry *e = table_entries_push(ret);
        e->number = i + 1;
        e->start = u32(v, at + 8);
        e->size = u32(v, at + 12);
        e->active = v.ptr[at] == 0x80;
        snprintf(e->type, sizeof e->type, "0x%02x", type);
        snprintf(e->uuid, sizeof e->uuid, "%08x-%02x", u32(v, 440), i + 1);
    }
}

// The boot sector of a file system has the same end mark as an MBR, but flags that are none.
static bool mbr_is_sane(struct view v)
{
    if (!has(v, 510, "\x55\xaa", 2))
        return false;
    for (size_t at = 446; at < 510; at += 16)
        if (v.ptr[at] & 0x7f)
            return false;
    return true;
}

unsigned probe_sector(const unsigned char *bytes, size_t n)
{
    struct view v = {bytes, n};
    return !has(v, 512, "EFI PART", 8) && has(v, 4096, "EFI PART", 8) && mbr_is_sane(v) &&
                   has(v, 450, "\xee", 1)
               ? 4096
               : 512;
}

const char *probe_table(const unsigned char *bytes, size_t n, struct table_entries *ret)
{
    struct view v = {bytes, n};
    struct probed fs;
    if (v.n < 1024)
        return NULL;
    unsigned sector = probe_sector(bytes, n);
    if (has(v, sector, "EFI PART", 8)) {
        gpt(v, sector, ret);
        return "gpt";
    }
    if (!mbr_is_sane(v) || vfat(v, &fs))
        return NULL;
    mbr(v, ret);
    return "mbr";
}
