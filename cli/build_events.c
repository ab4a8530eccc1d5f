// SPDX-License-Identifier: MIT
#include "cli/build_events.h"

#include "base/alloc.h"
#include "base/json.h"
#include "base/session.h"
#include "cli/json_result.h"

#include <string.h>

struct telling {
    const struct session *s;
    const struct build_ui *ui;
    const json_t *event;
    struct build_result *result;
};

static const char *text_of(const json_t *event, const char *field)
{
    const char *text = json_str(event, field);
    return text ? text : "";
}

static size_t count_of(const json_t *event, const char *field)
{
    int64_t n = json_int(event, field, 0);
    return n > 0 ? (size_t)n : 0;
}

static void tell_step(const struct telling *t)
{
    const char *state = text_of(t->event, "state");
    if (t->ui->step)
        t->ui->step(t->ui->arg, count_of(t->event, "n"), count_of(t->event, "total"),
                    text_of(t->event, "text"),
                    !strcmp(state, "cached") ? STEP_CACHED
                    : !strcmp(state, "run")  ? STEP_RUNS
                                             : STEP_META,
                    json_str(t->event, "why"));
}

static void tell_step_done(const struct telling *t)
{
    if (t->ui->step_done)
        t->ui->step_done(t->ui->arg, count_of(t->event, "n"), json_num(t->event, "seconds", 0),
                         count_of(t->event, "bytes"));
}

static void tell_output(const struct telling *t)
{
    const char *text = text_of(t->event, "text");
    session_output(t->s, (int)json_int(t->event, "stream", 1), text, strlen(text));
}

static void tell_notice(const struct telling *t)
{
    session_notice(t->s, "%s", text_of(t->event, "text"));
}

static void tell_warning(const struct telling *t)
{
    session_warning(t->s, text_of(t->event, "text"));
}

static void tell_diagnostic(const struct telling *t)
{
    struct build_diagnostic d = {.is_error = !strcmp(text_of(t->event, "severity"), "error"),
                                 .path = json_str(t->event, "file"),
                                 .line = (unsigned)json_int(t->event, "line", 0),
                                 .column = (unsigned)json_int(t->event, "column", 0),
                                 .message = text_of(t->event, "message"),
                                 .help = json_str(t->event, "help"),
                                 .text = text_of(t->event, "text")};
    if (t->ui->diagnostic)
        t->ui->diagnostic(t->ui->arg, &d);
}

static void tell_progress(const struct telling *t)
{
    session_progress(t->s, text_of(t->event, "what"), count_of(t->event, "done"),
                     count_of(t->event, "total"), json_flag(t->event, "end"));
}

static void tell_timing(const struct telling *t)
{
    session_timing(t->s, text_of(t->event, "what"),
                   (long long)(json_num(t->event, "ms", 0) * 1000));
}

static void tell_result(const struct telling *t)
{
    build_result_clear(t->result);
    t->result->name = xstrdup(text_of(t->event, "name"));
    t->result->layer = xstrdup(text_of(t->event, "layer"));
    t->result->steps = count_of(t->event, "steps");
    t->result->cached = count_of(t->event, "cached");
    t->result->seconds = json_num(t->event, "seconds", 0);
}

int build_event_tell(const struct session *s, const struct build_ui *ui, const json_t *event,
                     struct build_result *ret, struct error **err)
{
    static const struct {
        const char *name;
        void (*tell)(const struct telling *t);
    } kinds[] = {
        {"step", tell_step},         {"step_done", tell_step_done}, {"output", tell_output},
        {"notice", tell_notice},     {"warning", tell_warning},     {"diagnostic", tell_diagnostic},
        {"progress", tell_progress}, {"timing", tell_timing},       {"result", tell_result}};
    const struct telling t = {s, ui, event, ret};
    const char *name = text_of(event, "event");
    if (!strcmp(name, "error")) {
        struct error *e = json_error_read(event);
        return e ? error_propagate(err, e)
                 : error_set(err, ERR_SYSTEM, "the host's kiln failed without a reason");
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(name, kinds[i].name)) {
            kinds[i].tell(&t);
            return 0;
        }
    return 1;
}
