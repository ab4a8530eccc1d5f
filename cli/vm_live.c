// SPDX-License-Identifier: MIT
#include "cli/vm_live.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/vm_find.h"
#include "vm/bridge.h"
#include "vm/console.h"
#include "vm/detached.h"
#include "vm/login.h"
#include "vm/seed.h"
#include "vm/ssh_key.h"
#include "vm/state.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SSH_PORT = 22, ADDRESS_MS = 300 };

void vm_live_clear(struct vm_live *live)
{
    named_vm_clear(&live->vm);
    waiting_clear(&live->waiting);
    vm_spec_clear(&live->spec);
    json_decref(live->record);
    free(live->user);
    free(live->vm_key);
    free(live->address);
    live->record = NULL;
}

static bool is_whole(const json_t *record)
{
    return json_object_get(record, "ssh_port") != NULL;
}

json_t *vm_live_record(const struct session *s, const struct named_vm *vm)
{
    json_t *record = named_vm_noted(vm);
    pid_t starter = record && !is_whole(record) ? named_vm_process(vm) : 0;
    if (starter > 0 && kill(starter, 0) < 0 && errno == ESRCH)
        (void)vm_detached_adopt(s, vm, record, NULL);
    return record;
}

/* Whoever has just taken the lock is about to write it, once QEMU runs. */
static int read_record(const struct session *s, struct vm_live *live, struct error **err)
{
    enum { PATIENCE_MS = 10000, TICK_MS = 20 };
    long long deadline = now_ms() + PATIENCE_MS;
    while (named_vm_runs(&live->vm) && now_ms() < deadline) {
        json_decref(live->record);
        live->record = vm_live_record(s, &live->vm);
        if (is_whole(live->record))
            return 0;
        struct pollfd p = {.fd = s->cancel_fd, .events = POLLIN};
        if (poll(&p, 1, TICK_MS) > 0)
            return error_set(err, ERR_CANCELLED, "interrupted");
    }
    return 0;
}

const char *vm_live_halted(const struct named_vm *vm)
{
    static const struct {
        const char *qemus, *ours;
    } words[] = {{"paused", "suspended"}, {"io-error", "no-space"}, {"guest-panicked", "panicked"}};
    AUTO_FREE char *state = vm_is_detached(vm->dir) ? vm_detached_state(vm->dir) : NULL;
    for (size_t i = 0; state && i < sizeof words / sizeof *words; i++)
        if (!strcmp(state, words[i].qemus))
            return words[i].ours;
    return NULL;
}

int vm_live_check_halted(const struct named_vm *vm, struct error **err)
{
    const char *why = named_vm_runs(vm) ? vm_live_halted(vm) : NULL;
    if (!why)
        return 0;
    bool full = !strcmp(why, "no-space");
    if (full)
        error_set(err, ERR_USER, "VM '%s' is paused: no space is left in '%s' for what it writes",
                  vm->name, vm->dir);
    else
        error_set(err, ERR_USER, "VM '%s' is %s", vm->name, why);
    return error_hint(err, "'kiln resume %s' lets it go on%s", vm->word,
                      full ? " once there is some" : "");
}

int vm_live_open(const struct session *s, const char *name, struct vm_live *ret, struct error **err)
{
    ret->session = s;
    if (vm_find(s, name, &ret->vm, err) < 0)
        return -1;
    if (read_record(s, ret, err) < 0)
        return -1;
    (void)vm_spec_from_json(json_object_get(ret->record, "spec"), &ret->spec, NULL);
    vm_spec_set(&ret->spec.ssh.user, json_str(ret->record, "user")); // found out since
    vm_spec_set(&ret->spec.ssh.key, json_str(ret->record, "key"));
    if (named_vm_runs(&ret->vm))
        return 0;
    if (vm_state_refuse(&ret->vm, err) < 0)
        return -1;
    error_set(err, ERR_NOT_FOUND, "VM '%s' is not running", name);
    return json_object_get(ret->vm.config, "fleet")
               ? error_hint(err, "'kiln up %s' starts it", ret->vm.word)
               : error_hint(err, "'kiln start -d %s' starts it", ret->vm.word);
}

