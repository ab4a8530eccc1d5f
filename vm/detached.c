// SPDX-License-Identifier: MIT
//
// QEMU's working directory is the VM's folder, so that it binds "qmp.sock"; we connect to
// /proc/self/fd/<folder>/qmp.sock. Its process number is the socket's (SO_PEERCRED): no file can be
// out of date.
#include "vm/detached.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "base/session.h"
#include "vm/folder_socket.h"
#include "vm/named.h"
#include "vm/qmp.h"
#include "vm/run_disks.h"
#include "vm/run_machine.h"
#include "vm/state.h"
#include "vm/warm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ANSWER_MS = 10000, TICK_MS = 20, END_MS = 2000 };

bool vm_is_detached(const char *dir)
{
    AUTO_FREE char *path = path_join(dir, "qmp.sock");
    return access(path, F_OK) == 0;
}

int vm_detached_console(const char *dir, struct error **err)
{
    return folder_socket_connect(dir, "console.sock", err);
}

struct qmp *vm_detached_qmp(const struct session *s, const char *dir, struct error **err)
{
    int fd = folder_socket_connect(dir, "qmp.sock", err);
    if (fd < 0)
        return NULL;
    CLEANUP(qmp_freep) struct qmp *q = qmp_new_take(fd, s);
    return qmp_handshake(q, ANSWER_MS, err) < 0 ? NULL : STEAL(q);
}

/* A guest that boots does not listen yet, and one that is suspended cannot. */
static int power_button(const struct session *s, const char *dir)
{
    CLEANUP(qmp_freep) struct qmp *q = vm_detached_qmp(s, dir, NULL);
    return q && qmp_command(q, "cont", NULL, ANSWER_MS, NULL, NULL) == 0 &&
                   qmp_command(q, "system_powerdown", NULL, ANSWER_MS, NULL, NULL) == 0
               ? 0
               : -1;
}

/* QEMU's process number. */
static pid_t qemu_process(const char *dir, struct error **err)
{
    struct ucred who;
    socklen_t n = sizeof who;
    AUTO_CLOSE int fd = folder_socket_connect(dir, "qmp.sock", err);
    if (fd < 0)
        return -1;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) < 0)
        return error_errno(err, "cannot tell the process of '%s'", dir);
    return who.pid;
}

static int kill_qemu(const char *dir, struct error **err)
{
    pid_t pid = qemu_process(dir, err);
    if (pid < 0)
        return -1;
    AUTO_CLOSE int process = (int)syscall(SYS_pidfd_open, pid, 0);
    if (process < 0 || syscall(SYS_pidfd_send_signal, process, SIGKILL, NULL, 0) < 0)
        return errno == ESRCH ? 0 : error_errno(err, "cannot end process %d", (int)pid);
    return 0;
}

char *vm_detached_state(const char *dir)
{
    static const char mark[] = "new_state ";
    char text[4096];
    AUTO_FREE char *path = path_join(dir, "runstate.log");
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END), room = sizeof text - 1;
    ssize_t n = size < 0 ? -1 : pread_all(fd, text, (size_t)room, size > room ? size - room : 0);
    const char *last = NULL, *name;
    text[n > 0 ? n : 0] = '\0';
    for (const char *p = text; (p = strstr(p, mark)); p++)
        last = p;
    name = last ? strchr(last, '(') : NULL;
    return name && strchr(name, ')') ? xstrndup(name + 1, strcspn(name + 1, ")\n")) : NULL;
}

/* Whether the guest has what it needs to run; false: QEMU was told to end. */
static bool goes_on(struct qmp *q)
{
    json_auto_t *reply = NULL;
    (void)qmp_command(q, "query-status", NULL, ANSWER_MS, &reply, NULL);
    const char *status = json_str(reply, "status");
    bool paused = status && !strcmp(status, "paused");
    // one from a saved boot has not been told the time
    bool waits = (status && !strcmp(status, "inmigrate")) || (paused && vm_warm_is(q));
    if (waits)
        (void)qmp_command(q, "quit", NULL, ANSWER_MS, NULL, NULL);
    else if (paused)
        (void)qmp_command(q, "cont", NULL, ANSWER_MS, NULL, NULL);
    return !waits;
}

