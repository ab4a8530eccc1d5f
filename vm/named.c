// SPDX-License-Identifier: MIT
//
// The lock lasts as long as QEMU does, as QEMU inherits its descriptor (vm_run_options.hold), so a
// VM whose kiln was killed counts as running until its QEMU is gone too. Its process number is only
// read while the lock is held, and the process is opened (pidfd) before that is looked at once
// more, so a signal never reaches another process that got the number later.
#include "vm/named.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/lock.h"
#include "base/session.h"
#include "vm/name.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { TICK_MS = 50 };

void named_vm_clear(struct named_vm *vm)
{
    free(vm->name);
    free(vm->word);
    free(vm->dir);
    free(vm->disk);
    json_decref(vm->config);
    auto_closep(&vm->lock);
    *vm = (struct named_vm)NAMED_VM_INIT;
}

size_t named_vm_disks(const struct named_vm *vm)
{
    return 1 + json_array_size(json_object_get(vm->config, "extra_images"));
}

char *named_vm_disk_in(const char *dir, size_t i)
{
    return i ? xasprintf("%s/disk-%zu.qcow2", dir, i) : path_join(dir, NAMED_VM_DISK);
}

char *named_vm_disk(const struct named_vm *vm, size_t i)
{
    return named_vm_disk_in(vm->dir, i);
}

char *named_vm_name(const char *text)
{
    return vm_name_plain(text);
}

char *named_vm_by_folder(const char *folder)
{
    return vm_name_decode(folder);
}

char *named_vm_folder(const char *vmstore, const char *name)
{
    AUTO_FREE char *folder = vm_name_encode(name);
    return path_join(vmstore, folder);
}

static int exists(const char *name, struct error **err)
{
    AUTO_FREE char *word = shell_word(name);
    error_set(err, ERR_EXISTS, "VM '%s' exists", name);
    return error_hint(err, "choose another --name, or 'kiln rm %s' first", word);
}

int named_vm_begin(const char *vmstore, const char *name, struct working *w, struct error **err)
{
    if (vm_name_check(name, err) < 0)
        return -1;
    AUTO_FREE char *dir = named_vm_folder(vmstore, name), *parent = path_join(vmstore, ".working");
    struct stat st;
    if (lstat(dir, &st) == 0)
        return exists(name, err);
    working_sweep(parent);
    return working_open(w, parent, err);
}

int named_vm_commit(const char *vmstore, const char *name, struct working *w, const json_t *config,
                    struct error **err)
{
    AUTO_FREE char *dir = named_vm_folder(vmstore, name), *file = path_join(w->dir, "vm.json");
    if (json_write_file(file, 0644, config, err) < 0)
        return -1;
    if (rename_new(w->dir, dir) < 0)
        return errno == EEXIST ? exists(name, err) : error_errno(err, "cannot make '%s'", dir);
    return fsync_dir(vmstore, err);
}

int named_vm_open_any(const char *vmstore, const char *name, struct named_vm *ret,
                      struct error **err)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    struct stat st;
    if (vm_name_check(name, err) < 0)
        return -1;
    vm.name = xstrdup(name);
    vm.word = shell_word(name);
    vm.dir = named_vm_folder(vmstore, name);
    vm.disk = path_join(vm.dir, NAMED_VM_DISK);
    AUTO_FREE char *file = path_join(vm.dir, "vm.json");
    if (lstat(file, &st) < 0) {
        error_set(err, ERR_NOT_FOUND, "no VM '%s' in '%s'", name, vmstore);
        return error_hint(err, "'kiln ls' lists the VMs");
    }
    vm.config = json_read_file(file, NULL);
    *ret = vm;
    vm = (struct named_vm)NAMED_VM_INIT;
    return 0;
}

int named_vm_open(const char *vmstore, const char *name, struct named_vm *ret, struct error **err)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    if (named_vm_open_any(vmstore, name, &vm, err) < 0)
        return -1;
    AUTO_FREE char *file = path_join(vm.dir, "vm.json");
    if (!vm.config && !(vm.config = json_read_file(file, err))) {
        error_wrap(err, "VM '%s'", name);
        return error_hint(err, "'kiln rm --force %s' removes it", vm.word);
    }
    *ret = vm;
    vm = (struct named_vm)NAMED_VM_INIT;
    return 0;
}

