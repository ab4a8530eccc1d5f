// SPDX-License-Identifier: MIT
//
// The one that is saved has its memory in a file without a name (memfd), so a disk that fills up does
// not kill it, and its end and the digests cost one copy of the pages that hold something. It never
// goes on: whoever made it is restored like everybody else.
#include "vm/warm.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/session.h"
#include "qcow2/qcow2.h"
#include "vm/accel.h"
#include "vm/qemu.h"
#include "vm/run_disks.h"
#include "vm/run_machine.h"
#include "vm/sftp_server.h"
#include "vm/warm_memory.h"
#include "vm/warm_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FORMAT = 3, KEEP = 8 };
#define MAX_BYTES (4ULL << 30)
/* What it takes, roughly, beside what its memory holds. */
#define ROOM (64ULL << 20)

static const struct saved_kind default_kind = {
    .folder = "warm",
    .record = "warm.json",
    .keep = KEEP,
    .max_bytes = MAX_BYTES,
    .waiting = "another kiln is saving this boot: waiting for it"};

/* --- what it depends on --- */

/* The spec as all of its copies have it: reached over SSH if there is a way, without what is chosen anew
 * each time. */
static int common_spec(const struct vm_spec *spec, struct vm_spec *ret, struct error **err)
{
    json_auto_t *text = vm_spec_to_json(spec);
    if (!text)
        return error_set(err, ERR_USER, "an argument is not UTF-8");
    if (vm_spec_from_json(text, ret, err) < 0)
        return -1;
    vec_foreach (struct vm_nic *, nic, &ret->nics) {
        vec_foreach (struct vm_forward *, f, &nic->forwards)
            free(f->address);
        vm_forwards_clear(&nic->forwards);
    }
    vec_foreach (struct vm_share *, share, &ret->shares) {
        free(share->host);
        free(share->guest);
    }
    vm_shares_clear(&ret->shares);
    ret->ssh.port = 0;
    ret->session = vm_spec_has_user_network(ret) ? VM_SSH_COMMAND : VM_SERIAL;
    vm_spec_set(&ret->console_log, NULL);
    return 0;
}

/* Which file it is. */
static void add_file(struct buf *b, const char *path)
{
    struct stat st;
    if (path && stat(path, &st) == 0)
        buf_addf(b, "%s %llx:%llx %lld %lld.%09ld\n", path, (unsigned long long)st.st_dev,
                 (unsigned long long)st.st_ino, (long long)st.st_size, (long long)st.st_mtim.tv_sec,
                 st.st_mtim.tv_nsec);
}

/* All that the state depends on, owned. */
static char *make_key(const struct vm_run_options *o, const struct vm_warm_wish *wish)
{
    CLEANUP(strv_clear) struct strv args = {0};
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    AUTO_FREE char *ram = xstrdup("ram");
    struct vm_warm warm = {.ram = ram, .ram_fd = -1};
    struct vm_run_options k = *o;
    json_auto_t *none = json_array();
    for (size_t i = 0; i < o->n_disks; i++)
        (void)json_array_append_new(none, json_array());
    k.warm = &warm;
    k.restore = false;
    k.stop_when_full = false; // no guest sees a difference
    vm_run_machine(&k, none, &args);
    buf_addf(&b, "kiln warm %d %016llx\n%s\n%s\n", FORMAT,
             (unsigned long long)warm_program_digest(), wish->backend, wish->layer);
    for (size_t i = 0; i < o->n_disks; i++) { // the top file tells all below it
        buf_addf(&b, "disk %llu\n", (unsigned long long)o->disks[i].size);
        if (i)
            add_file(&b, vm_run_disk_top(o, i));
    }
    qemu_add_identity(&b, o->qemu);
    vec_foreach (char **, a, &args)
        buf_addf(&b, "%s\n", *a);
    add_file(&b, o->spec->kernel);
    add_file(&b, o->spec->initrd);
    buf_addf(&b, "ready %s\n%s", wish->ready_text ? wish->ready_text : "",
             wish->compress ? "packed\n" : "");
    if (o->accel == ACCEL_KVM)
        accel_add_host(&b);
    return buf_detach(&b, NULL);
}

const char *warm_obstacle(const struct vm_run_options *o, const struct vm_warm_wish *wish,
                          bool in_front)
{
    vec_foreach (const struct vm_nic *, nic, &o->spec->nics)
        if (nic->bridge || nic->group)
            return "copies would have one address on its network";
    if (o->spec->qemu_args.len)
        return "QEMU gets arguments of your own";
    if (o->spec->uefi)
        return "it boots by UEFI";
    if (o->seed)
        return "it has a seed for cloud-init";
    if (!vm_spec_has_user_network(o->spec) && !wish->ready_text)
        return "without a network for SSH, --ready-when serial:REGEX must say when it has booted";
    if (!o->spec->shares.len)
        return NULL;
    if (!vm_spec_has_user_network(o->spec) || (in_front && o->spec->session == VM_SERIAL))
        return "a folder is shared, which needs SSH";
    AUTO_FREE char *server = sftp_server_find(o->spec->ssh.sftp_server, NULL);
    return server ? NULL : "a folder is shared, and this host has no sftp-server for sshfs";
}

