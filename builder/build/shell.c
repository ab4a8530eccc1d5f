// SPDX-License-Identifier: MIT
#include "builder/build/shell.h"

#include "base/alloc.h"
#include "base/session.h"
#include "builder/build/environment.h"
#include "builder/build/image_chain.h"
#include "builder/build/target.h"
#include "builder/worker/guestfs.h"
#include "builder/worker/runner.h"

#include <unistd.h>

/* A VM with the image's disk under a throw-away overlay. */
struct shell {
    struct image_chain chain;
    char *overlay;
    struct runner *runner;
};

static void shell_clear(struct shell *sh)
{
    runner_free(sh->runner);
    if (sh->overlay)
        unlink(sh->overlay);
    free(sh->overlay);
    image_chain_clear(&sh->chain);
}

static int shell_start(const struct session *s, const struct runner_ops *ops, struct shell *sh,
                       const struct shell_options *so, struct error **err)
{
    if (image_chain_open(
            s, &(struct image_request){.ref = so->ref, .pull = so->pull, .transfer = so->transfer},
            &sh->chain, err) < 0)
        return -1;
    sh->overlay = overlay_new(store_scratch(sh->chain.store), 0, "", sh->chain.size, err);
    if (!sh->overlay)
        return -1;
    strv_add(&sh->chain.files, sh->overlay);
    struct runner_options o = {.memory_mb = so->memory_mb,
                               .cpus = so->cpus,
                               .accel = so->accel,
                               .cwd = store_cwd(sh->chain.store),
                               .target = {(const char *const *)sh->chain.files.ptr,
                                          sh->chain.files.len, true, sh->chain.size}};
    return ops->start(s, &o, &sh->runner, err);
}

static void show_output(void *session, int stream, const char *bytes, size_t n)
{
    session_output(session, stream, bytes, n);
}

int shell_run(const struct session *s, const struct shell_options *o, int *ret_status,
              struct error **err)
{
    CLEANUP(shell_clear) struct shell sh = {0};
    CLEANUP(runner_exec_clear) struct runner_exec e = {0};
    CLEANUP(config_clear) struct config config = {0};
    if (shell_start(s, &builder_vm_runner, &sh, o, err) < 0)
        return -1;
    const json_t *mounts = json_object_get(sh.chain.metadata, "mounts");
    if (runner_mount(sh.runner, RUNNER_TARGET, false, mounts, err) < 0)
        return -1;
    config_from_json(&config, json_object_get(sh.chain.metadata, "config"));
    if (o->user) {
        free(config.user);
        config.user = xstrdup(o->user);
    }
    if (o->terminal)
        environment_put_shell(s, &e);
    for (const char *const *a = o->argv; !o->terminal && a && *a; a++)
        runner_exec_arg(&e, *a);
    environment_put(s, NULL, &config, NULL, &e);
    if (o->terminal)
        return runner_terminal(sh.runner, &e, ret_status, err);
    struct runner_wait w = {-1, show_output, (void *)s};
    return runner_exec(sh.runner, &e, w, ret_status, NULL, err);
}

json_t *shell_inspect(const struct session *s, const char *ref, const char *accel,
                      struct error **err)
{
    CLEANUP(shell_clear) struct shell sh = {0};
    struct shell_options o = {.ref = ref, .accel = accel, .pull = PULL_NEVER};
    if (shell_start(s, &builder_vm_runner, &sh, &o, err) < 0)
        return NULL;
    // the operating system is only seen in a mounted tree; a disk without one is described all the
    // same
    const json_t *mounts = json_object_get(sh.chain.metadata, "mounts");
    CLEANUP(error_freep) struct error *no_root = NULL;
    if (runner_mount(sh.runner, RUNNER_TARGET, false, mounts, &no_root) < 0)
        session_debug(s, 1, "no root file system: %s", no_root->message);
    return runner_os(sh.runner, err);
}

json_t *shell_inspect_deep(const struct session *s, const char *ref, const char *accel,
                           struct error **err)
{
    CLEANUP(shell_clear) struct shell sh = {0};
    struct shell_options o = {.ref = ref, .accel = accel, .pull = PULL_NEVER};
    return shell_start(s, &guestfs_runner, &sh, &o, err) < 0 ? NULL
                                                             : guestfs_inspect(sh.runner, err);
}
