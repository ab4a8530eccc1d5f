// SPDX-License-Identifier: MIT
//
// virtiofsd is given a listening socket without a name in any folder and is ready once it says so on
// stderr: it sandboxes itself only after QEMU's side has connected, and that may fail.
#include "vm/share.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/capture.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/process.h"
#include "base/session.h"
#include "vm/qemu.h"
#include "vm/share_sshfs.h"
#include "vm/spec.h"
#include "vm/ssh.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { READY_MS = 10000, SAID_MAX = 4096 };

static char *find_virtiofsd(void)
{
    static const char *const places[] = {"/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (access(places[i], X_OK) == 0)
            return xstrdup(places[i]);
    return process_find("virtiofsd");
}

/* Both ends of a connection that was not accepted yet: a listener (unix(7), "autobind") for
 * virtiofsd, and QEMU's side. -1. */
static int make_connection(int *ret_listener, int *ret_client)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    socklen_t n = sizeof a.sun_family;
    AUTO_CLOSE int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    AUTO_CLOSE int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&a, n) < 0 || listen(listener, 1) < 0)
        return -1;
    n = sizeof a;
    if (getsockname(listener, (struct sockaddr *)&a, &n) < 0 ||
        connect(client, (struct sockaddr *)&a, n) < 0)
        return -1;
    *ret_listener = STEAL_FD(listener);
    *ret_client = STEAL_FD(client);
    return 0;
}

/* Reads what virtiofsd says until it serves: true; it ended or is silent: false. */
static bool becomes_ready(int from, struct buf *said)
{
    long long deadline = now_ms() + READY_MS;
    for (long long left = READY_MS; left > 0; left = deadline - now_ms()) {
        char chunk[512];
        struct pollfd p = {.fd = from, .events = POLLIN};
        if (poll(&p, 1, (int)left) <= 0)
            continue;
        ssize_t n = read(from, chunk, sizeof chunk);
        if (n <= 0)
            return false;
        buf_add(said, chunk, (size_t)n);
        // QEMU's own virtiofsd, and the one that is written in Rust
        if (strstr(said->data, "virtio_loop: Entry") || strstr(said->data, "servicing requests"))
            return true;
    }
    return false;
}

static int start_virtiofsd(const char *program, const char *folder, int listener, struct buf *said)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    AUTO_CLOSE int from = ends[0], to = ends[1];
    AUTO_FREE char *fd = xasprintf("--fd=%d", listener), *source = xasprintf("source=%s", folder);
    char *const *alone = ARGV(program, fd, "-o", source, "-o", "log_level=info");
    char *const *mapped = ARGV("unshare", "-r", program, fd, "-o", source, "-o", "log_level=info");
    CLEANUP(process_clear) struct process p = PROCESS_INIT;
    struct process_spec ps = {.argv = geteuid() == 0 ? alone : mapped,
                              .in = PROCESS_NULL,
                              .out = PROCESS_NULL,
                              .errors = to,
                              .keep = &listener,
                              .n_keep = 1,
                              .own_session = true,
                              .outlives = true};
    if (process_start(&p, &ps, NULL) < 0)
        return -1;
    auto_closep(&to);
    if (!becomes_ready(from, said))
        return -1;
    process_forget(&p);
    return 0;
}

/* QEMU's connection to a virtiofsd for the folder; -1. */
static int open_link(const struct session *s, const char *folder)
{
    AUTO_FREE char *program = find_virtiofsd();
    AUTO_CLOSE int listener = -1, client = -1;
    CLEANUP(buf_clear) struct buf said = BUF_INIT;
    if (!program) {
        session_debug(s, 1, "share '%s': no virtiofs: virtiofsd not found", folder);
        return -1;
    }
    // a ',' would end the option's value
    if (!strchr(folder, ',') && make_connection(&listener, &client) == 0 &&
        start_virtiofsd(program, folder, listener, &said) == 0)
        return STEAL_FD(client);
    session_debug(s, 1, "share '%s': no virtiofs, as '%s' does not run: %s", folder, program,
                  said.len ? said.data : "it says nothing");
    return -1;
}

void vm_share_links_open(const struct session *s, const struct vm_spec *spec,
                         struct vm_share_links *ret)
{
    ret->n = spec->shares.len;
    ret->fds = xcalloc(ret->n, sizeof *ret->fds);
    for (size_t i = 0; i < ret->n; i++)
        ret->fds[i] = open_link(s, spec->shares.ptr[i].host);
}

void vm_share_links_clear(struct vm_share_links *l)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->fds[i] >= 0)
            close(l->fds[i]);
    free(l->fds);
    *l = (struct vm_share_links){0};
}

void vm_share_args(struct strv *args, const struct vm_spec *spec, const int *fds)
{
    for (size_t i = 0; i < spec->shares.len; i++) {
        const struct vm_share *share = &spec->shares.ptr[i];
        AUTO_FREE char *path = qemu_escape(share->host);
        strv_add(args, "-fsdev");
        strv_addf(args, "local,id=share%zu,path=%s,security_model=none%s", i, path,
                  share->read_only ? ",readonly=on" : "");
        strv_add(args, "-device");
        strv_addf(args, "virtio-9p-pci,fsdev=share%zu,mount_tag=kiln%zu-9p", i, i);
        if (!fds || fds[i] < 0)
            continue;
        strv_add(args, "-chardev");
        strv_addf(args, "socket,id=virtiofs%zu,fd=%d", i, fds[i]);
        strv_add(args, "-device");
        strv_addf(args, "vhost-user-fs-pci,chardev=virtiofs%zu,tag=kiln%zu", i, i);
    }
}

