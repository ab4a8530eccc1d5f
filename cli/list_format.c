// SPDX-License-Identifier: MIT
#include "cli/list_format.h"

#include "base/cleanup.h"
#include "base/nearest.h"

#include <ctype.h>
#include <strings.h>

void list_format_clear(struct list_format *f)
{
    vec_foreach (struct list_piece *, p, &f->pieces)
        free(p->text);
    list_pieces_clear(&f->pieces);
}

/* Whether the word is one of "Names,ID". */
static bool is_alias(const char *aliases, const char *word)
{
    struct str rest = str_of(aliases ? aliases : "");
    while (rest.len) {
        struct str one = str_cut(&rest, ',');
        if (one.len == strlen(word) && strncasecmp(one.ptr, word, one.len) == 0)
            return true;
    }
    return false;
}

static const struct list_column *find(const struct list_column *columns, const char *word)
{
    for (const struct list_column *c = columns; c->field; c++)
        if (!strcasecmp(c->field, word) || is_alias(c->alias, word))
            return c;
    return NULL;
}

/* near: the field that was meant, or NULL. */
static int hint_fields(const struct list_column *columns, const char *near, struct error **err)
{
    CLEANUP(buf_clear) struct buf all = BUF_INIT;
    for (const struct list_column *c = columns; c->field; c++)
        buf_addf(&all, "%s.%s", c > columns ? ", " : "", c->field);
    return near ? error_hint(err, "did you mean {{.%s}}? fields are %s", near, all.data)
                : error_hint(err, "fields are %s; --json prints all there is, for jq", all.data);
}

static int no_field(const struct list_column *columns, const char *word, struct error **err)
{
    CLEANUP(strv_clear) struct strv names = {0};
    for (const struct list_column *c = columns; c->field; c++)
        strv_add(&names, c->field);
    const char *near = nearest_name(str_of(word), (const char *const *)names.ptr);
    error_set(err, ERR_USAGE, "argument --format: there is no field '.%s'", word);
    return hint_fields(columns, near, err);
}

static struct str trim(struct str s)
{
    while (s.len && isspace((unsigned char)s.ptr[0]))
        s.ptr++, s.len--;
    while (s.len && isspace((unsigned char)s.ptr[s.len - 1]))
        s.len--;
    return s;
}

/* "json X" and "X | json" both mean X as JSON; *s becomes X. */
static bool take_json(struct str *s)
{
    size_t end = s->len;
    if (str_starts(*s, "json ")) {
        *s = trim((struct str){s->ptr + 5, s->len - 5});
        return true;
    }
    if (end <= 4 || memcmp(s->ptr + end - 4, "json", 4) != 0)
        return false;
    struct str before = trim((struct str){s->ptr, end - 4});
    if (!before.len || before.ptr[before.len - 1] != '|')
        return false;
    *s = trim((struct str){before.ptr, before.len - 1});
    return true;
}

/* What stands between {{ and }}. */
static int add_action(struct list_format *f, struct str action, const struct list_column *columns,
                      struct error **err)
{
    struct str s = trim(action);
    bool json = take_json(&s);
    AUTO_FREE char *word = s.len ? xstrndup(s.ptr + 1, s.len - 1) : NULL;
    bool whole = word && !*word && json;
    if (!word || s.ptr[0] != '.' || (!whole && !*word) || strpbrk(word, " .|(")) {
        error_set(err, ERR_USAGE,
                  "argument --format: '{{" STR_FMT
                  "}}' is not {{.FIELD}}, {{json .FIELD}} or {{json .}}",
                  STR_ARG(action));
        return hint_fields(columns, NULL, err);
    }
    const struct list_column *c = whole ? NULL : find(columns, word);
    if (!whole && !c)
        return no_field(columns, word, err);
    *list_pieces_push(&f->pieces) = (struct list_piece){.column = c, .json = json};
    return 0;
}

/* Text as it is, but for \t, \n and \\. */
static void add_text(struct list_format *f, struct str s)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    for (size_t i = 0; i < s.len; i++) {
        char next = s.ptr[i] == '\\' && i + 1 < s.len ? s.ptr[i + 1] : 0;
        buf_addc(&b, next == 't' ? '\t' : next == 'n' ? '\n' : s.ptr[i]);
        i += next == 't' || next == 'n' || next == '\\';
    }
    if (b.len)
        list_pieces_push(&f->pieces)->text = buf_detach(&b, NULL);
}

static void add_plain_table(struct list_format *f, const struct list_column *columns)
{
    f->plain = true;
    for (const struct list_column *c = columns; c->field; c++) {
        if (!c->head)
            continue;
        if (f->pieces.len)
            list_pieces_push(&f->pieces)->text = xstrdup("\t");
        list_pieces_push(&f->pieces)->column = c;
    }
}

static int add_template(struct list_format *f, const char *text, const struct list_column *columns,
                        struct error **err)
{
    const char *open;
    bool any = false;
    for (; (open = strstr(text, "{{")); any = true) {
        const char *end = strstr(open, "}}");
        if (!end)
            return error_set(err, ERR_USAGE, "argument --format: '{{' without '}}' in '%s'", open);
        add_text(f, (struct str){text, (size_t)(open - text)});
        if (add_action(f, (struct str){open + 2, (size_t)(end - open) - 2}, columns, err) < 0)
            return -1;
        text = end + 2;
    }
    add_text(f, str_of(text));
    if (any)
        return 0;
    error_set(err, ERR_USAGE, "argument --format: '%s' has no {{.FIELD}}", text);
    return hint_fields(columns, NULL, err);
}

int list_format_parse(const char *text, const struct list_column *columns, struct list_format *ret,
                      struct error **err)
{
    const char *rest = text ? text + strspn(text, " ") : "";
    ret->table = !*rest || (!strncmp(rest, "table", 5) && (!rest[5] || strchr(" \t\\{", rest[5])));
    if (ret->table && *rest)
        rest += 5 + (rest[5] == ' ' || rest[5] == '\t');
    if (ret->table && !rest[strspn(rest, " ")]) {
        add_plain_table(ret, columns);
        return 0;
    }
    return add_template(ret,
                        !strcmp(rest, "json") ? "{{json .}}"
                        : ret->table          ? rest
                                              : text,
                        columns, err);
}
