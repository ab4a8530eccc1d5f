// SPDX-License-Identifier: MIT
// The order: everything below the image's root is mounted first (in namespaces of our own: nobody
// else sees it), then the command starts, then we wait for it and for orders, then all is undone in
// reverse. Mounting happens on open descriptors (/proc/self/fd/N), so no symbolic link of the image
// can lead a mount elsewhere.
#include "builder/agent/sandbox.h"

#include "base/file.h"
#include "builder/agent/mounting.h"
#include "builder/agent/protocol.h"
#include "builder/agent/scaffold.h"
#include "builder/agent/sys.h"
#include "builder/agent/written.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

// Seen by this process only: a tmpfs with what is bound into the image.
#define PRIVATE "/run/kiln"

struct stage {
    struct sandbox *box;
    int root; /* O_PATH of the tree */
    struct scaffolds scaffolds;
    struct strv mounted; /* targets, in order */
    struct services services;
    struct written written;
    int mounting;  /* of mounting.h; -1 = none */
    char *changed; /* what mounting_answer has told; NULL = nothing */
};

int sandbox_clone_flags(const struct sandbox *s)
{
    return CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS |
           (s->no_network ? CLONE_NEWNET : 0);
}

void sandbox_clear(struct sandbox *s)
{
    strv_clear(&s->argv);
    strv_clear(&s->env);
    who_clear(&s->who);
    free(s->changed);
    vec_foreach (struct sandbox_mount *, m, &s->mounts) {
        free(m->target);
        free(m->source);
    }
    sandbox_mounts_clear(&s->mounts);
    sockets_clear(&s->sockets);
}

static void report(const struct sandbox *s, int event, int value, const char *message,
                   const char *hint)
{
    struct sandbox_report r = {.event = event, .value = value};
    snprintf(r.message, sizeof r.message, "%s", message ? message : "");
    snprintf(r.hint, sizeof r.hint, "%s", hint ? hint : "");
    while (send(s->control, &r, sizeof r, MSG_NOSIGNAL) < 0 && errno == EINTR)
        ;
}

static void report_terminal(const struct sandbox *s, int master)
{
    struct sandbox_report r = {.event = SANDBOX_TERMINAL};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec io = {&r, sizeof r};
    struct msghdr m = {.msg_iov = &io,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof control.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &master, sizeof master);
    (void)sendmsg(s->control, &m, MSG_NOSIGNAL);
}

// Mounts on what fd refers to, and remembers where that is. The descriptor is closed.
static int mount_at(struct stage *st, int fd, const char *source, const char *type,
                    unsigned long flags, const char *data, struct error **err)
{
    AUTO_CLOSE int target = fd;
    char link[64], path[4096];
    if (target < 0)
        return -1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", target);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0)
        return error_errno(err, "cannot read '%s'", link);
    path[n] = '\0';
    if (mount(source, link, type, flags, data) < 0)
        return error_errno(err, "cannot mount %s at '%s' in the image", type ? type : source,
                           path + strlen(st->box->tree));
    strv_add(&st->mounted, path);
    return 0;
}

// The kernel's parameters are the builder VM's: the image has its own in /etc/sysctl.d.
static int keep_parameters(struct stage *st, struct error **err)
{
    AUTO_FREE char *path = xasprintf("%s/sys", st->mounted.ptr[0]);
    if (sys_mount(path, path, NULL, MS_BIND, NULL, err) < 0)
        return -1;
    if (mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
              NULL) < 0)
        return error_errno(err, "cannot make '%s' read-only", path);
    return 0;
}

