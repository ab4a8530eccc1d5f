// SPDX-License-Identifier: MIT
//
// WORKDIR and INSPECT, and which function does the work of each step.
#include "base/alloc.h"
#include "base/session.h"
#include "builder/build/private.h"

#include <string.h>
#include <unistd.h>

void key_optional(struct key *key, const char *name, const char *value)
{
    if (value)
        key_field(key, name, value, strlen(value));
}

int step_work(struct build *b, struct stage_run *st, const struct imagefile_step *step,
              const struct work *w, struct error **err)
{
    switch (w->kind) {
    case WORK_GROW:
        return disk_grow(b, st, w->disk, err);
    case WORK_PARTITION:
        return disk_partition(b, st, err);
    case WORK_SEND:
        return copy_send(b, w->copy, err);
    case WORK_COPY:
        return copy_between(b, w->copy, err);
    case WORK_MKDIR:
        return runner_mkdir(b->target.runner, w->path, st->config.user, step_wait(b), err);
    case WORK_RUN:
        return run_command(b, st, step, w->run, err);
    }
    return 0;
}

int step_workdir(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                 struct error **err)
{
    AUTO_FREE char *dir = expand_word(b, st, &step->word, err);
    if (!dir || check_utf8("WORKDIR", dir, err) < 0)
        return -1;
    char *path = config_path(&st->config, dir);
    size_t n = strlen(path);
    if (n > 1 && path[n - 1] == '/')
        path[n - 1] = '\0';
    free(st->config.workdir);
    st->config.workdir = path;
    if (!strcmp(path, "/")) {
        step_shown(b, step, STEP_META, NULL);
        return 0;
    }
    struct key *key = key_begin(st->disk.id);
    AUTO_FREE char *text = xasprintf("WORKDIR %s", path);
    key_field(key, "step", text, strlen(text));
    key_optional(key, "USER", st->config.user); // what is made belongs to the user
    return step_layer(b, st, step, key, (struct str){"", 0},
                      (struct work){.kind = WORK_MKDIR, .path = path}, err);
}

/* What is done in the shell is thrown away: a layer above would hold it under a key that does not
 * know of it. */
int step_inspect(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                 struct error **err)
{
    step_shown(b, step, STEP_META, NULL);
    if (!isatty(b->s->in) || !isatty(b->s->out)) {
        error_set(err, ERR_USER, "INSPECT needs a terminal");
        return error_hint(err, "take the INSPECT line out for builds without one");
    }
    if (remote_bring(b, st->disk.id, err) < 0 || target_ready(&b->target, &st->disk, err) < 0 ||
        target_detach_others(&b->target, 0, err) < 0)
        return -1;
    b->target.dirty = true;
    session_notice(b->s,
                   "INSPECT: a shell in the image; changes are thrown away; the build goes on when "
                   "it exits");
    CLEANUP(runner_exec_clear) struct runner_exec e = {0};
    environment_put_shell(b->s, &e);
    environment_put(b->s, b->o, &st->config, &st->args, &e);
    int status;
    return runner_terminal(b->target.runner, &e, &status, err);
}
