// SPDX-License-Identifier: MIT
// Finding root: what the host names; else the GPT type; else the only file system there is; else
// the one that has an fstab or an os-release (each candidate is mounted read-only for a look). On
// btrfs the usual subvolumes are tried where the default one is not a root. Then the image's own fstab
// says what belongs below it.
#include "builder/agent/fstab.h"
#include "builder/agent/sys.h"
#include "builder/agent/tree.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <strings.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const subvolumes[] = {"@", "@rootfs", "root", "@/.snapshots/1/snapshot"};

struct root {
    struct agent *agent;
    struct slot *slot;
    int number; /* of the slot */
    bool read_only;
    char *path; /* "/tree/0" */
    struct volumes volumes;
};

static void root_clear(struct root *r)
{
    free(r->path);
    volumes_clear(&r->volumes);
}

static bool is_mountable(const struct volume *v)
{
    static const char *const types[] = {"ext4", "ext3", "ext2", "xfs", "btrfs"};
    for (size_t i = 0; v->fs.type && i < sizeof types / sizeof *types; i++)
        if (strcmp(v->fs.type, types[i]) == 0)
            return true;
    return false;
}

// "/dev/sda2", "/dev/vda2", "/dev/nvme0n1p2": whatever the disk is called in the image's machine,
// the partition's number is the same.
static int partition_number(const char *device)
{
    size_t n = strlen(device), digits = 0;
    while (digits < n && isdigit((unsigned char)device[n - 1 - digits]))
        digits++;
    return digits && digits < 4 ? (int)strtol(device + n - digits, NULL, 10) : 0;
}

// "vg/root" or "mapper/vg-root" against "vg-root"; a '-' within a name is doubled by LVM.
static bool is_lv(const struct volume *v, const char *name)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    if (!v->lv[0])
        return false;
    if (strncmp(name, "mapper/", 7) == 0)
        return strcmp(v->lv, name + 7) == 0;
    for (const char *p = name; *p; p++)
        buf_adds(&b, *p == '-' ? "--" : *p == '/' ? "-" : (char[]){*p, 0});
    return strcmp(v->lv, b.data) == 0;
}

static bool is_named(const struct volume *v, const char *spec)
{
    const struct {
        const char *tag, *by, *value;
    } names[] = {
        {"UUID=", "/dev/disk/by-uuid/", v->fs.uuid},
        {"LABEL=", "/dev/disk/by-label/", v->fs.label},
        {"PARTUUID=", "/dev/disk/by-partuuid/", v->entry.uuid},
        {"PARTLABEL=", "/dev/disk/by-partlabel/", v->entry.name},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *ways[] = {names[i].tag, names[i].by};
        for (size_t k = 0; k < 2; k++)
            if (strncmp(spec, ways[k], strlen(ways[k])) == 0)
                return *names[i].value && strcasecmp(names[i].value, spec + strlen(ways[k])) == 0;
    }
    if (strncmp(spec, "/dev/", 5) == 0 && strncmp(spec, "/dev/disk/", 10) != 0)
        return is_lv(v, spec + 5) || (v->number && v->number == partition_number(spec + 5)) ||
               strcmp(v->name, spec + 5) == 0;
    return isdigit((unsigned char)*spec) && v->number == partition_number(spec);
}

static struct volume *find(struct root *r, const char *spec)
{
    vec_foreach (struct volume *, v, &r->volumes)
        if (is_named(v, spec))
            return v;
    return NULL;
}

static bool holds_a_root(const char *path)
{
    static const char *const signs[] = {"etc/fstab", "etc/os-release", "usr/lib/os-release",
                                        "sbin/init", "usr/lib/systemd/systemd"};
    AUTO_CLOSE int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    for (size_t i = 0; fd >= 0 && i < sizeof signs / sizeof *signs; i++)
        if (fstatat(fd, signs[i], &st, AT_SYMLINK_NOFOLLOW) == 0)
            return true;
    return false;
}

static void unmount_last(struct slot *s)
{
    struct mounted *m = &s->mounts.ptr[--s->mounts.len];
    if (umount2(m->path, 0) < 0)
        umount2(m->path, MNT_DETACH);
    free(m->path);
    free(m->device);
    free(m->fs);
}

