// SPDX-License-Identifier: MIT
// libguestfs's daemon as this VM's other way to mount things: its appliance is a disk, the daemon
// runs in a chroot there, and what it has mounted below its /sysroot is moved to the target's tree.
// From then on that is a tree like any other.
#include "builder/agent/tree.h"

#include "base/file.h"
#include "builder/agent/sys.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define PLACE "/guestfs"

static int mount_appliance(const char *disk, struct error **err)
{
    static const struct {
        const char *source, *target, *type;
        unsigned long flags;
    } list[] = {
        {"/dev", PLACE "/dev", NULL, MS_BIND | MS_REC},
        {"/proc", PLACE "/proc", NULL, MS_BIND},
        {"/sys", PLACE "/sys", NULL, MS_BIND},
        {"tmpfs", PLACE "/run", "tmpfs", 0},
        {"tmpfs", PLACE "/tmp", "tmpfs", 0},
    };
    AUTO_FREE char *device = xasprintf("/dev/%s", disk);
    mkdir(PLACE, 0755);
    if (sys_mount(device, PLACE, "ext4", MS_NOATIME, NULL, err) < 0)
        return -1;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        mkdir(list[i].target, 0755);
        if (sys_mount(list[i].source, list[i].target, list[i].type, list[i].flags, NULL, err) < 0)
            return -1;
    }
    mkdir(PLACE "/sysroot", 0755);
    return 0;
}

static _Noreturn void run_daemon(struct agent *a, const char *script)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    close(a->port.fd);
    dup2(null, 0);
    setsid();
    if (chroot(PLACE) < 0 || chdir("/") < 0)
        _exit(126);
    execl("/bin/bash", "bash", "-c", script, (char *)NULL);
    sys_log("cannot start the appliance's shell: %s", strerror(errno));
    _exit(127);
}

int agent_appliance(struct agent *a, const struct request *rq, struct message *reply,
                    struct error **err)
{
    struct slot *s;
    AUTO_FREE char *script = NULL;
    if (agent_slot(a, rq, &s, NULL, err) < 0 ||
        agent_string(rq, AGENT_TAG_SCRIPT, &script, err) < 0 || mount_appliance(s->disk, err) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0)
        run_daemon(a, script ? script : "exec guestfsd");
    if (pid < 0)
        return error_errno(err, "cannot start libguestfs's daemon");
    message_puts(reply, AGENT_TAG_DEVICE, a->slots[AGENT_DISK_TARGET].disk);
    return 0;
}

// In place: what mountinfo has as \040 and the like.
static void unescape(char *text)
{
    char *to = text;
    for (const char *c = text; *c; to++) {
        unsigned value;
        if (*c == '\\' && sscanf(c, "\\%3o", &value) == 1) {
            *to = (char)value;
            c += 4;
        } else {
            *to = *c++;
        }
    }
    *to = '\0';
}

// One line of mountinfo; those of other trees are passed over.
static void take_mount(struct slot *s, char *line)
{
    char *fields[6] = {NULL}, *rest = strstr(line, " - "), *save = NULL;
    for (size_t i = 0; i < 6; i++)
        fields[i] = strtok_r(i ? NULL : line, " \n", &save);
    if (!fields[5] || !rest)
        return;
    char *fs = strtok_r(rest + 3, " \n", &save), *device = strtok_r(NULL, " \n", &save);
    unescape(fields[4]);
    const char *tree = AGENT_TREE "0";
    size_t n = strlen(tree);
    if (!device || strncmp(fields[4], tree, n) != 0 || (fields[4][n] && fields[4][n] != '/'))
        return;
    unescape(device);
    *mounted_list_push(&s->mounts) = (struct mounted){.path = xstrdup(fields[4]),
                                                      .device = xstrdup(device),
                                                      .fs = xstrdup(fs),
                                                      .read_only = !strncmp(fields[5], "ro", 2)};
}

int agent_adopt(struct agent *a, const struct request *rq, struct message *reply,
                struct error **err)
{
    (void)rq;
    struct slot *s = &a->slots[AGENT_DISK_TARGET];
    if (s->mounts.len)
        return error_set(err, ERR_GUEST, "the target is mounted already");
    if (sys_mount(PLACE "/sysroot", AGENT_TREE "0", NULL, MS_MOVE, NULL, err) < 0)
        return -1;
    FILE *f = fopen("/proc/self/mountinfo", "re");
    char *line = NULL;
    size_t alloc = 0;
    while (f && getline(&line, &alloc, f) > 0)
        take_mount(s, line);
    free(line);
    if (f)
        fclose(f);
    vec_foreach (const struct mounted *, m, &s->mounts)
        message_puts(reply, AGENT_TAG_FS, m->fs);
    return s->mounts.len ? 0 : error_set(err, ERR_GUEST, "libguestfs has mounted nothing");
}
