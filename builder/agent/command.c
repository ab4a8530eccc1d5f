// SPDX-License-Identifier: MIT
// Starting the command. The new process tells over a pipe that execve closes what went wrong; the
// parent, which sees the image from outside, then finds out why and says it in words.
//
// fsync and its kin do nothing for the command: when anything goes wrong the whole disk of the step
// is thrown away, and package managers that sync after every file would take minutes.
#include "base/file.h"
#include "builder/agent/elf.h"
#include "builder/agent/privileges.h"
#include "builder/agent/sandbox.h"
#include "builder/agent/sys.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum stage { STAGE_SETUP = 1, STAGE_CWD, STAGE_USER, STAGE_EXEC };
struct failure {
    int stage, errnum;
};

static const char *get_env(const struct strv *env, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < env->len; i++)
        if (strncmp(env->ptr[i], name, n) == 0 && env->ptr[i][n] == '=')
            return env->ptr[i] + n + 1;
    return NULL;
}

static int ignore_syncs(void)
{
    static const unsigned ignored[] = {SYS_fsync, SYS_fdatasync, SYS_sync, SYS_syncfs,
                                       SYS_sync_file_range};
    enum { N = sizeof ignored / sizeof *ignored };
    struct sock_filter code[N + 5];
    unsigned short n = 0;
    code[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0xc000003e, 0, N + 1);
    code[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (unsigned char i = 0; i < N; i++)
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ignored[i],
                                                 (unsigned char)(N - i), 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO);
    struct sock_fprog prog = {n, code};
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

static void reset_signals(void)
{
    sigset_t none;
    for (int i = 1; i < NSIG; i++)
        signal(i, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

// The terminal by its name below the command's root, so that ttyname(3) finds it.
static int open_named(int tty)
{
    struct stat st;
    char path[32];
    if (fstat(tty, &st) < 0)
        return -1;
    snprintf(path, sizeof path, "/dev/pts/%u", minor(st.st_rdev));
    return open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

static int take_terminal(const struct sandbox *s, int slave)
{
    AUTO_CLOSE int tty = open_named(slave);
    struct winsize size = {.ws_row = (unsigned short)s->rows, .ws_col = (unsigned short)s->columns};
    if (tty < 0 || ioctl(tty, TIOCSCTTY, 0) < 0)
        return -1;
    if (s->rows && s->columns)
        ioctl(tty, TIOCSWINSZ, &size);
    (void)fchown(tty, s->who.uid, 5);
    return dup2(tty, 0) < 0 || dup2(tty, 1) < 0 || dup2(tty, 2) < 0 ? -1 : 0;
}

static int take_pipes(const struct sandbox *s)
{
    return dup2(s->in, 0) < 0 || dup2(s->out, 1) < 0 || dup2(s->errors, 2) < 0 ? -1 : 0;
}

// Tries each folder of PATH as execvp does: EACCES is remembered, "not there" is not.
static int exec_in_path(const struct sandbox *s)
{
    const char *path = get_env(&s->env, "PATH"), *file = s->argv.ptr[0];
    int seen = ENOENT;
    if (strchr(file, '/')) {
        execve(file, s->argv.ptr, s->env.ptr);
        return errno;
    }
    for (const char *p = path ? path : DEFAULT_PATH; *p;) {
        size_t n = strcspn(p, ":");
        AUTO_FREE char *full = xasprintf("%.*s/%s", (int)n, p, file);
        execve(full, s->argv.ptr, s->env.ptr);
        if (errno != ENOENT && errno != ENOTDIR)
            seen = errno;
        if (errno == ENOEXEC)
            break;
        p += n + (p[n] == ':');
    }
    return seen;
}

// In a mount namespace of its own, where the tree is the root: below a root that only chroot(2) has
// set, nobody may make a user namespace. pivot_root(2) cannot put an initramfs away; a mount moved
// over it can.
static int enter_tree(const struct sandbox *s)
{
    return unshare(CLONE_NEWNS) < 0 || chdir(s->tree) < 0 ||
                   mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0
               ? -1
               : 0;
}

static struct failure become(const struct sandbox *s, int tty)
{
    const struct who *w = &s->who;
    reset_signals();
    umask(022);
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){1024, 524288});
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, RLIM_INFINITY});
    sys_write("/proc/self/oom_score_adj", "0");
    if (setsid() < 0 || enter_tree(s) < 0 ||
        (tty >= 0 ? take_terminal(s, tty) : take_pipes(s)) < 0 || ignore_syncs() < 0 ||
        (!s->insecure && privileges_drop() < 0))
        return (struct failure){STAGE_SETUP, errno};
    if (chdir(s->cwd) < 0)
        return (struct failure){STAGE_CWD, errno};
    if (setgroups(w->groups.len, w->groups.ptr) < 0 || setgid(w->gid) < 0 || setuid(w->uid) < 0)
        return (struct failure){STAGE_USER, errno};
    return (struct failure){STAGE_EXEC, exec_in_path(s)};
}

