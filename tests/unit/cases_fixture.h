/* SPDX-License-Identifier: MIT
 *
 * Text cases of a reader: files of "@CASE name" and, for each, sections of lines. The first section
 * is what is read ("@INPUT", or "@INPUT escaped": \r \t \n \\ \xHH), the second what must come out
 * ("@OUTPUT").
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

typedef void cases_fn(struct str input, struct buf *out);

struct one_case {
    struct str name, input, output;
    bool escaped;
};
DEFINE_VECTOR(case_list, struct one_case);

struct case_file {
    const char *path;
    cases_fn *fn;
};

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
        } else {
            buf_addc(out, s.ptr[i]);
        }
    }
}

static inline struct case_list case_read(const struct buf *text)
{
    struct case_list list = {0};
    struct str *section = NULL;
    for (size_t at = 0, next; at < text->len; at = next) {
        const char *line = text->data + at, *lf = strchr(line, '\n');
        assert_non_null(lf);
        next = (size_t)(lf - text->data) + 1;
        struct str l = {line, (size_t)(lf - line)};
        struct one_case *c = list.len ? &list.ptr[list.len - 1] : NULL;
        if (str_starts(l, "@CASE ")) {
            c = case_list_push(&list);
            c->name = (struct str){l.ptr + 6, l.len - 6};
            section = NULL;
        } else if (c && (str_is(l, "@INPUT") || str_is(l, "@INPUT escaped"))) {
            c->escaped = l.len > 6;
            section = &c->input;
        } else if (c && str_is(l, "@OUTPUT")) {
            section = &c->output;
        } else if (section) {
            if (!section->ptr)
                section->ptr = line;
            section->len = next - (size_t)(section->ptr - text->data);
        }
    }
    return list;
}

/* Compares, or writes the case anew into `update`. */
static inline int case_check(const struct one_case *c, cases_fn *fn, struct buf *update)
{
    CLEANUP(buf_clear) struct buf input = BUF_INIT, out = BUF_INIT;
    if (c->escaped)
        case_unescape(c->input, &input);
    else
        buf_add_str(&input, c->input);
    fn(buf_str(&input), &out);
    if (update) {
        buf_addf(update, "@CASE " STR_FMT "\n@INPUT%s\n" STR_FMT "@OUTPUT\n%s", STR_ARG(c->name),
                 c->escaped ? " escaped" : "", STR_ARG(c->input), out.data);
        return 0;
    }
    if (str_eq(buf_str(&out), c->output))
        return 0;
    print_error("case '" STR_FMT "':\n%s", STR_ARG(c->name), out.data);
    return 1;
}

static inline void case_run_file(void **state)
{
    const struct case_file *f = *state;
    CLEANUP(buf_clear) struct buf text = BUF_INIT, update = BUF_INIT;
    assert_int_equal(file_read(f->path, 1 << 20, &text, NULL), 0);
    CLEANUP(case_list_clear) struct case_list list = case_read(&text);
    bool rewrite = getenv("KILN_UPDATE_CASES");
    int bad = 0;
    vec_foreach (struct one_case *, c, &list)
        bad += case_check(c, f->fn, rewrite ? &update : NULL);
    if (rewrite)
        assert_int_equal(file_write_whole(f->path, 0644, update.data, update.len, NULL), 0);
    assert_true(list.len > 0);
    assert_int_equal(bad, 0);
}

static inline int cases_run(const char *pattern, cases_fn *fn)
{
    glob_t files;
    if (glob(pattern, 0, NULL, &files) != 0)
        return 1;
    struct CMUnitTest *tests = xcalloc(files.gl_pathc, sizeof *tests);
    struct case_file *f = xcalloc(files.gl_pathc, sizeof *f);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        f[i] = (struct case_file){files.gl_pathv[i], fn};
        tests[i] = (struct CMUnitTest){files.gl_pathv[i], case_run_file, NULL, NULL, &f[i]};
    }
    int rc = _cmocka_run_group_tests(pattern, tests, files.gl_pathc, NULL, NULL);
    free(tests);
    free(f);
    globfree(&files);
    return rc;
}

#endif
