/* SPDX-License-Identifier: MIT
 *
 * One run of kiln-ext4, which kiln carries in itself and starts from memory.
 *
 *     #include "builder/ext4/job.h"
 *     // given struct job job; struct runner_wait wait;
 *     message_put_num(&job.message, JOB_KIND, JOB_MKDIR);
 *     if (job_run(session, &job, NULL, wait, &err) < 0) ...
 */
#ifndef BUILDER_HOST_JOB_H
#define BUILDER_HOST_JOB_H

#include "builder/agent/message.h"
#include "builder/runner/runner.h"

struct session;

struct job {
    struct message message;   /* builder/ext4/job.h; without JOB_FILE */
    const struct strv *files; /* of the chain, from the base to the top, which is written */
    const int *keep;          /* further descriptors that the message names */
    size_t n_keep;
};

/* from: what follows the message; NULL = nothing. Errors: ERR_CANCELLED; ERR_GUEST: it took too
 * long; else why the program declined (ERR_USER) or could not be run. */
int job_run(const struct session *s, struct job *job, const struct runner_stream *from,
            struct runner_wait w, struct error **err);

#endif