const char *warm_unfit(const struct vm_run_options *o, const json_t *note)
{
    return o->spec->shares.len && !json_flag(note, "sshfs")
               ? "a folder is shared, and the guest has no sshfs"
               : NULL;
}

/* --- making one --- */

struct making {
    struct vm_spec spec;
    struct vm_run_disk *disks;
    struct strv files; /* of all disks */
    const char ***lists;
    size_t n;
};

static void making_clear(struct making *m)
{
    vm_spec_clear(&m->spec);
    for (size_t i = 0; i < m->n; i++)
        free(m->lists[i]);
    free(m->lists);
    free(m->disks);
    strv_clear(&m->files);
}

char *warm_disk_name(size_t i)
{
    return xasprintf("disk%zu.qcow2", i);
}

/* The chains with the files of the saved state on top. */
static void add_disks(struct making *m, const struct vm_run_options *o, const char *dir)
{
    m->n = o->n_disks;
    m->disks = xcalloc(m->n, sizeof *m->disks);
    m->lists = xcalloc(m->n, sizeof *m->lists);
    for (size_t i = 0; i < m->n; i++) {
        const struct vm_run_disk *d = &o->disks[i];
        AUTO_FREE char *name = warm_disk_name(i);
        char *path = path_join(dir, name);
        strv_add_take(&m->files, path);
        m->lists[i] = xcalloc(d->n_files + 1, sizeof **m->lists);
        memcpy(m->lists[i], d->files, d->n_files * sizeof *d->files);
        m->lists[i][d->n_files] = path;
        m->disks[i] = (struct vm_run_disk){m->lists[i], d->n_files + 1, d->size};
    }
}

static int boot_and_save(const struct session *s, const struct vm_run_options *o,
                         const struct vm_warm_wish *wish, struct saved *t, int memory,
                         struct error **err)
{
    CLEANUP(making_clear) struct making m = {0};
    AUTO_FREE char *ram = xasprintf("/proc/self/fd/%d", memory);
    struct vm_warm warm = {.saving = true, .saved = t, .ram = ram, .ram_fd = memory, .wish = wish};
    int status;
    vm_spec_init(&m.spec);
    if (common_spec(o->spec, &m.spec, err) < 0)
        return -1;
    add_disks(&m, o, t->dir);
    for (size_t i = 0; i < m.n; i++) {
        const struct vm_run_disk *below = &o->disks[i];
        AUTO_FREE char *backing = realpath(below->files[below->n_files - 1], NULL);
        struct qcow2_overlay overlay = {.size = below->size, .backing = backing};
        if (qcow2_create_overlay(m.files.ptr[i], &overlay, err) < 0 ||
            chmod(m.files.ptr[i], 0600) < 0)
            return err && *err ? -1 : error_errno(err, "cannot make '%s'", m.files.ptr[i]);
    }
    struct vm_run_options make = *o;
    make.spec = &m.spec;
    make.disks = m.disks;
    make.keep = true;
    make.stop_when_full = false; // it would wait for space
    make.share_fds = NULL;
    make.warm = &warm;
    make.up = NULL;
    make.entered = make.leaving = NULL;
    return vm_run(s, &make, &status, err);
}

int warm_tell_lacking(const struct session *s, const struct vm_warm_wish *wish, const json_t *note,
                      struct error **err)
{
    const char *why = json_str(note, "lacking");
    if (!why)
        return 0;
    if (wish->strict) {
        error_set(err, ERR_USER, "the guest of '%s' cannot be given the time and random bytes: %s",
                  wish->image, why);
        return error_hint(err, "--warm alone goes on, with a warning; without it the VM boots");
    }
    AUTO_FREE char *text = xasprintf(
        "warning: VMs from the saved boot of '%s' have a wrong clock "
        "and may have equal random bytes: %s\n",
        wish->image, why);
    session_warning(s, text);
    return 0;
}

static int no_room(const struct session *s, struct error **err)
{
    return error_set(err, ERR_SYSTEM, "too little room in '%s'", s->cache);
}

