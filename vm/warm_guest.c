// SPDX-License-Identifier: MIT
//
// What kiln does in a guest that is saved. The waiting program goes in over SSH's standard input, into
// the first folder of the guest's memory that programs may be run from, and is started by root: whoever
// is logged in, by sudo without a password, or by a login of root's own.
#include "vm/warm.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/session.h"
#include "vm/migrate.h"
#include "vm/qmp.h"
#include "vm/run_machine.h"
#include "vm/ssh.h"
#include "vm/vm.h"
#include "vm/wake.h"
#include "vm/warm_link.h"
#include "vm/warm_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

enum {
    ANSWER_MS = 10000,
    IDLE_S = 60 /* how long the guest may be busy after it is ready */
};
#define BY_PORT \
    10 /* the script's status when the program waits at a port, not at the serial port */
#define STRING_(x) #x
#define STRING(x) STRING_(x)

extern const unsigned char wake_blob[], wake_blob_end[];

uint64_t warm_program_digest(void)
{
    return XXH3_64bits(wake_blob, (size_t)(wake_blob_end - wake_blob));
}

void vm_warm_args(const struct vm_warm *w, struct strv *args)
{
    static const char *const fixed[] = {"-device", "vmgenid,guid=auto", "-device",
                                        "virtio-serial-pci,id=kilnserial"};
    const char *end = w->again ? WARM_AGAIN : "";
    for (size_t i = 0; i < VM_WARM_PORTS && w->again; i++) { // nobody waits there any more
        strv_add(args, "-chardev");
        strv_addf(args, "null,id=%s%s", warm_ports[i], end);
    }
    strv_add(args, "-serial");
    strv_addf(args, "chardev:wake%s", end);
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        strv_add(args, fixed[i]);
    strv_add(args, "-device");
    strv_addf(args, "virtserialport,bus=kilnserial.0,chardev=wakeport%s,name=" WAKE_PORT, end);
    strv_add(args, "-device");
    strv_addf(args, "virtserialport,bus=kilnserial.0,chardev=command%s,name=" COMMAND_PORT, end);
}

/* --- the program that waits --- */

/* The statuses are those of exit below; stdin is the program. The first %s says what has to be there, the
 * second how it is started as "$f". $done is the status of success. */
static const char install[] =
    "u=$(umask); umask 077; have=; done=0\n"
    "%s\n"
    "for d in /run /dev/shm /tmp /var/tmp \"$HOME\"; do\n"
    "  f=$d/.kiln-wake.$$\n"
    "  if [ -z \"$have\" ]; then { cat >\"$f\"; } 2>/dev/null || continue; have=$f\n"
    "  else cp \"$have\" \"$f\" 2>/dev/null || continue; fi\n"
    "  if chmod 700 \"$f\" && \"$f\" probe 2>/dev/null; then\n"
    "    [ \"$f\" = \"$have\" ] || rm -f \"$have\"\n"
    "    umask \"$u\"\n"
    "    (%s) </dev/null >/dev/null 2>&1 || exit 74\n"
    "    exit $done\n"
    "  fi\n"
    "  [ \"$f\" = \"$have\" ] || rm -f \"$f\"\n"
    "done\n"
    "rm -f \"$have\"; exit 72\n";

static int blob_file(struct error **err)
{
    size_t n = (size_t)(wake_blob_end - wake_blob);
    AUTO_CLOSE int fd = memfd_create("kiln-wake", MFD_CLOEXEC);
    if (fd < 0 || write_all(fd, wake_blob, n) < 0 || lseek(fd, 0, SEEK_SET) < 0)
        return error_errno(err, "cannot make a file in memory");
    return STEAL_FD(fd);
}

/* Runs the script with the program as its input; its exit status, -1. */
static int run_script(struct vm_ssh *ssh, const char *as_root, const char *script,
                      struct error **err)
{
    AUTO_CLOSE int blob = blob_file(err), null = open("/dev/null", O_RDWR | O_CLOEXEC);
    CLEANUP(buf_clear) struct buf command = BUF_INIT;
    int status = 0;
    buf_addf(&command, "%s%ssh -c ", as_root, *as_root ? " " : "");
    buf_add_shell_word(&command, script);
    const int fds[3] = {blob, null, null};
    if (blob < 0 || vm_ssh_run_on(ssh, command.data, fds, &status, err) < 0)
        return -1;
    return status;
}

