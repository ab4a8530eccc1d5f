// SPDX-License-Identifier: MIT
// Devices may lie on one another in any order, so all are tried until nothing changes.
#include "builder/agent/leftover.h"

#include "builder/agent/disk.h"
#include "builder/agent/sys.h"
#include "builder/agent/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { PASSES = 16 };
enum found { NOTHING, REMOVED, IN_USE };

static bool is_volume(const struct agent *a, const char *name)
{
    for (int i = 0; i < AGENT_DISKS; i++)
        if (a->slots[i].volumes)
            vec_foreach (const struct volume *, v, a->slots[i].volumes)
                if (strcmp(v->name, name) == 0)
                    return true;
    return false;
}

static enum found detach_loop(const char *name)
{
    char path[320];
    snprintf(path, sizeof path, "/sys/block/%s/loop", name);
    if (access(path, F_OK) < 0) // nothing is attached
        return NOTHING;
    snprintf(path, sizeof path, "/dev/%s", name);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && ioctl(fd, LOOP_CLR_FD) == 0 ? REMOVED : IN_USE;
}

static enum found remove_mapped(struct agent *a, const char *name)
{
    struct dm_ioctl io = {.version = {DM_VERSION_MAJOR, 0, 0}, .data_size = sizeof io};
    char path[320];
    if (is_volume(a, name) || lvm_adopt(&a->slots[AGENT_DISK_TARGET], name))
        return NOTHING;
    snprintf(path, sizeof path, "/sys/block/%s/dm/name", name);
    AUTO_CLOSE int fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
    if (fd < 0 || sys_read(path, io.name, sizeof io.name) < 0)
        return NOTHING;
    return ioctl(fd, DM_DEV_REMOVE, &io) == 0 ? REMOVED : IN_USE;
}

static enum found remove_one(struct agent *a, const char *name)
{
    return strncmp(name, "loop", 4) == 0  ? detach_loop(name)
           : strncmp(name, "dm-", 3) == 0 ? remove_mapped(a, name)
                                          : NOTHING;
}

// Whether something was removed and something was in use, which may now be free.
static bool once(struct agent *a)
{
    bool removed = false, in_use = false;
    DIR *d = opendir("/sys/block");
    for (struct dirent *e; d && (e = readdir(d));) {
        enum found found = remove_one(a, e->d_name);
        removed |= found == REMOVED;
        in_use |= found == IN_USE;
        if (found == IN_USE)
            sys_log("'%s' is in use", e->d_name);
    }
    if (d)
        closedir(d);
    return removed && in_use;
}

void leftovers_remove(struct agent *a)
{
    for (int i = 0; i < PASSES && once(a); i++)
        ;
}