/* t: open, and not ready. */
static int make(const struct session *s, const struct vm_run_options *o,
                const struct vm_warm_wish *wish, struct saved *t, struct error **err)
{
    off_t size = (off_t)o->spec->memory_mb << 20;
    AUTO_CLOSE int memory = memfd_create("kiln-guest", MFD_CLOEXEC);
    if (memory < 0 || ftruncate(memory, size) < 0)
        return error_errno(err, "cannot make the VM's memory");
    if (free_bytes(t->dir) < ROOM)
        return no_room(s, err);
    long long began = now_ms();
    if (boot_and_save(s, o, wish, t, memory, err) < 0 ||
        (wish->strict && warm_tell_lacking(s, wish, t->note, err) < 0))
        return -1;
    long long booted = now_ms();
    struct stat st;
    if (fstat(memory, &st) == 0 && free_bytes(t->dir) < (uint64_t)st.st_blocks * 512 + ROOM)
        return no_room(s, err);
    (void)json_object_update_new(t->note, json_pack("{s:s, s:s, s:s, s:b}", "image", wish->image,
                                                    "backend", wish->backend, "layer", wish->layer,
                                                    "packed", wish->compress));
    if ((wish->compress ? warm_memory_pack : warm_memory_copy)(memory, t->ram, err) < 0 ||
        saved_commit(s, t, err) < 0)
        return -1;
    session_debug(s, 1, "warm: booted in %.2f s, saved in %.2f s", (double)(booted - began) / 1000,
                  (double)(now_ms() - booted) / 1000);
    CLEANUP(buf_clear) struct buf taken = BUF_INIT;
    buf_add_size(&taken, saved_bytes(t));
    session_notice(s, "saved the boot of '%s' (%s)", wish->image, taken.data);
    return 0;
}

/* --- using one --- */

void warm_clear(struct vm_warm *w)
{
    free(w->ram);
    auto_closep(&w->ram_fd);
}

int warm_from(struct vm_warm *w, struct saved *t, const struct vm_run_options *o,
              const struct vm_warm_wish *wish, struct error **err)
{
    w->saved = t;
    w->wish = wish;
    if (!json_flag(t->note, "packed")) {
        w->ram = xstrdup(t->ram);
        return 0;
    }
    w->ram_fd = warm_memory_unpack(t->ram, (uint64_t)o->spec->memory_mb << 20, err);
    w->ram = xasprintf("/proc/self/fd/%d", w->ram_fd);
    w->loading = w->ram_fd < 0 && err && !(*err)->errnum; // what is packed is wrong
    return w->ram_fd < 0 ? -1 : 0;
}

static int restore(const struct session *s, const struct vm_run_options *o,
                   const struct vm_warm_wish *wish, struct saved *t, struct vm_warm *warm,
                   int *ret_status, struct error **err)
{
    CLEANUP(making_clear) struct making m = {0};
    struct vm_run_options copy = *o;
    if (warm_from(warm, t, o, wish, err) < 0)
        return -1;
    add_disks(&m, o, t->dir);
    copy.disks = m.disks;
    copy.warm = warm;
    copy.restore = true;
    return vm_run(s, &copy, ret_status, err);
}

int warm_open(const struct session *s, const struct vm_run_options *o,
              const struct vm_warm_wish *wish, struct saved_kind *kind, struct saved *t,
              struct error **err)
{
    CLEANUP(strv_clear) struct strv files = {0};
    CLEANUP(vm_spec_clear) struct vm_spec spec;
    struct vm_run_options k = *o;
    vm_spec_init(&spec);
    if (warm_ready_check(wish, o->spec, err) < 0 || common_spec(o->spec, &spec, err) < 0)
        return -1;
    k.spec = &spec;
    for (size_t i = 0; i < o->n_disks; i++)
        strv_add_take(&files, warm_disk_name(i));
    AUTO_FREE char *key = make_key(&k, wish);
    *kind = default_kind;
    if (wish->max_bytes)
        kind->max_bytes = wish->max_bytes;
    return saved_open(s, kind, (const char *const *)files.ptr, key, t, err);
}

/* Errors that are the user's, or another program's. */
static bool is_from_outside(const struct error *e)
{
    return e->kind == ERR_CANCELLED || e->kind == ERR_KILLED || e->kind == ERR_USER ||
           e->kind == ERR_USAGE || e->status == VM_EXIT_TIMEOUT;
}

/* The serial console needs no SSH. */
bool warm_is_final(const struct error *e, const struct vm_run_options *o)
{
    return is_from_outside(e) || e->status == VM_EXIT_PANIC ||
           (e->status == VM_EXIT_NO_SSH && o->spec->session != VM_SERIAL);
}

bool warm_is_at_fault(const struct vm_warm *w, const struct error *e)
{
    return w->loading && !w->resumed && !is_from_outside(e);
}