/* $p becomes the device of a port of that name, or nothing. */
#define FIND_PORT(name) \
    "p=; for d in /sys/class/virtio-ports/*; do\n" \
    "  [ \"$(cat \"$d/name\" 2>/dev/null)\" != " name \
    " ] || p=/dev/${d##*/}\n" \
    "done\n"

static int start_wake(struct vm_ssh *ssh, const char *as_root, struct error **err)
{
    static const char find[] =
        "[ -d /sys/class/virtio-ports ] ||\n"
        "  { modprobe virtio_console && sleep 1; } 2>/dev/null\n" FIND_PORT(
            WAKE_PORT) "if [ -c \"$p\" ]; then done=" STRING(BY_PORT) "; else p=" WAKE_TTY
                                                                      "; fi\n"
                                                                      "[ -c $p ] || exit 71";
    AUTO_FREE char *start = xasprintf("trap '' HUP; \"$f\" $p %d &", IDLE_S);
    AUTO_FREE char *script = xasprintf(install, find, start);
    return run_script(ssh, as_root, script, err);
}

/* How scripts are run by root. */
struct root {
    struct vm_ssh *ssh;
    const char *as_root;
};

/* Only whoever is logged in may run his commands. *ret: the program for them waits. */
static int start_command(struct vm_ssh *user, const struct root *root, bool *ret,
                         struct error **err)
{
#define FIND FIND_PORT(COMMAND_PORT) "[ -c \"$p\" ] || exit 73"
    AUTO_FREE char *script = xasprintf(install, FIND, "\"$f\" command $p");
    int opened = run_script(root->ssh, root->as_root, FIND "; chmod 666 $p", err);
    int status = opened ? opened : run_script(user, "", script, err);
    *ret = status == 0;
    if (status < 0 ||
        (!opened && run_script(root->ssh, root->as_root, FIND "; chmod 600 $p", err) < 0))
        return -1;
    return 0;
}

static bool is_root(struct vm_ssh *ssh)
{
    int status = 1;
    return vm_ssh_run(ssh, "sh -c '[ \"$(id -u)\" = 0 ]'", &status, NULL) == 0 && status == 0;
}

/* Another login, root's own, with the keys of the first one. NULL. */
static struct vm_ssh *log_in_root(const struct session *s, const struct vm_run_options *o,
                                  struct vm *vm)
{
    struct vm_ssh_options so = {.session = s,
                                .user = "root",
                                .key_file = o->spec->ssh.key,
                                .vm_key = o->vm_key,
                                .options = &o->spec->ssh.options,
                                .deadline = now_ms() + vm_run_ssh_timeout(o->spec, o->accel),
                                .wait = vm_ssh_wait_vm,
                                .wait_arg = vm};
    return vm_run_ssh_port(vm_qmp(vm), &so.port, NULL) < 0 ? NULL : vm_ssh_open(&so, NULL);
}

/* NULL: it waits in the guest. Else why not, a phrase; owned. -1 and *err for the rest. */
static int install_wake(const struct session *s, const struct vm_run_options *o, struct vm *vm,
                        struct vm_ssh *ssh, const char **ret_why, bool *ret_command,
                        struct error **err)
{
    struct root root = {ssh, is_root(ssh) ? "" : "sudo -n"};
    CLEANUP(vm_ssh_freep) struct vm_ssh *own = NULL;
    int status = start_wake(ssh, root.as_root, err);
    if (status > 0 && status != BY_PORT && (status < 71 || status > 74)) {
        own = log_in_root(s, o, vm);
        root = (struct root){own, ""};
        status = own ? start_wake(own, "", err) : status;
    }
    bool started = status == 0 || status == BY_PORT;
    if (status == BY_PORT)
        (void)json_object_set_new(o->warm->saved->note, "port", json_true());
    *ret_why = started        ? NULL
               : status == 71 ? "it has no second serial port (" WAKE_TTY ")"
               : status == 72 ? "it cannot run 64-bit programs of Linux from memory"
                              : "nobody may become root in it: neither a login of root's nor sudo "
                                "without a password works";
    *ret_command = false;
    return status < 0 || (started && start_command(ssh, &root, ret_command, err) < 0) ? -1 : 0;
}

