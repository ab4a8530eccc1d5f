// SPDX-License-Identifier: MIT
//
// kiln ci gitlab config, run, cleanup: what a gitlab-runner calls before, during and after a job;
// cmd_ci_prepare.c has the rest. A script goes to a shell in the guest as its standard input: its text
// is in no argument, file or log.
#include "base/alloc.h"
#include "base/file.h"
#include "cli/ci_job.h"
#include "cli/cmd_ci.h"
#include "cli/config.h"
#include "cli/store.h"
#include "cli/vm_live.h"
#include "vm/ssh_keep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct option_spec config_options[] = {
    {"builds-dir", 0, "DIR", "Where the guest has the sources [default: /var/tmp/builds]", NULL},
    {"cache-dir", 0, "DIR", "Where the guest has the job's cache [default: /var/tmp/cache]", NULL},
    {"shell", 0, "bash|sh", "What the runner writes its scripts for [default: bash]", NULL},
    CONFIG_OPTION,
    {0},
};
static const struct option_spec only_config[] = {CONFIG_OPTION, {0}};

static int run_config(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(ci_job_clear) struct ci_job job = {0};
    const char *builds = args_get(a, "builds-dir"), *cache = args_get(a, "cache-dir");
    const char *shell = args_get(a, "shell");
    if (shell && strcmp(shell, "bash") != 0 && strcmp(shell, "sh") != 0)
        return error_set(err, ERR_USAGE, "argument --shell: '%s' is not bash or sh", shell);
    if (ci_job_take(s, &job, err) < 0)
        return -1;
    json_auto_t *told = json_pack("{s:{s:s, s:s}, s:s, s:s, s:s, s:b, s:{s:s}, s:s}", "driver",
                                  "name", "kiln", "version", KILN_VERSION, "hostname", job.vm,
                                  "builds_dir", builds ? builds : "/var/tmp/builds", "cache_dir",
                                  cache ? cache : "/var/tmp/cache", "builds_dir_is_shared", 0,
                                  "job_env", "KILN_VM", job.vm, "shell", shell ? shell : "bash");
    if (!told)
        return error_set(err, ERR_USER, "an argument is not UTF-8");
    cli_print_json(told);
    return 0;
}

int ci_run_script(const struct session *s, const char *path, struct vm_live *live,
                  struct vm_ssh *ssh, int *ret_status, struct error **err)
{
    static const char command[] =
        "exec sh -c 'PATH=$PATH:" CI_GUEST_BIN ":" CI_GUEST_BIN_ELSE
        "; export PATH; "
        "if command -v bash >/dev/null 2>&1; then exec bash; fi; exec sh'";
    AUTO_CLOSE int fd =
        !strcmp(path, "-") ? fcntl(s->in, F_DUPFD_CLOEXEC, 0) : open(path, O_RDONLY | O_CLOEXEC);
    struct session with_script = *s;
    if (fd < 0)
        return error_errno(err, "cannot read the script '%s'", path);
    if (ssh)
        return vm_ssh_run_on(ssh, command, (const int[3]){fd, s->out, s->errors}, ret_status, err);
    with_script.in = fd;
    int rc = vm_ssh_kept_run(&with_script, live->vm.dir, command, ret_status, err);
    if (rc)
        return rc < 0 ? -1 : 0;
    CLEANUP(vm_ssh_freep) struct vm_ssh *own = vm_live_login(s, NULL, live, err);
    if (!own || ci_run_script(s, path, live, own, ret_status, err) < 0)
        return -1;
    vm_ssh_keep_take(STEAL(own), live->vm.dir);
    return 0;
}

/* For the runner: the script's own exit status. */
static void write_code(const struct session *s, const struct ci_job *job, int status)
{
    if (!job->code_file)
        return;
    AUTO_FREE char *text = xasprintf("%d\n", status);
    AUTO_CLOSE int fd = open(job->code_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write_all(fd, text, strlen(text)) < 0)
        session_notice(s, "cannot write '%s': %s", job->code_file, strerror(errno));
}

static int open_vm(const struct session *s, const struct ci_job *job, struct vm_live *ret,
                   struct error **err)
{
    struct error *why = NULL;
    if (vm_live_open(s, job->vm, ret, &why) == 0)
        return vm_live_check_halted(&ret->vm, err);
    if (why->kind != ERR_NOT_FOUND)
        return error_propagate(err, why);
    error_free(why);
    return error_set(err, ERR_GUEST, "the job's VM '%s' has ended", job->vm);
}

static int run_stage(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(ci_job_clear) struct ci_job job = {0};
    CLEANUP(vm_live_clear) struct vm_live live = VM_LIVE_INIT;
    int status = 0;
    if (ci_job_take(s, &job, err) < 0)
        return -1;
    if (open_vm(s, &job, &live, err) < 0 ||
        ci_run_script(s, a->pos[0], &live, NULL, &status, err) < 0) {
        if (err && *err)
            error_wrap(err, "stage '%s'", a->pos[1]);
        return ci_job_failed(s, &job, err);
    }
    if (!status)
        return 0;
    write_code(s, &job, status);
    return job.build_failure;
}

static int run_cleanup(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(ci_job_clear) struct ci_job job = {0};
    (void)a;
    return ci_job_take(s, &job, err) < 0 ? -1 : ci_vm_remove(s, job.vm, err);
}

const struct command cmd_ci_gitlab_config = {
    .name = "ci gitlab config",
    .summary = "Tell a gitlab-runner about the executor",
    .usage = "[options]",
    .detail = "For config_exec of a runner's custom executor: prints what it wants to know.\n",
    .options = config_options,
    .flags = CMD_CI_JOB,
    .run = run_config,
};

const struct command cmd_ci_gitlab_run = {
    .name = "ci gitlab run",
    .summary = "Run a script of a gitlab-runner in the job's VM",
    .usage = "SCRIPT STAGE",
    .detail =
        "For run_exec of a runner's custom executor. The script is the standard input of bash in "
        "the\n"
        "guest, or of sh where there is no bash.\n",
    .options = only_config,
    .flags = CMD_CI_JOB,
    .min_args = 2,
    .max_args = 2,
    .run = run_stage,
};

const struct command cmd_ci_gitlab_cleanup = {
    .name = "ci gitlab cleanup",
    .summary = "End and remove the VM of a gitlab-runner's job",
    .usage = "",
    .detail = "For cleanup_exec of a runner's custom executor. A VM that is gone is fine.\n",
    .options = only_config,
    .flags = CMD_CI_JOB,
    .run = run_cleanup,
};
