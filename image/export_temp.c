// SPDX-License-Identifier: MIT
//
// The folder appears before its lock, so a sweep may take it away in between: then there is another one.
#include "image/export_temp.h"

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Names of a folder, and the lock of it that is tried without waiting: 0, or -1 with errno. */
static int try_lock(struct export_temp *t)
{
    t->file = path_join(t->folder, "disk");
    t->lock = open(t->folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return t->lock >= 0 && flock(t->lock, LOCK_EX | LOCK_NB) == 0 ? 0 : -1;
}

static void forget(struct export_temp *t)
{
    int saved = errno;
    auto_closep(&t->lock);
    free(t->folder);
    free(t->file);
    *t = (struct export_temp)EXPORT_TEMP_INIT;
    errno = saved;
}

void export_temp_clear(struct export_temp *t)
{
    int saved = errno;
    if (t->folder) {
        (void)unlink(t->file);
        (void)rmdir(t->folder);
    }
    errno = saved;
    forget(t);
}

static bool is_ours(const struct export_temp *t)
{
    struct stat st;
    return fstat(t->lock, &st) == 0 && st.st_uid == geteuid();
}

static void sweep(const char *dir)
{
    DIR *d = opendir(dir);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        if (strncmp(e->d_name, EXPORT_TEMP, strlen(EXPORT_TEMP)) != 0)
            continue;
        struct export_temp dead = {.folder = path_join(dir, e->d_name), .lock = -1};
        if (try_lock(&dead) == 0 && is_ours(&dead))
            export_temp_clear(&dead);
        forget(&dead);
    }
    closedir(d);
}

/* Whether nobody has removed the folder, or is about to, since it was made. */
static bool take(struct export_temp *t)
{
    if (try_lock(t) < 0)
        return t->lock >= 0 && errno != EWOULDBLOCK; // what cannot be locked, no sweep takes
    struct stat st;
    return fstat(t->lock, &st) == 0 && st.st_nlink > 0;
}

int export_temp_open(struct export_temp *t, const char *dir, struct error **err)
{
    sweep(dir);
    for (;;) {
        CLEANUP(forget) struct export_temp fresh = {.lock = -1};
        fresh.folder = xasprintf("%s/" EXPORT_TEMP "XXXXXX", dir);
        if (!mkdtemp(fresh.folder))
            return error_errno(err, "cannot write to '%s'", dir);
        if (take(&fresh)) {
            *t = fresh;
            fresh = (struct export_temp)EXPORT_TEMP_INIT;
            return 0;
        }
        (void)rmdir(fresh.folder);
    }
}
