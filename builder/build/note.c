// SPDX-License-Identifier: MIT
//
// What a container would do with the image, kept for whoever reads its metadata (config.h has the
// form). EXPOSE and VOLUME add to what is there, the others take its place, as in Dockerfile.
#include "base/alloc.h"
#include "builder/build/private.h"

#include <string.h>

static const char *field_name(enum imagefile_op op)
{
    return op == OP_CMD           ? "cmd"
           : op == OP_ENTRYPOINT  ? "entrypoint"
           : op == OP_EXPOSE      ? "expose"
           : op == OP_VOLUME      ? "volumes"
           : op == OP_HEALTHCHECK ? "healthcheck"
                                  : "stopsignal";
}

static bool holds(const json_t *list, const char *text)
{
    size_t i;
    json_t *have;
    json_array_foreach ((json_t *)list, i, have)
        if (!strcmp(json_string_value(have), text))
            return true;
    return false;
}

/* "80" is "80/tcp". Owned. */
static char *port_text(const char *text)
{
    return strchr(text, '/') ? xstrdup(text) : xasprintf("%s/tcp", text);
}

static int add_item(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                    const struct word *w, json_t *list, struct error **err)
{
    AUTO_FREE char *text = expand_word(b, st, w, err);
    if (!text || check_utf8(imagefile_op_name(step->op), text, err) < 0)
        return -1;
    if (step->op == OP_EXPOSE && !imagefile_port_valid(text))
        return error_set(err, ERR_USER, "EXPOSE: '%s' is not a port", text);
    AUTO_FREE char *port = step->op == OP_EXPOSE ? port_text(text) : STEAL(text);
    if (!holds(list, port))
        (void)json_array_append_new(list, json_string(port));
    return 0;
}

int step_note(struct build *b, struct stage_run *st, const struct imagefile_step *step,
              struct error **err)
{
    json_t *notes = st->config.notes = st->config.notes ? st->config.notes : json_object();
    const char *field = field_name(step->op);
    bool adds = step->op == OP_EXPOSE || step->op == OP_VOLUME;
    if (step->op == OP_MAINTAINER || step->op == OP_STOPSIGNAL || (!step->json && !adds)) {
        AUTO_FREE char *text = expand_word(b, st, &step->words.ptr[0], err);
        if (!text || check_utf8(imagefile_op_name(step->op), text, err) < 0)
            return -1;
        if (step->op == OP_MAINTAINER)
            settings_set(&st->config.labels, "maintainer", text);
        else
            (void)json_object_set_new(notes, field, json_string(text));
        return 0;
    }
    json_t *list = adds ? json_object_get(notes, field) : NULL;
    if (!json_is_array(list)) {
        list = json_array();
        (void)json_object_set_new(notes, field, list);
    }
    for (size_t i = 0; i < step->words.len; i++)
        if (add_item(b, st, step, &step->words.ptr[i], list, err) < 0)
            return -1;
    return 0;
}
