/* SPDX-License-Identifier: MIT
 *
 * Text cases of a reader: files of "@CASE name" and, for each, sections of lines under "@WORD". The first
 * section is what is read ("@WORD escaped": \r \t \n \\ \xHH, and \c: no newline here). Mostly there are
 * two, "@INPUT" and what must come out, "@OUTPUT":
 *
 *     static void read_it(struct str input, struct buf *out) { buf_add_str(out, input); }
 *     int main(void) { return cases_run("tests/kdl/kdl.case", read_it); }
 *
 * KILN_UPDATE_CASES=1 writes what came out into the files, to be read before it is committed.
 */
#ifndef TESTS_UNIT_CASES_FIXTURE_H
#define TESTS_UNIT_CASES_FIXTURE_H

// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include "base/alloc.h"
#include "base/file.h"
#include "base/vector.h"

#include <glob.h>

struct case_section {
    struct str tag, text; /* "@STEPS" */
    bool escaped;
};
DEFINE_VECTOR(case_sections, struct case_section);

struct one_case {
    struct str name;
    struct case_sections sections;
};
DEFINE_VECTOR(case_list, struct one_case);

/* How many things differ; with update not NULL, 0, and the case as it should be is appended. */
typedef int case_check_fn(const struct one_case *c, const struct str input, struct buf *update,
                          void *arg);
struct case_file {
    const char *path;
    case_check_fn *check;
    void *arg;
};

/* NULL: it has none of that tag. */
static inline const struct case_section *case_section(const struct one_case *c, const char *tag)
{
    vec_foreach (const struct case_section *, s, &c->sections)
        if (str_is(s->tag, tag))
            return s;
    return NULL;
}

static inline void case_unescape(struct str s, struct buf *out)
{
    static const char from[] = "rtn\\", to[] = "\r\t\n\\";
    for (size_t i = 0; i < s.len; i++) {
        const char *known =
            s.ptr[i] == '\\' && i + 1 < s.len ? memchr(from, s.ptr[i + 1], 4) : NULL;
        if (known) {
            buf_addc(out, to[known - from]);
            i++;
        } else if (s.ptr[i] == '\\' && i + 3 < s.len && s.ptr[i + 1] == 'x') {
            char hex[3] = {s.ptr[i + 2], s.ptr[i + 3], '\0'};
            buf_addc(out, (char)strtol(hex, NULL, 16));
            i += 3;
        } else if (s.ptr[i] == '\\' && i + 2 < s.len && s.ptr[i + 1] == 'c') {
            i += 2;
        } else {
            buf_addc(out, s.ptr[i]);
        }
    }
}

/* "@WORD" or "@WORD escaped". */
static inline bool case_tag(struct str line, struct case_section *ret)
{
    size_t n = 1;
    if (line.len < 2 || line.ptr[0] != '@')
        return false;
    while (n < line.len && line.ptr[n] >= 'A' && line.ptr[n] <= 'Z')
        n++;
    *ret = (struct case_section){.tag = {line.ptr, n}, .escaped = n < line.len};
    return n > 1 && (n == line.len || str_is((struct str){line.ptr + n, line.len - n}, " escaped"));
}

static inline struct case_list case_read(const struct buf *text)
{
    struct case_list list = {0};
    struct case_section tag, *section = NULL;
    for (size_t at = 0, next; at < text->len; at = next) {
        const char *line = text->data + at, *lf = strchr(line, '\n');
        assert_non_null(lf);
        next = (size_t)(lf - text->data) + 1;
        struct str l = {line, (size_t)(lf - line)};
        if (str_starts(l, "@CASE ")) {
            case_list_push(&list)->name = (struct str){l.ptr + 6, l.len - 6};
            section = NULL;
        } else if (list.len && case_tag(l, &tag)) {
            section = case_sections_push(&list.ptr[list.len - 1].sections);
            *section = tag;
        } else if (section) {
            if (!section->text.ptr)
                section->text.ptr = line;
            section->text.len = next - (size_t)(section->text.ptr - text->data);
        }
    }
    return list;
}

static inline void case_run_file(void **state)
{
    const struct case_file *f = *state;
    CLEANUP(buf_clear) struct buf text = BUF_INIT, update = BUF_INIT;
    assert_int_equal(file_read(f->path, 1 << 20, &text, NULL), 0);
    struct case_list list = case_read(&text);
    bool rewrite = getenv("KILN_UPDATE_CASES");
    int bad = 0;
    vec_foreach (struct one_case *, c, &list) {
        CLEANUP(buf_clear) struct buf input = BUF_INIT;
        assert_true(c->sections.len > 0);
        const struct case_section *first = &c->sections.ptr[0];
        if (first->escaped)
            case_unescape(first->text, &input);
        else
            buf_add_str(&input, first->text);
        if (rewrite)
            buf_addf(&update, "@CASE " STR_FMT "\n" STR_FMT "%s\n" STR_FMT, STR_ARG(c->name),
                     STR_ARG(first->tag), first->escaped ? " escaped" : "", STR_ARG(first->text));
        bad += f->check(c, buf_str(&input), rewrite ? &update : NULL, f->arg);
    }
    if (rewrite)
        assert_int_equal(file_write_whole(f->path, 0644, update.data, update.len, NULL), 0);
    assert_true(list.len > 0);
    assert_int_equal(bad, 0);
    vec_foreach (struct one_case *, c, &list)
        case_sections_clear(&c->sections);
    case_list_clear(&list);
}

/* Says what came out, unless it is what was expected. */
static inline int case_differs(const struct one_case *c, const char *what, struct str expected,
                               const struct buf *got)
{
    if (str_eq(buf_str(got), expected))
        return 0;
    print_error("case '" STR_FMT "': %s:\n%s", STR_ARG(c->name), what, got->data);
    return 1;
}

/* Each file that the pattern matches is a test. arg goes to check. */
static inline int cases_check(const char *pattern, case_check_fn *check, void *arg)
{
    glob_t files;
    if (glob(pattern, 0, NULL, &files) != 0)
        return 1;
    struct CMUnitTest *tests = xcalloc(files.gl_pathc, sizeof *tests);
    struct case_file *f = xcalloc(files.gl_pathc, sizeof *f);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        f[i] = (struct case_file){files.gl_pathv[i], check, arg};
        tests[i] = (struct CMUnitTest){files.gl_pathv[i], case_run_file, NULL, NULL, &f[i]};
    }
    int rc = _cmocka_run_group_tests(pattern, tests, files.gl_pathc, NULL, NULL);
    free(tests);
    free(f);
    globfree(&files);
    return rc;
}

/* Of @INPUT and @OUTPUT. */
typedef void cases_fn(struct str input, struct buf *out);
struct cases_reader {
    cases_fn *fn;
};

static inline int case_check_output(const struct one_case *c, const struct str input,
                                    struct buf *update, void *reader)
{
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    const struct case_section *output = case_section(c, "@OUTPUT");
    ((struct cases_reader *)reader)->fn(input, &out);
    if (update)
        buf_addf(update, "@OUTPUT\n%s", out.data);
    return update ? 0 : case_differs(c, "output", output ? output->text : STR(""), &out);
}

static inline int cases_run(const char *pattern, cases_fn *fn)
{
    struct cases_reader reader = {fn};
    return cases_check(pattern, case_check_output, &reader);
}

#endif