/* --wait or --ssh-timeout; -1 = neither says how long. */
static int given_seconds(const struct args *a, long long *ret, struct error **err)
{
    const char *wait = a ? args_get(a, "wait") : NULL;
    *ret = -1;
    if (!a || (wait && *wait && args_seconds(a, "wait", ret, err) < 0))
        return a ? -1 : 0;
    return *ret < 0 ? args_seconds(a, "ssh-timeout", ret, err) : 0;
}

int vm_live_await(const struct session *s, const struct args *a, const char *name,
                  struct vm_live *ret, struct error **err)
{
    enum { WAIT_S = 90, TICK_MS = 200 };
    long long seconds;
    if (args_user(a, "user", NULL, err) < 0 || given_seconds(a, &seconds, err) < 0)
        return -1;
    long long deadline = now_ms() + (seconds < 0 ? WAIT_S : seconds) * 1000;
    for (bool told = false;; told = true) {
        CLEANUP(error_freep) struct error *why = NULL;
        vm_live_clear(ret);
        *ret = (struct vm_live)VM_LIVE_INIT;
        if (vm_live_open(s, name, ret, &why) == 0)
            return 0;
        if (!args_has(a, "wait") || why->kind != ERR_NOT_FOUND || now_ms() >= deadline)
            return error_propagate(err, STEAL(why));
        if (!told)
            session_notice(s, "waiting until VM '%s' is started", name);
        struct pollfd p = {.fd = s->cancel_fd, .events = POLLIN};
        if (poll(&p, 1, TICK_MS) > 0)
            return error_set(err, ERR_CANCELLED, "interrupted");
    }
}

/* Whether the last that its kernel said is that it stopped for good: nothing comes after that but a
 * reboot's messages. */
static bool has_panicked(const struct named_vm *vm)
{
    AUTO_FREE char *last = vm_live_console(vm, 1);
    return last && strstr(last, "end Kernel panic - not syncing") != NULL;
}

static int panicked(const struct vm_live *live, struct error **err)
{
    error_set(err, ERR_GUEST, "the kernel of VM '%s' panicked", live->vm.name);
    if (err && *err)
        (*err)->status = VM_EXIT_PANIC;
    return error_hint(err, "'kiln logs %s' shows its console, 'kiln stop --kill %s' ends it",
                      live->vm.word, live->vm.word);
}

/* A vm_ssh_wait_fn that sees the VM's end. */
static int wait_live(void *arg, struct pollfd *fds, size_t n, long long deadline,
                     struct error **err)
{
    enum { LOOK_MS = 500, FDS_MAX = 32 };
    const struct vm_live *live = arg;
    struct pollfd f[FDS_MAX + 1];
    assert(n <= FDS_MAX);
    if (n)
        memcpy(f, fds, n * sizeof *fds);
    f[n] = (struct pollfd){.fd = live->session->cancel_fd, .events = POLLIN};
    long long left = deadline < 0 ? LOOK_MS : deadline - now_ms();
    int ready = poll(f, n + 1, left < 0 ? 0 : left > LOOK_MS ? LOOK_MS : (int)left);
    if (ready < 0 && errno != EINTR)
        return error_errno(err, "cannot wait for the VM");
    for (size_t i = 0; i < n; i++)
        fds[i].revents = ready > 0 ? f[i].revents : 0;
    if (ready > 0 && f[n].revents)
        return error_set(err, ERR_CANCELLED, "interrupted");
    if (ready <= 0 && !named_vm_runs(&live->vm))
        return error_set(err, ERR_GUEST, "VM '%s' has ended", live->vm.name);
    if (ready <= 0 && has_panicked(&live->vm))
        return panicked(live, err);
    return ready > 0 || deadline < 0 || now_ms() < deadline;
}

