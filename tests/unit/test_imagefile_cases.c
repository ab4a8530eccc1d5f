// SPDX-License-Identifier: MIT
// Runs tests/imagefile/*.case. A file holds cases:
//
//     @CASE what is shown
//     @IMAGEFILE            (or "@IMAGEFILE escaped": \r \t \n \\ \xHH, and \c: no newline here)
//     …
//     @STEPS                what was parsed, one line a step and one a detail
//     @DIAGNOSTICS          errors and warnings as people see them (the default: there are none)
//     @LINT                 the same after imagefile_lint
//     @EVALUATE             the same after imagefile_evaluate instead; image "known" has ENV KNOWN,
//                           no other image is there
//
// KILN_UPDATE_CASES=1 writes what came out into the files, to be read before it is committed.
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
#include "imagefile/imagefile.h"

#include <glob.h>

static void add_word(struct buf *out, const char *name, const struct word *w)
{
    static const char modes[] = "LVS";
    if (word_given(w))
        buf_addf(out, " %s=%c(" STR_FMT ")", name, modes[w->mode], STR_ARG(w->raw));
}

static void add_words(struct buf *out, const char *name, const struct words *w)
{
    for (size_t i = 0; i < w->len; i++)
        add_word(out, name, &w->ptr[i]);
}

static void add_heredoc(struct buf *out, const struct heredoc *h)
{
    buf_addf(out, "  here-document " STR_FMT "%s%s:", STR_ARG(h->delimiter),
             h->quoted ? " quoted" : "", h->strip_tabs ? " stripped" : "");
    for (size_t i = 0; i < h->body.len; i++) {
        if (h->body.ptr[i] == '\n')
            buf_adds(out, "\\n");
        else
            buf_addc(out, h->body.ptr[i]);
    }
    buf_addc(out, '\n');
}

static void add_copy(struct buf *out, const struct copy_args *c)
{
    buf_addc(out, ' ');
    for (size_t i = 0; i < c->n_sources; i++)
        add_word(out,
                 c->sources[i].heredoc ? "heredoc"
                 : c->sources[i].url   ? "url"
                                       : "source",
                 &c->sources[i].path);
    add_word(out, "dest", &c->dest);
    add_word(out, "from", &c->from);
    add_word(out, "chown", &c->chown);
    add_word(out, "chmod", &c->chmod);
    add_word(out, "checksum", &c->checksum);
    add_words(out, "exclude", &c->excludes);
    if (c->unpack >= 0)
        buf_addf(out, " unpack=%d", c->unpack);
    buf_addc(out, '\n');
}

static void add_mount(struct buf *out, const struct run_mount *m)
{
    static const char *const names[] = {[MOUNT_TYPE] = "type",
                                        [MOUNT_TARGET] = "target",
                                        [MOUNT_ID] = "id",
                                        [MOUNT_SOURCE] = "source",
                                        [MOUNT_FROM] = "from",
                                        [MOUNT_ENV] = "env",
                                        [MOUNT_MODE] = "mode",
                                        [MOUNT_UID] = "uid",
                                        [MOUNT_GID] = "gid",
                                        [MOUNT_SIZE] = "size",
                                        [MOUNT_SHARING] = "sharing",
                                        [MOUNT_REQUIRED] = "required",
                                        [MOUNT_READONLY] = "readonly",
                                        [MOUNT_READWRITE] = "readwrite"};
    buf_adds(out, "  mount");
    for (size_t i = 0; i < MOUNT_FIELDS; i++)
        add_word(out, names[i], &m->fields[i]);
    buf_addc(out, '\n');
}

static void add_run(struct buf *out, const struct run_args *r)
{
    for (size_t i = 0; i < r->n_mounts; i++)
        add_mount(out, &r->mounts[i]);
    if (r->network == NETWORK_NONE)
        buf_adds(out, "  network none\n");
    if (r->security == SECURITY_INSECURE)
        buf_adds(out, "  security insecure\n");
    if (r->argv.len) {
        buf_addc(out, ' ');
        add_words(out, "arg", &r->argv);
        buf_addc(out, '\n');
        return;
    }
    buf_adds(out, r->shebang ? "  program " : "  script ");
    for (size_t i = 0; i < r->script.len; i++) {
        if (r->script.ptr[i] == '\n')
            buf_adds(out, "\\n");
        else
            buf_addc(out, r->script.ptr[i]);
    }
    buf_addc(out, '\n');
}

