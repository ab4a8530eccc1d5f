/* SPDX-License-Identifier: MIT
 *
 * A terminal with lines that stay and, below them, a few that change: what goes on now.
 *
 *     CLEANUP(screen_clear) struct screen s;
 *     screen_init(&s, stdout);
 *     screen_say(&s, "FROM debian", "cached");           // stays
 *     screen_now(&s, "RUN make", "12 s");                // until the next screen_draw
 *     screen_draw(&s);
 *
 * Nothing is drawn before screen_draw. The size is asked for at each: when the terminal has become
 * narrower or wider, what of these lines is on it is drawn again. Texts are as for cli/columns.h.
 */
#ifndef CLI_SCREEN_H
#define CLI_SCREEN_H

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/vector.h"

#include <stdbool.h>
#include <stdio.h>

enum screen_style { STYLE_DIM, STYLE_BOLD, STYLE_RED, STYLE_GREEN, STYLE_YELLOW, STYLE_CYAN };

struct screen_line {
    char *left, *right; /* right NULL: the text is not cut, but goes on in the next row */
};
DEFINE_VECTOR(screen_lines, struct screen_line);

struct screen {
    FILE *out;
    bool colours;                         /* NO_COLOR is not set */
    bool utf8;                            /* so says the locale */
    struct screen_lines said, now, drawn; /* drawn: the changing lines on the screen */
    size_t n_printed;                     /* of `said` */
    unsigned columns, rows;               /* when it was drawn last */
};

void screen_init(struct screen *s, FILE *out);
/* What changes is taken away, and the memory freed. */
void screen_clear(struct screen *s);
/* The escape sequence, "" without colours. */
const char *screen_style(const struct screen *s, enum screen_style style);
const char *screen_plain(const struct screen *s);
/* A line that stays: the left text is cut so that the right one ("": none) stands at the end of the
 * row; with right NULL it is not cut. */
void screen_say(struct screen *s, const char *left, const char *right);
/* A line that is there until the next screen_draw but one. Rows that the terminal does not have are
 * not drawn. */
void screen_now(struct screen *s, const char *left, const char *right);
void screen_draw(struct screen *s);
/* Takes what changes off the screen, so that others may write there. */
void screen_wipe(struct screen *s);

#endif
