// SPDX-License-Identifier: MIT
// A new disk: an sfdisk script for the table, then one mkfs for each partition that has a format.
#include "base/process.h"
#include "builder/agent/agent.h"
#include "builder/agent/disk.h"
#include "builder/agent/layout.h"
#include "builder/agent/program.h"
#include "builder/agent/sys.h"
#include "builder/agent/tree.h"

#include <stdio.h>

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

static int make_fs(struct agent *a, const struct part *p, const char *device, struct error **err)
{
    for (int prezeroed = 1;; prezeroed--) {
        CLEANUP(strv_clear) struct strv argv = {0};
        CLEANUP(error_freep) struct error *first = NULL;
        if (layout_mkfs(p, prezeroed, &argv) < 0)
            return error_set(err, ERR_USER, "no mkfs for '" STR_FMT "'", STR_ARG(p->fs));
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
    layout_script(&parts, !str_is(table, "mbr"), &script);
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
