/* SPDX-License-Identifier: MIT
 *
 * What an EXEC request asks for: words, environment, mounts, user. The sources of binds that come
 * from the host were unpacked by UNPACK requests before it.
 */
#ifndef BUILDER_AGENT_EXEC_REQUEST_H
#define BUILDER_AGENT_EXEC_REQUEST_H

#include "builder/agent/agent.h"
#include "builder/agent/sandbox.h"

/* Fills s, which is empty but for its tree, and sets the guest's name server. root: the image's root
 * folder. *ret_cwd and *ret_host are owned, and s points to them. */
int exec_read_request(struct agent *a, const struct request *rq, int root, struct sandbox *s,
                      char **ret_cwd, char **ret_host, struct error **err);
/* Frees what UNPACK requests unpacked. */
void exec_drop_unpacked(struct agent *a);

#endif
