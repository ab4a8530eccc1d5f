/* SPDX-License-Identifier: MIT
 *
 * OpenSSH's sftp-server for one folder of the host, on a pair of pipes (vm/share_sshfs.h). It may use
 * nothing but that folder, by Landlock (landlock(7)), where the kernel has it.
 *
 *     #include "base/process.h"
 *     // given struct vm_share *share;
 *     AUTO_FREE char *program = sftp_server_find(NULL, &err);
 *     CLEANUP(process_clear) struct process p = PROCESS_INIT;
 *     sftp_server_start(&p, program, share, &err);     // in a process that does nothing else
 */
#ifndef VM_SFTP_SERVER_H
#define VM_SFTP_SERVER_H

#include "base/error.h"

#include <stdbool.h>

struct process;
struct vm_share;

/* Its path, owned. name: a path or a name in PATH; NULL = where distributions put it. ERR_NOT_FOUND. */
char *sftp_server_find(const char *name, struct error **err);
/* Whether the kernel can keep it to the folder. */
bool sftp_server_confined(void);
/* Starts it with pipes in p->in and p->out. The process that calls this may itself use nothing but the
 * folder and what programs need to start from then on. */
int sftp_server_start(struct process *p, const char *program, const struct vm_share *share,
                      struct error **err);

#endif
