// SPDX-License-Identifier: MIT
// LVM through its own program, told exactly which devices are the image's: it must not look at
// other slots, ask udev, or write backups.
#include "base/process.h"
#include "builder/agent/program.h"
#include "builder/agent/sys.h"
#include "builder/agent/tree.h"

#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

#define CONFIG \
    "activation{udev_sync=0 udev_rules=0 monitoring=0} backup{backup=0 archive=0} " \
    "devices{use_devicesfile=0 obtain_device_list_from_udev=0} global{use_lvmpolld=0}"

static int vgchange(struct agent *a, const struct volumes *list, const char *what,
                    struct error **err)
{
    CLEANUP(strv_clear) struct strv argv = {0};
    for (char *const *p = ARGV("lvm", "vgchange", what, "--quiet", "--config", CONFIG); *p; p++)
        strv_add(&argv, *p);
    vec_foreach (const struct volume *, v, list)
        if (v->fs.type && strcmp(v->fs.type, "LVM2_member") == 0) {
            strv_add(&argv, "--devices");
            strv_addf(&argv, "/dev/%s", v->name);
        }
    return program_run(a, argv.ptr, (struct str){"", 0}, err);
}

// Whether one of the device's parts lies on the slot's disk ("vda" itself or "vda3").
static bool lies_on(const char *dm, const char *disk)
{
    AUTO_FREE char *path = xasprintf("/sys/block/%s/slaves", dm);
    DIR *d = opendir(path);
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d));)
        found = strncmp(e->d_name, disk, strlen(disk)) == 0;
    if (d)
        closedir(d);
    return found;
}

static int add_volume(const char *dm, const char *disk, struct volumes *ret, struct error **err)
{
    char path[320], text[160];
    snprintf(path, sizeof path, "/sys/block/%s/dm/uuid", dm);
    if (sys_read(path, text, sizeof text) < 0 || strncmp(text, "LVM-", 4) != 0 ||
        !lies_on(dm, disk))
        return 0;
    snprintf(path, sizeof path, "/sys/block/%s/dm/name", dm);
    sys_read(path, text, sizeof text);
    struct volume *v = volumes_push(ret);
    snprintf(v->name, sizeof v->name, "%.60s", dm);
    snprintf(v->lv, sizeof v->lv, "%.120s", text);
    return disk_probe(v, err);
}

bool lvm_adopt(struct slot *s, const char *dm)
{
    size_t n = s->volumes ? s->volumes->len : 0;
    if (!s->volumes || add_volume(dm, s->disk, s->volumes, NULL) < 0 || s->volumes->len == n)
        return false;
    s->lvm = true;
    return true;
}

int lvm_activate(struct agent *a, struct slot *s, struct volumes *list, struct error **err)
{
    bool any = false;
    vec_foreach (const struct volume *, v, list)
        any |= v->fs.type && strcmp(v->fs.type, "LVM2_member") == 0;
    if (!any)
        return 0;
    if (vgchange(a, list, "-ay", err) < 0)
        return error_wrap(err, "cannot activate the volume groups of disk '%s'", s->disk);
    s->lvm = true;
    DIR *d = opendir("/sys/block");
    int result = 0;
    for (struct dirent *e; d && result == 0 && (e = readdir(d));)
        if (strncmp(e->d_name, "dm-", 3) == 0)
            result = add_volume(e->d_name, s->disk, list, err);
    if (d)
        closedir(d);
    return result;
}

// "vg-root" of the device mapper as LVM's "vg/root": a '-' in either name is doubled there. Owned.
static char *volume_path(const char *mapped)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    for (const char *p = mapped; *p; p++) {
        buf_addc(&b, p[0] == '-' && p[1] != '-' ? '/' : p[0]);
        p += p[0] == '-' && p[1] == '-';
    }
    return buf_detach(&b, NULL);
}

int lvm_grow(struct agent *a, const char *device, const char *lv, struct error **err)
{
    AUTO_FREE char *path = volume_path(lv);
    struct str none = {"", 0};
    if (program_run(a,
                    (char **)ARGV("lvm", "pvresize", "--quiet", "--config", CONFIG, "--devices",
                                  device, device),
                    none, err) < 0)
        return error_wrap(err, "cannot grow the physical volume '%s'", device);
    if (program_run(a,
                    (char **)ARGV("lvm", "lvextend", "--quiet", "--config", CONFIG, "--devices",
                                  device, "-l", "+100%FREE", path),
                    none, err) < 0)
        return error_wrap(err, "cannot grow the logical volume '%s'", path);
    return 0;
}

int lvm_deactivate(struct agent *a, struct slot *s, struct error **err)
{
    CLEANUP(volumes_clear) struct volumes list = {0};
    const char *table;
    if (disk_volumes(s->disk, &list, &table, err) < 0 || vgchange(a, &list, "-an", err) < 0)
        return error_wrap(err, "cannot deactivate the volume groups of disk '%s'", s->disk);
    s->lvm = false;
    return 0;
}
