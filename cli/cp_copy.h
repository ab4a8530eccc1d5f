/* SPDX-License-Identifier: MIT
 *
 * Copies between the host and a guest, by docker's rules for where a copy goes: into a folder that is
 * there, else it becomes the name given.
 *
 *     // given struct vm_ssh *ssh;
 *     struct cp_guest guest = cp_guest_ssh(ssh, "web");
 *     cp_copy_out(&guest, "/var/log", "logs", false, &err);
 */
#ifndef CLI_CP_COPY_H
#define CLI_CP_COPY_H

#include "cli/cp_transfer.h"

#include <stdbool.h>

/* From the guest; dest "-": a tar stream to our stdout. follow: what a link leads to is copied in its
 * place. ERR_NOT_FOUND (errnum ENOENT: in the guest), ERR_EXISTS, ERR_USER, and the errors of cp_transfer. */
int cp_copy_out(const struct cp_guest *g, const char *path, const char *dest, bool follow,
                struct error **err);
/* To the guest. */
int cp_copy_in(const struct cp_guest *g, const char *path, const char *dest, bool follow,
               struct error **err);
/* A tar stream from our stdin into a folder of the guest. */
int cp_copy_stream_in(const struct cp_guest *g, const char *dest, struct error **err);

#endif
