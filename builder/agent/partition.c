// SPDX-License-Identifier: MIT
// A new disk: an sfdisk script for the table, then one mkfs for each partition that has a format.
// Type GUIDs say what a partition is for, so that MOUNT finds root without looking into it.
#include "base/process.h"
#include "builder/agent/agent.h"
#include "builder/agent/disk.h"
#include "builder/agent/program.h"
#include "builder/agent/sys.h"
#include "builder/agent/tree.h"

#include <ctype.h>
#include <stdio.h>

struct part {
    uint64_t size;
    struct str fs, options, mount, flags;
};
DEFINE_VECTOR(part_list, struct part);

enum { ALIGN = 1 << 20, SECTOR = 512 };

static void read_parts(const struct request *rq, struct part_list *ret)
{
    struct field f = {0};
    while (message_next(&rq->fields, &f)) {
        struct part *last = ret->len ? &ret->ptr[ret->len - 1] : NULL;
        if (f.tag == AGENT_TAG_PART_SIZE)
            part_list_push(ret)->size = field_num(&f);
        else if (f.tag == AGENT_TAG_PART_FS && last)
            last->fs = f.value;
        else if (f.tag == AGENT_TAG_PART_OPTIONS && last)
            last->options = f.value;
        else if (f.tag == AGENT_TAG_PART_MOUNT && last)
            last->mount = f.value;
        else if (f.tag == AGENT_TAG_PART_FLAGS && last)
            last->flags = f.value;
    }
}

static bool has_flag(const struct part *p, const char *name)
{
    struct str rest = p->flags;
    while (rest.len) {
        const char *comma = memchr(rest.ptr, ',', rest.len);
        size_t n = comma ? (size_t)(comma - rest.ptr) : rest.len;
        if (str_is((struct str){rest.ptr, n}, name))
            return true;
        rest.ptr += n + (comma ? 1 : 0);
        rest.len -= n + (comma ? 1 : 0);
    }
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

static void write_script(const struct part_list *parts, bool gpt, struct buf *ret)
{
    uint64_t start = ALIGN / SECTOR;
    buf_addf(ret, "label: %s\nunit: sectors\n", gpt ? "gpt" : "dos");
    vec_foreach (const struct part *, p, parts) {
        buf_addf(ret, "start=%llu, ", (unsigned long long)start);
        uint64_t sectors = (p->size + ALIGN - 1) / ALIGN * (ALIGN / SECTOR);
        if (p->size)
            buf_addf(ret, "size=%llu, ", (unsigned long long)sectors);
        buf_addf(ret, "type=%s", gpt ? gpt_type(p) : mbr_type(p));
        if (has_flag(p, "boot") && !gpt)
            buf_adds(ret, ", bootable");
        else if (has_flag(p, "boot") && !has_flag(p, "efi"))
            buf_adds(ret, ", attrs=\"LegacyBIOSBootable\"");
        buf_addc(ret, '\n');
        start += sectors;
    }
}

// The words of an OPTIONS text: blanks separate, quotes of either kind hold together.
static void split_words(struct str text, struct strv *ret)
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
static int mkfs_argv(struct str fs, bool prezeroed, struct strv *ret)
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

static int make_fs(struct agent *a, const struct part *p, const char *device, struct error **err)
{
    for (int prezeroed = 1;; prezeroed--) {
        CLEANUP(strv_clear) struct strv argv = {0};
        CLEANUP(error_freep) struct error *first = NULL;
        if (mkfs_argv(p->fs, prezeroed, &argv) < 0)
            return error_set(err, ERR_USER, "no mkfs for '" STR_FMT "'", STR_ARG(p->fs));
        if (str_is(p->fs, "vfat") && has_flag(p, "efi") && (!p->size || p->size >= 33 << 20)) {
            strv_add(&argv, "-F"); // firmware expects FAT32 there
            strv_add(&argv, "32");
        }
        split_words(p->options, &argv);
        strv_add(&argv, device);
        if (program_run(a, argv.ptr, (struct str){"", 0}, &first) == 0)
            return 0;
        // e2fsprogs before 1.46.6 do not know the option
        if (!prezeroed || !strstr(first->message, "assume_storage_prezeroed"))
            return error_propagate(err, STEAL(first));
    }
}

int agent_partition(struct agent *a, const struct request *rq, struct message *reply,
                    struct error **err)
{
    (void)reply;
    CLEANUP(part_list_clear) struct part_list parts = {0};
    CLEANUP(buf_clear) struct buf script = BUF_INIT;
    struct slot *s;
    struct str table = {"gpt", 3};
    if (agent_slot(a, rq, &s, NULL, err) < 0)
        return -1;
    if (s->mounts.len)
        return error_set(err, ERR_GUEST, "disk '%s' is in use", s->disk);
    message_get(&rq->fields, AGENT_TAG_TABLE, &table);
    read_parts(rq, &parts);
    write_script(&parts, !str_is(table, "mbr"), &script);
    AUTO_FREE char *disk = xasprintf("/dev/%s", s->disk);
    if (program_run(a,
                    (char **)ARGV("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "--wipe",
                                  "never", disk),
                    buf_str(&script), err) < 0 ||
        disk_reread(s->disk, err) < 0)
        return error_wrap(err, "cannot partition the disk");
    for (size_t i = 0; i < parts.len; i++) {
        AUTO_FREE char *device = xasprintf("/dev/%s%zu", s->disk, i + 1);
        if (parts.ptr[i].fs.len && make_fs(a, &parts.ptr[i], device, err) < 0)
            return error_wrap(err, "cannot make the file system of partition %zu", i + 1);
    }
    return 0;
}

int agent_format(struct agent *a, const struct request *rq, struct message *reply,
                 struct error **err)
{
    struct slot *s;
    int number;
    if (agent_slot(a, rq, &s, &number, err) < 0)
        return -1;
    struct volume v = {0};
    snprintf(v.name, sizeof v.name, "%s", s->disk);
    if (disk_probe(&v, err) < 0)
        return -1;
    AUTO_FREE char *device = xasprintf("/dev/%s", s->disk);
    struct part whole = {.fs = STR("ext4"), .options = STR("-m 0"), .size = v.size};
    bool fresh = !v.fs.type || strcmp(v.fs.type, "ext4") != 0;
    if (fresh && make_fs(a, &whole, device, err) < 0)
        return error_wrap(err, "cannot make a cache disk's file system");
    AUTO_FREE char *path = xasprintf(AGENT_TREE "%d", number);
    struct tree_mount m = {.device = device, .fs = "ext4", .path = path};
    if (tree_mount(s, &m, err) < 0)
        return -1;
    // mkfs makes it; who has the cache expects an empty folder, and fsck would make it again
    AUTO_FREE char *lost = xasprintf("%s/lost+found", path);
    if (fresh)
        rmdir(lost);
    message_put_num(reply, AGENT_TAG_FLAGS, fresh);
    return 0;
}
