// SPDX-License-Identifier: MIT
//
// Two tables of callbacks, for text and for JSON; build_tty.c has those for a terminal. In text, a bar
// may stand on the terminal's last line: whatever else is printed ends it first. In JSON, a command's output is cut between UTF-8
// characters: the bytes of an unfinished one wait for the next piece.
#include "cli/build_ui.h"

#include "base/printable.h"
#include "base/session.h"
#include "cli/json_result.h"
#include "cli/signals.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* What is done in the blink of an eye needs no bar. Bytes. */
enum { BAR_FROM = 4 << 20 };

/* Whoever read our output has gone: nobody waits for the rest of the build either. */
static void flush(void)
{
    if (fflush(stdout) != 0)
        signals_output_failed(errno);
}

static void end_line(struct build_shown *s)
{
    progress_clear(&s->bar);
    free(STEAL(s->bar_of));
    if (s->line_open)
        putchar('\n');
    s->line_open = false;
}

static void text_step(void *arg, size_t n, size_t total, const char *text, enum step_state state,
                      const char *why)
{
    struct build_shown *s = arg;
    end_line(s);
    printf("Step %zu/%zu : ", n, total);
    printable_print(stdout, text);
    puts(state == STEP_CACHED ? " (cached)" : "");
    if (state == STEP_RUNS && why) {
        printf(" ---> step %zu missed: ", n);
        printable_print(stdout, why);
        putchar('\n');
    }
    flush();
}

static void text_output(void *arg, int stream, const char *bytes, size_t n)
{
    struct build_shown *s = arg;
    (void)stream;
    if (!n)
        return;
    fwrite(bytes, 1, n, stdout);
    s->line_open = bytes[n - 1] != '\n';
    flush();
}

static void text_notice(void *arg, const char *line)
{
    end_line(arg);
    fflush(stdout);
    print_note("", line);
}

static void text_progress(void *arg, const char *what, uint64_t done, uint64_t total, bool end)
{
    struct build_shown *s = arg;
    if (total && total < BAR_FROM)
        return;
    if (s->bar_of && strcmp(s->bar_of, what) != 0)
        return; // one after the other
    if (end) {
        progress_end(&s->bar, done, total);
        free(STEAL(s->bar_of));
    } else {
        s->bar_of = s->bar_of ? s->bar_of : xstrdup(what);
        progress_update(&s->bar, done, total);
    }
}

static void any_warning(void *arg, const char *text)
{
    (void)arg;
    printable_print(stderr, text);
}

static void any_diagnostic(void *arg, const struct build_diagnostic *d)
{
    (void)arg;
    printable_print(stderr, d->text);
}

static void emit(json_t *event)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    (void)json_object_set_new(event, "time", json_real((double)t.tv_sec + (double)t.tv_nsec / 1e9));
    char *line = json_dumps(event, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(15));
    if (line)
        puts(line);
    flush();
    free(line);
    json_decref(event);
}

/* Bytes as a JSON string: what is not UTF-8 becomes U+FFFD. An unfinished character at the end goes
 * to *rest (NULL: is replaced too). */
static json_t *text_of(const char *bytes, size_t n, struct buf *rest)
{
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)bytes[i];
        size_t len = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 0;
        bool fits = len && i + len <= n;
        json_t *probe = fits ? json_stringn(bytes + i, len) : NULL;
        if (len > 1 && !fits && rest) {
            buf_add(rest, bytes + i, n - i);
            break;
        }
        if (probe)
            buf_add(&out, bytes + i, len);
        else
            buf_adds(&out, "\xef\xbf\xbd");
        i += probe ? len : 1;
        json_decref(probe);
    }
    return json_stringn(out.data, out.len);
}

static void json_step(void *arg, size_t n, size_t total, const char *text, enum step_state state,
                      const char *why)
{
    static const char *const states[] = {
        [STEP_META] = "meta", [STEP_CACHED] = "cached", [STEP_RUNS] = "run"};
    (void)arg;
    json_t *e = json_pack("{s:s, s:I, s:I, s:o, s:s}", "event", "step", "n", (json_int_t)n, "total",
                          (json_int_t)total, "text", text_of(text, strlen(text), NULL), "state",
                          states[state]);
    if (why)
        (void)json_object_set_new(e, "why", text_of(why, strlen(why), NULL));
    emit(e);
}

