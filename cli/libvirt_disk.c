// SPDX-License-Identifier: MIT
#include "cli/libvirt_disk.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/session.h"
#include "base/working.h"
#include "cli/command.h"
#include "libvirt/domain.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_POOL "default"

/* Into the folder of a pool that is on this machine, or any. */
static void remove_file(const struct libvirt_disk *d)
{
    (void)unlink(d->path);
    if (d->pool)
        virsh_undo(d->virsh, ARGV("pool-refresh", "--pool", d->pool));
}

void libvirt_disk_clear(struct libvirt_disk *d)
{
    if (d->made && d->upload)
        virsh_undo(d->virsh, ARGV("vol-delete", "--pool", d->pool, "--vol", d->file));
    else if (d->made)
        remove_file(d);
    free(d->pool);
    free(d->folder);
    free(d->file);
    free(d->path);
    *d = (struct libvirt_disk){0};
}

static int choose_dir(struct libvirt_disk *d, const char *dir, struct error **err)
{
    struct stat st;
    if (d->virsh->remote) {
        error_set(err, ERR_USER,
                  "'%s' is the libvirt of another machine, which has no '%s' of this one",
                  d->virsh->uri, dir);
        return error_hint(err, "--pool names a storage pool there, to which the disk is sent");
    }
    d->folder = realpath(dir, NULL);
    if (!d->folder)
        return errno == ENOENT
                   ? error_set(err, ERR_NOT_FOUND, "the folder '%s' does not exist", dir)
                   : error_errno(err, "cannot find '%s'", dir);
    if (stat(d->folder, &st) < 0 || !S_ISDIR(st.st_mode))
        return error_set(err, ERR_USER, "'%s' is not a folder", dir);
    return 0;
}

static int no_pool(const struct libvirt_disk *d, const char *pool, struct error **err)
{
    error_set(err, ERR_NOT_FOUND, "libvirt at '%s' has no storage pool '%s'", d->virsh->uri, pool);
    return error_hint(err, "'virsh -c %s pool-list --all' lists them; --dir DIR needs none",
                      d->virsh->uri);
}

/* Where virt-manager has the disks of a user's own libvirt. */
static int choose_users_folder(struct libvirt_disk *d, struct error **err)
{
    const struct session *s = d->virsh->session;
    const char *data = session_setting(s, "XDG_DATA_HOME"), *home = session_setting(s, "HOME");
    if (!data && !home)
        return no_pool(d, DEFAULT_POOL, err);
    AUTO_FREE char *dir =
        data ? path_join(data, "libvirt/images") : path_join(home, ".local/share/libvirt/images");
    return make_dirs(dir, 0700, err) < 0 ? -1 : choose_dir(d, dir, err);
}

static int choose_pool(struct libvirt_disk *d, const char *pool, struct error **err)
{
    CLEANUP(buf_clear) struct buf xml = BUF_INIT;
    CLEANUP(pool_clear) struct pool p = {0};
    int active = virsh_lists(d->virsh, ARGV("pool-list", "--name"), pool, err);
    if (active < 0 || virsh_run(d->virsh, ARGV("pool-dumpxml", "--pool", pool), &xml, err) < 0 ||
        pool_read(buf_str(&xml), &p, err) < 0)
        return -1;
    if (!active) {
        error_set(err, ERR_USER, "the storage pool '%s' is not active", pool);
        return error_hint(err, "'virsh -c %s pool-start %s' starts it", d->virsh->uri, pool);
    }
    if (!pool_has_files(&p)) {
        error_set(err, ERR_USER, "the storage pool '%s' is of type '%s', and has no files", pool,
                  p.type);
        return error_hint(err, "choose one of type dir, fs or netfs, or --dir DIR");
    }
    d->pool = xstrdup(pool);
    d->folder = STEAL(p.folder);
    d->upload = d->virsh->remote || access(d->folder, R_OK | W_OK | X_OK) < 0;
    return 0;
}

/* Where nothing was said. */
static int choose_default(struct libvirt_disk *d, const char *pool, struct error **err)
{
    const char *wanted = pool ? pool : DEFAULT_POOL;
    int there = virsh_lists(d->virsh, ARGV("pool-list", "--all", "--name"), wanted, err);
    if (there < 0)
        return -1;
    if (there)
        return choose_pool(d, wanted, err);
    return !pool && d->virsh->user && !d->virsh->remote ? choose_users_folder(d, err)
                                                        : no_pool(d, wanted, err);
}

/* A libvirt of root's starts QEMU as a user of its own, who must be able to get to the file. */
static void warn_of_walls(const struct libvirt_disk *d)
{
    if (d->virsh->user || d->pool)
        return;
    struct stat st;
    for (char *p = xstrdup(d->folder), *up; p; free(p), p = up) {
        if (stat(p, &st) == 0 && !(st.st_mode & S_IXOTH))
            session_notice(d->virsh->session,
                           "'%s' may not be entered by everybody: libvirt's QEMU, which is "
                           "another user, may not reach the disk",
                           p);
        up = p[1] ? path_parent(p) : NULL;
    }
}

int libvirt_disk_choose(struct libvirt_disk *d, const struct args *a, const char *name,
                        struct error **err)
{
    const char *pool = args_get(a, "pool"), *dir = args_get(a, "dir");
    if ((dir ? choose_dir(d, dir, err) : choose_default(d, pool, err)) < 0)
        return -1;
    d->file = xasprintf("%s.qcow2", name);
    d->path = path_join(d->folder, d->file);
    if (!d->virsh->remote && access(d->path, F_OK) == 0) {
        error_set(err, ERR_EXISTS, "'%s' exists", d->path);
        return error_hint(err, "--name gives the domain and its disk another name");
    }
    warn_of_walls(d);
    return 0;
}

/* The file is whole before libvirt hears of it. */
static int upload(struct libvirt_disk *d, const struct image_content *c, struct error **err)
{
    CLEANUP(working_clear) struct working w = WORKING_INIT;
    const struct session *s = d->virsh->session;
    struct image_export o = {.format = FORMAT_QCOW2, .exclusive = true};
    AUTO_FREE char *parent = path_join(s->cache, "work");
    AUTO_FREE char *size = xasprintf("%llu", (unsigned long long)c->size);
    working_sweep(parent);
    if (working_open(&w, parent, err) < 0)
        return -1;
    AUTO_FREE char *file = path_join(w.dir, "disk");
    if (image_export_chain(s, c, file, &o, err) < 0 ||
        virsh_run(d->virsh,
                  ARGV("vol-create-as", "--pool", d->pool, "--name", d->file, "--capacity", size,
                       "--allocation", "0", "--format", "qcow2"),
                  NULL, err) < 0)
        return -1;
    d->made = true;
    session_notice(s, "Sending the disk to the pool '%s'", d->pool);
    return virsh_run(
        d->virsh,
        ARGV("vol-upload", "--pool", d->pool, "--vol", d->file, "--file", file, "--sparse"), NULL,
        err);
}

int libvirt_disk_make(struct libvirt_disk *d, const struct image_content *c, struct error **err)
{
    struct image_export o = {.format = FORMAT_QCOW2, .exclusive = true};
    if (d->upload)
        return upload(d, c, err);
    if (image_export_chain(d->virsh->session, c, d->path, &o, err) < 0)
        return -1;
    d->made = true;
    return d->pool ? virsh_run(d->virsh, ARGV("pool-refresh", "--pool", d->pool), NULL, err) : 0;
}
