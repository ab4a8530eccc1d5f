// SPDX-License-Identifier: MIT
//
// In: the builder VM works on a copy of the VM's disk, which then takes the disk's place, so a copy
// that fails or is killed changes nothing. Out: it works on an overlay that is thrown away, as
// mounting a file system may repair it.
#include "cli/vm_copy.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/working.h"
#include "builder/build/offline.h"
#include "cache/store.h"
#include "cli/cp_copy.h"
#include "cli/signals.h"
#include "cli/vm_find.h"
#include "cli/vm_store.h"
#include "qcow2/qcow2.h"
#include "vm/ssh.h"
#include "vm/state.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void vm_copies_clear(struct vm_copies *c)
{
    strv_clear(&c->in);
    strv_clear(&c->out);
}

/* The host's path may hold ':', the guest's begins with '/'. */
static int take_in(const char *text, struct strv *ret, struct error **err)
{
    const char *colon = NULL;
    for (const char *p = text; (p = strstr(p, ":/")); p++)
        colon = p;
    if (!colon || colon == text) {
        error_set(err, ERR_USAGE, "argument --copy-in-before: '%s' is not HOST:/GUEST", text);
        return error_hint(err, "the guest's path is absolute, as in ./site:/srv/www");
    }
    AUTO_FREE char *from = xstrndup(text, (size_t)(colon - text));
    if (access(from, F_OK) < 0)
        return error_errno(err, "argument --copy-in-before: cannot copy '%s'", from);
    strv_add(ret, from);
    strv_add(ret, colon + 1);
    return 0;
}

static int take_out(const char *text, struct strv *ret, struct error **err)
{
    const char *colon = strchr(text, ':');
    struct stat st;
    if (*text != '/' || !colon || !colon[1]) {
        error_set(err, ERR_USAGE, "argument --copy-out-after: '%s' is not /GUEST:HOST", text);
        return error_hint(err, "the guest's path is absolute, as in /var/log:./logs");
    }
    if (stat(colon + 1, &st) < 0 || !S_ISDIR(st.st_mode)) {
        error_set(err, ERR_NOT_FOUND, "argument --copy-out-after: '%s' is not a folder", colon + 1);
        return error_hint(err, "make it first: mkdir -p '%s'", colon + 1);
    }
    AUTO_FREE char *from = xstrndup(text, (size_t)(colon - text));
    AUTO_FREE char *to = realpath(colon + 1, NULL);
    if (!to)
        return error_errno(err, "argument --copy-out-after: cannot find '%s'", colon + 1);
    strv_add(ret, from);
    strv_add(ret, to);
    return 0;
}

int vm_copies_take(const struct args *a, bool with_out, struct vm_copies *ret, struct error **err)
{
    long long seconds = -1;
    const char *text;
    for (size_t i = 0; (text = args_nth(a, "copy-in-before", i)); i++)
        if (take_in(text, &ret->in, err) < 0)
            return -1;
    for (size_t i = 0; with_out && (text = args_nth(a, "copy-out-after", i)); i++)
        if (take_out(text, &ret->out, err) < 0)
            return -1;
    if (args_seconds(a, "copy-timeout", &seconds, err) < 0)
        return -1;
    if (seconds > INT_MAX / 1000)
        return error_set(err, ERR_USAGE, "argument --copy-timeout: at most %d seconds",
                         INT_MAX / 1000);
    ret->timeout_ms = seconds < 0 ? -1 : (int)seconds * 1000;
    ret->direct = with_out && args_has(a, "direct-copy");
    ret->links = args_has(a, "rsync");
    return 0;
}

int vm_copy_in_offline(struct offline *off, const struct vm_copies *c, struct error **err)
{
    for (size_t i = 0; i < c->in.len; i += 2)
        if (offline_copy_in(off, c->in.ptr[i], c->in.ptr[i + 1], c->links, c->timeout_ms, err) < 0)
            return -1;
    return 0;
}

/* A VM whose disk is worked on. */
struct work {
    struct named_vm vm;
    struct store *store;
    struct strv files; /* the last is the VM's disk */
    uint64_t size;
    struct working folder;
};
#define WORK_INIT \
    { \
        NAMED_VM_INIT, NULL, {0}, 0, WORKING_INIT \
    }

static void work_clear(struct work *w)
{
    working_clear(&w->folder);
    strv_clear(&w->files);
    store_free(w->store);
    named_vm_clear(&w->vm);
}

