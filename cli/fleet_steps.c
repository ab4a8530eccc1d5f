// SPDX-License-Identifier: MIT
// A step's output goes into a pipe; a thread reads it and writes it to the log and to our output.
#include "cli/fleet_steps.h"

#include "base/alloc.h"
#include "base/file.h"
#include "cli/vm_live.h"
#include "vm/run.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>

struct vm_ssh *fleet_login(const struct session *s, const struct fleet_file *f,
                           const struct fleet_vm *vm, struct vm_live *live, struct error **err)
{
    enum { LEAST_MS = 120000 };
    AUTO_FREE char *late = xasprintf(
        "--ssh-timeout waits longer, as does 'timeout' in the ssh "
        "block; 'kiln logs %s' shows the console",
        vm->name);
    live->timeout_ms = f->login_ms ? f->login_ms : (int)vm->ssh_seconds * 1000;
    live->late_hint = late;
    struct vm_ssh *ssh = vm_live_first_login(s, live, LEAST_MS, err);
    live->late_hint = NULL;
    return ssh;
}

struct tee {
    int from, log, out;
    pthread_t thread;
    bool running;
};

static void *copy_output(void *arg)
{
    struct tee *t = arg;
    char chunk[16 * 1024];
    for (ssize_t n; (n = read(t->from, chunk, sizeof chunk)) != 0;) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        (void)write_all(t->log, chunk, (size_t)n);
        (void)write_all(t->out, chunk, (size_t)n);
    }
    return NULL;
}

/* What is written to *ret goes both ways until it is closed. */
static int tee_start(struct tee *t, int log, int out, int *ret, struct error **err)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return error_errno(err, "cannot make a pipe");
    *t = (struct tee){.from = fds[0], .log = log, .out = out};
    int rc = pthread_create(&t->thread, NULL, copy_output, t);
    if (rc) {
        close(fds[0]);
        close(fds[1]);
        errno = rc;
        return error_errno(err, "cannot start a thread");
    }
    t->running = true;
    *ret = fds[1];
    return 0;
}

static void tee_end(struct tee *t)
{
    if (!t->running)
        return;
    pthread_join(t->thread, NULL);
    close(t->from);
    t->running = false;
}

/* One command with a file or nothing as its input; its exit status. */
static int run_command(struct vm_ssh *ssh, int log, const char *command, const char *input,
                       int *ret_status, struct error **err)
{
    struct tee t = {0};
    AUTO_CLOSE int in = open(input ? input : "/dev/null", O_RDONLY | O_CLOEXEC);
    AUTO_CLOSE int out = -1;
    if (in < 0)
        return error_errno(err, "cannot open '%s'", input);
    if (tee_start(&t, log, STDOUT_FILENO, &out, err) < 0)
        return -1;
    int fds[3] = {in, out, out};
    int rc = vm_ssh_run_on(ssh, command, fds, ret_status, err);
    close(STEAL_FD(out));
    tee_end(&t);
    return rc;
}

/* The command line that runs its input as a script, which has no input. Nobody else of the guest can write to its
 * folder, or know its name before. */
static void add_script(struct buf *out, size_t number)
{
    buf_adds(out,
             "d=$(mktemp -d) || exit; trap 'rm -rf \"$d\"' EXIT; trap 'exit 129' HUP INT TERM\n");
    buf_addf(out, "s=$d/provision-%zu.sh; cat >\"$s\" && chmod 0700 \"$s\" && \"$s\" </dev/null",
             number);
}

/* The command line that puts its input into a file of the guest. */
static void add_upload(struct buf *out, const char *path)
{
    AUTO_FREE char *dir = path_parent(path);
    buf_adds(out, "mkdir -p ");
    buf_add_shell_word(out, dir);
    buf_adds(out, " && cat > ");
    buf_add_shell_word(out, path);
    buf_adds(out, " && chmod 0755 ");
    buf_add_shell_word(out, path);
}

static int run_step(struct vm_ssh *ssh, int log, const struct fleet_vm *vm, size_t i,
                    int *ret_status, struct error **err)
{
    const struct fleet_step *step = &vm->steps[i];
    CLEANUP(buf_clear) struct buf command = BUF_INIT;
    if (step->kind == FLEET_UPLOAD)
        add_upload(&command, step->destination);
    else
        buf_addf(&command, "export KILN_VM=%s\n", vm->name);
    if (step->kind == FLEET_SCRIPT)
        add_script(&command, i + 1);
    if (step->kind == FLEET_INLINE)
        buf_adds(&command, step->text);
    return run_command(ssh, log, command.data, step->kind == FLEET_INLINE ? NULL : step->text,
                       ret_status, err);
}

/* A line before each step, here and in the log. */
static void tell_step(int log, const struct fleet_vm *vm, size_t i)
{
    static const char *const kinds[] = {"", "script ", "upload "};
    const struct fleet_step *step = &vm->steps[i];
    int first = (int)strcspn(step->text, "\n");
    AUTO_FREE char *line = xasprintf("Provision %zu/%zu: %s%.*s%s\n", i + 1, vm->n_steps,
                                     kinds[step->kind], first > 100 ? 100 : first, step->text,
                                     step->text[first] || first > 100 ? " …" : "");
    (void)write_all(log, line, strlen(line));
    (void)write_all(STDOUT_FILENO, line, strlen(line));
}

int fleet_run_steps(const struct session *s, const struct fleet_file *f, const struct fleet_vm *vm,
                    struct error **err)
{
    CLEANUP(vm_live_clear) struct vm_live live = VM_LIVE_INIT;
    if (vm_live_open(s, vm->name, &live, err) < 0)
        return -1;
    AUTO_FREE char *path = path_join(live.vm.dir, FLEET_LOG);
    CLEANUP(vm_ssh_freep) struct vm_ssh *ssh = fleet_login(s, f, vm, &live, err);
    if (!ssh)
        return -1;
    AUTO_CLOSE int log = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0)
        return error_errno(err, "cannot write '%s'", path);
    for (size_t i = 0; i < vm->n_steps; i++) {
        int status = 0;
        tell_step(log, vm, i);
        int rc = run_step(ssh, log, vm, i, &status, err);
        if (rc == 0 && !status)
            continue;
        if (rc == 0)
            error_set(err, ERR_GUEST, "provision %zu of VM '%s' ended with exit status %d", i + 1,
                      vm->name, status);
        error_hint(err, "'kiln provision %s' runs all of them again", vm->name);
        return error_at(err, f->fleet->doc->source.path, vm->steps[i].line, vm->steps[i].column);
    }
    return 0;
}
