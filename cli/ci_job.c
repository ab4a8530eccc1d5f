// SPDX-License-Identifier: MIT
#include "cli/ci_job.h"

#include "base/alloc.h"
#include "base/session.h"
#include "cli/command.h"
#include "cli/vm_live.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define JOB_PREFIX "CUSTOM_ENV_"

static void wipe(char *secret)
{
    if (secret)
        OPENSSL_cleanse(secret, strlen(secret));
    free(secret);
}

void ci_job_clear(struct ci_job *job)
{
    free(job->id);
    free(job->vm);
    free(job->image);
    free(job->services);
    free(job->registry);
    free(job->registry_user);
    wipe(job->registry_password);
    free(job->tmp);
    free(job->code_file);
    *job = (struct ci_job){0};
}

static char *copy(const struct session *s, const char *name)
{
    const char *value = session_setting(s, name);
    return value ? xstrdup(value) : NULL;
}

static int exit_status(const struct session *s, const char *name, int otherwise)
{
    const char *value = session_setting(s, name);
    long n = value ? strtol(value, NULL, 10) : 0;
    return n > 0 && n < 256 ? (int)n : otherwise;
}

/* Job IDs are unique in one GitLab; a host may have runners of several. */
static char *vm_name(const struct session *s, const char *id)
{
    const char *server = session_setting(s, JOB_PREFIX "CI_SERVER_HOST");
    AUTO_FREE char *text = xasprintf("gitlab-%s%s%s", id, server ? "-" : "", server ? server : "");
    return named_vm_name(text);
}

/* Their bytes, too: /proc/PID/environ of whatever we leave running shows what the kernel gave us. */
static void forget_environment(void)
{
    for (char **e = environ; *e;) {
        char *text = *e;
        if (strncmp(text, JOB_PREFIX, sizeof JOB_PREFIX - 1) != 0) {
            e++;
            continue;
        }
        AUTO_FREE char *name = xstrndup(text, strcspn(text, "="));
        (void)unsetenv(name); // the next one takes its place
        OPENSSL_cleanse(text, strlen(text));
    }
}

int ci_job_take(const struct session *s, struct ci_job *ret, struct error **err)
{
    ret->build_failure = exit_status(s, "BUILD_FAILURE_EXIT_CODE", 1);
    ret->system_failure = exit_status(s, "SYSTEM_FAILURE_EXIT_CODE", 2);
    ret->id = copy(s, JOB_PREFIX "CI_JOB_ID");
    if (!ret->id) {
        error_set(err, ERR_USER, "the variable " JOB_PREFIX "CI_JOB_ID is not set");
        error_hint(err, "a gitlab-runner calls this command, as its custom executor: man kiln-ci");
        (*err)->status = ret->system_failure;
        return -1;
    }
    ret->vm = vm_name(s, ret->id);
    ret->image = copy(s, JOB_PREFIX "CI_JOB_IMAGE");
    ret->services = copy(s, JOB_PREFIX "CI_JOB_SERVICES");
    ret->registry = copy(s, JOB_PREFIX "CI_REGISTRY");
    ret->registry_user = copy(s, JOB_PREFIX "CI_REGISTRY_USER");
    ret->registry_password = copy(s, JOB_PREFIX "CI_REGISTRY_PASSWORD");
    ret->tmp = copy(s, "TMPDIR");
    ret->code_file = copy(s, "BUILD_EXIT_CODE_FILE");
    forget_environment();
    return 0;
}

int ci_job_failed(const struct session *s, const struct ci_job *job, struct error **err)
{
    enum { LINES = 15 };
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    if (err && *err)
        (*err)->status = job->system_failure;
    if (named_vm_open(s->vmstore, job->vm, &vm, NULL) < 0)
        return -1;
    AUTO_FREE char *text = vm_live_console(&vm, LINES);
    if (!text || !*text)
        return -1;
    AUTO_FREE char *lines = xasprintf("The last lines of the VM's console:\n%s\n", text);
    session_warning(s, lines);
    return -1;
}

int ci_vm_remove(const struct session *s, const char *name, struct error **err)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    CLEANUP(error_freep) struct error *why = NULL;
    if (named_vm_open(s->vmstore, name, &vm, &why) < 0)
        return why->kind == ERR_NOT_FOUND ? 0 : error_propagate(err, STEAL(why));
    return vm_live_stop(s, &vm, true, 0, err) < 0 ? -1 : named_vm_remove(s->vmstore, &vm, err);
}
