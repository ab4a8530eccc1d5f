// SPDX-License-Identifier: MIT
#include "builder/build/record.h"

#include "base/error.h"
#include "base/json.h"
#include "base/session.h"
#include "cache/history.h"

#include <string.h>

void record_clear(struct record *r)
{
    json_decref(r->steps);
    json_decref(r->last);
    json_decref(r->shown);
    *r = (struct record)RECORD_INIT;
}

void record_open(struct record *r, struct store *st, const char *name)
{
    r->steps = json_array();
    r->shown = json_array();
    r->last = history_read(st, name);
}

void record_step(struct record *r, size_t n, const char *text, const char *key, const char *id,
                 json_t *inputs)
{
    (void)json_array_append_new(r->steps,
                                json_pack("{s:s, s:I, s:s, s:s, s:O}", "step", text, "n",
                                          (json_int_t)n, "key", key, "id", id, "inputs", inputs));
}

void record_shown(struct record *r, size_t n, const char *text, const char *id)
{
    (void)json_array_append_new(
        r->shown, json_pack("{s:I, s:s, s:s}", "n", (json_int_t)n, "step", text, "layer", id));
}

const json_t *record_match(const struct record *r, const char *text)
{
    return history_match(r->last, json_array_size(r->steps), text);
}

size_t record_changed_step(const struct record *r, size_t from)
{
    size_t i;
    json_t *e;
    json_array_foreach (r->steps, i, e) {
        size_t n = (size_t)json_int(e, "n", 0);
        const char *id = json_str(e, "id"), *text = json_str(e, "step");
        const char *was = text ? json_str(history_match(r->last, i, text), "id") : NULL;
        if (n > from && id && (!was || strcmp(was, id) != 0))
            return n;
    }
    return from;
}

size_t record_last(const struct record *r)
{
    return (size_t)json_int(json_array_get(r->steps, json_array_size(r->steps) - 1), "n", 0);
}

void record_keep(struct record *r, const struct session *s, struct store *st, const char *name,
                 size_t n)
{
    size_t i;
    json_t *e;
    if (!json_array_size(r->steps))
        return;
    json_array_foreach (r->last, i, e) {
        if (json_int(e, "n", 0) > (int64_t)n)
            (void)json_array_append(r->steps, e);
    }
    CLEANUP(error_freep) struct error *err = NULL;
    if (history_write(st, name, r->steps, &err) < 0)
        session_debug(s, 1, "history of '%s' was not written: %s", name, err->message);
}