static void json_step_done(void *arg, size_t n, double seconds, uint64_t bytes)
{
    (void)arg;
    emit(json_pack("{s:s, s:I, s:f, s:I}", "event", "step_done", "n", (json_int_t)n, "seconds",
                   seconds, "bytes", (json_int_t)bytes));
}

static void json_output(void *arg, int stream, const char *bytes, size_t n)
{
    struct build_shown *s = arg;
    buf_add(&s->tail, bytes, n);
    CLEANUP(buf_clear) struct buf rest = BUF_INIT;
    json_t *text = text_of(s->tail.data, s->tail.len, &rest);
    buf_reset(&s->tail);
    buf_add_str(&s->tail, buf_str(&rest));
    emit(json_pack("{s:s, s:i, s:o}", "event", "output", "stream", stream, "text", text));
}

static void json_line(const char *event, const char *text)
{
    emit(json_pack("{s:s, s:o}", "event", event, "text", text_of(text, strlen(text), NULL)));
}

static void json_notice(void *arg, const char *line)
{
    (void)arg;
    json_line("notice", line);
}

static void json_warning(void *arg, const char *text)
{
    (void)arg;
    json_line("warning", text);
}

/* Adds a text or a number that there is. */
static void add_text(json_t *e, const char *name, const char *text)
{
    if (text)
        (void)json_object_set_new(e, name, text_of(text, strlen(text), NULL));
}

static void add_place(json_t *e, const char *path, unsigned line, unsigned column)
{
    add_text(e, "file", path);
    if (line)
        (void)json_object_set_new(e, "line", json_integer(line));
    if (line && column)
        (void)json_object_set_new(e, "column", json_integer(column));
}

static void json_diagnostic(void *arg, const struct build_diagnostic *d)
{
    (void)arg;
    json_t *e = json_pack("{s:s, s:s}", "event", "diagnostic", "severity",
                          d->is_error ? "error" : "warning");
    add_place(e, d->path, d->line, d->column);
    add_text(e, "message", d->message);
    add_text(e, "help", d->help);
    add_text(e, "rule", d->rule);
    add_text(e, "text", d->text);
    emit(e);
}

static void json_progress(void *arg, const char *what, uint64_t done, uint64_t total, bool end)
{
    (void)arg;
    emit(json_pack("{s:s, s:s, s:I, s:I, s:b}", "event", "progress", "what", what, "done",
                   (json_int_t)done, "total", (json_int_t)total, "end", end));
}

static void json_timing(void *arg, const char *what, double ms)
{
    (void)arg;
    emit(json_pack("{s:s, s:s, s:f}", "event", "timing", "what", what, "ms", ms));
}

static struct build_ui json_ui(struct build_shown *s)
{
    return (struct build_ui){
        .arg = s, .step = json_step, .step_done = json_step_done, .diagnostic = json_diagnostic};
}

static struct session_events json_events(struct build_shown *s)
{
    return (struct session_events){.arg = s,
                                   .output = json_output,
                                   .notice = json_notice,
                                   .warning = json_warning,
                                   .progress = json_progress,
                                   .timing = json_timing};
}

static const char *const mode_names[] = {
    [SHOWN_TTY] = "tty", [SHOWN_PLAIN] = "plain", [SHOWN_JSON] = "json", [SHOWN_QUIET] = "quiet"};

int args_pull(const struct args *a, enum pull_policy *ret, struct error **err)
{
    return pull_policy_parse(args_get(a, "pull"), ret, err);
}

/* A terminal that somebody looks at, and that has no other lines (of -v) in between. */
static bool is_for_people(const struct session *session)
{
    const char *term = getenv("TERM"), *ci = getenv("CI");
    return isatty(STDOUT_FILENO) && (!term || strcmp(term, "dumb") != 0) &&
           (!ci || !*ci || !strcmp(ci, "false")) && !session->verbosity;
}