char *vm_live_console(const struct named_vm *vm, unsigned lines)
{
    enum { ENOUGH = 4096 };
    AUTO_FREE char *path = path_join(vm->dir, "console.log");
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    CLEANUP(console_clear) struct console console = CONSOLE_INIT;
    char text[ENOUGH];
    if (fd < 0 || !vm_is_detached(vm->dir))
        return NULL;
    off_t size = lseek(fd, 0, SEEK_END);
    ssize_t n = pread(fd, text, sizeof text, size > ENOUGH ? size - ENOUGH : 0);
    console_add(&console, text, n > 0 ? (size_t)n : 0);
    return console_last_lines(&console, lines);
}

static void tell_waiting(void *arg, long long ms)
{
    struct vm_live *live = arg;
    AUTO_FREE char *line =
        live->session->verbosity > 0 && ms >= 0 ? vm_live_console(&live->vm, 1) : NULL;
    waiting_show(&live->waiting, ms, line);
}

/* So that the next login need not find it out. */
static void remember_user(struct vm_live *live, const char *user)
{
    json_auto_t *now = named_vm_running(&live->vm); // it may have been started again since
    (void)json_object_set_new(live->record, "user", json_string(user));
    if (now && json_object_set_new(now, "user", json_string(user)) == 0)
        (void)named_vm_note(&live->vm, now, NULL);
}

char *vm_live_address(const json_t *record)
{
    CLEANUP(vm_spec_clear) struct vm_spec spec;
    vm_spec_init(&spec);
    (void)vm_spec_from_json(json_object_get(record, "spec"), &spec, NULL);
    const struct vm_nic *nic = vm_spec_bridged(&spec);
    return json_int(record, "ssh_port", 0) ? xstrdup("127.0.0.1")
           : nic && nic->mac               ? bridge_address(nic->mac)
                                           : NULL;
}

/* A guest without a port of ours is reached where it is on a bridge, once that is known. */
static int find_address(struct vm_live *live, long long deadline, struct error **err)
{
    const char *name = live->vm.name;
    const struct vm_nic *nic = vm_spec_bridged(&live->spec);
    if (!nic || !nic->mac) {
        error_set(err, ERR_USER, "VM '%s' has no port for SSH", name);
        return error_hint(
            err, "its QEMU arguments make a network of their own; 'kiln console %s' is there",
            live->vm.word);
    }
    for (;;) {
        free(live->address);
        live->address = bridge_address(nic->mac);
        if (live->address)
            return 0;
        int rc = now_ms() < deadline ? wait_live(live, NULL, 0, now_ms() + ADDRESS_MS, err) : 0;
        if (rc < 0)
            return -1;
        if (now_ms() >= deadline)
            break;
    }
    error_set(err, ERR_GUEST, "the address of VM '%s' on the bridge '%s' is not known", name,
              nic->bridge);
    return error_hint(err,
                      "no lease of dnsmasq and no entry of 'ip neigh' has %s; 'kiln console %s' is "
                      "there, and a second network \"user\" leads to SSH, too",
                      nic->mac, live->vm.word);
}

struct vm_ssh *vm_live_login(const struct session *s, const struct args *a, struct vm_live *live,
                             struct error **err)
{
    long long seconds = -1, timeout = live->timeout_ms
                                          ? live->timeout_ms
                                          : json_int(live->record, "ssh_timeout_ms", 0);
    const char *user = NULL;
    const char *key = a ? args_get(a, "ssh-key") : NULL;
    long long port = json_int(live->record, "ssh_port", 0);
    AUTO_FREE char *late =
        xasprintf("--wait waits longer; 'kiln logs %s' shows its console", live->vm.word);
    if ((a && args_user(a, "user", &user, err) < 0) || given_seconds(a, &seconds, err) < 0 ||
        vm_live_check_halted(&live->vm, err) < 0)
        return NULL;
    long long deadline = now_ms() + (seconds >= 0 ? seconds * 1000 : timeout);
    if (!port && find_address(live, deadline, err) < 0)
        return NULL;
    AUTO_FREE char *key_path = path_join(live->vm.dir, VM_SSH_KEY), *who = NULL;
    free(live->vm_key); // of a login before this one
    live->vm_key = vm_ssh_key_read(key_path, NULL);
    struct vm_ssh_options o = {.session = s,
                               .host = port ? NULL : live->address,
                               .port = port ? (unsigned)port : SSH_PORT,
                               .user = user ? user : live->spec.ssh.user,
                               .key_file = key ? key : live->spec.ssh.key,
                               .vm_key = live->vm_key,
                               .options = &live->spec.ssh.options,
                               .deadline = deadline,
                               .wait = wait_live,
                               .wait_arg = live,
                               .waiting = tell_waiting,
                               .late_hint = live->late_hint ? live->late_hint : late};
    live->waiting.session = s;
    struct vm_ssh *ssh = vm_login(&o, json_str(live->vm.config, "image"), &who, err);
    if (ssh && !o.user)
        remember_user(live, who);
    live->login = o;
    free(live->user);
    live->login.user = live->user = STEAL(who);
    return ssh;
}

