// SPDX-License-Identifier: MIT
#include "cli/waiting.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/session.h"
#include "base/terminal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_EVERY = 10 }; /* seconds, without a terminal */

static bool on_terminal(void)
{
    const char *term = getenv("TERM");
    return isatty(STDERR_FILENO) && (!term || strcmp(term, "dumb") != 0);
}

static void erase(struct waiting *w)
{
    if (w->on_line)
        fputs("\r\033[K", stderr);
    w->on_line = false;
}

/* Cut to the terminal's width: a longer line could not be erased. Bytes that are not ASCII may be
 * half a letter where it is cut. */
static void draw(struct waiting *w, long long seconds, const char *line)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    unsigned columns, rows;
    terminal_size(STDERR_FILENO, &columns, &rows);
    buf_addf(&text, "waiting for SSH: %lld s", seconds);
    if (line && *line)
        buf_adds(&text, "  ");
    for (; line && *line; line++)
        buf_addc(&text, *line >= ' ' && *line < 127 ? *line : '?');
    erase(w);
    fprintf(stderr, "%.*s", (int)columns - 1, text.data);
    fflush(stderr);
    w->on_line = true;
}

void waiting_show(struct waiting *w, long long ms, const char *line)
{
    long long seconds = ms / 1000;
    bool same = seconds == w->shown && (!line || (w->line && !strcmp(line, w->line)));
    if (ms < 0)
        erase(w);
    if (seconds < 1 || same)
        return;
    if (on_terminal()) {
        draw(w, seconds, line);
    } else if (seconds >= w->shown + LINE_EVERY) {
        session_debug(w->session, 1, "ssh: waiting for %lld s; console: %s", seconds,
                      line && *line ? line : "(nothing)");
    } else {
        return;
    }
    w->shown = seconds;
    free(w->line);
    w->line = line ? xstrdup(line) : NULL;
}

void waiting_clear(struct waiting *w)
{
    erase(w);
    free(w->line);
    w->line = NULL;
}