static void add_disk(struct buf *out, const struct imagefile *f, const struct imagefile_step *s)
{
    struct disk_spec d;
    CLEANUP(partition_spec_clear) struct partition_spec p = {0};
    if (s->op == OP_DISK && imagefile_disk(f, s, NULL, &d, NULL) == 0)
        buf_addf(out, "  disk %s%ju %s\n", d.more ? "+" : "", (uintmax_t)d.size,
                 d.table == TABLE_GPT   ? "gpt"
                 : d.table == TABLE_MBR ? "mbr"
                                        : "kept");
    if (s->op == OP_PARTITION && imagefile_partition(f, s, NULL, &p, NULL) == 0) {
        AUTO_FREE char *flags = partition_flags_text(p.flags);
        buf_addf(out, "  partition %u size=%ju fs=%s options=(%s) mount=%s flags=%s\n", p.number,
                 (uintmax_t)p.size, p.fs ? p.fs : "-", p.options, p.mount ? p.mount : "-", flags);
    }
}

static void add_step(struct buf *out, const struct imagefile *f, const struct imagefile_step *s)
{
    buf_addf(out, "%u:%u ", s->line, s->column);
    if (s->stage == NO_STAGE)
        buf_adds(out, "[-] ");
    else
        buf_addf(out, "[%zu] ", s->stage);
    buf_addf(out, "%s%s\n", s->text.ptr, s->json ? " (list)" : "");
    switch (s->op) {
    case OP_FROM:
        buf_addc(out, ' ');
        add_word(out, "image", &s->from.image);
        if (s->from.as.len)
            buf_addf(out, " as=" STR_FMT, STR_ARG(s->from.as));
        buf_adds(out, f->stages[s->stage].scratch ? " scratch\n" : "\n");
        break;
    case OP_COPY:
    case OP_ADD:
        add_copy(out, &s->copy);
        break;
    case OP_RUN:
        add_run(out, &s->run);
        break;
    case OP_ARG:
    case OP_ENV:
    case OP_LABEL:
        for (size_t i = 0; i < s->pairs.len; i++) {
            buf_addc(out, ' ');
            add_word(out, "name", &s->pairs.ptr[i].name);
            add_word(out, "value", &s->pairs.ptr[i].value);
            buf_addc(out, '\n');
        }
        break;
    case OP_WORKDIR:
    case OP_USER:
        buf_addc(out, ' ');
        add_word(out, "word", &s->word);
        buf_addc(out, '\n');
        break;
    case OP_CMD:
    case OP_ENTRYPOINT:
    case OP_EXPOSE:
    case OP_VOLUME:
    case OP_HEALTHCHECK:
    case OP_STOPSIGNAL:
    case OP_MAINTAINER:
    case OP_SHELL:
        buf_addc(out, ' ');
        add_words(out, "arg", &s->words);
        buf_addc(out, '\n');
        break;
    case OP_DISK:
    case OP_PARTITION:
        add_disk(out, f, s);
        break;
    case OP_INSPECT:
    case OP_COUNT:
        break;
    }
    for (size_t i = 0; i < s->n_heredocs; i++)
        add_heredoc(out, &s->heredocs[i]);
}

struct one_case {
    struct str name;
    struct str imagefile;
    bool escaped;
    bool has_steps, has_diagnostics, has_lint, has_evaluate;
    struct str steps, diagnostics, lint, evaluate;
};
DEFINE_VECTOR(cases, struct one_case);

static struct buf unescape(struct str s)
{
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] != '\\' || i + 1 == s.len) {
            buf_addc(&b, s.ptr[i]);
            continue;
        }
        switch (s.ptr[++i]) {
        case 'r':
            buf_addc(&b, '\r');
            break;
        case 't':
            buf_addc(&b, '\t');
            break;
        case 'n':
            buf_addc(&b, '\n');
            break;
        case 'c':
            i++; // the newline
            break;
        case 'x': {
            char hex[3] = {s.ptr[i + 1], s.ptr[i + 2], '\0'};
            buf_addc(&b, (char)strtol(hex, NULL, 16));
            i += 2;
            break;
        }
        default:
            buf_addc(&b, s.ptr[i]);
        }
    }
    return b;
}

static struct cases read_cases(const struct buf *text)
{
    struct cases list = {0};
    struct str *section = NULL;
    for (size_t at = 0, next; at < text->len; at = next) {
        const char *line = text->data + at, *lf = strchr(line, '\n');
        assert_non_null(lf);
        next = (size_t)(lf - text->data) + 1;
        struct str l = {line, (size_t)(lf - line)};
        struct one_case *c = list.len ? &list.ptr[list.len - 1] : NULL;
        if (str_starts(l, "@CASE ")) {
            c = cases_push(&list);
            c->name = (struct str){l.ptr + 6, l.len - 6};
            section = NULL;
        } else if (str_is(l, "@IMAGEFILE") || str_is(l, "@IMAGEFILE escaped")) {
            c->escaped = l.len > 10;
            section = &c->imagefile;
        } else if (str_is(l, "@STEPS")) {
            c->has_steps = true;
            section = &c->steps;
        } else if (str_is(l, "@DIAGNOSTICS")) {
            c->has_diagnostics = true;
            section = &c->diagnostics;
        } else if (str_is(l, "@LINT")) {
            c->has_lint = true;
            section = &c->lint;
        } else if (str_is(l, "@EVALUATE")) {
            c->has_evaluate = true;
            section = &c->evaluate;
        } else if (section) {
            if (!section->ptr)
                section->ptr = line;
            section->len = next - (size_t)(section->ptr - text->data);
        }
    }
    return list;
}

