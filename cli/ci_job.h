/* SPDX-License-Identifier: MIT
 *
 * A job of a GitLab runner, as its custom executor tells of it: in the environment of each call
 * (https://docs.gitlab.com/runner/executors/custom/).
 *
 *     // given struct session *session;
 *     CLEANUP(ci_job_clear) struct ci_job job = {0};
 *     ci_job_take(session, &job, &err);
 *     ...
 *     return ci_job_failed(session, &job, &err);
 *
 * Its VM is a temporary one (cli/vm_store.h). In vm.json: "ci": {"job": "123", "tmp": "/tmp/…"}, the
 * folder that the runner removes when the job is over.
 */
#ifndef CLI_CI_JOB_H
#define CLI_CI_JOB_H

#include "base/error.h"
#include "vm/named.h"

#include <jansson.h>

struct session;

/* All strings are owned; NULL = not told, or empty. */
struct ci_job {
    char *id, *vm;  /* CI_JOB_ID, and the name of its VM; never NULL */
    char *image;    /* CI_JOB_IMAGE */
    char *services; /* CI_JOB_SERVICES, a JSON array */
    char *registry, *registry_user, *registry_password; /* CI_REGISTRY, … */
    char *tmp;                                          /* TMPDIR */
    char *code_file;                                    /* BUILD_EXIT_CODE_FILE */
    int build_failure, system_failure;                  /* exit statuses */
};
void ci_job_clear(struct ci_job *job);

/* Takes the job from the environment, and all CUSTOM_ENV_ variables out of it: nothing that is started
 * from now on sees the job's secrets. ERR_USER: no runner called us. */
int ci_job_take(const struct session *s, struct ci_job *ret, struct error **err);
/* *err becomes a system failure for the runner, and the last lines of the VM's console are shown. -1. */
int ci_job_failed(const struct session *s, const struct ci_job *job, struct error **err);
/* Ends the job's VM, or one of that name, and removes it; one that is gone is fine. */
int ci_vm_remove(const struct session *s, const char *name, struct error **err);

#endif