static int mount_system(struct stage *st, struct error **err)
{
    static const struct {
        const char *path, *type, *data;
        unsigned long flags;
    } list[] = {
        {"/proc", "proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
        {"/sys", "sysfs", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
        {"/dev", "tmpfs", "mode=0755", MS_NOSUID},
        {"/run", "tmpfs", "mode=0755", MS_NOSUID | MS_NODEV},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        bool kernels = strcmp(list[i].type, "sysfs") == 0 && !st->box->insecure;
        if (mount_at(st, scaffold_folder(&st->scaffolds, st->root, list[i].path, err), list[i].type,
                     list[i].type, list[i].flags | (kernels ? MS_RDONLY : 0), list[i].data,
                     err) < 0)
            return -1;
    }
    if (!st->box->insecure && keep_parameters(st, err) < 0)
        return -1;
    const char *dev = st->mounted.ptr[2], *run = st->mounted.ptr[3];
    if (dev_fill(dev, st->box->volumes, err) < 0)
        return -1;
    AUTO_FREE char *pts = xasprintf("%s/pts", dev), *mqueue = xasprintf("%s/mqueue", dev);
    AUTO_FREE char *lock = xasprintf("%s/lock", run);
    if (sys_mount("devpts", pts, "devpts", MS_NOSUID | MS_NOEXEC, "mode=0620,gid=5,ptmxmode=0666",
                  err) < 0)
        return -1;
    (void)mount("mqueue", mqueue, "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mkdir(lock, 01777);
    return 0;
}

static int write_private(const char *name, mode_t mode, const void *bytes, size_t n, char **ret,
                         struct error **err)
{
    AUTO_FREE char *path = xasprintf(PRIVATE "/%s", name);
    AUTO_CLOSE int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, mode);
    if (fd < 0 || write_all(fd, bytes, n) < 0)
        return error_errno(err, "cannot write '%s'", path);
    *ret = STEAL(path);
    return 0;
}

static int bind_source(struct stage *st, const struct sandbox_mount *m, struct error **err)
{
    AUTO_FREE char *tree = xasprintf(AGENT_TREE "%d", m->slot);
    AUTO_CLOSE int root = m->slot < 0 ? -1 : open(tree, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = m->slot < 0 ? open(m->source, O_PATH | O_CLOEXEC)
                         : sys_open_in(root, m->source ? m->source : "/", O_PATH);
    (void)st;
    if (fd < 0)
        return error_errno(err, "cannot open '%s' to mount it", m->source ? m->source : tree);
    return fd;
}

static int set_owner_mode(const struct sandbox_mount *m, const char *path, struct error **err)
{
    if ((m->has_owner && chown(path, m->uid, m->gid) < 0) ||
        (m->has_mode && chmod(path, m->mode) < 0))
        return error_errno(err, "cannot set the owner or mode of the mount '%s'", m->target);
    return 0;
}

// A folder that can be written to over one that stays as it is.
static int mount_over(struct stage *st, const struct sandbox_mount *m, const char *link,
                      const struct stat *info, struct error **err)
{
    AUTO_FREE char *top = xasprintf(PRIVATE "/over%zu", st->mounted.len);
    AUTO_FREE char *upper = xasprintf("%s/upper", top), *work = xasprintf("%s/work", top);
    AUTO_FREE char *data = xasprintf("lowerdir=%s,upperdir=%s,workdir=%s", link, upper, work);
    if (mkdir(top, 0700) < 0 || mkdir(upper, 0700) < 0 || mkdir(work, 0700) < 0 ||
        chown(upper, info->st_uid, info->st_gid) < 0 || chmod(upper, info->st_mode & 07777) < 0)
        return error_errno(err, "cannot make the mount '%s' writable", m->target);
    return mount_at(st, scaffold_folder(&st->scaffolds, st->root, m->target, err), "overlay",
                    "overlay", 0, data, err);
}

// A copy of a file in memory.
static int copy_private(struct stage *st, const struct sandbox_mount *m, const char *link,
                        const struct stat *info, char **ret, struct error **err)
{
    AUTO_FREE char *path = xasprintf(PRIVATE "/file%zu", st->mounted.len);
    AUTO_CLOSE int in = open(link, O_RDONLY | O_CLOEXEC);
    AUTO_CLOSE int out = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    ssize_t n = in < 0 || out < 0 ? -1 : 1;
    while (n > 0)
        n = sendfile(out, in, NULL, 1 << 20);
    if (n < 0 || fchown(out, info->st_uid, info->st_gid) < 0 ||
        fchmod(out, info->st_mode & 07777) < 0)
        return error_errno(err, "cannot make the mount '%s' writable", m->target);
    *ret = STEAL(path);
    return 0;
}

static int mount_bind(struct stage *st, const struct sandbox_mount *m, struct error **err)
{
    struct stat info;
    char link[64];
    AUTO_CLOSE int source = bind_source(st, m, err);
    if (source < 0 || fstat(source, &info) < 0)
        return -1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", source);
    if (!m->read_only && set_owner_mode(m, link, err) < 0)
        return -1;
    AUTO_FREE char *copy = NULL;
    if (m->discard && m->slot >= 0 && S_ISDIR(info.st_mode))
        return mount_over(st, m, link, &info, err);
    if (m->discard && m->slot >= 0 && copy_private(st, m, link, &info, &copy, err) < 0)
        return -1;
    int target = S_ISDIR(info.st_mode) ? scaffold_folder(&st->scaffolds, st->root, m->target, err)
                                       : scaffold_file(&st->scaffolds, st->root, m->target, err);
    if (mount_at(st, target, copy ? copy : link, NULL, MS_BIND | MS_REC, NULL, err) < 0)
        return -1;
    if (m->read_only && mount(NULL, st->mounted.ptr[st->mounted.len - 1], NULL,
                              MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0)
        return error_errno(err, "cannot make the mount '%s' read-only", m->target);
    return 0;
}

static int mount_secret(struct stage *st, const struct sandbox_mount *m, struct error **err)
{
    AUTO_FREE char *name = xasprintf("secret%zu", st->mounted.len), *file = NULL;
    if (write_private(name, 0400, m->data.ptr, m->data.len, &file, err) < 0 ||
        set_owner_mode(m, file, err) < 0)
        return -1;
    return mount_at(st, scaffold_file(&st->scaffolds, st->root, m->target, err), file, NULL,
                    MS_BIND, NULL, err);
}

static int mount_tmpfs(struct stage *st, const struct sandbox_mount *m, struct error **err)
{
    CLEANUP(buf_clear) struct buf data = BUF_INIT;
    buf_addf(&data, "mode=%04o", m->has_mode ? (unsigned)m->mode : 01777);
    if (m->has_owner)
        buf_addf(&data, ",uid=%u,gid=%u", (unsigned)m->uid, (unsigned)m->gid);
    if (m->size)
        buf_addf(&data, ",size=%llu", (unsigned long long)m->size);
    return mount_at(st, scaffold_folder(&st->scaffolds, st->root, m->target, err), "tmpfs", "tmpfs",
                    MS_NOSUID | MS_NODEV, data.data, err);
}

static int mount_wanted(struct stage *st, struct error **err)
{
    vec_foreach (const struct sandbox_mount *, m, &st->box->mounts) {
        int done = m->kind == SANDBOX_TMPFS    ? mount_tmpfs(st, m, err)
                   : m->kind == SANDBOX_SECRET ? mount_secret(st, m, err)
                                               : mount_bind(st, m, err);
        if (done < 0)
            return -1;
    }
    return 0;
}

static int put_script(struct stage *st, struct error **err)
{
    AUTO_FREE char *path = xasprintf("%s%s", st->box->tree, AGENT_SCRIPT);
    struct str text = st->box->script;
    if (!text.len)
        return 0;
    AUTO_CLOSE int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0755);
    if (fd < 0 || write_all(fd, text.ptr, text.len) < 0)
        return error_errno(err, "cannot write '%s'", path);
    return 0;
}

static void loopback_up(void)
{
    struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    AUTO_CLOSE int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (s >= 0)
        (void)ioctl(s, SIOCSIFFLAGS, &r);
}

static int set_up(struct stage *st, struct error **err)
{
    struct sandbox *s = st->box;
    umask(0);
    sethostname(s->hostname, strlen(s->hostname));
    if (s->no_network)
        loopback_up();
    mkdir(PRIVATE, 0700);
    st->root = open(s->tree, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (st->root < 0)
        return error_errno(err, "cannot open '%s'", s->tree);
    if (sys_mount("tmpfs", PRIVATE, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0711", err) < 0 ||
        mount_system(st, err) < 0 || mount_wanted(st, err) < 0)
        return -1;
    services_forbid(&st->services, st->root, &st->scaffolds);
    if (put_script(st, err) < 0)
        return -1;
    if (s->insecure)
        return 0;
    written_watch(&st->written, s->tree, s->volumes);
    st->mounting = mounting_watch();
    return st->mounting < 0 ? error_errno(err, "cannot watch the command's mounts") : 0;
}

// The command's terminal; *ret_slave is -1 when it has none.
static int open_terminal(struct stage *st, int *ret_slave, struct error **err)
{
    int unlocked = 0;
    *ret_slave = -1;
    if (!st->box->tty)
        return 0;
    AUTO_FREE char *path = xasprintf("%s/dev/pts/ptmx", st->box->tree);
    AUTO_CLOSE int master = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (master < 0 || ioctl(master, TIOCSPTLCK, &unlocked) < 0 ||
        (*ret_slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0)
        return error_errno(err, "cannot open a terminal");
    report_terminal(st->box, master);
    return 0;
}

static void take_order(const struct sandbox *s, pid_t command)
{
    int number;
    ssize_t n = recv(s->control, &number, sizeof number, MSG_DONTWAIT);
    if (n == (ssize_t)sizeof number && number > 0 && number < NSIG)
        kill(-command, number);
    else if (n == 0)
        kill(-1, SIGKILL); // the agent is gone
}

// Reaps everything; true once the command itself has ended.
static bool reap(pid_t command, int *ret_status)
{
    bool ended = false;
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        if (pid == command) {
            *ret_status = status;
            ended = true;
        }
    return ended;
}

static void let_mount(struct stage *st)
{
    char *what = mounting_answer(st->mounting);
    if (st->changed)
        free(what);
    else
        st->changed = what;
}

static int wait_for(struct stage *st, pid_t command, int children)
{
    int status = 0;
    for (;;) {
        struct pollfd f[] = {{children, POLLIN, 0},
                             {st->box->control, POLLIN, 0},
                             {st->services.watch, POLLIN, 0},
                             {st->mounting, POLLIN, 0}};
        if (poll(f, 4, -1) < 0)
            continue;
        struct signalfd_siginfo info;
        if (f[0].revents && read(children, &info, sizeof info) > 0 && reap(command, &status))
            return status;
        if (f[1].revents)
            take_order(st->box, command);
        if (f[2].revents)
            services_answer(&st->services);
        if (f[3].revents & POLLIN)
            let_mount(st);
    }
}

// Undoes "blockdev --setro" of a disk (its name is the partition's without the number) or partition.
static void allow_writes(const char *device)
{
    size_t n = strcspn(device, "0123456789");
    AUTO_FREE char *disk = device[n] ? xasprintf("%.*s", (int)n, device) : NULL;
    if (disk)
        allow_writes(disk);
    AUTO_CLOSE int fd = open(device, O_RDONLY | O_CLOEXEC);
    int read_only = 0;
    if (fd >= 0 && ioctl(fd, BLKROGET, &read_only) == 0 && read_only)
        (void)ioctl(fd, BLKROSET, &(int){0});
}

// Undoes "fsfreeze -f" and "mount -o remount,ro" of a file system of the image: what is below still
// writes to it.
static void free_file_systems(const struct sandbox *s)
{
    for (size_t i = 0; s->file_systems && i < s->file_systems->len; i++) {
        const struct mounted *m = &s->file_systems->ptr[i];
        struct statvfs info;
        AUTO_CLOSE int fd = open(m->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || m->read_only)
            continue;
        (void)ioctl(fd, FITHAW, 0); // EINVAL: it is not frozen
        allow_writes(m->device);
        if (fstatvfs(fd, &info) == 0 && info.f_flag & (ST_RDONLY | ST_SYNCHRONOUS | ST_MANDLOCK) &&
            mount(NULL, m->path, NULL, MS_REMOUNT | MS_NOATIME, NULL) < 0)
            sys_log("cannot make '%s' writable again: %s", m->path, strerror(errno));
    }
}

static void kill_the_rest(const struct sandbox *s)
{
    kill(-1, SIGKILL);
    free_file_systems(s); // or what waits for a frozen one never ends
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        ;
}

static void take_down(struct stage *st)
{
    for (size_t i = st->mounted.len; i-- > 0;)
        if (umount2(st->mounted.ptr[i], MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
            sys_log("cannot unmount '%s': %s", st->mounted.ptr[i], strerror(errno));
    scaffolds_undo(&st->scaffolds);
}

static void close_own(const struct sandbox *s)
{
    const int fds[] = {s->in, s->out, s->errors};
    for (size_t i = 0; i < 3; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

static int run(struct stage *st, int *ret_status, struct error **err)
{
    sigset_t set;
    int slave;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_SETMASK, &set, NULL);
    AUTO_CLOSE int children = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (children < 0)
        return error_errno(err, "cannot watch the command");
    if (set_up(st, err) < 0 || open_terminal(st, &slave, err) < 0)
        return -1;
    pid_t pid = command_start(st->box, st->root, slave, &st->services, err);
    close_own(st->box);
    if (slave >= 0)
        close(slave);
    if (pid < 0)
        return -1;
    *ret_status = wait_for(st, pid, children);
    return 0;
}

static void tell_changes(struct stage *st)
{
    AUTO_FREE char *written = written_seen(&st->written, st->box->tree);
    const char *what = st->changed ? st->changed : written;
    if (what)
        report(st->box, SANDBOX_CHANGED, 0, what, NULL);
}

void sandbox_main(struct sandbox *s)
{
    CLEANUP(error_freep) struct error *err = NULL;
    struct stage st = {
        .box = s, .root = -1, .services.watch = -1, .written = WRITTEN_INIT, .mounting = -1};
    int status = 0;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "kiln-init");
    (void)sys_write(SANDBOX_CGROUP "/cgroup.procs", "0"); // told at boot where there is none
    int done = run(&st, &status, &err);
    services_end(&st.services);
    kill_the_rest(s);
    tell_changes(&st);
    take_down(&st);
    if (done < 0)
        report(s, SANDBOX_FAILED, err->errnum, err->message, err->hint);
    else
        report(s, SANDBOX_STATUS, status, NULL, NULL);
    _exit(0);
}
