/* SPDX-License-Identifier: MIT
 *
 * What the commands of a gitlab-runner's custom executor share: a script in the job's VM.
 *
 *     // given struct session *session; struct vm_live *live; int status;
 *     ci_run_script(session, "/tmp/job/script", live, NULL, &status, &err);
 */
#ifndef CLI_CMD_CI_H
#define CLI_CMD_CI_H

#include "base/error.h"

struct session;
struct vm_live;
struct vm_ssh;

/* Folders of the guest, at the end of a script's PATH: the first that can be made is --copy-runner's. */
#define CI_GUEST_BIN "/var/tmp/kiln-ci"
#define CI_GUEST_BIN_ELSE "/tmp/kiln-ci"

/* Runs the file ("-": standard input) in the guest, with our output as its own; over ssh, or (NULL) the connection that is
 * kept open, or a new one. *ret_status: its exit status; 128 + n if signal n ended it. -1: the file, or
 * the connection or the VM ended. */
int ci_run_script(const struct session *s, const char *path, struct vm_live *live,
                  struct vm_ssh *ssh, int *ret_status, struct error **err);

#endif