int vm_detached_adopt(const struct session *s, const struct named_vm *vm, json_t *record,
                      struct error **err)
{
    unsigned port = 0;
    AUTO_FREE char *path = path_join(vm->dir, "lock");
    AUTO_CLOSE int fd =
        open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW); // QEMU has locked it, and keeps it
    struct named_vm held = *vm;
    pid_t pid = qemu_process(vm->dir, err);
    if (pid < 0 || fd < 0)
        return pid < 0 ? -1 : error_errno(err, "cannot read '%s'", path);
    CLEANUP(qmp_freep) struct qmp *q = vm_detached_qmp(s, vm->dir, err);
    if (!q)
        return -1;
    if (!goes_on(q))
        return error_set(err, ERR_NOT_FOUND, "VM '%s' was not restored", vm->name);
    (void)vm_run_ssh_port(q, &port, NULL);
    (void)json_object_update_new(record,
                                 json_pack("{s:I, s:I, s:o}", "pid", (json_int_t)pid, "ssh_port",
                                           (json_int_t)port, "ports", vm_run_ports(q)));
    held.lock = fd;
    return named_vm_set_running(&held, pid, record, err);
}

int vm_detached_stop(const struct session *s, const struct named_vm *vm, bool kill, int timeout_ms,
                     struct error **err)
{
    enum { AGAIN_MS = 4000, POLL_MS = 20 };
    long long now = now_ms(), deadline = now + timeout_ms, next = now;
    CLEANUP(error_freep) struct error *why = NULL;
    bool killed = false;
    if (!named_vm_runs(vm))
        return 2;
    for (; named_vm_runs(vm); now = now_ms()) {
        if (kill && !killed) { // QEMU may only be about to make its socket
            error_free(STEAL(why));
            killed = kill_qemu(vm->dir, &why) == 0;
        }
        if (!kill && now >= next) {
            (void)power_button(s, vm->dir);
            next = now + AGAIN_MS;
        }
        if (now >= deadline)
            return why && why->kind != ERR_NOT_FOUND ? error_propagate(err, STEAL(why)) : 0;
        struct pollfd p = {.fd = s->cancel_fd, .events = POLLIN};
        if (poll(&p, 1, POLL_MS) > 0)
            return error_set(err, ERR_CANCELLED, "interrupted");
    }
    return 1;
}

static void add_plumbing(struct strv *args)
{
    static const char *const fixed[] = {"-display",
                                        "none",
                                        "-chardev",
                                        "socket,id=qmp,path=qmp.sock,server=on,wait=off",
                                        "-mon",
                                        "chardev=qmp,mode=control",
                                        "-chardev",
                                        ("socket,id=console,path=console.sock,server=on,wait=off,"
                                         "logfile=console.log,logappend=on"),
                                        "-trace",
                                        "runstate_set",
                                        "-D",
                                        "runstate.log"};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        strv_add(args, fixed[i]);
}

/* Sockets of a VM that has ended, and the log of the start before the last, make room. */
static int make_room(const char *dir, struct error **err)
{
    static const char *const sockets[] = {"qmp.sock", "console.sock", "qemu.log", "runstate.log"};
    if (chmod(dir, 0700) < 0) // whoever reaches the sockets has the VM
        return error_errno(err, "cannot close '%s' to others", dir);
    for (size_t i = 0; i < sizeof sockets / sizeof *sockets; i++) {
        AUTO_FREE char *path = path_join(dir, sockets[i]);
        if (unlink(path) < 0 && errno != ENOENT)
            return error_errno(err, "cannot remove '%s'", path);
    }
    AUTO_FREE char *log = path_join(dir, "console.log"), *old = path_join(dir, "console.log.1");
    if (rename(log, old) < 0 && errno != ENOENT)
        return error_errno(err, "cannot rename '%s'", log);
    return 0;
}

/* QEMU ended before it answered: its own words. */
static int ended(const char *dir, const struct process *p, struct error **err)
{
    AUTO_FREE char *path = path_join(dir, "qemu.log"), *how = process_status_text(p->status);
    CLEANUP(buf_clear) struct buf said = BUF_INIT;
    (void)file_read(path, 64 * 1024, &said, NULL);
    while (said.len && said.data[said.len - 1] == '\n')
        said.data[--said.len] = '\0';
    return error_set(err, ERR_GUEST, "QEMU ended unexpectedly: %s%s%s", how, said.len ? "\n  " : "",
                     said.len ? said.data : "");
}

