// SPDX-License-Identifier: MIT
// Instructions that only change what is known (ARG, ENV, LABEL, USER, SHELL), and the expansion of
// words, which they are for.

#include "base/alloc.h"
#include "base/json.h"
#include "builder/build/private.h"

/* ENV wins over ARG, as in Dockerfile. */
static const char *get_var(void *stage, struct str name)
{
    struct stage_run *st = stage;
    AUTO_FREE char *key = str_dup(name);
    const char *v = settings_get(&st->config.env, key);
    v = v ? v : settings_get(&st->args, key);
    // "ENV PATH=/opt/bin:$PATH" must keep what a RUN would have without it
    return !v && str_is(name, "PATH") ? imagefile_default_path : v;
}

struct imagefile_vars stage_vars(struct stage_run *st)
{
    return (struct imagefile_vars){get_var, st, st->build ? variable_missing : NULL};
}

char *expand_word(struct build *b, struct stage_run *st, const struct word *w, struct error **err)
{
    if (!word_given(w))
        return xstrdup("");
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    struct imagefile_vars vars = stage_vars(st);
    if (imagefile_expand(b->file, w, &vars, &out, err) < 0)
        return NULL;
    if (b->file->diags.errors) { // an undefined variable, with "# check=error=true"
        error_set(err, ERR_REPORTED, "1 mistake in '%s'", b->file_path);
        return NULL;
    }
    if (memchr(out.data, '\0', out.len)) {
        error_set(err, ERR_USER, "a value with a NUL byte can't be used");
        return NULL;
    }
    return buf_detach(&out, NULL);
}

static int do_arg(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                  struct error **err)
{
    for (size_t i = 0; i < step->pairs.len; i++) {
        AUTO_FREE char *name = expand_word(b, st, &step->pairs.ptr[i].name, err);
        if (!name)
            return -1;
        const char *value = build_arg(b->s, b->o, name);
        AUTO_FREE char *expanded = NULL;
        if (!value && word_given(&step->pairs.ptr[i].value)) {
            value = expanded = expand_word(b, st, &step->pairs.ptr[i].value, err);
            if (!value)
                return -1;
        }
        // "ARG name" in a stage takes up the one before the first FROM
        if (!value)
            value = settings_get(&b->global_args, name);
        settings_set(value ? &st->args : &st->unset, name, value ? value : "");
    }
    return 0;
}

int check_utf8(const char *what, const char *value, struct error **err)
{
    json_auto_t *probe = json_string(value);
    if (probe)
        return 0;
    return error_set(err, ERR_USER, "the value of %s is not UTF-8, so the image can't keep it",
                     what);
}

static int do_pairs(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                    struct settings *into, struct error **err)
{
    // all values see the variables as they were before this instruction
    struct settings fresh = {0};
    int rc = 0;
    for (size_t i = 0; i < step->pairs.len && rc == 0; i++) {
        AUTO_FREE char *name = expand_word(b, st, &step->pairs.ptr[i].name, err);
        AUTO_FREE char *value = name ? expand_word(b, st, &step->pairs.ptr[i].value, err) : NULL;
        rc = value ? check_utf8(name, value, err) : -1;
        if (rc == 0)
            settings_set(&fresh, name, value);
    }
    for (size_t i = 0; i < fresh.len && rc == 0; i++)
        settings_set(into, fresh.ptr[i].name, fresh.ptr[i].value);
    settings_clear(&fresh);
    return rc;
}

static int do_user(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                   struct error **err)
{
    AUTO_FREE char *user = expand_word(b, st, &step->word, err);
    if (!user || check_utf8("USER", user, err) < 0)
        return -1;
    free(st->config.user);
    st->config.user = STEAL(user);
    return 0;
}

static int do_shell(struct stage_run *st, const struct imagefile_step *step, struct error **err)
{
    strv_clear(&st->config.shell);
    for (size_t i = 0; i < step->words.len; i++) {
        strv_add_take(&st->config.shell, str_dup(step->words.ptr[i].raw));
        if (check_utf8("SHELL", st->config.shell.ptr[i], err) < 0)
            return -1;
    }
    return 0;
}

bool step_is_setting(enum imagefile_op op)
{
    return op == OP_ARG || op == OP_ENV || op == OP_USER || op == OP_SHELL || op == OP_LABEL;
}

int step_setting(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                 struct error **err)
{
    if (step->op == OP_ARG)
        return do_arg(b, st, step, err);
    if (step->op == OP_ENV || step->op == OP_LABEL)
        return do_pairs(b, st, step, step->op == OP_ENV ? &st->config.env : &st->config.labels,
                        err);
    return step->op == OP_USER ? do_user(b, st, step, err) : do_shell(st, step, err);
}