int warm_get_ready(const struct session *s, const struct vm_run_options *o,
                   const struct vm_warm_wish *wish, struct saved *t, struct error **err)
{
    if (t->ready)
        return 0;
    if (t->damaged)
        session_notice(s, "the saved boot of '%s' is damaged: making it anew", wish->image);
    return make(s, o, wish, t, err);
}

/* From the saved boot that is ready. 1: it was of no use, *ret_why says why. */
static int run_saved(const struct session *s, const struct vm_run_options *o,
                     const struct vm_warm_wish *wish, struct saved *t, int *ret_status,
                     struct error **ret_why, struct error **err)
{
    CLEANUP(warm_clear) struct vm_warm warm = WARM_INIT;
    struct error *why = NULL;
    if (warm_tell_lacking(s, wish, t->note, err) < 0)
        return -1;
    if (wish->only || restore(s, o, wish, t, &warm, ret_status, &why) == 0)
        return 0;
    if (!warm_is_at_fault(&warm, why))
        return error_propagate(err, why);
    saved_reject(t);
    *ret_why = why;
    return 1;
}

void warm_tell_boot(const struct session *s, const struct vm_warm_wish *wish, const char *why)
{
    AUTO_FREE char *line = xasprintf("no saved boot for '%s': %.*s; booting", wish->image,
                                     (int)strcspn(why, "\n"), why);
    if (wish->quiet)
        session_debug(s, 1, "%s", line);
    else
        session_notice(s, "%s", line);
}

void warm_share(const struct session *s, struct vm_run_options *o, struct vm_share_links *links)
{
    vm_share_links_open(s, o->spec, links);
    o->share_fds = links->fds;
}

static int boot_instead(const struct session *s, const struct vm_run_options *o,
                        const struct vm_warm_wish *wish, const char *why, int *ret_status,
                        struct error **err)
{
    struct vm_run_options boot = *o;
    CLEANUP(vm_share_links_clear) struct vm_share_links links = {0};
    if (wish->only)
        return error_set(err, ERR_USER, "no saved boot for '%s': %s", wish->image, why);
    warm_tell_boot(s, wish, why);
    warm_share(s, &boot, &links);
    return vm_run(s, &boot, ret_status, err);
}

int vm_warm_run(const struct session *s, const struct vm_run_options *o,
                const struct vm_warm_wish *wish, int *ret_status, struct error **err)
{
    CLEANUP(saved_clear) struct saved t = SAVED_INIT;
    CLEANUP(error_freep) struct error *why = NULL;
    struct saved_kind kind;
    *ret_status = 0;
    if (o->keep)
        return warm_run_kept(s, o, wish, ret_status, err);
    const char *obstacle = warm_obstacle(o, wish, true);
    if (obstacle)
        return boot_instead(s, o, wish, obstacle, ret_status, err);
    if (warm_open(s, o, wish, &kind, &t, &why) < 0 || warm_get_ready(s, o, wish, &t, &why) < 0) {
        if (wish->only || warm_is_final(why, o))
            return error_propagate(err, STEAL(why));
    } else {
        const char *unfit = warm_unfit(o, t.note);
        int rc = unfit ? 1 : run_saved(s, o, wish, &t, ret_status, &why, err);
        if (rc <= 0)
            return rc;
        if (unfit)
            error_set(&why, ERR_USER, "%s", unfit);
    }
    saved_clear(&t);
    return boot_instead(s, o, wish, why->message, ret_status, err);
}

/* --- housekeeping --- */

struct saved_sum vm_warm_usage(const struct session *s)
{
    return saved_usage(s, &default_kind);
}

/* Those whose record cannot be read go, too. */
static bool is_old(void *arg, const json_t *note, int64_t age)
{
    const long long *max_age = arg;
    (void)note;
    return age >= *max_age;
}

struct saved_sum vm_warm_prune(const struct session *s, long long max_age, bool dry_run)
{
    return saved_remove(s, &default_kind, is_old, &max_age, dry_run);
}

struct sweep {
    const struct session *session;
    vm_warm_layer_fn *layer_of;
};

static bool is_stale(void *arg, const json_t *note, int64_t age)
{
    const struct sweep *sweep = arg;
    const char *image = json_str(note, "image"), *backend = json_str(note, "backend"),
               *layer = json_str(note, "layer");
    (void)age;
    if (!image || !backend || !layer)
        return true;
    AUTO_FREE char *here = realpath(sweep->session->backend, NULL);
    if (!here || strcmp(here, backend) != 0)
        return access(backend, F_OK) < 0;
    AUTO_FREE char *now = sweep->layer_of(sweep->session, image);
    return !now || strcmp(now, layer) != 0;
}

void vm_warm_sweep(const struct session *s, vm_warm_layer_fn *layer_of)
{
    struct sweep sweep = {s, layer_of};
    (void)saved_remove(s, &default_kind, is_stale, &sweep, false);
}
