// SPDX-License-Identifier: MIT
#include "base/alloc.h"
#include "base/json.h"
#include "base/session.h"
#include "builder/build/private.h"
#include "cache/history.h"

#include <string.h>

enum { TAIL_LINES = 20 };

/* Under --progress=quiet the output was not shown. */
static void add_output(const char *log, struct error *e)
{
    AUTO_FREE char *tail = step_log_tail(log, TAIL_LINES);
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    if (!*tail)
        return;
    buf_addf(&b, "%s\nlast lines of its output:", e->message);
    for (const char *p = tail; *p;) {
        size_t n = strcspn(p, "\n");
        buf_addf(&b, "\n  %.*s", (int)n, p);
        p += n + (p[n] == '\n');
    }
    free(e->message);
    e->message = buf_detach(&b, NULL);
}

/* The number of the last step of the stage before this one that made a layer; 0: none. */
static size_t step_before(const struct build *b, const struct stage_run *st)
{
    size_t n = record_last(&b->record);
    return n > st->from ? n : 0;
}

static void add_next_steps(const struct build *b, const struct stage_run *st, struct error **err)
{
    CLEANUP(buf_clear) struct buf hint = BUF_INIT;
    size_t before = step_before(b, st);
    AUTO_FREE char *word = shell_word(b->name);
    buf_addf(&hint, "'kiln image log %s failed' prints its output", word);
    if (before)
        buf_addf(&hint, ", 'kiln shell %s@%zu' opens a shell in the state before it", word, before);
    if (b->o->on_error == ON_ERROR_FAIL)
        buf_adds(&hint, ", 'kiln image build --on-error=shell' in the state it left");
    error_hint(err, "%s", hint.data);
}

void build_failed(struct build *b, const struct stage_run *st, const struct imagefile_step *step,
                  const char *log, struct error **err)
{
    CLEANUP(error_freep) struct error *why = NULL;
    if (session_cancelled(b->s))
        return;
    if (history_keep_failed(b->store, b->name, b->step, log, &why) < 0)
        session_debug(b->s, 1, "the failed step's output is not kept: %s", why->message);
    if (!err || !*err || step->op != OP_RUN)
        return;
    if (!b->s->events.output)
        add_output(log, *err);
    if (!(*err)->hint)
        add_next_steps(b, st, err);
}
