/* SPDX-License-Identifier: MIT
 *
 * OpenSSH's sftp-server for one folder of the host, on a pair of pipes (vm/share_sshfs.h). It may use
 * nothing but that folder, as far as the kernel can see to it (vm/confine.h).
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
#include "vm/confine.h"

struct process;
struct vm_share;

/* Its absolute path, owned. name: a path or a name in PATH; NULL = where distributions put it. ERR_NOT_FOUND. */
char *sftp_server_find(const char *name, struct error **err);
/* How the kernel can keep it to the folder. */
enum confined sftp_server_confined(const char *program, const struct vm_share *share);
/* Starts it with pipes in p->in and p->out. The process that calls this, which has one thread, may itself
 * use nothing but the folder and what programs need to start from then on. With CONFINED_RULES the server
 * refuses to change modes, owners and times. */
int sftp_server_start(struct process *p, const char *program, const struct vm_share *share,
                      struct error **err);

#endif