int build_shown_init(struct build_shown *s, struct session *session, const char *mode,
                     struct error **err)
{
    bool known = !mode || !strcmp(mode, "auto");
    *s = (struct build_shown){.tail = BUF_INIT, .explain = s->explain, .host = s->host};
    s->mode = mode && known && is_for_people(session) ? SHOWN_TTY : SHOWN_PLAIN;
    for (size_t i = 0; !known && i < sizeof mode_names / sizeof *mode_names; i++)
        if (!strcmp(mode, mode_names[i])) {
            s->mode = (enum shown_mode)i;
            known = true;
        }
    if (!known)
        return error_set(err, ERR_USAGE,
                         "argument --progress: '%s' is not auto, tty, plain, json or quiet", mode);
    s->session = session;
    s->before = session->events;
    if (s->mode == SHOWN_JSON) {
        s->ui = json_ui(s);
        session->events = json_events(s);
        return 0;
    }
    if (s->mode == SHOWN_TTY) {
        struct build_tty_options o = {
            .out = stdout, .explain = s->explain, .stderr_apart = !isatty(STDERR_FILENO)};
        s->tty = build_tty_new(&o, &s->ui, &session->events);
        return 0;
    }
    s->ui = (struct build_ui){.arg = s, .diagnostic = any_diagnostic};
    session->events = (struct session_events){.arg = s, .warning = any_warning};
    if (s->mode == SHOWN_QUIET)
        return 0;
    s->ui.step = text_step;
    session->events.output = text_output;
    session->events.notice = text_notice;
    session->events.progress = text_progress;
    progress_init(&s->bar, stdout, mode ? PROGRESS_LINES : PROGRESS_AUTO);
    return 0;
}

static void end_tty(struct build_shown *s, const struct error *err)
{
    build_tty_free(s->tty, err);
    s->tty = NULL;
}

void build_shown_result(struct build_shown *s, const struct build_result *r)
{
    const char *name = r->file ? r->file : r->name;
    if (s->mode == SHOWN_JSON) {
        json_t *e =
            json_pack("{s:s, s:i, s:s, s:s?, s:s, s:I, s:I, s:f}", "event", "result", "schema",
                      JSON_SCHEMA, "name", r->name, "file", r->file, "layer", r->layer, "steps",
                      (json_int_t)r->steps, "cached", (json_int_t)r->cached, "seconds", r->seconds);
        emit(e);
        return;
    }
    if (s->mode == SHOWN_QUIET) {
        puts(name);
        return;
    }
    end_tty(s, NULL);
    end_line(s);
    printf("Built %s '%s'%s%s in %.2f s (%zu of %zu layers from the cache)\n",
           r->file ? "file" : "image", name, s->host ? " on " : "", s->host ? s->host : "",
           r->seconds, r->cached, r->steps);
    AUTO_FREE char *word = shell_word(name);
    if (s->mode == SHOWN_TTY && !r->file && !s->host)
        printf("next: kiln run %s\n", word);
}

void build_shown_error(struct build_shown *s, const struct error *err)
{
    end_tty(s, err);
    if (s->mode != SHOWN_JSON || !err)
        return;
    json_t *e = json_pack("{s:s}", "event", "error");
    add_text(e, "message", err->kind == ERR_CANCELLED ? "interrupted" : err->message);
    add_text(e, "kind", json_error_kind(err));
    (void)json_object_set_new(e, "schema", json_integer(JSON_SCHEMA));
    (void)json_object_set_new(e, "status", json_integer(command_exit_status(err)));
    add_text(e, "hint", err->hint);
    add_place(e, err->loc.path, err->loc.line, err->loc.column);
    emit(e);
}

void build_shown_clear(struct build_shown *s)
{
    end_tty(s, NULL);
    if (s->mode == SHOWN_TTY || s->mode == SHOWN_PLAIN)
        end_line(s);
    fflush(stdout);
    buf_clear(&s->tail);
    if (s->session)
        s->session->events = s->before;
}
