// SPDX-License-Identifier: MIT
// The /dev of a command: the usual nodes, and the target disk with the names boot loader installers
// look for. It is the command's own: what happens to it happens to nobody else.
#include "builder/agent/sandbox.h"
#include "builder/agent/sys.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { DISK_GROUP = 6, TTY_GROUP = 5 };

static const struct {
    const char *name;
    unsigned major, minor;
} nodes[] = {
    {"null", 1, 3},   {"zero", 1, 5},    {"full", 1, 7},
    {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
};

static const struct {
    const char *name, *target;
} links[] = {
    {"ptmx", "pts/ptmx"},          {"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"},
    {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"}, {"core", "/proc/kcore"},
};

static void block_node(int dir, const char *name, const char *as)
{
    char path[160], text[32];
    unsigned major, minor;
    snprintf(path, sizeof path, "/sys/class/block/%s/dev", name);
    if (sys_read(path, text, sizeof text) < 0 || sscanf(text, "%u:%u", &major, &minor) != 2)
        return;
    if (mknodat(dir, as, S_IFBLK | 0660, makedev(major, minor)) == 0)
        (void)fchownat(dir, as, 0, DISK_GROUP, 0);
}

// transient's builder had the target at /dev/sda: Imagefiles written for it say so.
static void sd_link(int dir, const char *name)
{
    if (strncmp(name, "vd", 2) != 0)
        return;
    AUTO_FREE char *sd = xasprintf("sd%s", name + 2);
    (void)symlinkat(name, dir, sd);
}

// "disk/by-uuid/…" → "../../vda1"; a '/' in a label would be a path.
static void name_link(int dir, const char *by, const char *value, const char *name)
{
    AUTO_FREE char *path = xasprintf("disk/%s/%s", by, value);
    AUTO_FREE char *target = xasprintf("../../%s", name);
    if (*value && !strchr(value, '/') && strcmp(value, "..") != 0)
        (void)symlinkat(target, dir, path);
}

static void volume_nodes(int dir, const struct volumes *volumes)
{
    static const char *const folders[] = {
        "disk", "disk/by-uuid", "disk/by-label", "disk/by-partuuid", "disk/by-partlabel", "mapper"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        mkdirat(dir, folders[i], 0755);
    vec_foreach (const struct volume *, v, volumes) {
        block_node(dir, v->name, v->name);
        sd_link(dir, v->name);
        name_link(dir, "by-uuid", v->fs.uuid, v->name);
        name_link(dir, "by-label", v->fs.label, v->name);
        name_link(dir, "by-partuuid", v->entry.uuid, v->name);
        name_link(dir, "by-partlabel", v->entry.name, v->name);
        if (v->lv[0] && !strchr(v->lv, '/')) {
            AUTO_FREE char *mapper = xasprintf("mapper/%s", v->lv);
            block_node(dir, v->name, mapper);
        }
    }
}

int dev_fill(const char *path, const struct volumes *volumes, struct error **err)
{
    AUTO_CLOSE int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return error_errno(err, "cannot open '%s'", path);
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
        if (mknodat(dir, nodes[i].name, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)) <
            0)
            return error_errno(err, "cannot make '%s/%s'", path, nodes[i].name);
    (void)fchownat(dir, "tty", 0, TTY_GROUP, 0);
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        (void)symlinkat(links[i].target, dir, links[i].name);
    mkdirat(dir, "pts", 0755);
    mkdirat(dir, "mqueue", 0755);
    mkdirat(dir, "shm", 01777);
    if (volumes && volumes->len) {
        char disk[sizeof volumes->ptr->name];
        snprintf(disk, sizeof disk, "%s", volumes->ptr->name);
        disk[strcspn(disk, "0123456789")] = '\0';
        block_node(dir, disk, disk);
        sd_link(dir, disk);
        volume_nodes(dir, volumes);
    }
    return 0;
}
