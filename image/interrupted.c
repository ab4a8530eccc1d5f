// SPDX-License-Identifier: MIT
//
// What interrupted pulls have left in .working: "pull-<encoded name>/" beside its lock. The newest
// file in it tells when it was last worked on.
#include "base/alloc.h"
#include "base/file.h"
#include "base/lock.h"
#include "image/chain.h"
#include "image/pull.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct found {
    uint64_t bytes;
    int64_t used;
};

static void measure(const char *folder, struct found *ret)
{
    DIR *d = opendir(folder);
    for (const struct dirent *e; d && (e = readdir(d));) {
        AUTO_FREE char *path = path_join(folder, e->d_name);
        struct stat st;
        if (lstat(path, &st) < 0 || !strcmp(e->d_name, ".."))
            continue;
        ret->bytes += (uint64_t)st.st_blocks * 512;
        if (st.st_mtim.tv_sec > ret->used)
            ret->used = st.st_mtim.tv_sec;
    }
    if (d)
        closedir(d);
}

/* max_age -1: only counts. */
static void visit(const char *parent, const char *name, int64_t max_age, bool remove,
                  struct interrupted_pulls *ret)
{
    AUTO_FREE char *folder = path_join(parent, name), *lock = xasprintf("%s.lock", folder);
    struct stat st;
    struct found found = {0};
    if (lstat(folder, &st) < 0 || !S_ISDIR(st.st_mode))
        return;
    AUTO_CLOSE int fd = lock_try(lock, LOCK_EXCLUSIVE, NULL);
    if (fd < 0)
        return; // it goes on
    measure(folder, &found);
    if (max_age >= 0 && found.used > time(NULL) - max_age)
        return;
    if (remove && remove_tree(folder, NULL) < 0)
        return;
    if (remove)
        (void)unlink(lock);
    ret->n++;
    ret->bytes += found.bytes;
}

static struct interrupted_pulls walk(const char *dir, int64_t max_age, bool remove)
{
    AUTO_FREE char *parent = path_join(dir, WORKING);
    struct interrupted_pulls all = {0};
    DIR *d = opendir(parent);
    for (const struct dirent *e; d && (e = readdir(d));) {
        const char *dot = strrchr(e->d_name, '.');
        if (!strncmp(e->d_name, "pull-", 5) && (!dot || strcmp(dot, ".lock")))
            visit(parent, e->d_name, max_age, remove, &all);
    }
    if (d)
        closedir(d);
    return all;
}

struct interrupted_pulls image_pulls_interrupted(const char *dir)
{
    return walk(dir, -1, false);
}

struct interrupted_pulls image_pulls_prune(const char *dir, int64_t max_age, bool dry_run)
{
    return walk(dir, max_age, !dry_run);
}
