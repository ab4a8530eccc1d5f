// SPDX-License-Identifier: MIT
//
// Every row is first one text, its cells parted by tabs (those within a cell became blanks), so that a table is
// made of what --format says and of a command's own columns alike.
#include "cli/list.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "base/printable.h"
#include "cli/columns.h"
#include "cli/list_format.h"
#include "cli/store.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

void list_add_size(struct buf *b, const json_t *item, const char *key)
{
    if (json_object_get(item, key))
        buf_add_size(b, (unsigned long long)json_int(item, key, 0));
}

void list_add_age(struct buf *b, const json_t *item, const char *key)
{
    static const struct {
        long long unit;
        char name;
    } units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
    long long then = json_int(item, key, 0), seconds = (long long)time(NULL) - then;
    size_t i = 0;
    if (!then)
        return;
    while (i < 3 && seconds < 2 * units[i].unit)
        i++;
    buf_addf(b, "%lld%c", seconds < 0 ? 0 : seconds / units[i].unit, units[i].name);
}

void list_add_time(struct buf *b, const json_t *item, const char *key)
{
    time_t then = (time_t)json_int(item, key, 0);
    struct tm tm;
    char text[40];
    if (then && localtime_r(&then, &tm) && strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm))
        buf_adds(b, text);
}

static void add_value(struct buf *b, const json_t *value)
{
    if (json_is_string(value))
        buf_adds(b, json_string_value(value));
    else if (json_is_integer(value))
        buf_addf(b, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        buf_addf(b, "%.2f", json_real_value(value));
}

/* A column's text, on one line and without tabs. */
static void add_cell(struct buf *b, const struct list_column *c, const json_t *item)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    size_t from = b->len;
    if (c->add)
        c->add(&text, item, c->key);
    else
        add_value(&text, json_object_get(item, c->key));
    printable_add(b, text.data, text.len);
    for (size_t i = from; i < b->len; i++)
        if (b->data[i] == '\n' || b->data[i] == '\t')
            b->data[i] = ' ';
    if (b->len == from)
        buf_addc(b, '-');
}

static void add_json(struct buf *b, const json_t *value)
{
    AUTO_FREE char *text = value ? json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS |
                                                         JSON_ENCODE_ANY | JSON_REAL_PRECISION(15))
                                 : NULL;
    buf_adds(b, text ? text : "null");
}

/* Of a column's member, or its text. */
static void add_column_json(struct buf *b, const struct list_column *c, const json_t *item)
{
    if (!c->text) {
        add_json(b, json_object_get(item, c->key));
        return;
    }
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    c->add(&text, item, c->key);
    json_auto_t *value = json_stringn(text.len ? text.data : "", text.len);
    add_json(b, value);
}

/* The head of a column that is not in the plain table: "RealSize" is "REAL SIZE". */
static void add_head(struct buf *b, const struct list_column *c)
{
    if (c->head) {
        buf_adds(b, c->head);
        return;
    }
    for (const char *p = c->field; *p; p++) {
        if (p > c->field && isupper((unsigned char)*p) && islower((unsigned char)p[-1]))
            buf_addc(b, ' ');
        buf_addc(b, (char)toupper((unsigned char)*p));
    }
}

/* item: NULL = the table's head. */
static void add_row(struct buf *b, const struct list_format *f, const json_t *item)
{
    vec_foreach (const struct list_piece *, p, &f->pieces)
        if (p->text)
            buf_adds(b, p->text);
        else if (!item && p->column)
            add_head(b, p->column);
        else if (p->json && item && p->column)
            add_column_json(b, p->column, item);
        else if (p->json && item)
            add_json(b, item);
        else if (item)
            add_cell(b, p->column, item);
}

struct width {
    int columns;
    bool right;
};
DEFINE_VECTOR(widths, struct width);