static char *lock_path(const struct named_vm *vm)
{
    return path_join(vm->dir, "lock");
}

static char *record_path(const struct named_vm *vm)
{
    return path_join(vm->dir, "run.json");
}

/* Who holds the lock says who he is, or who holds it from now on. */
static int note_holder(const struct named_vm *vm, int fd, pid_t pid, struct error **err)
{
    AUTO_FREE char *text = xasprintf("%ld\n", (long)pid);
    if (ftruncate(fd, 0) < 0 || pwrite_all(fd, text, strlen(text), 0) < 0)
        return error_errno(err, "cannot write the lock of VM '%s'", vm->name);
    return 0;
}

/* An empty record: whoever looks waits for a whole one, and the sweep knows that it was started. */
static int empty_record(const struct named_vm *vm, struct error **err)
{
    AUTO_FREE char *path = record_path(vm);
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 ? error_errno(err, "cannot write '%s'", path) : 0;
}

int named_vm_commit_held(const char *vmstore, const char *name, struct working *w, json_t *config,
                         struct named_vm *ret, struct error **err)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    vm.name = xstrdup(name);
    vm.word = shell_word(name);
    vm.dir = xstrdup(w->dir);
    AUTO_FREE char *lock = lock_path(&vm);
    vm.lock = lock_try(lock, LOCK_EXCLUSIVE, err);
    if (vm.lock < 0 || note_holder(&vm, vm.lock, getpid(), err) < 0 || empty_record(&vm, err) < 0 ||
        named_vm_commit(vmstore, name, w, config, err) < 0)
        return -1;
    free(vm.dir);
    vm.dir = named_vm_folder(vmstore, name);
    vm.disk = path_join(vm.dir, NAMED_VM_DISK);
    vm.config = json_incref(config);
    *ret = vm;
    vm = (struct named_vm)NAMED_VM_INIT;
    return 0;
}

int named_vm_appear(const char *vmstore, const char *name, json_t *config, struct named_vm *ret,
                    struct error **err)
{
    CLEANUP(working_clear) struct working w = WORKING_INIT;
    return named_vm_begin(vmstore, name, &w, err) < 0
               ? -1
               : named_vm_commit_held(vmstore, name, &w, config, ret, err);
}

/* Who holds the lock: his process number; 0 = nobody, -1 = somebody who does not tell (yet). */
static pid_t holder(const struct named_vm *vm)
{
    AUTO_FREE char *path = lock_path(vm);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fd < 0 || fcntl(fd, F_OFD_GETLK, &l) < 0 || l.l_type == F_UNLCK)
        return 0;
    char text[32] = "";
    ssize_t n = pread_all(fd, text, sizeof text - 1, 0);
    long pid = n > 0 ? strtol(text, NULL, 10) : 0;
    return pid > 1 && strchr(text, '\n') ? (pid_t)pid : -1;
}

bool named_vm_runs(const struct named_vm *vm)
{
    return holder(vm) != 0;
}

pid_t named_vm_process(const struct named_vm *vm)
{
    return holder(vm);
}

int named_vm_set_running(const struct named_vm *vm, pid_t pid, const json_t *record,
                         struct error **err)
{
    AUTO_FREE char *path = record_path(vm);
    return json_write_file(path, 0600, record, err) < 0 ? -1 : note_holder(vm, vm->lock, pid, err);
}

int named_vm_note(const struct named_vm *vm, const json_t *record, struct error **err)
{
    AUTO_FREE char *path = record_path(vm);
    return named_vm_runs(vm) ? json_write_file(path, 0600, record, err) : 0;
}

json_t *named_vm_noted(const struct named_vm *vm)
{
    AUTO_FREE char *path = record_path(vm);
    return json_read_file(path, NULL);
}

json_t *named_vm_running(const struct named_vm *vm)
{
    return named_vm_runs(vm) ? named_vm_noted(vm) : NULL;
}

bool named_vm_was_started(const struct named_vm *vm)
{
    AUTO_FREE char *path = record_path(vm);
    return access(path, F_OK) == 0;
}

int named_vm_rewrite(const struct named_vm *vm, struct error **err)
{
    AUTO_FREE char *file = path_join(vm->dir, "vm.json");
    return json_write_file(file, 0644, vm->config, err);
}

