// SPDX-License-Identifier: MIT
//
// The state is what the events said last; draw() makes lines of it. One mutex holds both: events come
// from the build's thread and its helpers, and the ticker draws ten times a second while a step or a
// transfer is under way.
#include "cli/build_tty.h"

#include "base/alloc.h"
#include "base/printable.h"
#include "cli/columns.h"
#include "cli/guest_text.h"
#include "cli/progress.h"
#include "cli/screen.h"

#include <pthread.h>
#include <time.h>

enum { TICK_MS = 100, DRAW_MS = 40, BAR_AFTER_MS = 300, OUTPUT_LINES = 6, NAME_COLUMNS = 28 };
/* What is sent in the blink of an eye needs no bar. Bytes. */
enum { BAR_FROM = 4 << 20 };

struct transfer {
    char *what;
    uint64_t done, total, from;
    long long started; /* now_ms */
};
DEFINE_VECTOR(transfers, struct transfer);

struct build_tty {
    struct build_tty_options o;
    struct screen screen;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    pthread_t ticker;
    bool ticks, stop, lent; /* lent: others have the terminal */
    char *step;             /* "2/3  RUN make", the one that runs; NULL = none */
    char *why;              /* it runs; NULL: not shown */
    long long started, drawn;
    unsigned frame;
    struct guest_text output;
    struct transfers transfers;
};

/* Text on one line: a run of blanks and line ends is one blank, and a "\" at a line's end none. */
static void add_flat(struct buf *b, const char *text)
{
    CLEANUP(buf_clear) struct buf clean = BUF_INIT;
    printable_add(&clean, text, strlen(text));
    for (const char *p = clean.data; *p;) {
        size_t n = strcspn(p, " \t\n");
        bool joins = n && p[n] == '\n' && p[n - 1] == '\\';
        buf_add(b, p, n - joins);
        p += n + strspn(p + n, " \t\n");
        if (*p && b->len && b->data[b->len - 1] != ' ')
            buf_addc(b, ' ');
    }
}

static void add_time(struct buf *b, double seconds)
{
    if (seconds < 10)
        buf_addf(b, "%.1f s", seconds);
    else if (seconds < 100)
        buf_addf(b, "%.0f s", seconds);
    else
        buf_addf(b, "%d min %02d s", (int)seconds / 60, (int)seconds % 60);
}

/* A step that is over: its line stays. */
static void say_step(struct build_tty *t, const char *step, enum screen_style style,
                     const char *mark, const char *how)
{
    struct screen *s = &t->screen;
    AUTO_FREE char *left =
        xasprintf("%s%s%s %s", screen_style(s, style), mark, screen_plain(s), step);
    AUTO_FREE char *right =
        *how ? xasprintf("%s%s%s", screen_style(s, style), how, screen_plain(s)) : xstrdup("");
    screen_say(s, left, right);
}

static const char *good(const struct build_tty *t)
{
    return t->screen.utf8 ? "✓" : "+";
}

static void say_why(struct build_tty *t, const char *why)
{
    AUTO_FREE char *line = xasprintf("       %smissed: %s%s", screen_style(&t->screen, STYLE_DIM),
                                     why, screen_plain(&t->screen));
    screen_say(&t->screen, line, "");
}

static void forget_step(struct build_tty *t)
{
    free(t->step);
    free(t->why);
    t->step = t->why = NULL;
    guest_text_clear(&t->output);
}

static double seconds_of(const struct build_tty *t)
{
    return (double)(now_ms() - t->started) / 1000;
}

static void step_is_done(struct build_tty *t, double seconds)
{
    if (!t->step)
        return;
    CLEANUP(buf_clear) struct buf how = BUF_INIT;
    add_time(&how, seconds);
    say_step(t, t->step, STYLE_GREEN, good(t), how.data);
    if (t->why)
        say_why(t, t->why);
    forget_step(t);
}

static void say_output(struct build_tty *t)
{
    CLEANUP(buf_clear) struct buf line = BUF_INIT;
    size_t at = 0;
    if (t->output.cut)
        screen_say(&t->screen, "(the beginning of the output is left out)", NULL);
    while (guest_text_next(&t->output, &at, t->screen.colours, &line))
        screen_say(&t->screen, line.data, NULL);
}

static void step_has_failed(struct build_tty *t, bool interrupted)
{
    if (!t->step)
        return;
    CLEANUP(buf_clear) struct buf how = BUF_INIT;
    buf_adds(&how, interrupted ? "interrupted  " : "failed  ");
    add_time(&how, seconds_of(t));
    say_step(t, t->step, interrupted ? STYLE_YELLOW : STYLE_RED, t->screen.utf8 ? "✗" : "x",
             how.data);
    if (!interrupted)
        say_output(t);
    forget_step(t);
}