/* What the columns say of themselves, where a cell is one. */
static void begin_widths(struct widths *w, const struct list_format *f)
{
    (void)widths_push(w);
    vec_foreach (const struct list_piece *, p, &f->pieces) {
        for (const char *t = p->text; t && (t = strchr(t, '\t')); t++)
            (void)widths_push(w);
        if (p->column && f->plain)
            w->ptr[w->len - 1] = (struct width){p->column->least, p->column->right};
    }
}

static void widen(struct widths *w, const char *row)
{
    struct str rest = str_of(row);
    for (size_t i = 0; i < w->len; i++) {
        AUTO_FREE char *cell = str_dup(str_cut(&rest, '\t'));
        int n = (int)columns_of(cell);
        if (n > w->ptr[i].columns)
            w->ptr[i].columns = n;
    }
}

static void print_cells(const struct list_format *f, const struct widths *w, const char *row,
                        const char *broken)
{
    CLEANUP(buf_clear) struct buf line = BUF_INIT;
    struct str rest = str_of(row);
    if (f->plain && f->pieces.ptr[0].column->blank)
        buf_addc(&line, ' ');
    for (size_t i = 0; i < w->len; i++) {
        AUTO_FREE char *cell = str_dup(str_cut(&rest, '\t'));
        int pad = w->ptr[i].columns - (int)columns_of(cell);
        buf_addf(&line, "%s%*s%s%*s", i ? "  " : "", w->ptr[i].right ? pad : 0, "", cell,
                 w->ptr[i].right ? 0 : pad, "");
    }
    if (broken) {
        buf_adds(&line, "  (");
        printable_add(&line, broken, strlen(broken));
        buf_addc(&line, ')');
    }
    while (line.len && line.data[line.len - 1] == ' ')
        line.data[--line.len] = '\0';
    puts(line.data);
}

static void print_table(const struct list_format *f, const json_t *items)
{
    CLEANUP(strv_clear) struct strv rows = {0};
    CLEANUP(widths_clear) struct widths w = {0};
    size_t i;
    begin_widths(&w, f);
    for (i = 0; i <= json_array_size(items); i++) {
        CLEANUP(buf_clear) struct buf row = BUF_INIT;
        add_row(&row, f, i ? json_array_get(items, i - 1) : NULL);
        widen(&w, row.data);
        strv_add(&rows, row.data);
    }
    for (i = 0; i < rows.len; i++)
        print_cells(f, &w, rows.ptr[i],
                    i && f->plain ? json_str(json_array_get(items, i - 1), "broken") : NULL);
}

static void print_lines(const struct list_format *f, const json_t *items)
{
    size_t i;
    json_t *item;
    json_array_foreach ((json_t *)items, i, item) {
        CLEANUP(buf_clear) struct buf row = BUF_INIT;
        add_row(&row, f, item);
        puts(row.data);
    }
}

static void print_names(const json_t *items, const char *key)
{
    size_t i;
    json_t *item;
    json_array_foreach ((json_t *)items, i, item)
        puts(json_str(item, key));
}

static bool is_quiet(const struct args *a)
{
    return command_option(a->command, "quiet") && args_has(a, "quiet");
}

int list_check(const struct args *a, const struct list_column *columns, struct error **err)
{
    CLEANUP(list_format_clear) struct list_format f = LIST_FORMAT_INIT;
    if (args_has(a, "format") && (args_has(a, "json") || is_quiet(a)))
        return error_set(err, ERR_USAGE, "argument --format: not with --%s",
                         args_has(a, "json") ? "json" : "quiet");
    return list_format_parse(args_get(a, "format"), columns, &f, err);
}

int list_print(const struct args *a, const struct list_column *columns, const json_t *items,
               struct error **err)
{
    CLEANUP(list_format_clear) struct list_format f = LIST_FORMAT_INIT;
    if (args_has(a, "json")) {
        cli_print_json(items);
        return 0;
    }
    if (is_quiet(a)) {
        print_names(items, columns->key);
        return 0;
    }
    if (list_format_parse(args_get(a, "format"), columns, &f, err) < 0)
        return -1;
    if (f.table)
        print_table(&f, items);
    else
        print_lines(&f, items);
    return 0;
}