/* Folders are shared by it with copies. */
static int look_for_sshfs(struct vm_ssh *ssh, json_t *note, struct error **err)
{
    AUTO_CLOSE int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int status;
    if (vm_ssh_run_on(ssh, "command -v sshfs", (const int[3]){null, null, null}, &status, err) < 0)
        return -1;
    return json_object_set_new(note, "sshfs", json_boolean(status == 0));
}

int vm_warm_prepare(const struct session *s, const struct vm_run_options *o, struct vm *vm,
                    struct vm_ssh *ssh, const char *user, struct error **err)
{
    const char *why = "it has no network that kiln could log in by";
    bool command = false;
    json_t *note = o->warm->saved->note;
    if (warm_await_ready(o, vm, ssh, err) < 0 || (ssh && look_for_sshfs(ssh, note, err) < 0) ||
        (ssh && install_wake(s, o, vm, ssh, &why, &command, err) < 0))
        return -1;
    if (why)
        (void)json_object_set_new(note, "lacking", json_string(why));
    else if (command)
        (void)json_object_update_new(
            note, json_pack("{s:s, s:s?}", "user", user, "asked", o->spec->ssh.user));
    session_debug(s, 1, "warm: commands are run %s",
                  command ? "by a program that waits" : "over SSH");
    return 0;
}

/* --- saving --- */

/* Whether the program for commands is there, now that its login has ended. */
static int check_command(struct vm *vm, json_t *note, struct error **err)
{
    const struct warm_link link = warm_link_of(vm);
    struct command_frame f = {.kind = COMMAND_PING};
    if (!json_object_get(note, "user"))
        return 0;
    int rc = write(link.command, &f, sizeof f) != (ssize_t)sizeof f
                 ? 0
                 : warm_receive(&link, link.command, &f, sizeof f, now_ms() + WARM_MS, err);
    if (rc == 0 || f.kind != COMMAND_PING || f.n)
        (void)json_object_del(note, "user");
    return rc < 0 ? -1 : 0;
}

/* Until the guest has nothing more to do; the login's end is among it. */
static int await_calm(const struct vm_run_options *o, struct vm *vm, struct error **err)
{
    char byte = 0;
    json_t *note = o->warm->saved->note;
    const struct warm_link link = warm_link_of(vm);
    if (json_object_get(note, "lacking"))
        return 0;
    int rc = 1;
    long long deadline = now_ms() + IDLE_S * 1000 + WARM_MS;
    while (rc > 0 && byte != WAKE_READY) // the console of firmware or kernel may have been there
        rc = warm_receive(&link, warm_wake_port(&link, note), &byte, 1, deadline, err);
    if (rc == 0)
        (void)json_object_set_new(note, "lacking",
                                  json_string("the program that kiln started in it is silent"));
    return rc < 0 ? -1 : check_command(vm, note, err);
}

int vm_warm_save(const struct session *s, const struct vm_run_options *o, struct vm *vm,
                 struct error **err)
{
    struct qmp *q = vm_qmp(vm);
    const struct saved *t = o->warm->saved;
    if (await_calm(o, vm, err) < 0)
        return -1;
    AUTO_CLOSE int fd = open(t->state, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, "cannot make '%s'", t->state);
    if (qmp_command(q, "stop", NULL, ANSWER_MS, NULL, err) < 0 ||
        vm_migrate(s, q, VM_MIGRATE_OUT, fd, true, err) < 0)
        return -1;
    return vm_quit(vm, ANSWER_MS, err);
}