static int mount_volume(struct root *r, const struct volume *v, const char *subvol, bool read_only,
                        struct error **err)
{
    AUTO_FREE char *device = xasprintf("/dev/%s", v->name);
    AUTO_FREE char *data = subvol ? xasprintf("subvol=%s", subvol) : NULL;
    struct tree_mount m = {device, v->fs.type, r->path, data, read_only};
    return tree_mount(r->slot, &m, err);
}

// The subvolume that holds root: NULL is the default one. The volume is not mounted afterwards.
static int look_into(struct root *r, const struct volume *v, bool *ret_is_root,
                     const char **ret_subvol, struct error **err)
{
    *ret_subvol = NULL;
    if (mount_volume(r, v, NULL, true, err) < 0)
        return -1;
    *ret_is_root = holds_a_root(r->path);
    for (size_t i = 0; !*ret_is_root && strcmp(v->fs.type, "btrfs") == 0 &&
                       i < sizeof subvolumes / sizeof *subvolumes;
         i++) {
        AUTO_FREE char *path = xasprintf("%s/%s", r->path, subvolumes[i]);
        *ret_is_root = holds_a_root(path);
        if (*ret_is_root)
            *ret_subvol = subvolumes[i];
    }
    unmount_last(r->slot);
    return 0;
}

static int none_found(struct root *r, struct error **err)
{
    AUTO_FREE char *seen = disk_describe(&r->volumes);
    error_set(err, ERR_USER, "no root file system found on disk '%s': seen %s", r->slot->disk,
              seen);
    return error_hint(err, "a root has an /etc/fstab or an os-release, or the GPT type of a root");
}

// Looks into each candidate.
static int search(struct root *r, struct volume **ret, const char **ret_subvol, struct error **err)
{
    *ret = NULL;
    vec_foreach (struct volume *, v, &r->volumes) {
        bool is_root = false;
        const char *subvol;
        if (!is_mountable(v))
            continue;
        CLEANUP(error_freep) struct error *cannot = NULL;
        if (look_into(r, v, &is_root, &subvol, &cannot) < 0) {
            agent_warn(r->agent, "%s", cannot->message);
            continue;
        }
        if (is_root && *ret) {
            AUTO_FREE char *seen = disk_describe(&r->volumes);
            return error_set(err, ERR_USER, "more than one root file system on disk '%s': seen %s",
                             r->slot->disk, seen);
        }
        if (is_root) {
            *ret = v;
            *ret_subvol = subvol;
        }
    }
    return *ret ? 0 : none_found(r, err);
}

static int choose(struct root *r, const char *want, struct volume **ret, const char **ret_subvol,
                  struct error **err)
{
    struct volume *typed = NULL, *only = NULL;
    size_t n_typed = 0, n = 0;
    *ret_subvol = NULL;
    if (want && !(*ret = find(r, want))) {
        AUTO_FREE char *seen = disk_describe(&r->volumes);
        return error_set(err, ERR_USER, "no '%s' on disk '%s': found %s", want, r->slot->disk,
                         seen);
    }
    vec_foreach (struct volume *, v, &r->volumes) {
        if (!is_mountable(v))
            continue;
        only = v, n++;
        if (strcmp(v->entry.type, GUID_ROOT_X86_64) == 0)
            typed = v, n_typed++;
    }
    if (!n)
        return none_found(r, err);
    if (!want)
        *ret = n_typed == 1 ? typed : n == 1 ? only : NULL;
    if (*ret && strcmp((*ret)->fs.type, "btrfs") != 0)
        return 0;
    if (!*ret)
        return search(r, ret, ret_subvol, err);
    bool is_root;
    return look_into(r, *ret, &is_root, ret_subvol, err);
}

// root's own line in fstab may name another subvolume than the default one.
static int follow_subvolume(struct root *r, const struct volume *v, const struct fstab *f,
                            const char *mounted, struct error **err)
{
    vec_foreach (const struct fstab_entry *, e, f) {
        AUTO_FREE char *subvol = fstab_option(e, "subvol");
        if (strcmp(e->file, "/") != 0 || !subvol)
            continue;
        const char *name = subvol[0] == '/' ? subvol + 1 : subvol;
        if (strcmp(name, mounted ? mounted : "") == 0)
            return 0;
        unmount_last(r->slot);
        return mount_volume(r, v, name, r->read_only, err);
    }
    return 0;
}

