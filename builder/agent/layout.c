// SPDX-License-Identifier: MIT
// Type GUIDs say what a partition is for, so that MOUNT finds root without looking into it.
#include "builder/agent/layout.h"

#include "base/cleanup.h"
#include "builder/agent/probe.h"

#include <ctype.h>

enum { SECTOR = 512 };

static bool has_flag(const struct part *p, const char *name)
{
    struct str rest = p->flags;
    while (rest.len)
        if (str_is(str_cut(&rest, ','), name))
            return true;
    return false;
}

static const char *gpt_type(const struct part *p)
{
    if (has_flag(p, "efi"))
        return GUID_ESP;
    if (has_flag(p, "bios_grub"))
        return GUID_BIOS_BOOT;
    if (str_is(p->fs, "swap"))
        return GUID_SWAP;
    return str_is(p->mount, "/") ? GUID_ROOT_X86_64 : GUID_LINUX;
}

static const char *mbr_type(const struct part *p)
{
    if (has_flag(p, "efi"))
        return "ef";
    if (str_is(p->fs, "swap"))
        return "82";
    return str_is(p->fs, "vfat") ? "0c" : "83";
}

uint64_t layout_next(const struct part *p, uint64_t start)
{
    return start + (p->size + LAYOUT_ALIGN - 1) / LAYOUT_ALIGN * LAYOUT_ALIGN;
}

void layout_script(const struct part_list *parts, bool gpt, struct buf *ret)
{
    uint64_t start = LAYOUT_ALIGN / SECTOR;
    buf_addf(ret, "label: %s\nunit: sectors\n", gpt ? "gpt" : "dos");
    vec_foreach (const struct part *, p, parts) {
        buf_addf(ret, "start=%llu, ", (unsigned long long)start);
        uint64_t next = layout_next(p, start * SECTOR) / SECTOR;
        if (p->size)
            buf_addf(ret, "size=%llu, ", (unsigned long long)(next - start));
        buf_addf(ret, "type=%s", gpt ? gpt_type(p) : mbr_type(p));
        if (has_flag(p, "boot") && !gpt)
            buf_adds(ret, ", bootable");
        else if (has_flag(p, "boot") && !has_flag(p, "efi"))
            buf_adds(ret, ", attrs=\"LegacyBIOSBootable\"");
        buf_addc(ret, '\n');
        start = next;
    }
}

void layout_words(struct str text, struct strv *ret)
{
    CLEANUP(buf_clear) struct buf word = BUF_INIT;
    char quote = 0;
    bool in_word = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (quote ? c == quote : c == '"' || c == '\'') {
            quote = quote ? 0 : c;
            in_word = true;
        } else if (!quote && isspace((unsigned char)c)) {
            if (in_word)
                strv_add(ret, word.data);
            buf_reset(&word);
            in_word = false;
        } else {
            buf_addc(&word, c);
            in_word = true;
        }
    }
    if (in_word)
        strv_add(ret, word.data);
}

static const char *const mkfs_known[][6] = {
    // the new disk reads as zeros: nothing has to be cleared, now or at the first boot
    {"ext2", "mke2fs", "-q", "-F", "-t", "ext2"},
    {"ext3", "mke2fs", "-q", "-F", "-t", "ext3"},
    {"ext4", "mke2fs", "-q", "-F", "-t", "ext4"},
    {"xfs", "mkfs.xfs", "-q", "-f", "-K"},
    {"btrfs", "mkfs.btrfs", "-q", "-f", "-K"},
    {"vfat", "mkfs.vfat"},
    {"swap", "mkswap"},
};

// Features that older kernels and boot loaders cannot read are left out; OPTIONS can ask for them.
static int program_words(struct str fs, bool prezeroed, struct strv *ret)
{
    for (size_t i = 0; i < sizeof mkfs_known / sizeof *mkfs_known; i++) {
        if (!str_is(fs, mkfs_known[i][0]))
            continue;
        for (size_t k = 1; k < 6 && mkfs_known[i][k]; k++)
            strv_add(ret, mkfs_known[i][k]);
        if (str_starts(fs, "ext")) {
            strv_add(ret, "-E");
            strv_add(ret, prezeroed ? "nodiscard,assume_storage_prezeroed=1"
                                    : "nodiscard,lazy_itable_init=1,lazy_journal_init=1");
            strv_add(ret, "-O");
            strv_add(ret, "^metadata_csum_seed,^orphan_file");
        }
        return 0;
    }
    return -1;
}

int layout_mkfs(const struct part *p, bool prezeroed, struct strv *ret)
{
    if (program_words(p->fs, prezeroed, ret) < 0)
        return -1;
    if (str_is(p->fs, "vfat") && has_flag(p, "efi") && (!p->size || p->size >= 33 << 20)) {
        strv_add(ret, "-F"); // firmware expects FAT32 there
        strv_add(ret, "32");
    }
    layout_words(p->options, ret);
    return 0;
}
