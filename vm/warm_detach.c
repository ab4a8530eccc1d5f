// SPDX-License-Identifier: MIT
//
// A VM in the background that starts from a saved boot keeps its disk, and must not need the saved boot
// later: what the boot wrote is copied to it first. The memory stays a mapping of the saved file.
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

static int copy_file(const char *from, const char *path, struct error **err)
{
    AUTO_FREE char *new = xasprintf("%s.new", path);
    (void)unlink(new); // of a start that was killed
    AUTO_CLOSE int in = open(from, O_RDONLY | O_CLOEXEC),
                   out = open(new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (in < 0 || out < 0)
        return error_errno(err, "cannot copy '%s' to '%s'", from, new);
    if (file_copy(in, out, err) < 0 || rename(new, path) < 0) {
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
        const struct vm_run_disk *d = &o->disks[i];
        AUTO_FREE char *backing = realpath(d->files[d->n_files - 2], NULL);
        struct qcow2_overlay overlay = {.size = d->size, .backing = backing, .sync = true};
        const char *top = vm_run_disk_top(o, i);
        if (unlink(top) < 0)
            return error_errno(err, "cannot remove '%s'", top);
        if (qcow2_create_overlay(top, &overlay, err) < 0)
            return -1;
    }
    return 0;
}

static int detach_instead(const struct session *s, const struct vm_run_options *o,
                          const struct vm_warm_wish *wish, const char *why, const char *dir,
                          struct error **err)
{
    session_notice(s, "no saved boot for '%s': %.*s; booting", wish->image, (int)strcspn(why, "\n"),
                   why);
    return vm_detach(s, o, dir, err);
}

/* From the saved boot that is ready. 1: it was of no use, *ret_why says why. */
static int detach_saved(const struct session *s, const struct vm_run_options *o,
                        const struct vm_warm_wish *wish, struct saved *t, const char *dir,
                        struct error **ret_why, struct error **err)
{
    struct vm_run_options copy = *o;
    struct vm_warm warm = {.saved = t, .ram = t->ram, .ram_fd = -1, .wish = wish};
    struct error *why = NULL;
    copy.warm = &warm;
    copy.restore = true;
    if (warm_tell_lacking(s, wish, t->note, err) < 0)
        return -1;
    if (take_disks(o, t, &why) == 0 && vm_detach(s, &copy, dir, &why) == 0)
        return 0;
    if (warm.resumed || warm_is_final(why, o, true))
        return error_propagate(err, why);
    saved_reject(t);
    *ret_why = why;
    return empty_disks(o, err) < 0 ? -1 : 1;
}

int vm_warm_detach(const struct session *s, const struct vm_run_options *o,
                   const struct vm_warm_wish *wish, const char *dir, struct error **err)
{
    CLEANUP(saved_clear) struct saved t = SAVED_INIT;
    CLEANUP(error_freep) struct error *why = NULL;
    AUTO_FREE struct vm_run_disk *below = disks_below(o);
    struct vm_run_options base = *o;
    struct saved_kind kind;
    base.disks = below;
    base.keep = false;
    base.hold = -1;
    const char *obstacle = warm_obstacle(&base);
    if (obstacle)
        return detach_instead(s, o, wish, obstacle, dir, err);
    if (warm_open(s, &base, wish, &kind, &t, &why) < 0 ||
        warm_get_ready(s, &base, wish, &t, &why) < 0) {
        if (warm_is_final(why, &base, false))
            return error_propagate(err, STEAL(why));
    } else {
        int rc = detach_saved(s, o, wish, &t, dir, &why, err);
        if (rc <= 0)
            return rc;
    }
    saved_clear(&t);
    return detach_instead(s, o, wish, why->message, dir, err);
}