/* Until QMP answers. */
static struct qmp *first_answer(const struct session *s, const char *dir, struct process *p,
                                int timeout_ms, struct error **err)
{
    long long deadline = now_ms() + (timeout_ms > 0 ? timeout_ms : ANSWER_MS);
    for (;;) {
        CLEANUP(error_freep) struct error *why = NULL;
        struct qmp *q = vm_detached_qmp(s, dir, &why);
        if (q)
            return q;
        // a connection that QEMU closed is its end, a moment before it can be waited for
        (void)process_wait(p, why->kind == ERR_GUEST ? END_MS : TICK_MS, NULL);
        if (process_ended(p)) {
            ended(dir, p, err);
            return NULL;
        }
        if (session_cancelled(s)) {
            error_set(err, ERR_CANCELLED, "interrupted");
            return NULL;
        }
        if (why->kind != ERR_NOT_FOUND || now_ms() > deadline) {
            error_propagate(err, STEAL(why));
            return NULL;
        }
    }
}

static int start(const struct session *s, const struct vm_run_options *o, const char *dir,
                 const struct strv *args, const struct vm_warm_ports *ports, struct process *p,
                 struct error **err)
{
    AUTO_FREE char *path = path_join(dir, "qemu.log");
    CLEANUP(strv_clear) struct strv argv = {0};
    AUTO_CLOSE int log = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0)
        return error_errno(err, "cannot make '%s'", path);
    strv_add(&argv, o->qemu->path);
    add_plumbing(&argv);
    vec_foreach (char **, a, args)
        strv_add(&argv, *a);
    AUTO_FREE int *keep = xcalloc(2 + VM_WARM_PORTS + o->spec->shares.len, sizeof *keep);
    size_t n_keep = vm_run_keep(o, &o->hold, 1, keep);
    bool warm = o->warm && !o->warm->again;
    for (size_t i = 0; warm && i < VM_WARM_PORTS; i++)
        keep[n_keep++] = ports->theirs[i];
    if (o->warm && o->warm->ram_fd >= 0)
        keep[n_keep++] = o->warm->ram_fd;
    struct process_spec ps = {.argv = argv.ptr,
                              .cwd = dir,
                              .in = PROCESS_NULL,
                              .out = log,
                              .errors = log,
                              .keep = keep,
                              .n_keep = n_keep,
                              .own_session = true,
                              .outlives = true};
    (void)s;
    return process_start(p, &ps, err);
}

int vm_detach(const struct session *s, const struct vm_run_options *o, const char *dir,
              struct error **err)
{
    CLEANUP(process_clear) struct process p = PROCESS_INIT; // ended by it on errors
    CLEANUP(strv_clear) struct strv args = {0};
    CLEANUP(vm_warm_ports_clear) struct vm_warm_ports links = VM_WARM_PORTS_INIT;
    bool warm = o->warm && !o->warm->again;
    if ((o->restore && !warm && vm_state_check(dir, o, err) < 0) ||
        vm_run_check_disks(o, err) < 0 || vm_run_check_ports(o->spec, err) < 0 ||
        make_room(dir, err) < 0)
        return -1;
    json_auto_t *disks = vm_run_disks(o, err);
    if (!disks)
        return -1;
    if (warm && vm_warm_ports_open(&links, &args, err) < 0)
        return -1;
    vm_run_machine(o, disks, &args);
    if (o->started)
        o->started(o->arg, o->restore);
    if (start(s, o, dir, &args, &links, &p, err) < 0)
        return -1;
    CLEANUP(qmp_freep)
    struct qmp *q = first_answer(s, dir, &p, o->spec->qmp_timeout_ms, err);
    if (!q)
        return vm_run_explain(o->spec, err);
    if (warm ? vm_warm_resume_detached(s, o->warm, q, &links, err) < 0
             : o->restore && vm_state_load(s, q, dir, err) < 0)
        return -1;
    unsigned port = 0;
    (void)vm_run_ssh_port(q, &port, NULL);
    json_auto_t *ports = vm_run_ports(q);
    if (o->up)
        o->up(o->arg, p.pid, port, ports);
    process_forget(&p);
    return 0;
}