// The program as the image has it: found below its root, not ours. NULL when it is not there.
static char *locate(const struct sandbox *s, int root)
{
    const char *file = s->argv.ptr[0], *path = get_env(&s->env, "PATH");
    struct stat st;
    if (strchr(file, '/'))
        return file[0] == '/' ? xstrdup(file) : xasprintf("%s/%s", s->cwd, file);
    for (const char *p = path ? path : DEFAULT_PATH; *p;) {
        size_t n = strcspn(p, ":");
        AUTO_FREE char *full = xasprintf("%.*s/%s", (int)n, p, file);
        AUTO_CLOSE int fd = sys_open_in(root, full, O_PATH);
        if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
            return STEAL(full);
        p += n + (p[n] == ':');
    }
    return NULL;
}

static int explain_missing(const struct sandbox *s, int root, const char *path, struct error **err)
{
    AUTO_CLOSE int fd = path ? sys_open_in(root, path, O_RDONLY | O_NONBLOCK) : -1;
    if (fd < 0) {
        error_set(err, ERR_USER, "'%s' not found in the image", s->argv.ptr[0]);
        return error_hint(err,
                          "put a root file system with a shell into the image first, "
                          "or install the program");
    }
    AUTO_FREE char *interpreter = elf_interpreter(fd);
    if (interpreter)
        return error_set(err, ERR_USER, "'%s' needs '%s', which is not in the image", path,
                         interpreter);
    return error_set(err, ERR_USER, "'%s' cannot be run: its interpreter is not in the image",
                     path);
}

static int explain_format(int root, const char *path, struct error **err)
{
    char machine[64];
    AUTO_CLOSE int fd = sys_open_in(root, path, O_RDONLY | O_NONBLOCK);
    AUTO_FREE char *interpreter = fd >= 0 ? elf_interpreter(fd) : NULL;
    AUTO_CLOSE int other = interpreter && !elf_machine(fd, machine, sizeof machine)
                               ? sys_open_in(root, interpreter, O_RDONLY | O_NONBLOCK)
                               : -1;
    if ((fd >= 0 && elf_machine(fd, machine, sizeof machine)) ||
        (other >= 0 && elf_machine(other, machine, sizeof machine))) {
        error_set(err, ERR_USER, "'%s' is a program for %s, and the builder VM is x86-64", path,
                  machine);
        return error_hint(err, "use an image for x86-64");
    }
    error_set(err, ERR_USER, "'%s' is not a program: Exec format error", path);
    return error_hint(err, "a script needs a first line such as #!/bin/sh");
}

// Each word has a limit of its own, and all together have one (execve(2), "Limits").
static int explain_too_long(const struct sandbox *s, struct error **err)
{
    enum { WORD_MAX = 128 * 1024 };
    size_t all = 0;
    vec_foreach (char *const *, e, &s->env) {
        size_t n = strlen(*e) + 1;
        all += n;
        if (n > WORD_MAX)
            error_set(err, ERR_USER, "the variable '%.*s' has %zu bytes, a program takes %d",
                      (int)strcspn(*e, "="), *e, n - 1, WORD_MAX - 1);
        if (n > WORD_MAX)
            return error_hint(err, "put it into a file: COPY <<EOF /path");
    }
    for (size_t i = 0; i < s->argv.len; i++) {
        size_t n = strlen(s->argv.ptr[i]) + 1;
        all += n;
        if (n > WORD_MAX)
            error_set(err, ERR_USER, "word %zu of the command has %zu bytes, a program takes %d",
                      i + 1, n - 1, WORD_MAX - 1);
        if (n > WORD_MAX)
            return error_hint(err, "a RUN that is not a list may be of any length");
    }
    error_set(err, ERR_USER,
              "the command and its variables have %zu bytes, more than a program takes", all);
    return error_hint(err, "make the values of ARG and ENV shorter, or put them into files");
}

static int explain(const struct sandbox *s, int root, struct failure f, struct error **err)
{
    AUTO_FREE char *path = locate(s, root);
    errno = f.errnum;
    if (f.stage == STAGE_CWD) {
        error_errno(err, "cannot enter the folder '%s' in the image", s->cwd);
        return error_hint(err, "WORKDIR makes a folder that is missing");
    }
    if (f.stage == STAGE_USER)
        return error_errno(err, "cannot become user %u", (unsigned)s->who.uid);
    if (f.stage == STAGE_SETUP)
        return error_errno(err, "cannot prepare the command");
    if (f.errnum == ENOENT)
        return explain_missing(s, root, path, err);
    if (f.errnum == E2BIG)
        return explain_too_long(s, err);
    if (f.errnum == ENOEXEC && path)
        return explain_format(root, path, err);
    return error_errno(err, "cannot run '%s' in the image", path ? path : s->argv.ptr[0]);
}

pid_t command_start(const struct sandbox *s, int root, int tty, struct services *services,
                    struct error **err)
{
    int trouble[2];
    if (pipe2(trouble, O_CLOEXEC) < 0)
        return error_errno(err, "cannot make a pipe");
    pid_t pid = fork();
    if (pid == 0) {
        services_end(services); // the parent's is to be the last: it answers by closing it
        struct failure f = become(s, tty);
        (void)write_all(trouble[1], &f, sizeof f);
        _exit(127);
    }
    struct failure f = {STAGE_SETUP, errno};
    close(trouble[1]);
    services_wait(services, trouble[0]);
    if (pid > 0 && read_all(trouble[0], &f, sizeof f) <= 0) {
        close(trouble[0]);
        return pid;
    }
    close(trouble[0]);
    return explain(s, root, f, err);
}
