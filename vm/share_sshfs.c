// SPDX-License-Identifier: MIT
//
// sshfs's stdin and stdout are those of a command over SSH, and they are joined to the SFTP server's. Its
// stderr is where the guest says that the folder is mounted, or why not: sshfs itself stays silent.
#include "vm/share_sshfs.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/leave.h"
#include "base/process.h"
#include "base/session.h"
#include "vm/sftp_server.h"
#include "vm/spec.h"
#include "vm/ssh.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    LOGIN_MS = 60000,
    MOUNT_MS = 60000,
    CHANNEL_MS = 30000, /* for the guest to open a channel */
    SAID_MAX = 64 * 1024
};

static const char mounted[] = "kiln: mounted\n";

/* The names in a directory are kept for a second, not sshfs's twenty, as the host changes files, too. */
static char *mount_command(const struct vm_share *share)
{
    CLEANUP(buf_clear) struct buf to = BUF_INIT, from = BUF_INIT;
    AUTO_FREE char *source = xasprintf(":%s", share->host);
    buf_add_shell_words(&to, (const char *const[]){share->guest, NULL});
    buf_add_shell_words(&from, (const char *const[]){source, NULL});
    return xasprintf(
        "s=; [ \"$(id -u)\" = 0 ] || s='sudo -n'; [ -e /dev/fuse ] || $s modprobe fuse; "
        "count() { grep -c ' fuse\\.sshfs ' /proc/mounts; }; n=$(count); "
        "tell() { while [ -d /proc/$$ ] && [ \"$(count)\" -le \"$n\" ]; do sleep 0.1; done; "
        "[ \"$(count)\" -le \"$n\" ] || echo 'kiln: mounted' >&2; }; (tell &); "
        "case $(sshfs --version 2>&1) in *'version 2.'*) c=cache_timeout=1;; *) "
        "c=dcache_timeout=1;; esac; "
        "exec $s sshfs -f -o slave,allow_other,$c%s %s %s",
        share->read_only ? ",ro" : "", from.data, to.data);
}

/* --- the process that keeps it --- */

static int wait_plainly(void *arg, struct pollfd *fds, size_t n, long long deadline,
                        struct error **err)
{
    (void)arg, (void)err;
    long long left = deadline < 0 ? -1 : deadline - now_ms();
    int ready = poll(fds, n, deadline < 0 ? -1 : left < 0 ? 0 : (int)left);
    for (size_t i = 0; ready <= 0 && i < n; i++)
        fds[i].revents = 0;
    return ready > 0 || deadline < 0 || now_ms() < deadline;
}

/* Until the guest's sshfs ends. What goes wrong is written to `tell`. */
static void serve(struct vm_ssh *ssh, const char *program, const struct vm_share *share, int tell)
{
    CLEANUP(error_freep) struct error *why = NULL;
    CLEANUP(process_clear) struct process server = PROCESS_INIT;
    AUTO_FREE char *command = mount_command(share);
    int status;
    signal(SIGPIPE, SIG_IGN); // library-clean: in a process of its own
    vm_ssh_reuse(ssh, wait_plainly, NULL, CHANNEL_MS);
    if (sftp_server_start(&server, program, share, &why) < 0 ||
        vm_ssh_run_on(ssh, command, (const int[3]){server.out, server.in, tell}, &status, &why) < 0)
        (void)write_all(tell, why->message, strlen(why->message));
}

/* Its process number; -1. */
static pid_t start_keeper(struct vm_ssh *ssh, const char *program, const struct vm_share *share,
                          int *ret_told, struct error **err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_errno(err, "cannot make a pipe");
    AUTO_CLOSE int from = ends[0], to = ends[1];
    pid_t pid = fork();
    if (pid == 0) {
        leave_caller("kiln-share", (const int[]){to, vm_ssh_fd(ssh)}, 2);
        serve(ssh, program, share, to);
        vm_ssh_free(ssh);
        _exit(0); // library-clean: in a process of its own
    }
    if (pid < 0)
        return error_errno(err, "cannot start a process");
    vm_ssh_disown(ssh);
    *ret_told = STEAL_FD(from);
    return pid;
}

/* --- who starts it --- */

/* Reads what the guest says until the folder is mounted: 0; -1 it ended, or was waited for too long. */
static int await_mounted(const struct vm_ssh_options *login, int from, struct buf *said,
                         struct error **err)
{
    long long deadline = now_ms() + MOUNT_MS;
    while (!strstr(said->data, mounted)) {
        char chunk[512];
        struct pollfd f = {.fd = from, .events = POLLIN};
        int rc = login->wait(login->wait_arg, &f, 1, deadline, err);
        if (rc < 0)
            return -1;
        if (rc == 0)
            return error_set(err, ERR_GUEST, "sshfs took longer than %d s", MOUNT_MS / 1000);
        ssize_t n = f.revents ? read(from, chunk, sizeof chunk) : -1;
        if (n > 0)
            buf_add(said, chunk, (size_t)n);
        else if (f.revents && (n == 0 || errno != EINTR))
            break;
        if (said->len > SAID_MAX)
            return error_set(err, ERR_GUEST, "the guest's sshfs says too much");
    }
    if (strstr(said->data, mounted))
        return 0;
    while (said->len && said->data[said->len - 1] == '\n')
        said->data[--said->len] = '\0';
    return error_set(err, ERR_GUEST, "%s", said->len ? said->data : "sshfs ended at once");
}

static void warn_unconfined(const struct session *s, const char *program,
                            const struct vm_share *share)
{
    enum confined got = sftp_server_confined(program, share);
    if (got == CONFINED_NOT)
        session_notice(
            s,
            "share '%s': this kernel has neither Landlock nor namespaces for you, so the "
            "guest's root can reach all files that you can",
            share->host);
    if (got == CONFINED_RULES && !share->read_only)
        session_notice(s,
                       "share '%s': the guest cannot change modes, owners and times, as this host "
                       "gives you no mount namespace",
                       share->host);
}

int share_sshfs_mount(const struct session *s, const struct vm_ssh_options *login,
                      const struct vm_spec *spec, size_t i, struct error **err)
{
    const struct vm_share *share = &spec->shares.ptr[i];
    CLEANUP(buf_clear) struct buf said = BUF_INIT;
    struct vm_ssh_options o = *login;
    AUTO_CLOSE int told = -1;
    o.deadline = now_ms() + LOGIN_MS;
    o.waiting = NULL;
    o.ret_banner = NULL;
    AUTO_FREE char *program = sftp_server_find(spec->ssh.sftp_server, err);
    CLEANUP(vm_ssh_freep) struct vm_ssh *ssh = program ? vm_ssh_open(&o, err) : NULL;
    if (!ssh)
        return -1;
    warn_unconfined(s, program, share);
    pid_t pid = start_keeper(ssh, program, share, &told, err);
    if (pid < 0)
        return -1;
    if (await_mounted(&o, told, &said, err) == 0)
        return 0;
    (void)kill(pid, SIGTERM);
    (void)waitpid(pid, NULL, 0);
    return -1;
}