static const char *entry_problem(struct root *r, const struct fstab_entry *e, struct volume **ret,
                                 int tree, int *ret_target)
{
    if (!(*ret = find(r, e->spec)))
        return "no such file system on the disk";
    if (!is_mountable(*ret) && !((*ret)->fs.type && strcmp((*ret)->fs.type, "vfat") == 0))
        return "not a file system that kiln mounts";
    *ret_target = sys_open_in(tree, e->file, O_PATH | O_DIRECTORY);
    return *ret_target < 0 ? "its mount point is not in the image" : NULL;
}

// What cannot be mounted is reported and left out: the image's own boot may be as tolerant.
static void mount_entry(struct root *r, const struct fstab_entry *e)
{
    AUTO_CLOSE int tree = open(r->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    AUTO_CLOSE int target = -1;
    struct volume *v = NULL;
    const char *problem = entry_problem(r, e, &v, tree, &target);
    if (problem) {
        agent_warn(r->agent, "'%s' of the image's fstab is not mounted: %s: '%s'", e->file, problem,
                   e->spec);
        return;
    }
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", target);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0)
        return;
    path[n] = '\0';
    AUTO_FREE char *device = xasprintf("/dev/%s", v->name);
    AUTO_FREE char *subvol = strcmp(v->fs.type, "btrfs") == 0 ? fstab_option(e, "subvol") : NULL;
    AUTO_FREE char *data = subvol ? xasprintf("subvol=%s", subvol) : NULL;
    struct tree_mount m = {device, v->fs.type, path, data, r->read_only};
    CLEANUP(error_freep) struct error *err = NULL;
    if (tree_mount(r->slot, &m, &err) < 0)
        agent_warn(r->agent, "%s", err->message);
}

static int mount_by_fstab(struct root *r, const struct volume *v, const char *subvol,
                          struct error **err)
{
    CLEANUP(fstab_free) struct fstab f = {0};
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    AUTO_CLOSE int tree = open(r->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (tree < 0 || sys_read_in(tree, "etc/fstab", 256 * 1024, &text) < 0)
        return 0;
    fstab_parse(buf_str(&text), &f);
    close(STEAL_FD(tree));
    if (strcmp(v->fs.type, "btrfs") == 0 && follow_subvolume(r, v, &f, subvol, err) < 0)
        return -1;
    vec_foreach (const struct fstab_entry *, e, &f)
        if (fstab_is_local(e))
            mount_entry(r, e);
    return 0;
}

// Two mounted btrfs with one identity would be taken for one by the kernel.
static int check_twin(struct root *r, const struct volume *v, struct error **err)
{
    for (int i = 0; i < AGENT_DISKS && strcmp(v->fs.type, "btrfs") == 0; i++)
        vec_foreach (const struct mounted *, m, &r->agent->slots[i].mounts) {
            struct volume other = {0};
            if (strcmp(m->fs, "btrfs") != 0 || i == r->number)
                continue;
            snprintf(other.name, sizeof other.name, "%.60s", m->device + 5);
            if (disk_probe(&other, NULL) == 0 && strcmp(other.fs.uuid, v->fs.uuid) == 0)
                return error_set(
                    err, ERR_USER,
                    "btrfs '%s' is mounted already, as another disk with the same UUID",
                    v->fs.uuid);
        }
    return 0;
}

int root_mount(struct agent *a, struct slot *s, int number, const char *want, bool read_only,
               struct error **err)
{
    CLEANUP(root_clear)
    struct root r = {a, s, number, read_only, xasprintf(AGENT_TREE "%d", number), {0}};
    struct volume *v = NULL;
    const char *table, *subvol;
    if (disk_volumes(s->disk, &r.volumes, &table, err) < 0 ||
        lvm_activate(a, s, &r.volumes, err) < 0 || choose(&r, want, &v, &subvol, err) < 0)
        return -1;
    if (!is_mountable(v))
        return none_found(&r, err);
    if (check_twin(&r, v, err) < 0 || mount_volume(&r, v, subvol, read_only, err) < 0)
        return -1;
    if (mount_by_fstab(&r, v, subvol, err) < 0)
        return -1;
    s->volumes = xcalloc(1, sizeof *s->volumes);
    *s->volumes = r.volumes;
    r.volumes = (struct volumes){0};
    return 0;
}
