// SPDX-License-Identifier: MIT
#include "cli/progress.h"

#include "base/printable.h"
#include "base/session.h"
#include "image/pull.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { DRAW_MS = 100, LINE_MS = 10000, COLUMNS = 80, BAR_MIN = 4 };

void progress_init(struct progress *p, FILE *out, enum progress_mode mode)
{
    const char *term = getenv("TERM");
    bool tty = isatty(fileno(out)) && (!term || strcmp(term, "dumb"));
    if (mode == PROGRESS_AUTO)
        mode = tty ? PROGRESS_BAR : PROGRESS_LINES;
    *p = (struct progress){.out = out, .mode = mode};
}

static unsigned columns(const struct progress *p)
{
    struct winsize w;
    return ioctl(fileno(p->out), TIOCGWINSZ, &w) == 0 && w.ws_col ? w.ws_col : COLUMNS;
}

/* "  12.7 MiB": one digit behind the point, in a column. */
static void add_amount(struct buf *b, double bytes, const char *end)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t u = 0;
    while (bytes >= 1024 && u < 4) {
        bytes /= 1024;
        u++;
    }
    buf_addf(b, " %5.1f %3s%s", bytes, units[u], end);
}

static void add_time(struct buf *b, const char *what, long long seconds)
{
    buf_addf(b, " %s  %lld:%02lld:%02lld", what, seconds / 3600, seconds / 60 % 60, seconds % 60);
}

/* What stands right of the bar; the narrower the terminal, the less (leave_out 0 to 3). */
static void add_right(struct buf *b, int leave_out, double speed, uint64_t done, uint64_t left,
                      long long ms)
{
    buf_adds(b, "|");
    if (leave_out < 2)
        add_amount(b, speed, "/s |");
    if (leave_out < 1)
        add_amount(b, (double)done, " |");
    if (leave_out < 3 && left && speed > 0)
        add_time(b, "ETA: ", (long long)((double)left / speed));
    else if (leave_out < 3)
        add_time(b, "Time:", ms / 1000);
}

void progress_text(struct buf *b, unsigned cols, uint64_t done, uint64_t total, uint64_t from,
                   long long ms, bool over)
{
    CLEANUP(buf_clear) struct buf right = BUF_INIT;
    double speed = ms > 0 && done > from ? (double)(done - from) * 1000 / (double)ms : 0;
    double part = total ? (double)done / (double)total : over ? 1 : 0;
    part = part > 1 ? 1 : part;
    for (int leave_out = 0; leave_out <= 3; leave_out++) {
        buf_reset(&right);
        add_right(&right, leave_out, speed, done, !over && total > done ? total - done : 0, ms);
        if (6 + right.len + BAR_MIN < cols)
            break;
    }
    unsigned used = 6 + (unsigned)right.len;
    unsigned bar = cols > used + BAR_MIN ? cols - used - 1 : BAR_MIN;
    unsigned full = (unsigned)(part * bar + 0.5);
    if (total || over)
        buf_addf(b, "%3u%% |", (unsigned)(part * 100));
    else
        buf_adds(b, " ??% |");
    for (unsigned i = 0; i < bar; i++)
        buf_addc(b, i < full ? '#' : ' ');
    buf_add_str(b, buf_str(&right));
}

static void draw(struct progress *p, uint64_t done, uint64_t total, bool over)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    bool bar = p->mode == PROGRESS_BAR;
    progress_text(&b, bar ? columns(p) : COLUMNS, done, total, p->from, now_ms() - p->started,
                  over);
    fprintf(p->out, "%s%s%s", bar ? "\r" : "", b.data, bar && !over ? "" : "\n");
    fflush(p->out);
    p->on_line = bar && !over;
    p->drawn = now_ms();
}

void progress_update(struct progress *p, uint64_t done, uint64_t total)
{
    long long now = now_ms();
    if (p->mode == PROGRESS_NONE)
        return;
    if (!p->started) {
        p->started = p->drawn = now;
        p->from = done;
    }
    if (now - p->drawn >= (p->mode == PROGRESS_BAR ? DRAW_MS : LINE_MS))
        draw(p, done, total, false);
}

void progress_end(struct progress *p, uint64_t done, uint64_t total)
{
    bool started = p->started != 0;
    if (!started)
        p->started = now_ms();
    if (p->mode == PROGRESS_BAR || (p->mode == PROGRESS_LINES && now_ms() - p->started >= LINE_MS))
        draw(p, done, total, true);
    p->started = p->drawn = 0;
    p->from = 0;
}

static void end_line(struct progress *p)
{
    if (p->on_line)
        fputc('\n', p->out);
    p->on_line = false;
}

void progress_line(struct progress *p, const char *line)
{
    end_line(p);
    printable_print(p->out, line);
    fputc('\n', p->out);
    fflush(p->out);
}

void progress_clear(struct progress *p)
{
    end_line(p);
    if (p->session)
        p->session->events = p->before;
    p->session = NULL;
}

static void on_notice(void *arg, const char *line)
{
    progress_line(arg, line);
}

static void on_warning(void *arg, const char *text)
{
    struct progress *p = arg;
    end_line(p);
    printable_print(p->out, text);
    fflush(p->out);
}

static void on_progress(void *arg, const char *what, uint64_t done, uint64_t total, bool end)
{
    (void)what;
    if (end)
        progress_end(arg, done, total);
    else
        progress_update(arg, done, total);
}

void progress_hear(struct progress *p, struct session *s)
{
    p->session = s;
    p->before = s->events;
    s->events = (struct session_events){
        .notice = on_notice, .warning = on_warning, .progress = on_progress, .arg = p};
}
