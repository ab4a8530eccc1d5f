// SPDX-License-Identifier: MIT
// The /dev of a command: the usual nodes, those of drivers that build and install tools use (the
// appliance has loaded them), and the target disk with the names boot loader installers
// look for. It is the command's own: what happens to it happens to nobody else.
#include "builder/agent/sandbox.h"
#include "builder/agent/sys.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { DISK_GROUP = 6, TTY_GROUP = 5 };

static const struct {
    const char *name;
    mode_t mode;
    unsigned major, minor;
} nodes[] = {
    {"null", 0666, 1, 3},
    {"zero", 0666, 1, 5},
    {"full", 0666, 1, 7},
    {"random", 0666, 1, 8},
    {"urandom", 0666, 1, 9},
    {"tty", 0666, 5, 0},
    {"fuse", 0666, 10, 229},
    {"net/tun", 0666, 10, 200},
    {"btrfs-control", 0600, 10, 234},
    {"loop-control", 0600, 10, 237},
    {"mapper/control", 0600, 10, 236},
};

enum { LOOP_MAJOR = 7, LOOPS = 16 };

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

// Those beyond the first that the kernel has come into being when they are asked for.
static void loop_nodes(int dir)
{
    gid_t own = (gid_t)setfsgid(DISK_GROUP);
    for (unsigned i = 0; i < LOOPS; i++) {
        char name[16];
        snprintf(name, sizeof name, "loop%u", i);
        (void)mknodat(dir, name, S_IFBLK | 0660, makedev(LOOP_MAJOR, i));
    }
    setfsgid(own);
}

// "mapper/vg-root", and "vg/root" as a link to it, as LVM's own; a '-' within a name is doubled.
static void logical_volume(int dir, const struct volume *v)
{
    CLEANUP(buf_clear) struct buf name = BUF_INIT;
    AUTO_FREE char *mapper = xasprintf("mapper/%s", v->lv), *target = xasprintf("../%s", mapper);
    size_t group = 0;
    block_node(dir, v->name, mapper);
    for (const char *p = v->lv; *p; p++) {
        bool separates = *p == '-' && p[1] != '-';
        group = separates && !group ? name.len : group;
        buf_addc(&name, separates ? '/' : *p);
        p += *p == '-' && !separates;
    }
    if (!group)
        return;
    AUTO_FREE char *folder = xasprintf("%.*s", (int)group, name.data);
    mkdirat(dir, folder, 0755);
    (void)symlinkat(target, dir, name.data);
}

static void volume_nodes(int dir, const struct volumes *volumes)
{
    static const char *const folders[] = {"disk", "disk/by-uuid", "disk/by-label",
                                          "disk/by-partuuid", "disk/by-partlabel"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        mkdirat(dir, folders[i], 0755);
    vec_foreach (const struct volume *, v, volumes) {
        block_node(dir, v->name, v->name);
        sd_link(dir, v->name);
        name_link(dir, "by-uuid", v->fs.uuid, v->name);
        name_link(dir, "by-label", v->fs.label, v->name);
        name_link(dir, "by-partuuid", v->entry.uuid, v->name);
        name_link(dir, "by-partlabel", v->entry.name, v->name);
        if (v->lv[0] && !strchr(v->lv, '/'))
            logical_volume(dir, v);
    }
}

int dev_fill(const char *path, const struct volumes *volumes, struct error **err)
{
    AUTO_CLOSE int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return error_errno(err, "cannot open '%s'", path);
    mkdirat(dir, "net", 0755);
    mkdirat(dir, "mapper", 0755);
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
        if (mknodat(dir, nodes[i].name, S_IFCHR | nodes[i].mode,
                    makedev(nodes[i].major, nodes[i].minor)) < 0)
            return error_errno(err, "cannot make '%s/%s'", path, nodes[i].name);
    (void)fchownat(dir, "tty", 0, TTY_GROUP, 0);
    loop_nodes(dir);
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