static void now_step(struct build_tty *t)
{
    static const char *const frames[] = {"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"};
    static const char *const plain_frames[] = {"|", "/", "-", "\\"};
    const char *frame = t->screen.utf8 ? frames[t->frame % 10] : plain_frames[t->frame % 4];
    CLEANUP(buf_clear) struct buf how = BUF_INIT;
    add_time(&how, seconds_of(t));
    AUTO_FREE char *left = xasprintf("%s%s %s%s", screen_style(&t->screen, STYLE_BOLD), frame,
                                     t->step, screen_plain(&t->screen));
    screen_now(&t->screen, left, how.data);
}

static void now_transfers(struct build_tty *t)
{
    unsigned width = t->screen.columns < 100 ? t->screen.columns : 100;
    vec_foreach (const struct transfer *, x, &t->transfers) {
        long long ms = now_ms() - x->started;
        if (ms < BAR_AFTER_MS || (x->total && x->total < BAR_FROM))
            continue;
        CLEANUP(buf_clear) struct buf line = BUF_INIT, name = BUF_INIT;
        add_flat(&name, x->what);
        buf_adds(&line, "       ");
        size_t used =
            7 + columns_add(&line, name.data, width / 3 < NAME_COLUMNS ? width / 3 : NAME_COLUMNS);
        buf_adds(&line, " ");
        progress_text(&line, width > used + 2 ? width - (unsigned)used - 1 : 1, x->done, x->total,
                      x->from, ms, false);
        screen_now(&t->screen, line.data, "");
    }
}

/* As many of the output's last lines as the terminal has room for. */
static void now_output(struct build_tty *t)
{
    CLEANUP(strv_clear) struct strv lines = {0};
    size_t others = 2 + t->transfers.len, rows = t->screen.rows;
    size_t n = rows > others + OUTPUT_LINES ? OUTPUT_LINES : rows > others ? rows - others : 0;
    guest_text_last(&t->output, n, &lines);
    for (size_t i = 0; i < lines.len; i++) {
        AUTO_FREE char *line =
            xasprintf("       %s%s %s%s", screen_style(&t->screen, STYLE_DIM),
                      t->screen.utf8 ? "│" : "|", lines.ptr[i], screen_plain(&t->screen));
        screen_now(&t->screen, line, "");
    }
}

static void draw(struct build_tty *t)
{
    if (t->lent)
        return;
    if (t->step)
        now_step(t);
    now_transfers(t);
    if (t->step)
        now_output(t);
    screen_draw(&t->screen);
    t->drawn = now_ms();
}

/* A burst of output is not drawn piece by piece: the ticker draws the rest. */
static void draw_soon(struct build_tty *t)
{
    if (now_ms() - t->drawn >= DRAW_MS)
        draw(t);
}

static void *tick(void *arg)
{
    struct build_tty *t = arg;
    (void)pthread_mutex_lock(&t->mutex);
    while (!t->stop) {
        struct timespec until;
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += TICK_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        (void)pthread_cond_timedwait(&t->wake, &t->mutex, &until);
        t->frame++;
        if (!t->stop && (t->step || t->transfers.len))
            draw(t);
    }
    (void)pthread_mutex_unlock(&t->mutex);
    return NULL;
}

static struct build_tty *locked(void *arg)
{
    struct build_tty *t = arg;
    (void)pthread_mutex_lock(&t->mutex);
    return t;
}

static void drawn(struct build_tty *t)
{
    draw(t);
    (void)pthread_mutex_unlock(&t->mutex);
}

/* "parent changed" follows from the step above it, and that a step is new is nothing new. */
static bool why_is_shown(const struct build_tty *t, const char *why)
{
    bool known = why && (str_starts(str_of(why), "parent changed") || !strcmp(why, "first build"));
    return why && (t->o.explain || !known);
}

static void on_step(void *arg, size_t n, size_t total, const char *text, enum step_state state,
                    const char *why)
{
    struct build_tty *t = locked(arg);
    CLEANUP(buf_clear) struct buf line = BUF_INIT, reason = BUF_INIT;
    step_is_done(t, seconds_of(t));
    buf_addf(&line, "%*zu/%zu  ", snprintf(NULL, 0, "%zu", total), n, total);
    add_flat(&line, text);
    if (state == STEP_RUNS) {
        add_flat(&reason, why ? why : "");
        t->step = buf_detach(&line, NULL);
        t->why = why_is_shown(t, why) ? buf_detach(&reason, NULL) : NULL;
        t->started = now_ms();
    } else {
        say_step(t, line.data, STYLE_CYAN, good(t), state == STEP_CACHED ? "cached" : "");
    }
    drawn(t);
}