int named_vm_rename(const char *vmstore, struct named_vm *vm, const char *name, struct error **err)
{
    AUTO_FREE char *dir = named_vm_folder(vmstore, name);
    if (vm_name_check(name, err) < 0)
        return -1;
    if (rename_new(vm->dir, dir) < 0)
        return errno == EEXIST ? exists(name, err) : error_errno(err, "cannot make '%s'", dir);
    return fsync_dir(vmstore, err);
}

int named_vm_lock(struct named_vm *vm, struct error **err)
{
    AUTO_FREE char *path = lock_path(vm);
    CLEANUP(error_freep) struct error *why = NULL;
    AUTO_CLOSE int fd = lock_try(path, LOCK_EXCLUSIVE, &why);
    if (fd < 0 && why->kind == ERR_BUSY) {
        pid_t who = holder(vm);
        error_set(err, ERR_BUSY, "VM '%s' is running", vm->name);
        if (who > 0)
            (void)error_hint(err, "process %ld runs it; 'kiln stop %s' ends it", (long)who,
                             vm->word);
        return -1;
    }
    if (fd < 0)
        return error_propagate(err, STEAL(why));
    // of a run that has ended
    AUTO_FREE char *qmp = path_join(vm->dir, "qmp.sock");
    (void)unlink(qmp);
    if (empty_record(vm, err) < 0 || note_holder(vm, fd, getpid(), err) < 0)
        return -1;
    vm->lock = STEAL_FD(fd);
    return 0;
}

/* 0, or -1: the process is gone. */
static int send(const struct named_vm *vm, pid_t pid, int sig)
{
    AUTO_CLOSE int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0 || holder(vm) != pid)
        return -1;
    return (int)syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0);
}

int named_vm_stop(const struct session *s, const struct named_vm *vm, int sig, int timeout_ms,
                  struct error **err)
{
    long long deadline = now_ms() + timeout_ms;
    bool sent = false;
    pid_t pid;
    if (!named_vm_runs(vm))
        return 2;
    while ((pid = holder(vm)) != 0) {
        if (!sent && pid > 0) {
            if (send(vm, pid, sig) < 0 && errno == EPERM)
                return error_errno(err, "cannot stop process %ld", (long)pid);
            sent = true;
        }
        if (now_ms() >= deadline)
            return 0;
        struct pollfd p = {.fd = s->cancel_fd, .events = POLLIN};
        if (poll(&p, 1, TICK_MS) > 0)
            return error_set(err, ERR_CANCELLED, "interrupted");
    }
    return 1;
}

int named_vm_kill(const struct session *s, const struct named_vm *vm, struct error **err)
{
    enum { ASK_MS = 5000, KILL_MS = 10000 };
    int rc = named_vm_stop(s, vm, SIGUSR1, ASK_MS, err);
    if (rc == 0)
        rc = named_vm_stop(s, vm, SIGKILL, KILL_MS, err);
    return rc ? rc : error_set(err, ERR_BUSY, "VM '%s' does not end", vm->name);
}

int named_vm_remove(const char *vmstore, struct named_vm *vm, struct error **err)
{
    CLEANUP(working_clear) struct working w = WORKING_INIT;
    AUTO_FREE char *parent = path_join(vmstore, ".working");
    if (access(vm->dir, F_OK) < 0 && errno == ENOENT)
        return 0;
    if ((vm->lock < 0 && named_vm_lock(vm, err) < 0) || working_open(&w, parent, err) < 0)
        return -1;
    AUTO_FREE char *gone = path_join(w.dir, "gone");
    if (rename(vm->dir, gone) < 0 && errno != ENOENT)
        return error_errno(err, "cannot remove '%s'", vm->dir);
    return fsync_dir(vmstore, err);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int named_vm_list(const char *vmstore, struct strv *ret, struct error **err)
{
    DIR *d = opendir(vmstore);
    if (!d)
        return errno == ENOENT ? 0 : error_errno(err, "cannot read folder '%s'", vmstore);
    for (struct dirent *e; (e = readdir(d));) {
        AUTO_FREE char *file = xasprintf("%s/%s/vm.json", vmstore, e->d_name);
        AUTO_FREE char *name = vm_name_decode(e->d_name);
        struct stat st;
        if (name && lstat(file, &st) == 0)
            strv_add(ret, name);
    }
    closedir(d);
    if (ret->len)
        qsort(ret->ptr, ret->len, sizeof *ret->ptr, by_name);
    return 0;
}
