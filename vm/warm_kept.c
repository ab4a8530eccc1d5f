// SPDX-License-Identifier: MIT
//
// A VM that keeps its disk and starts from a saved boot must not need that later: what the boot wrote is
// copied to its disks first. The memory stays a mapping of the saved file.
//
// Copies are dated 1970 until the VM runs: whatever writes to one gives it another time. So a start that
// was killed is known by its disks, and is the first one once more if nothing has written to them.
#include "vm/warm.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/session.h"
#include "qcow2/qcow2.h"
#include "vm/detached.h"
#include "vm/run_disks.h"
#include "vm/warm_private.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The disks without what this VM writes to. */
static struct vm_run_disk *disks_below(const struct vm_run_options *o)
{
    struct vm_run_disk *below = xcalloc(o->n_disks, sizeof *below);
    for (size_t i = 0; i < o->n_disks; i++)
        below[i] =
            (struct vm_run_disk){o->disks[i].files, o->disks[i].n_files - 1, o->disks[i].size};
    return below;
}

/* What an overlay on the files below disk i is when it is made; *ret_backing is owned. */
static struct qcow2_overlay new_overlay(const struct vm_run_options *o, size_t i,
                                        char **ret_backing)
{
    const struct vm_run_disk *d = &o->disks[i];
    *ret_backing = realpath(d->files[d->n_files - 2], NULL);
    return (struct qcow2_overlay){.size = d->size, .backing = *ret_backing, .sync = true};
}

static bool same_bytes(int a, int b, size_t n)
{
    AUTO_FREE char *x = xmalloc(n + 1), *y = xmalloc(n + 1);
    return pread_all(a, x, n, 0) == (ssize_t)n && pread_all(b, y, n, 0) == (ssize_t)n &&
           memcmp(x, y, n) == 0;
}

/* Whether nothing was written to disk i since it was made. */
static bool is_empty(const struct vm_run_options *o, size_t i)
{
    AUTO_FREE char *backing = NULL;
    struct qcow2_overlay overlay = new_overlay(o, i, &backing);
    AUTO_CLOSE int disk = open(vm_run_disk_top(o, i), O_RDONLY | O_CLOEXEC);
    AUTO_CLOSE int empty = memfd_create("kiln-empty", MFD_CLOEXEC);
    struct stat is, should;
    overlay.sync = false;
    return disk >= 0 && empty >= 0 && backing && qcow2_write_overlay(empty, &overlay, NULL) == 0 &&
           fstat(disk, &is) == 0 && fstat(empty, &should) == 0 && is.st_size == should.st_size &&
           same_bytes(disk, empty, (size_t)is.st_size);
}

/* Whether it is a copy of a saved boot's disk that nobody has written to. */
static bool is_copy(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && !st.st_mtim.tv_sec && !st.st_mtim.tv_nsec;
}