struct vm_ssh *vm_live_first_login(const struct session *s, struct vm_live *live, int at_least_ms,
                                   struct error **err)
{
    enum { AGAIN_MS = 2000 };
    long long kept = json_int(live->record, "ssh_timeout_ms", 0);
    long long least = kept > at_least_ms ? kept : at_least_ms;
    long long deadline = now_ms() + (live->timeout_ms ? live->timeout_ms : least);
    AUTO_FREE char *seed = path_join(live->vm.dir, VM_SEED);
    for (;;) {
        CLEANUP(error_freep) struct error *why = NULL;
        long long left = deadline - now_ms();
        live->timeout_ms = left > 1 ? (int)left : 1;
        struct vm_ssh *ssh = vm_live_login(s, NULL, live, &why);
        if (ssh)
            return ssh;
        struct pollfd p = {.fd = s->cancel_fd, .events = POLLIN};
        if (why->errnum != EACCES || access(seed, F_OK) < 0 || now_ms() + AGAIN_MS > deadline ||
            poll(&p, 1, AGAIN_MS) > 0) {
            error_propagate(err, STEAL(why));
            return NULL;
        }
    }
}

/* Whether its QEMU is all that runs: there is its socket, or the kiln that started it has been killed. */
static bool is_alone(const struct named_vm *vm)
{
    pid_t pid = named_vm_process(vm);
    return vm_is_detached(vm->dir) || (pid > 0 && kill(pid, 0) < 0 && errno == ESRCH);
}

static int kill_now(const struct session *s, const struct named_vm *vm, struct error **err)
{
    enum { KILL_MS = 10000 };
    if (!is_alone(vm)) {
        struct error *why = NULL;
        int rc = named_vm_kill(s, vm, &why);
        if (rc > 0)
            return rc;
        if (why->kind != ERR_BUSY || !is_alone(vm))
            return error_propagate(err, why);
        error_free(why);
    }
    int rc = vm_detached_stop(s, vm, true, KILL_MS, err);
    return rc ? rc : error_set(err, ERR_BUSY, "VM '%s' does not end", vm->name);
}

int vm_live_stop(const struct session *s, const struct named_vm *vm, bool kill, int timeout_ms,
                 struct error **err)
{
    if (kill)
        return kill_now(s, vm, err);
    int rc = vm_is_detached(vm->dir) ? vm_detached_stop(s, vm, false, timeout_ms, err)
                                     : named_vm_stop(s, vm, SIGTERM, timeout_ms, err);
    if (rc)
        return rc;
    fprintf(stderr, "VM '%s' did not end in time: killing it\n", vm->name);
    return kill_now(s, vm, err);
}

int vm_live_stop_timeout(const struct args *a, int *ret_ms, struct error **err)
{
    long long seconds = 40;
    if (args_seconds(a, "timeout", &seconds, err) < 0)
        return -1;
    if (seconds > 86400)
        return error_set(err, ERR_USAGE, "argument --timeout: at most a day");
    *ret_ms = (int)seconds * 1000;
    return 0;
}