static int work_open(const struct session *s, const char *name, struct work *w, struct error **err)
{
    AUTO_FREE char *parent = path_join(s->vmstore, ".working");
    if (vm_find(s, name, &w->vm, err) < 0 || named_vm_lock(&w->vm, err) < 0 ||
        vm_state_refuse(&w->vm, err) < 0 ||
        vm_store_chain(s, &w->vm, &w->store, &w->files, &w->size, err) < 0)
        return -1;
    working_sweep(parent);
    return working_open(&w->folder, parent, err);
}

static struct offline *open_disk(const struct session *s, const struct work *w, struct error **err)
{
    struct offline_options o = {.files = (const char *const *)w->files.ptr,
                                .n_files = w->files.len,
                                .size = w->size,
                                .mounts = json_object_get(w->vm.config, "mounts"),
                                .scratch = w->folder.dir};
    return offline_open(s, &o, err);
}

/* In place of the VM's disk at the end of the chain. */
static int work_on_copy(struct work *w, const char *path, struct error **err)
{
    AUTO_CLOSE int from = open(w->vm.disk, O_RDONLY | O_CLOEXEC);
    AUTO_CLOSE int to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (from < 0 || to < 0)
        return error_errno(err, "cannot copy '%s'", w->vm.disk);
    if (file_copy(from, to, err) < 0)
        return error_wrap(err, "disk of VM '%s'", w->vm.name);
    vm_spec_set(&w->files.ptr[w->files.len - 1], path);
    return 0;
}

int vm_copy_in(const struct session *s, const char *name, const struct vm_copies *c,
               struct error **err)
{
    CLEANUP(work_clear) struct work w = WORK_INIT;
    if (!c->in.len || c->direct)
        return 0;
    if (work_open(s, name, &w, err) < 0)
        return -1;
    AUTO_FREE char *copy = path_join(w.folder.dir, NAMED_VM_DISK);
    if (work_on_copy(&w, copy, err) < 0)
        return -1;
    CLEANUP(offline_freep) struct offline *off = open_disk(s, &w, err);
    if (!off || vm_copy_in_offline(off, c, err) < 0 || offline_finish(off, err) < 0)
        return -1;
    if (rename(copy, w.vm.disk) < 0)
        return error_errno(err, "cannot replace '%s'", w.vm.disk);
    return fsync_dir(w.vm.dir, err);
}

/* Where a command's output goes; a runner_output_fn's argument. */
struct sink {
    const int *fds;
    int errnum; /* why it takes no more, 0 = it does */
};

static void pass_on(void *arg, int stream, const char *bytes, size_t n)
{
    struct sink *k = arg;
    if (!k->errnum && write_all(k->fds[stream], bytes, n) < 0 && stream == 1)
        k->errnum = errno;
}

struct offline_guest {
    struct offline *off;
    int timeout_ms;
};

/* a cp_run_fn; nothing is read from fds[0] */
static int run_offline(void *arg, const char *command, const int fds[3], int *ret_status,
                       struct error **err)
{
    const struct offline_guest *g = arg;
    struct sink sink = {fds, 0};
    const char *argv[] = {command, NULL};
    struct runner_wait w = {g->timeout_ms, pass_on, &sink};
    if (offline_shell(g->off, argv, w, ret_status, err) < 0)
        return -1;
    if (!sink.errnum)
        return 0;
    if (sink.errnum == EPIPE && fds[1] == STDOUT_FILENO) {
        signals_reader_gone();
        return error_set(err, ERR_CANCELLED, "interrupted");
    }
    errno = sink.errnum;
    return error_errno(err, "cannot write to standard output");
}

static const char *last_part(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    const char *slash = memrchr(path, '/', n);
    return slash ? slash + 1 : path;
}

/* Something new appears whole: it is made beside its place. */
static int copy_whole(const struct cp_guest *g, const char *from, const char *dir,
                      const char *final, bool follow, struct error **err)
{
    AUTO_FREE char *temp = path_join(dir, ".kiln-XXXXXX");
    if (!mkdtemp(temp))
        return error_errno(err, "cannot write to '%s'", dir);
    AUTO_FREE char *made = path_join(temp, "copy");
    int rc = cp_copy_out(g, from, made, follow, err);
    if (rc == 0 && rename_new(made, final) < 0)
        rc = error_errno(err, "cannot make '%s'", final);
    (void)remove_tree(temp, NULL);
    return rc;
}

