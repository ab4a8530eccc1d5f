// SPDX-License-Identifier: MIT
// posix_spawn (a vfork: cheap), and a poll over both pipes and the port.
#include "builder/agent/program.h"

#include "base/file.h"
#include "builder/agent/sys.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KEPT = 16 * 1024 };

extern char **environ;

struct child {
    pid_t pid;
    int out, err; /* read ends; -1 once they have ended */
};

static void close_child(struct child *c)
{
    if (c->out >= 0)
        close(c->out);
    if (c->err >= 0)
        close(c->err);
    if (c->pid > 0) {
        kill(c->pid, SIGKILL);
        while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
}

static int start(char *const argv[], int in, struct child *ret, struct error **err)
{
    int out[2], errs[2];
    if (pipe2(out, O_CLOEXEC) < 0)
        return error_errno(err, "cannot run '%s'", argv[0]);
    ret->out = out[0];
    if (pipe2(errs, O_CLOEXEC) < 0) {
        close(out[1]);
        return error_errno(err, "cannot run '%s'", argv[0]);
    }
    ret->err = errs[0];
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in, 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    posix_spawn_file_actions_adddup2(&actions, errs[1], 2);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int e = posix_spawnp(&ret->pid, argv[0], &actions, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    close(out[1]);
    close(errs[1]);
    if (e == 0)
        return 0;
    ret->pid = 0;
    errno = e;
    return error_errno(err, "cannot run '%s' in the builder VM", argv[0]);
}

// One read of a pipe; false when it has ended. What is beyond KEPT is not looked at.
static bool take(int fd, struct buf *said)
{
    char bytes[4096];
    ssize_t n = read(fd, bytes, sizeof bytes);
    if (n <= 0)
        return n < 0 && (errno == EINTR || errno == EAGAIN);
    if (said->len < KEPT)
        buf_add(said, bytes, (size_t)n);
    return true;
}

static void pump(struct agent *a, struct child *c, struct buf *out, struct buf *errors)
{
    while (c->out >= 0 || c->err >= 0) {
        struct pollfd f[] = {{c->out, POLLIN, 0}, {c->err, POLLIN, 0}, {a->port.fd, POLLIN, 0}};
        // a port without a host polls as ready at once: it is left out then
        if (poll(f, a->port.connected ? 3 : 2, -1) < 0)
            continue;
        if (f[0].revents && !take(c->out, out))
            close(c->out), c->out = -1;
        if (f[1].revents && !take(c->err, errors))
            close(c->err), c->err = -1;
        if (f[2].revents)
            agent_poll(a, NULL, NULL);
    }
}

// The line that says what is wrong is the first; a usage text may follow. mkfs.vfat has something
// else to say first here, where there are no charsets.
static struct str first_line(const struct buf *said)
{
    static const char *const noise[] = {"Cannot initialize conversion", "Using internal CP850"};
    for (const char *line = said->len ? said->data : ""; *line;) {
        struct str text = {line, strcspn(line, "\n")};
        line += text.len + (line[text.len] != '\0');
        if (text.len && !str_starts(text, noise[0]) && !str_starts(text, noise[1]))
            return text;
    }
    return (struct str){"", 0};
}

int program_run(struct agent *a, char *const argv[], struct str input, struct error **err)
{
    CLEANUP(close_child) struct child c = {0, -1, -1};
    CLEANUP(buf_clear) struct buf out = BUF_INIT, errors = BUF_INIT;
    AUTO_CLOSE int in =
        input.len ? memfd_create("stdin", MFD_CLOEXEC) : open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (in < 0 || (input.len && (write_all(in, input.ptr, input.len) < 0 || lseek(in, 0, 0) < 0)))
        return error_errno(err, "cannot prepare the input of '%s'", argv[0]);
    if (start(argv, in, &c, err) < 0)
        return -1;
    pump(a, &c, &out, &errors);
    int status = 0;
    while (waitpid(c.pid, &status, 0) < 0 && errno == EINTR)
        ;
    c.pid = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    struct str why = first_line(&errors);
    if (!why.len)
        why = first_line(&out);
    if (WIFSIGNALED(status))
        return error_set(err, ERR_GUEST, "'%s' was killed by signal %d: " STR_FMT, argv[0],
                         WTERMSIG(status), STR_ARG(why));
    return error_set(err, ERR_GUEST, "'%s' failed with status %d: " STR_FMT, argv[0],
                     WEXITSTATUS(status), STR_ARG(why));
}
