// SPDX-License-Identifier: MIT
//
// The host's side is a child process at a pipe: the relay of vm/ssh_run.c then is the only loop here.
// It tells of a failure in shared memory, and of the two the cause is reported, not the echo.
#include "cli/cp_transfer.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/capture.h"
#include "cli/cp_tar.h"
#include "cli/vm_live.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { CAPTURE = 16 * 1024, MESSAGE = 4096 };

static int run_over_ssh(void *ssh, const char *command, const int fds[3], int *ret_status,
                        struct error **err)
{
    return vm_ssh_run_on(ssh, command, fds, ret_status, err);
}

struct cp_guest cp_guest_ssh(struct vm_ssh *ssh, const char *name)
{
    return (struct cp_guest){run_over_ssh, ssh, name, false};
}

static int guest_failed(const struct cp_guest *g, int status, int said_fd, struct error **err)
{
    CLEANUP(buf_clear) struct buf said = BUF_INIT;
    capture_read(said_fd, &said);
    error_set(err, ERR_GUEST, "the copy failed in VM '%s' (exit status %d)%s%s", g->name, status,
              said.len ? ":\n" : "", said.data);
    return status == 127 ? error_hint(err, "cp needs the program tar in the guest") : -1;
}

int cp_stream(const struct cp_guest *g, const char *command, struct error **err)
{
    AUTO_CLOSE int said = capture_open(CAPTURE, err);
    int status;
    if (said < 0 ||
        g->run(g->arg, command, (int[]){STDIN_FILENO, STDOUT_FILENO, said}, &status, err) < 0)
        return -1;
    return status ? guest_failed(g, status, said, err) : 0;
}

/* $1 path, $2 an enum cp_links. */
static const char look_script[] =
    "p=$1; [ $2 != 2 ] || p=$(readlink -f -- \"$1\") || { echo 0; exit; }; "
    "if [ $2 = 0 ] && [ -L \"$p\" ]; then k=1; elif [ -d \"$p\" ]; then k=2; "
    "elif [ -f \"$p\" ]; then k=1; elif [ -e \"$p\" ]; then k=3; else k=0; fi; "
    "echo $k; printf %s \"$p\"";

int cp_look(const struct cp_guest *g, const char *path, enum cp_links links, enum cp_kind *ret,
            char **ret_path, struct error **err)
{
    CLEANUP(buf_clear) struct buf command = BUF_INIT;
    CLEANUP(buf_clear) struct buf told = BUF_INIT;
    AUTO_CLOSE int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    AUTO_CLOSE int out = capture_open(CAPTURE, err);
    AUTO_CLOSE int said = out < 0 ? -1 : capture_open(CAPTURE, err);
    char how[2] = {(char)('0' + (int)links), '\0'};
    const char *words[] = {"sh", "-c", look_script, "sh", path, how, NULL};
    int status;
    buf_add_shell_words(&command, words);
    if (said < 0 || g->run(g->arg, command.data, (int[]){nothing, out, said}, &status, err) < 0)
        return -1;
    if (status)
        return guest_failed(g, status, said, err);
    capture_read(out, &told);
    if (told.len < 1 || told.data[0] < '0' || told.data[0] > '3')
        return error_set(err, ERR_GUEST, "VM '%s' does not say what '%s' is", g->name, path);
    *ret = (enum cp_kind)(told.data[0] - '0');
    *ret_path = xstrdup(links == CP_REAL && told.len > 2 ? told.data + 2 : path);
    return 0;
}

/* What the child leaves behind, in memory of both. */
struct outcome {
    int errnum;
    enum error_kind kind; /* 0: it did not fail */
    char message[MESSAGE];
};

_Noreturn static void work(const struct cp_job *job, int fd, struct outcome *o)
{
    struct error *err = NULL;
    int rc = job->receive ? cp_tar_read(fd, job->from, job->dir, job->name, job->attributes, &err)
                          : cp_tar_write(job->from, job->name, fd, &err);
    if (rc < 0) {
        (void)snprintf(o->message, sizeof o->message, "%s", err->message);
        o->errnum = err->errnum;
        o->kind = err->kind;
    }
    _exit(rc < 0);
}

/* The child ends by itself once our end of its pipe is closed. */
static void join(pid_t child, struct outcome *o)
{
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFSIGNALED(status) && !o->kind) {
        o->kind = ERR_KILLED;
        (void)snprintf(o->message, sizeof o->message, "the copying process was killed by signal %d",
                       WTERMSIG(status));
    }
}

/* Of all that may have failed, the cause; status is the guest's, -1 with *err: the connection. */
static int judge(const struct cp_guest *g, const struct cp_job *job, int status, int said,
                 const struct outcome *o, struct error **err)
{
    bool echo = o->errnum == EPIPE || (job->receive && status != 0);
    if (status < 0 && (!o->kind || !err || !*err || (*err)->errnum != EPIPE))
        return -1;
    if (o->kind && (status < 0 || !echo)) {
        if (err && *err)
            error_free(STEAL(*err));
        return error_set(err, o->kind, "%s", o->message);
    }
    return status ? guest_failed(g, status, said, err) : 0;
}

/* The job at one end of a pipe, the guest's command at the other. */
static int transfer(const struct cp_guest *g, const char *command, const struct cp_job *job,
                    struct outcome *o, struct error **err)
{
    int ends[2];
    AUTO_CLOSE int said = capture_open(CAPTURE, err);
    AUTO_CLOSE int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (said < 0)
        return -1;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_errno(err, "cannot make a pipe");
    int ours = ends[job->receive], its = ends[!job->receive], status = -1;
    pid_t child = fork();
    if (!child) {
        close(ours);
        work(job, its, o);
    }
    close(its);
    int fds[3] = {job->receive ? nothing : ours, job->receive ? ours : nothing, said};
    if (child < 0)
        error_errno(err, "cannot start a process");
    else if (g->run(g->arg, command, fds, &status, err) < 0)
        status = -1;
    close(ours);
    if (child > 0)
        join(child, o);
    return judge(g, job, status, said, o, err);
}

int cp_transfer(const struct cp_guest *g, const char *command, const struct cp_job *job,
                struct error **err)
{
    struct outcome *o =
        mmap(NULL, sizeof *o, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (o == MAP_FAILED)
        return error_errno(err, "cannot get memory for the copy");
    int rc = transfer(g, command, job, o, err);
    (void)munmap(o, sizeof *o);
    return rc;
}