static void on_step_done(void *arg, size_t n, double seconds, uint64_t bytes)
{
    struct build_tty *t = locked(arg);
    (void)n;
    (void)bytes;
    step_is_done(t, seconds);
    drawn(t);
}

static void on_step_failed(void *arg, size_t n)
{
    struct build_tty *t = locked(arg);
    (void)n;
    step_has_failed(t, false);
    drawn(t);
}

static void on_output(void *arg, int stream, const char *bytes, size_t n)
{
    struct build_tty *t = locked(arg);
    (void)stream;
    guest_text_add(&t->output, bytes, n);
    draw_soon(t);
    (void)pthread_mutex_unlock(&t->mutex);
}

/* Whole lines for standard error; on this terminal they stand above what changes. */
static void say_text(struct build_tty *t, const char *text)
{
    CLEANUP(buf_clear) struct buf line = BUF_INIT;
    if (t->o.stderr_apart) {
        printable_print(stderr, text);
        return;
    }
    for (const char *p = text; *p; p += *p == '\n') {
        size_t n = strcspn(p, "\n");
        buf_reset(&line);
        printable_add(&line, p, n);
        screen_say(&t->screen, line.data, NULL);
        p += n;
    }
}

static void on_notice(void *arg, const char *text)
{
    struct build_tty *t = locked(arg);
    AUTO_FREE char *line = xasprintf("%s\n", text);
    say_text(t, line);
    drawn(t);
}

static void on_warning(void *arg, const char *text)
{
    struct build_tty *t = locked(arg);
    say_text(t, text);
    drawn(t);
}

static void on_diagnostic(void *arg, const struct build_diagnostic *d)
{
    on_warning(arg, d->text);
}

static struct transfer *find_transfer(struct build_tty *t, const char *what)
{
    vec_foreach (struct transfer *, x, &t->transfers)
        if (!strcmp(x->what, what))
            return x;
    return NULL;
}

static void on_progress(void *arg, const char *what, uint64_t done, uint64_t total, bool end)
{
    struct build_tty *t = locked(arg);
    struct transfer *x = find_transfer(t, what);
    if (!x && !end) {
        x = transfers_push(&t->transfers);
        *x = (struct transfer){.what = xstrdup(what), .from = done, .started = now_ms()};
    }
    if (x) {
        x->done = done;
        x->total = total;
    }
    if (x && end) {
        free(x->what);
        *x = t->transfers.ptr[--t->transfers.len];
    }
    draw_soon(t);
    (void)pthread_mutex_unlock(&t->mutex);
}

static void on_terminal(void *arg, bool taken)
{
    struct build_tty *t = locked(arg);
    if (taken)
        screen_wipe(&t->screen);
    t->lent = taken;
    (void)pthread_mutex_unlock(&t->mutex);
}

static void start_ticker(struct build_tty *t)
{
    pthread_condattr_t attr;
    (void)pthread_mutex_init(&t->mutex, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&t->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    t->ticks = pthread_create(&t->ticker, NULL, tick, t) == 0; // without it: no seconds, no more
}

struct build_tty *build_tty_new(const struct build_tty_options *o, struct build_ui *ui,
                                struct session_events *events)
{
    struct build_tty *t = xcalloc(1, sizeof *t);
    t->o = *o;
    t->output = (struct guest_text)GUEST_TEXT_INIT;
    screen_init(&t->screen, o->out);
    start_ticker(t);
    *ui = (struct build_ui){.arg = t,
                            .step = on_step,
                            .step_done = on_step_done,
                            .step_failed = on_step_failed,
                            .diagnostic = on_diagnostic};
    *events = (struct session_events){.arg = t,
                                      .notice = on_notice,
                                      .warning = on_warning,
                                      .output = on_output,
                                      .progress = on_progress,
                                      .terminal = on_terminal};
    return t;
}

void build_tty_free(struct build_tty *t, const struct error *err)
{
    if (!t)
        return;
    (void)pthread_mutex_lock(&t->mutex);
    t->stop = true;
    (void)pthread_cond_signal(&t->wake);
    (void)pthread_mutex_unlock(&t->mutex);
    if (t->ticks)
        (void)pthread_join(t->ticker, NULL);
    if (err)
        step_has_failed(t, err->kind == ERR_CANCELLED);
    else
        step_is_done(t, seconds_of(t));
    screen_clear(&t->screen);
    forget_step(t);
    vec_foreach (struct transfer *, x, &t->transfers)
        free(x->what);
    transfers_clear(&t->transfers);
    (void)pthread_cond_destroy(&t->wake);
    (void)pthread_mutex_destroy(&t->mutex);
    free(t);
}
