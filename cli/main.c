// SPDX-License-Identifier: MIT
#include "base/alloc.h"
#include "cli/command.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

// One line a command, so that additions don't clash
// clang-format off
extern const struct command
    cmd_ci_gitlab_cleanup,
    cmd_ci_gitlab_config,
    cmd_ci_gitlab_prepare,
    cmd_ci_gitlab_run,
    cmd_ci_reap,
    cmd_commit,
    cmd_completion,
    cmd_console,
    cmd_cp,
    cmd_create,
    cmd_delete,
    cmd_doctor,
    cmd_down,
    cmd_exec,
    cmd_help,
    cmd_image_build,
    cmd_image_check,
    cmd_image_export,
    cmd_image_flatten,
    cmd_image_history,
    cmd_image_import,
    cmd_image_inspect,
    cmd_image_log,
    cmd_image_ls,
    cmd_image_pull,
    cmd_image_push,
    cmd_image_rm,
    cmd_image_tag,
    cmd_image_warm,
    cmd_libvirt_define,
    cmd_libvirt_import,
    cmd_login,
    cmd_logout,
    cmd_logs,
    cmd_ls,
    cmd_port,
    cmd_provision,
    cmd_prune,
    cmd_ps,
    cmd_reload,
    cmd_rename,
    cmd_restart,
    cmd_resume,
    cmd_rm,
    cmd_run,
    cmd_shell,
    cmd_ssh,
    cmd_ssh_key,
    cmd_start,
    cmd_status,
    cmd_stop,
    cmd_suspend,
    cmd_system_df,
    cmd_system_verify,
    cmd_up,
    cmd_wait;

const struct command *const commands[] = {
    &cmd_ci_gitlab_cleanup,
    &cmd_ci_gitlab_config,
    &cmd_ci_gitlab_prepare,
    &cmd_ci_gitlab_run,
    &cmd_ci_reap,
    &cmd_commit,
    &cmd_completion,
    &cmd_console,
    &cmd_cp,
    &cmd_create,
    &cmd_delete,
    &cmd_doctor,
    &cmd_down,
    &cmd_exec,
    &cmd_help,
    &cmd_image_build,
    &cmd_image_check,
    &cmd_image_export,
    &cmd_image_flatten,
    &cmd_image_history,
    &cmd_image_import,
    &cmd_image_inspect,
    &cmd_image_log,
    &cmd_image_ls,
    &cmd_image_pull,
    &cmd_image_push,
    &cmd_image_rm,
    &cmd_image_tag,
    &cmd_image_warm,
    &cmd_libvirt_define,
    &cmd_libvirt_import,
    &cmd_login,
    &cmd_logout,
    &cmd_logs,
    &cmd_ls,
    &cmd_port,
    &cmd_provision,
    &cmd_prune,
    &cmd_ps,
    &cmd_reload,
    &cmd_rename,
    &cmd_restart,
    &cmd_resume,
    &cmd_rm,
    &cmd_run,
    &cmd_shell,
    &cmd_ssh,
    &cmd_ssh_key,
    &cmd_start,
    &cmd_status,
    &cmd_stop,
    &cmd_suspend,
    &cmd_system_df,
    &cmd_system_verify,
    &cmd_up,
    &cmd_wait,
    NULL,
};
// clang-format on

void alloc_failed(void)
{
    fputs("kiln: out of memory\n", stderr);
    abort();
}

/* A daemon or cron may start us without some of them; the next file opened would then be taken for
 * standard output. */
static void open_standard_streams(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

int main(int argc, char **argv)
{
    open_standard_streams();
    // an error of the output is then met where everything is flushed, with its reason
    static char buffer[64 * 1024];
    if (!isatty(STDOUT_FILENO))
        setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    return command_main(argc, argv);
}