static int copy_out(const struct cp_guest *g, const char *from, const char *dir, bool follow,
                    struct error **err)
{
    const char *part = last_part(from);
    AUTO_FREE char *name = xstrndup(part, strcspn(part, "/"));
    AUTO_FREE char *final = path_join(dir, name);
    struct stat st;
    bool whole = *name && strcmp(name, ".") != 0 && lstat(final, &st) < 0;
    int rc = whole ? copy_whole(g, from, dir, final, follow, err)
                   : cp_copy_out(g, from, dir, follow, err);
    return rc < 0 ? error_wrap(err, "copy of '%s' to '%s'", from, dir) : 0;
}

/* NULL. */
static struct offline *open_to_read(const struct session *s, const char *name, struct work *w,
                                    struct error **err)
{
    if (work_open(s, name, w, err) < 0)
        return NULL;
    AUTO_FREE char *overlay = path_join(w->folder.dir, "out.qcow2");
    struct qcow2_overlay q = {.size = w->size, .backing = w->vm.disk};
    if (qcow2_create_overlay(overlay, &q, err) < 0)
        return NULL;
    strv_add(&w->files, overlay);
    return open_disk(s, w, err);
}

static bool is_missing(const struct error *e)
{
    return e->kind == ERR_NOT_FOUND && e->errnum == ENOENT;
}

/* What the guest has not counts least. */
static int copy_all_out(const struct cp_guest *g, const struct vm_copies *c, struct error **err)
{
    struct error *first = NULL;
    for (size_t i = 0; i < c->out.len; i += 2) {
        CLEANUP(error_freep) struct error *why = NULL;
        if (copy_out(g, c->out.ptr[i], c->out.ptr[i + 1], !c->links, &why) == 0)
            continue;
        if (!first) {
            first = STEAL(why);
            continue;
        }
        bool worse = is_missing(first) && !is_missing(why);
        print_note("error: ", worse ? first->message : why->message);
        if (worse) {
            error_free(first);
            first = STEAL(why);
        }
    }
    return first ? error_propagate(err, first) : 0;
}

int vm_copy_out(const struct session *s, const char *name, const struct vm_copies *c,
                struct error **err)
{
    CLEANUP(work_clear) struct work w = WORK_INIT;
    if (!c->out.len || c->direct)
        return 0;
    CLEANUP(offline_freep) struct offline *off = open_to_read(s, name, &w, err);
    struct offline_guest guest = {off, c->timeout_ms};
    struct cp_guest g = {run_offline, &guest, name, c->links};
    return off ? copy_all_out(&g, c, err) : -1;
}

int vm_copy_out_status(const struct session *s, const char *name, const struct vm_copies *c,
                       int status, struct error **err)
{
    struct error *why = NULL;
    if (vm_copy_out(s, name, c, &why) == 0)
        return status;
    why->status = status; // 0: that of the error
    return error_propagate(err, why);
}

int vm_copy_from(const struct session *s, const char *name, const char *from, const char *dest,
                 bool follow, struct error **err)
{
    CLEANUP(work_clear) struct work w = WORK_INIT;
    CLEANUP(offline_freep) struct offline *off = open_to_read(s, name, &w, err);
    struct offline_guest guest = {off, -1};
    struct cp_guest g = {run_offline, &guest, name, false};
    return off ? cp_copy_out(&g, from, dest, follow, err) : -1;
}

int vm_copy_in_ssh(struct vm_ssh *ssh, const char *name, const struct vm_copies *c,
                   struct error **err)
{
    struct cp_guest g = cp_guest_ssh(ssh, name);
    for (size_t i = 0; i < c->in.len; i += 2) {
        vm_ssh_limit(ssh, c->timeout_ms);
        if (cp_copy_in(&g, c->in.ptr[i], c->in.ptr[i + 1], !c->links, err) < 0)
            return error_wrap(err, "copy of '%s' to '%s' of the guest", c->in.ptr[i],
                              c->in.ptr[i + 1]);
    }
    vm_ssh_limit(ssh, -1);
    return 0;
}

int vm_copy_out_ssh(struct vm_ssh *ssh, const char *name, const struct vm_copies *c,
                    struct error **err)
{
    struct cp_guest g = cp_guest_ssh(ssh, name);
    g.attributes = c->links;
    for (size_t i = 0; i < c->out.len; i += 2) {
        vm_ssh_limit(ssh, c->timeout_ms);
        if (copy_out(&g, c->out.ptr[i], c->out.ptr[i + 1], !c->links, err) < 0)
            return -1;
    }
    vm_ssh_limit(ssh, -1);
    return 0;
}