static int copy_file(const char *from, const char *path, struct error **err)
{
    static const struct timespec times[] = {{0, UTIME_OMIT}, {0, 0}};
    AUTO_FREE char *new = xasprintf("%s.new", path);
    (void)unlink(new); // of a start that was killed
    AUTO_CLOSE int in = open(from, O_RDONLY | O_CLOEXEC),
                   out = open(new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (in < 0 || out < 0)
        return error_errno(err, "cannot copy '%s' to '%s'", from, new);
    if (file_copy(in, out, err) < 0 || futimens(out, times) < 0 || rename(new, path) < 0) {
        (void)unlink(new);
        return err && *err ? -1 : error_errno(err, "cannot rename '%s'", new);
    }
    return 0;
}

static int take_disks(const struct vm_run_options *o, const struct saved *t, struct error **err)
{
    for (size_t i = 0; i < o->n_disks; i++) {
        AUTO_FREE char *name = warm_disk_name(i), *from = path_join(t->dir, name);
        if (copy_file(from, vm_run_disk_top(o, i), err) < 0)
            return -1;
    }
    return 0;
}

/* As they were when the VM was made. */
static int empty_disks(const struct vm_run_options *o, struct error **err)
{
    for (size_t i = 0; i < o->n_disks; i++) {
        AUTO_FREE char *backing = NULL;
        struct qcow2_overlay overlay = new_overlay(o, i, &backing);
        const char *top = vm_run_disk_top(o, i);
        AUTO_FREE char *new = xasprintf("%s.new", top);
        (void)unlink(new);
        if (qcow2_create_overlay(new, &overlay, err) < 0)
            return -1;
        if (rename(new, top) < 0) {
            (void)unlink(new);
            return error_errno(err, "cannot rename '%s'", new);
        }
    }
    return 0;
}

/* The VM has run. */
static void date_disks(const struct vm_run_options *o)
{
    for (size_t i = 0; i < o->n_disks; i++)
        if (is_copy(vm_run_disk_top(o, i)))
            (void)utimensat(AT_FDCWD, vm_run_disk_top(o, i), NULL, 0);
}

/* A start of a VM that keeps its disk. */
struct kept {
    const struct session *session;
    const struct vm_run_options *o;
    const struct vm_warm_wish *wish;
    const char *dir; /* in the background, from this folder; NULL = in front */
    int *status;     /* in front: as vm_run */
};

static int go(const struct kept *k, const struct vm_run_options *o, struct error **err)
{
    return k->dir ? vm_detach(k->session, o, k->dir, err) : vm_run(k->session, o, k->status, err);
}

static int boot_instead(const struct kept *k, const char *why, struct error **err)
{
    struct vm_run_options o = *k->o;
    CLEANUP(vm_share_links_clear) struct vm_share_links links = {0};
    warm_tell_boot(k->session, k->wish, why);
    warm_share(k->session, &o, &links);
    return go(k, &o, err);
}

/* From the saved boot that is ready. 1: it was of no use, *ret_why says why. */
static int start_saved(const struct kept *k, struct saved *t, struct error **ret_why,
                       struct error **err)
{
    struct vm_run_options copy = *k->o;
    CLEANUP(warm_clear) struct vm_warm warm = WARM_INIT;
    struct error *why = NULL;
    int emptied = 0;
    copy.warm = &warm;
    copy.restore = true;
    if (warm_tell_lacking(k->session, k->wish, t->note, err) < 0)
        return -1;
    if (warm_from(&warm, t, k->o, k->wish, &why) == 0 && take_disks(k->o, t, &why) == 0)
        (void)go(k, &copy, &why);
    if (warm.resumed)
        date_disks(k->o);
    else
        emptied = empty_disks(k->o, why ? NULL : err);
    if (!why)
        return emptied;
    if (!warm_is_at_fault(&warm, why))
        return error_propagate(err, why);
    saved_reject(t);
    *ret_why = why;
    return emptied < 0 ? error_set(err, ERR_SYSTEM, "cannot empty the VM's disks again") : 1;
}

/* Nothing of the VM's own is on its disks; copies of a start that was killed are removed. */
static int look_at_disks(const struct kept *k, const char **ret_why, struct error **err)
{
    const char *why = k->wish->again ? "its disk was changed by an earlier start"
                                     : "its disk was changed before its first start";
    bool copies = false;
    *ret_why = NULL;
    for (size_t i = 0; i < k->o->n_disks; i++) {
        bool copy = is_copy(vm_run_disk_top(k->o, i));
        if (!copy && !is_empty(k->o, i))
            *ret_why = why;
        copies |= copy;
    }
    return copies && !*ret_why ? empty_disks(k->o, err) : 0;
}

static int start(const struct kept *k, struct error **err)
{
    CLEANUP(saved_clear) struct saved t = SAVED_INIT;
    CLEANUP(error_freep) struct error *why = NULL;
    AUTO_FREE struct vm_run_disk *below = disks_below(k->o);
    struct vm_run_options base = *k->o;
    struct saved_kind kind;
    base.disks = below;
    base.keep = false;
    base.hold = -1;
    const char *no;
    if (look_at_disks(k, &no, err) < 0)
        return -1;
    if (!no)
        no = warm_obstacle(k->o, k->wish, !k->dir);
    if (no)
        return boot_instead(k, no, err);
    if (warm_open(k->session, &base, k->wish, &kind, &t, &why) < 0 ||
        warm_get_ready(k->session, &base, k->wish, &t, &why) < 0) {
        if (warm_is_final(why, &base))
            return error_propagate(err, STEAL(why));
    } else {
        const char *unfit = warm_unfit(k->o, t.note);
        int rc = unfit ? 1 : start_saved(k, &t, &why, err);
        if (rc <= 0)
            return rc;
        if (unfit)
            error_set(&why, ERR_USER, "%s", unfit);
    }
    saved_clear(&t);
    return boot_instead(k, why->message, err);
}

int vm_warm_detach(const struct session *s, const struct vm_run_options *o,
                   const struct vm_warm_wish *wish, const char *dir, struct error **err)
{
    const struct kept k = {s, o, wish, dir, NULL};
    return start(&k, err);
}

int warm_run_kept(const struct session *s, const struct vm_run_options *o,
                  const struct vm_warm_wish *wish, int *ret_status, struct error **err)
{
    const struct kept k = {s, o, wish, NULL, ret_status};
    return start(&k, err);
}