static void add_diags(struct buf *out, const struct imagefile *f)
{
    for (size_t i = 0; i < f->diags.len; i++)
        diag_format(&f->source, &f->diags.ptr[i], out);
}

static int differs(const struct one_case *c, const char *what, bool asked, struct str expected,
                   const struct buf *got)
{
    if (!asked || str_eq(buf_str(got), expected))
        return 0;
    print_error("case '" STR_FMT "': %s:\n%s", STR_ARG(c->name), what, got->data);
    return 1;
}

static const char *no_arg(void *ctx, struct str name)
{
    (void)ctx;
    return str_is(name, "GIVEN") ? "given" : NULL;
}

static const json_t *image_env(void *ctx, const char *image)
{
    return strcmp(image, "known") == 0 ? ctx : NULL;
}

static char *image_missing(void *ctx, const char *image)
{
    (void)ctx;
    return strcmp(image, "known") == 0 || strpbrk(image, ",:") || strcmp(image, "elsewhere") == 0 ||
                   strcmp(image, "debian") == 0
               ? NULL
               : xstrdup("advice");
}

static void evaluate(struct imagefile *f)
{
    json_t *env = json_pack("{s:s}", "KNOWN", "known");
    struct imagefile_given given = {.build_args = {no_arg, NULL, NULL},
                                    .image_env = image_env,
                                    .ctx = env,
                                    .image_missing = image_missing};
    imagefile_evaluate(f, &given);
    json_decref(env);
}

/* Compares, or writes the case anew into `update`. */
static int check_case(const struct one_case *c, struct buf *update)
{
    CLEANUP(buf_clear)
    struct buf text = BUF_INIT, steps = BUF_INIT, diags = BUF_INIT, lint = BUF_INIT;
    if (c->escaped)
        text = unescape(c->imagefile);
    else
        buf_add_str(&text, c->imagefile);
    CLEANUP(imagefile_freep)
    struct imagefile *f = imagefile_parse("Imagefile", text.data, text.len);
    for (size_t i = 0; i < f->n_steps; i++)
        add_step(&steps, f, &f->steps[i]);
    add_diags(&diags, f);
    if (c->has_evaluate)
        evaluate(f);
    else
        imagefile_lint(f);
    add_diags(&lint, f);
    if (update) {
        buf_addf(update, "@CASE " STR_FMT "\n@IMAGEFILE%s\n" STR_FMT, STR_ARG(c->name),
                 c->escaped ? " escaped" : "", STR_ARG(c->imagefile));
        if (c->has_steps)
            buf_addf(update, "@STEPS\n%s", steps.data);
        if (c->has_diagnostics || (diags.len && !c->has_lint && !c->has_evaluate))
            buf_addf(update, "@DIAGNOSTICS\n%s", diags.data);
        if (c->has_lint)
            buf_addf(update, "@LINT\n%s", lint.data);
        if (c->has_evaluate)
            buf_addf(update, "@EVALUATE\n%s", lint.data);
        return 0;
    }
    return differs(c, "steps", c->has_steps, c->steps, &steps) |
           differs(c, "diagnostics", !c->has_lint && !c->has_evaluate, c->diagnostics, &diags) |
           differs(c, "evaluate", c->has_evaluate, c->evaluate, &lint) |
           differs(c, "lint", c->has_lint, c->lint, &lint);
}

static void run_file(void **state)
{
    const char *path = *state;
    CLEANUP(buf_clear) struct buf text = BUF_INIT, update = BUF_INIT;
    assert_int_equal(file_read(path, 1 << 20, &text, NULL), 0);
    struct cases list = read_cases(&text);
    bool rewrite = getenv("KILN_UPDATE_CASES");
    int bad = 0;
    vec_foreach (struct one_case *, c, &list)
        bad += check_case(c, rewrite ? &update : NULL);
    if (rewrite)
        assert_int_equal(file_write_whole(path, 0644, update.data, update.len, NULL), 0);
    assert_true(list.len > 0);
    cases_clear(&list);
    assert_int_equal(bad, 0);
}

int main(void)
{
    glob_t files;
    if (glob("tests/imagefile/*.case", 0, NULL, &files) != 0)
        return 1;
    struct CMUnitTest *tests = xcalloc(files.gl_pathc, sizeof *tests);
    for (size_t i = 0; i < files.gl_pathc; i++)
        tests[i] = (struct CMUnitTest){files.gl_pathv[i], run_file, NULL, NULL, files.gl_pathv[i]};
    int rc = _cmocka_run_group_tests("imagefile cases", tests, files.gl_pathc, NULL, NULL);
    free(tests);
    globfree(&files);
    return rc;
}
