// SPDX-License-Identifier: MIT
//
// The lock file comes first and the folder after it, and both go in the opposite order, always by
// somebody who holds the lock. So a folder is never without an owner, however the moments of a
// sweep and of a start fall: lock_wait makes the file again if a sweep took it away in between.
#include "base/working.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/lock.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_LEN 16 /* hex letters of a folder's name */

int working_open(struct working *w, const char *parent, struct error **err)
{
    CLEANUP(working_clear) struct working fresh = WORKING_INIT;
    uint64_t salt;
    if (getrandom(&salt, sizeof salt, 0) != (ssize_t)sizeof salt)
        return error_errno(err, "cannot get random bytes");
    if (make_dirs_inside(parent, err) < 0)
        return -1;
    AUTO_FREE char *dir = xasprintf("%s/%016llx", parent, (unsigned long long)salt);
    fresh.lock = xasprintf("%s.lock", dir);
    fresh.fd = lock_wait(fresh.lock, LOCK_EXCLUSIVE, -1, err);
    if (fresh.fd < 0)
        return -1;
    if (mkdir(dir, 0700) < 0)
        return error_errno(err, "cannot create folder '%s'", dir);
    fresh.dir = STEAL(dir);
    *w = fresh;
    fresh = (struct working)WORKING_INIT;
    return 0;
}

void working_clear(struct working *w)
{
    int saved = errno;
    // The lock file stays until the folder is gone, or the next sweep would not find the folder
    if (w->fd >= 0 && (!w->dir || remove_tree(w->dir, NULL) == 0))
        (void)unlink(w->lock);
    auto_closep(&w->fd);
    free(w->dir);
    free(w->lock);
    *w = (struct working)WORKING_INIT;
    errno = saved;
}

static bool is_lock_name(const char *name)
{
    return strspn(name, "0123456789abcdef") == NAME_LEN && !strcmp(name + NAME_LEN, ".lock");
}

void working_sweep(const char *parent)
{
    DIR *d = opendir(parent);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        if (!is_lock_name(e->d_name))
            continue;
        CLEANUP(working_clear) struct working dead = WORKING_INIT;
        dead.lock = path_join(parent, e->d_name);
        dead.dir = xstrndup(dead.lock, strlen(dead.lock) - strlen(".lock"));
        dead.fd = lock_try(dead.lock, LOCK_EXCLUSIVE, NULL);
    }
    closedir(d);
}
