/* SPDX-License-Identifier: MIT
 *
 * --ssh of `kiln image build`, as docker has it: ID, ID=SOCKET or ID=KEY[,KEY…]. Keys go to an ssh-agent
 * of our own, which ends with us.
 *
 *     // given const struct args *a; struct build_options o;
 *     CLEANUP(build_agents_clear) struct build_agents agents = BUILD_AGENTS_INIT;
 *     if (build_agents_take(session, a, &agents, &err) < 0) ...
 *     o.agents = agents.ptr;
 *     o.n_agents = agents.len;
 */
#ifndef CLI_BUILD_AGENTS_H
#define CLI_BUILD_AGENTS_H

#include "base/process.h"
#include "base/vector.h"
#include "base/working.h"
#include "builder/build/build.h"

struct args;

struct build_agents {
    struct build_ssh *ptr; /* owned; their strings are in texts */
    size_t len;
    struct strv texts;
    struct working work;       /* with the sockets of ours */
    struct process *processes; /* ours */
    size_t n_processes;
};
#define BUILD_AGENTS_INIT \
    { \
        .work = WORKING_INIT \
    }

/* Each of them answers when this returns. */
int build_agents_take(const struct session *s, const struct args *a, struct build_agents *ret,
                      struct error **err);
void build_agents_clear(struct build_agents *a); /* ends ours */

#endif