char *vm_share_command(const struct vm_spec *spec, size_t i)
{
    const struct vm_share *share = &spec->shares.ptr[i];
    const char *only = share->read_only ? "ro" : "rw";
    CLEANUP(buf_clear) struct buf folder = BUF_INIT;
    buf_add_shell_words(&folder, (const char *const[]){share->guest, NULL});
    return xasprintf(
        "s=; [ \"$(id -u)\" = 0 ] || s='sudo -n'; $s mkdir -p -- %s && "
        "if $s mount -t virtiofs -o %s kiln%zu %s 2>/dev/null; then echo virtiofs; "
        "else $s mount -t 9p -o trans=virtio,version=9p2000.L,%s kiln%zu-9p %s && echo 9p; fi",
        folder.data, only, i, folder.data, only, i, folder.data);
}

/* Mounts share `i` if the guest's kernel can, and says how; else whether the guest has sshfs. A folder
 * whose sshfs has died, with the VM that was restored, is unmounted first. */
static char *try_command(const struct vm_spec *spec, size_t i)
{
    const struct vm_share *share = &spec->shares.ptr[i];
    const char *only = share->read_only ? "ro" : "rw";
    CLEANUP(buf_clear) struct buf to = BUF_INIT;
    buf_add_shell_words(&to, (const char *const[]){share->guest, NULL});
    return xasprintf(
        "s=; [ \"$(id -u)\" = 0 ] || s='sudo -n'; $s mkdir -p -- %s 2>/dev/null || "
        "{ $s umount -l %s 2>/dev/null; $s mkdir -p -- %s; } || exit; "
        "if $s mount -t virtiofs -o %s kiln%zu %s 2>/dev/null; then echo virtiofs; "
        "elif $s mount -t 9p -o trans=virtio,version=9p2000.L,%s kiln%zu-9p %s 2>/dev/null; then "
        "echo 9p; "
        "elif command -v sshfs >/dev/null; then echo sshfs; else echo none; fi",
        to.data, to.data, to.data, only, i, to.data, only, i, to.data);
}

/* Runs it: what it wrote, owned; NULL with *err, whose message is then what it complained of. */
static char *ask(struct vm_ssh *ssh, const char *command, struct error **err)
{
    AUTO_CLOSE int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    AUTO_CLOSE int out = capture_open(SAID_MAX, err);
    AUTO_CLOSE int errors = out < 0 ? -1 : capture_open(SAID_MAX, err);
    CLEANUP(buf_clear) struct buf said = BUF_INIT;
    int status;
    if (errors < 0)
        return NULL;
    if (vm_ssh_run_on(ssh, command, (const int[3]){in, out, errors}, &status, err) < 0)
        return NULL;
    capture_read(status == 0 ? out : errors, &said);
    if (status == 0)
        return buf_detach(&said, NULL);
    error_set(err, ERR_GUEST, "%s", said.len ? said.data : "mount failed");
    error_hint(err,
               "its user must be root or have sudo without a password: --ssh-user root, or in a "
               "VMFile ssh { user \"root\"; }");
    return NULL;
}

static int no_way(const struct vm_share *share, struct error **err)
{
    error_set(err, ERR_GUEST,
              "cannot mount '%s' at '%s' in the guest: its kernel mounts neither virtiofs nor 9p, "
              "and it has no sshfs",
              share->host, share->guest);
    return error_hint(err,
                      "install sshfs in the image, as by 'RUN apt-get update && apt-get install "
                      "-y sshfs' in its Imagefile; -v says what became of virtiofs");
}

static int mount_one(const struct session *s, struct vm_ssh *ssh,
                     const struct vm_ssh_options *login, const struct vm_spec *spec, size_t i,
                     struct error **err)
{
    const struct vm_share *share = &spec->shares.ptr[i];
    AUTO_FREE char *command = try_command(spec, i);
    AUTO_FREE char *how = ask(ssh, command, err);
    if (how && !strcmp(how, "none"))
        return no_way(share, err);
    if (!how || (!strcmp(how, "sshfs") && share_sshfs_mount(s, login, spec, i, err) < 0))
        return error_wrap(err, "cannot mount '%s' at '%s' in the guest", share->host, share->guest);
    session_debug(s, 1, "share '%s': mounted at '%s' by %s", share->host, share->guest, how);
    return 0;
}

int vm_share_mount(const struct session *s, struct vm_ssh *ssh, const struct vm_ssh_options *login,
                   const struct vm_spec *spec, size_t *done, struct error **err)
{
    for (; *done < spec->shares.len; ++*done)
        if (mount_one(s, ssh, login, spec, *done, err) < 0)
            return -1;
    return 0;
}
