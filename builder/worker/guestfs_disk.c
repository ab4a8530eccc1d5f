// SPDX-License-Identifier: MIT
#include "builder/worker/guestfs_disk.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/process.h"
#include "base/session.h"
#include "base/working.h"
#include "builder/appliance/kernel.h"
#include "qcow2/qcow2.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int guestfs_missing(struct error **err)
{
    error_set(err, ERR_NOT_FOUND, "libguestfs is not installed");
    return error_hint(err,
                      "on Debian and Ubuntu: apt-get install libguestfs0; elsewhere the package "
                      "is called libguestfs");
}

/* The folder that supermin reads, or NULL. */
static const char *find_recipe(void)
{
    static const char *const places[] = {"/usr/lib/x86_64-linux-gnu/guestfs/supermin.d",
                                         "/usr/lib64/guestfs/supermin.d",
                                         "/usr/lib/guestfs/supermin.d"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (access(places[i], R_OK) == 0)
            return places[i];
    return NULL;
}

static void add_stat(struct buf *b, const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0)
        buf_addf(b, "%s %lld %lld.%09ld\n", path, (long long)st.st_size, (long long)st.st_mtime,
                 st.st_mtim.tv_nsec);
}

/* A name for all that the disk is made from: the packages' data base stands for their files. */
static void disk_key(const struct kernel *k, const char *recipe, char hex[DIGEST_HEX + 1])
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    AUTO_FREE char *daemon = path_join(recipe, "daemon.tar.gz");
    buf_addf(&b, "kiln guestfs disk 1\n%s\n", k->modules);
    add_stat(&b, k->path);
    add_stat(&b, daemon);
    add_stat(&b, "/var/lib/dpkg/status");
    add_stat(&b, "/var/lib/rpm/rpmdb.sqlite");
    struct digest d = digest_of(b.data, b.len);
    digest_hex(&d, hex);
}

static int make_disk(const struct session *s, const struct kernel *k, const char *recipe,
                     const char *dir, const char *path, struct error **err)
{
    AUTO_FREE char *supermin = process_find("supermin");
    if (!supermin)
        return guestfs_missing(err);
    session_notice(s, "making libguestfs's appliance once");
    AUTO_FREE char *out = path_join(dir, "appliance"), *root = path_join(out, "root"),
                   *made = path_join(dir, "root.qcow2"),
                   *kernel = xasprintf("SUPERMIN_KERNEL=%s", k->path),
                   *version = xasprintf("SUPERMIN_KERNEL_VERSION=%s", k->version),
                   *modules = xasprintf("SUPERMIN_MODULES=%s", k->modules),
                   *tmp = xasprintf("TMPDIR=%s", dir);
    char *const *env = ARGV(kernel, version, modules, tmp, "LC_ALL=C",
                            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    if (process_run_env(s,
                        ARGV(supermin, "--build", "-f", "ext2", "--copy-kernel", "--host-cpu",
                             "x86_64", "-o", out, recipe),
                        env, NULL, err) < 0 ||
        process_run(s, ARGV("qemu-img", "convert", "-f", "raw", "-O", "qcow2", root, made), NULL,
                    err) < 0)
        return error_wrap(err, "cannot make libguestfs's appliance");
    return rename(made, path) < 0 ? error_errno(err, "cannot make '%s'", path) : 0;
}

/* Those of other kernels and packages; a VM that has one open keeps it. */
static void remove_others(const char *parent, const char *name)
{
    DIR *d = opendir(parent);
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        if (n < 6 || strcmp(e->d_name + n - 6, ".qcow2") != 0 || !strcmp(e->d_name, name))
            continue;
        AUTO_FREE char *old = path_join(parent, e->d_name);
        (void)unlink(old);
    }
    if (d)
        closedir(d);
}

static int make_locked(const struct session *s, const struct kernel *k, const char *recipe,
                       const char *path, struct error **err)
{
    AUTO_FREE char *parent = path_parent(path), *lock = path_join(parent, "lock");
    if (make_dirs(parent, 0700, err) < 0)
        return -1;
    AUTO_CLOSE int held = lock_wait(lock, LOCK_EXCLUSIVE, s->cancel_fd, err);
    if (held < 0)
        return -1;
    if (access(path, R_OK) == 0)
        return 0;
    CLEANUP(working_clear) struct working w = WORKING_INIT;
    AUTO_FREE char *work = path_join(parent, "work");
    working_sweep(work);
    if (working_open(&w, work, err) < 0 || make_disk(s, k, recipe, w.dir, path, err) < 0)
        return -1;
    remove_others(parent, strrchr(path, '/') + 1);
    return 0;
}

char *guestfs_disk_get(const struct session *s, const struct kernel *k, uint64_t *ret_size,
                       struct error **err)
{
    char hex[DIGEST_HEX + 1];
    CLEANUP(qcow2_info_clear) struct qcow2_info info = {0};
    const char *recipe = find_recipe();
    if (!recipe) {
        guestfs_missing(err);
        return NULL;
    }
    disk_key(k, recipe, hex);
    AUTO_FREE char *path = xasprintf("%s/guestfs/%s.qcow2", s->cache, hex);
    if (access(path, R_OK) < 0 && make_locked(s, k, recipe, path, err) < 0)
        return NULL;
    if (qcow2_read(path, QCOW2_OWN, &info, err) < 0)
        return NULL;
    *ret_size = info.size;
    return STEAL(path);
}
