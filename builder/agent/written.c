// SPDX-License-Identifier: MIT
// fanotify(7) and inotify(7) tell of writes only, so reading costs nothing. The first watches all
// of a file system, the second also device nodes.
#include "builder/agent/written.h"

#include "builder/agent/sys.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <unistd.h>

static void watch_parameters(int fd, const char *tree, const char *folder)
{
    AUTO_FREE char *path = xasprintf("%s%s", tree, folder);
    if (fd >= 0 &&
        fanotify_mark(fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_MODIFY, AT_FDCWD, path) < 0)
        sys_log("cannot watch '%s': %s", path, strerror(errno));
}

static void watch_disk(int fd, const char *tree, const char *folder, const char *name)
{
    AUTO_FREE char *path = xasprintf("%s/dev/%s%s", tree, folder, name);
    if (fd >= 0 && *name && inotify_add_watch(fd, path, IN_MODIFY) < 0 && errno != ENOENT)
        sys_log("cannot watch '%s': %s", path, strerror(errno));
}

void written_watch(struct written *w, const char *tree, const struct volumes *volumes)
{
    w->parameters =
        fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK, O_RDONLY | O_CLOEXEC);
    watch_parameters(w->parameters, tree, "/proc");
    watch_parameters(w->parameters, tree, "/sys");
    if (!volumes || !volumes->len)
        return;
    char disk[sizeof volumes->ptr->name];
    snprintf(disk, sizeof disk, "%s", volumes->ptr->name);
    disk[strcspn(disk, "0123456789")] = '\0';
    w->disks = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    watch_disk(w->disks, tree, "", disk);
    vec_foreach (const struct volume *, v, volumes) {
        watch_disk(w->disks, tree, "", v->name);
        watch_disk(w->disks, tree, "mapper/", v->lv);
    }
}

// Below /proc, what a process writes of its own is in a folder that is a number.
static bool is_of_a_process(const char *path)
{
    for (const char *p = path; (p = strchr(p, '/'));) {
        size_t digits = strspn(++p, "0123456789");
        if (digits && (p[digits] == '/' || !p[digits]))
            return strstr(path, "/sys/") == NULL;
    }
    return false;
}

static char *parameters_seen(int fd, const char *tree)
{
    struct fanotify_event_metadata events[64], *e;
    AUTO_FREE char *found = NULL;
    ssize_t n = 0;
    while (!found && (n = read(fd, events, sizeof events)) > 0) {
        for (e = events; FAN_EVENT_OK(e, n); e = FAN_EVENT_NEXT(e, n)) {
            char link[64], path[4096] = "";
            AUTO_CLOSE int file = e->fd;
            snprintf(link, sizeof link, "/proc/self/fd/%d", file);
            ssize_t len = file < 0 ? 0 : readlink(link, path, sizeof path - 1);
            path[len < 0 ? 0 : len] = '\0';
            const char *below = path + (strncmp(path, tree, strlen(tree)) ? 0 : strlen(tree));
            if (!found && (file < 0 || !is_of_a_process(below)))
                found = xstrdup(*below ? below : "more than is known"); // the queue was full
        }
    }
    if (!found && n < 0 && errno != EAGAIN)
        found = xstrdup("a file that cannot be read");
    return STEAL(found);
}

static char *disks_seen(int fd)
{
    char events[4096];
    return read(fd, events, sizeof events) > 0 ? xstrdup("the disk past its file systems") : NULL;
}

char *written_seen(struct written *w, const char *tree)
{
    AUTO_CLOSE int parameters = STEAL_FD(w->parameters), disks = STEAL_FD(w->disks);
    char *found = parameters < 0 ? NULL : parameters_seen(parameters, tree);
    return found || disks < 0 ? found : disks_seen(disks);
}
