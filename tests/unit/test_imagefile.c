// SPDX-License-Identifier: MIT
// What the text cases don't reach: expansion, limits and speed, stages by name, and that the help
// and the manual page say what the table of instructions says.
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include "base/alloc.h"
#include "base/file.h"
#include "base/nearest.h"
#include "base/session.h"
#include "base/vector.h"
#include "imagefile/imagefile.h"
#include "imagefile/instruction.h"

#include <time.h>

/* a=A, e="" (set, empty), d="$a" and s="x y"; anything else is not set. Notes what was asked for.
 */
static const char *get(void *ctx, struct str name)
{
    struct buf *asked = ctx;
    buf_add_str(asked, name);
    buf_addc(asked, ' ');
    return str_is(name, "a")   ? "A"
           : str_is(name, "e") ? ""
           : str_is(name, "d") ? "$a"
           : str_is(name, "s") ? "x y"
                               : NULL;
}

struct expand_case {
    enum word_mode mode;
    const char *raw, *value; /* value NULL: an error */
    const char *asked;
};

static const struct expand_case expand_cases[] = {
    {WORD_SHELL, "", "", ""},
    {WORD_SHELL, "plain", "plain", ""},
    {WORD_SHELL, "$a", "A", "a "},
    {WORD_SHELL, "${a}", "A", "a "},
    {WORD_SHELL, "x${a}y$a", "xAyA", "a a "},
    {WORD_SHELL, "${s#x}", " y", "s "},
    {WORD_SHELL, "${s%y}", "x ", "s "},
    {WORD_SHELL, "${s##*}", "", "s "},
    {WORD_SHELL, "${s#*}", "x y", "s "},
    {WORD_SHELL, "${s%%?}", "x ", "s "},
    {WORD_SHELL, "${s%%\\ *}", "x", "s "},
    {WORD_SHELL, "${s%?*}", "x ", "s "},
    {WORD_SHELL, "${s/x/$a}", "A y", "a s "},
    {WORD_SHELL, "${s//?/z}", "zzz", "s "},
    {WORD_SHELL, "${s/nope/z}/b", "x y/b", "s "},
    {WORD_SHELL, "${s#nope}", "x y", "s "},
    {WORD_SHELL, "${s/x}", NULL, ""},
    {WORD_SHELL, "$ab", "", "ab "},
    {WORD_SHELL, "$a-b", "A-b", "a "},
    {WORD_SHELL, "$a_1", "", "a_1 "},
    {WORD_SHELL, "$u", "", "u "},
    {WORD_SHELL, "$d", "$a", "d "},
    {WORD_SHELL, "$s", "x y", "s "},
    {WORD_SHELL, "\\$a", "$a", ""},
    {WORD_SHELL, "\\\\$a", "\\A", "a "},
    {WORD_SHELL, "'$a'", "$a", ""},
    {WORD_SHELL, "\"$a\"", "A", "a "},
    {WORD_SHELL, "\"\\$a \\\" \\\\ \\n\"", "$a \" \\ \\n", ""},
    {WORD_SHELL, "a\\ b\\n", "a bn", ""},
    {WORD_SHELL, "'a'\"b\"c", "abc", ""},
    {WORD_SHELL, "''", "", ""},
    {WORD_SHELL, "\"it's\"", "it's", ""},
    {WORD_SHELL, "'\"'", "\"", ""},
    {WORD_SHELL, "end\\", "end", ""},
    {WORD_SHELL, "$", "$", ""},
    {WORD_SHELL, "$1 $@ $$ a$", "$1 $@ $$ a$", ""},
    {WORD_SHELL, "${u:-d}", "d", "u "},
    {WORD_SHELL, "${e:-d}", "d", "e "},
    {WORD_SHELL, "${a:-d}", "A", "a "},
    {WORD_SHELL, "${u-d}", "d", "u "},
    {WORD_SHELL, "${e-d}", "", "e "},
    {WORD_SHELL, "${u:+x}", "", "u "},
    {WORD_SHELL, "${e:+x}", "", "e "},
    {WORD_SHELL, "${a:+x}", "x", "a "},
    {WORD_SHELL, "${e+x}", "x", "e "},
    {WORD_SHELL, "${u+x}", "", "u "},
    {WORD_SHELL, "${u:-}", "", "u "},
    {WORD_SHELL, "${u:-$a}", "A", "u a "},
    {WORD_SHELL, "${a:-$s}", "A", "a "}, // $s is not used, so it isn't asked for
    {WORD_SHELL, "${u:+$s}", "", "u "},
    {WORD_SHELL, "${u:-${v:-${w:-deep}}}", "deep", "u v w "},
    {WORD_SHELL, "${u:-\"a}b\"}", "a}b", "u "},
    {WORD_SHELL, "${u:-'a}b'}", "a}b", "u "},
    {WORD_SHELL, "${u:-a\\}b}", "a}b", "u "},
    {WORD_SHELL, "\"${u:-a b}\"", "a b", "u "},
    {WORD_SHELL, "\"${u:-\"q\"}\"", "q", "u "},
    {WORD_SHELL, "${a:?never}", "A", "a "},
    {WORD_SHELL, "${e?never}", "", "e "},
    {WORD_SHELL, "${u:?must be set}", NULL, NULL},
    {WORD_SHELL, "${e:?must not be empty}", NULL, NULL},
    {WORD_SHELL, "${u?}", NULL, NULL},
    {WORD_SHELL, "${a", NULL, NULL},
    {WORD_SHELL, "${", NULL, NULL},
    {WORD_SHELL, "${}", NULL, NULL},
    {WORD_SHELL, "${a:", NULL, NULL},
    {WORD_SHELL, "${a:b}", NULL, NULL},
    {WORD_SHELL, "${u:-x", NULL, NULL},
    {WORD_SHELL, "'a", NULL, NULL},
    {WORD_SHELL, "\"a", NULL, NULL},
    {WORD_VARS, "$a '$a' \"$a\"", "A 'A' \"A\"", "a a a "},
    {WORD_VARS, "\\$a \\\\ \\n \\", "$a \\ \\n \\", ""},
    {WORD_VARS, "it's ${u:-'}", "it's '", "u "},
    {WORD_VARS, "${u:-a\\}b}", "a}b", "u "},
    {WORD_LITERAL, "$a \\$ '\"", "$a \\$ '\"", ""},
    {WORD_SHELL, "caf\xc3\xa9\xff$a",
     "caf\xc3\xa9\xff"
     "A",
     "a "},
};

static void words_expand(void **state)
{
    (void)state;
    CLEANUP(imagefile_freep) struct imagefile *f = imagefile_parse("I", "FROM x\n", 7);
    for (size_t i = 0; i < sizeof expand_cases / sizeof *expand_cases; i++) {
        const struct expand_case *c = &expand_cases[i];
        CLEANUP(buf_clear) struct buf out = BUF_INIT, asked = BUF_INIT;
        CLEANUP(error_freep) struct error *err = NULL;
        struct word w = {.raw = str_of(c->raw), .mode = c->mode};
        struct imagefile_vars vars = {get, &asked, NULL};
        int rc = imagefile_expand(f, &w, &vars, &out, &err);
        if (rc < 0 && c->value)
            fail_msg("'%s': %s", c->raw, err->message);
        if (rc == 0 && !c->value)
            fail_msg("'%s' gave '%s'", c->raw, out.data);
        assert_int_equal(rc < 0, err != NULL);
        if (!c->value)
            continue;
        assert_string_equal(out.data, c->value);
        assert_string_equal(asked.data, c->asked);
    }
}

static void an_error_of_expansion_has_its_place(void **state)
{
    (void)state;
    static const char text[] = "FROM x\nENV A=1 B=\"${nope:?give --build-arg nope}\"\n";
    CLEANUP(imagefile_freep)
    struct imagefile *f = imagefile_parse("dir/Imagefile", text, sizeof text - 1);
    CLEANUP(buf_clear) struct buf out = BUF_INIT, asked = BUF_INIT;
    CLEANUP(error_freep) struct error *err = NULL;
    struct imagefile_vars vars = {get, &asked, NULL};
    assert_int_equal(f->diags.len, 0);
    assert_int_equal(imagefile_expand(f, &f->steps[1].pairs.ptr[1].value, &vars, &out, &err), -1);
    assert_string_equal(err->message, "give --build-arg nope");
    assert_string_equal(err->loc.path, "dir/Imagefile");
    assert_int_equal(err->loc.line, 2);
    assert_int_equal(err->loc.column, 12);
}

static void an_expansion_has_a_limit(void **state)
{
    (void)state;
    CLEANUP(imagefile_freep) struct imagefile *f = imagefile_parse("I", "FROM x\n", 7);
    CLEANUP(buf_clear) struct buf raw = BUF_INIT, out = BUF_INIT, asked = BUF_INIT;
    CLEANUP(error_freep) struct error *err = NULL;
    for (size_t i = 0; i < IMAGEFILE_VALUE_MAX / 2; i++)
        buf_adds(&raw, "$s");
    struct word w = {.raw = buf_str(&raw), .mode = WORD_SHELL};
    struct imagefile_vars vars = {get, &asked, NULL};
    assert_int_equal(imagefile_expand(f, &w, &vars, &out, &err), -1);
    assert_true(out.len <= IMAGEFILE_VALUE_MAX);
}

static void here_documents_expand(void **state)
{
    (void)state;
    static const char text[] = "FROM x\nCOPY <<A <<'B' /x/\nit's \"$a\" \\$a\nA\n$a\nB\n";
    CLEANUP(imagefile_freep) struct imagefile *f = imagefile_parse("I", text, sizeof text - 1);
    CLEANUP(buf_clear) struct buf out = BUF_INIT, asked = BUF_INIT;
    struct imagefile_vars vars = {get, &asked, NULL};
    const struct copy_args *c = &f->steps[1].copy;
    assert_int_equal(imagefile_expand_heredoc(f, c->sources[0].heredoc, &vars, &out, NULL), 0);
    assert_int_equal(imagefile_expand_heredoc(f, c->sources[1].heredoc, &vars, &out, NULL), 0);
    assert_string_equal(out.data, "it's \"A\" $a\n$a\n");
}

static const char *disk_get(void *ctx, struct str name)
{
    (void)ctx;
    return str_is(name, "SIZE")   ? "20 GB"
           : str_is(name, "REST") ? "SIZE 1GB FORMAT ext4 MOUNT /"
           : str_is(name, "FS")   ? "ext5"
                                  : NULL;
}

static void disks_are_evaluated_after_expansion(void **state)
{
    (void)state;
    static const char text[] =
        "FROM scratch\nDISK $SIZE GPT\nPARTITION 1 $REST OPTIONS \"-L x\"\n"
        "PARTITION 1 $REST FLAGS boot\nPARTITION 2 FORMAT $FS\n";
    CLEANUP(imagefile_freep) struct imagefile *f = imagefile_parse("I", text, sizeof text - 1);
    CLEANUP(error_freep) struct error *err = NULL;
    CLEANUP(partition_spec_clear) struct partition_spec part = {0};
    struct imagefile_vars vars = {disk_get, NULL, NULL};
    struct disk_spec disk;
    assert_int_equal(imagefile_disk(f, &f->steps[1], &vars, &disk, NULL), 0);
    assert_int_equal(disk.size, 20ULL << 30);
    assert_int_equal(imagefile_partition(f, &f->steps[2], &vars, &part, NULL), -1); // OPTIONS
    assert_int_equal(imagefile_partition(f, &f->steps[3], &vars, &part, NULL), 0);
    assert_string_equal(part.fs, "ext4");
    assert_string_equal(part.mount, "/");
    assert_int_equal(part.flags, PARTITION_BOOT);
    assert_int_equal(imagefile_check_disk(f, 0, &disk, &part, 1, NULL), 0);
    assert_int_equal(imagefile_partition(f, &f->steps[4], &vars, &part, &err), -1);
    assert_string_equal(err->message, "unknown partition format 'ext5'");
    assert_int_equal(err->loc.line, 5);
    assert_int_equal(err->loc.column, 20);
}

/* S is what --build-arg gives; nothing else is given. */
static const char *given(void *ctx, struct str name)
{
    return str_is(name, "S") ? ctx : NULL;
}

static void values_of_build_args_are_evaluated(void **state)
{
    (void)state;
#define ROOT "PARTITION 1 SIZE 1GB FORMAT ext4 MOUNT /\n"
    static const struct {
        const char *text, *s, *error;
    } rows[] = {
        {"ARG S=debian\nFROM $S\n", NULL, NULL},
        {"ARG S=debian\nFROM $S\n", "", "2: FROM has no image: its variables are empty"},
        {"ARG S=debian\nFROM $S\nRUN x\n", "scratch",
         "2: exactly one DISK instruction must appear in images built from scratch"},
        {"ARG S=scratch\nFROM $S\nDISK 2GB GPT\n" ROOT, NULL, NULL},
        {"ARG S=scratch\nFROM $S\nDISK 2GB GPT\n" ROOT, "debian",
         "4: PARTITION instructions can only appear on images built from scratch"},
        {"ARG S=a\nFROM $S\nDISK 2GB\n", NULL, NULL},
        {"ARG S=a\nFROM $S\nDISK 2GB\n", "scratch",
         "2: at least one PARTITION instruction must appear in images built from scratch"},
        {"ARG S=a\nFROM $S\nDISK 2GB\n" ROOT, "scratch", "3: DISK needs a partition table"},
        {"FROM scratch\nARG S\nDISK $S GPT\n" ROOT, "2 GB", NULL},
        {"FROM scratch\nARG S\nDISK $S GPT\n" ROOT, "2 TB", "3: unknown unit 'TB'"},
        {"FROM scratch\nARG S\nDISK $S GPT\n" ROOT, NULL, "3: invalid size 'GPT'"},
        {"FROM scratch\nARG S=1GB T=$S\nDISK $T GPT\n" ROOT, "500MB",
         "4: the partitions up to this one do not fit on the disk of 500.00 MiB"},
        {"ARG S=3GB\nFROM scratch\nARG S\nDISK $S GPT\n" ROOT, NULL, NULL},
        {"ARG S=3GB\nFROM scratch\nDISK $S GPT\n" ROOT, NULL, "3: invalid size 'GPT'"},
        {"ARG S\nFROM a-${S:?give-S}\n", NULL, "2: give-S"},
        {"ARG S\nFROM a-${S:?give-S}\n", "x", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CLEANUP(imagefile_freep)
        struct imagefile *f = imagefile_parse("I", rows[i].text, strlen(rows[i].text));
        assert_int_equal(f->diags.errors, 0);
        imagefile_evaluate(
            f, &(struct imagefile_given){.build_args = {given, (void *)rows[i].s, NULL}});
        AUTO_FREE char *got = NULL;
        for (size_t j = 0; j < f->diags.len && !got; j++)
            if (f->diags.ptr[j].severity == DIAG_ERROR)
                got = xasprintf("%u: %s", f->diags.ptr[j].line, f->diags.ptr[j].message);
        if (!got != !rows[i].error || (got && strcmp(got, rows[i].error) != 0))
            fail_msg("%s: %s", rows[i].text, got ? got : "no error");
    }
}

static void stages_are_found_by_name_and_number(void **state)
{
    (void)state;
    static const char text[] =
        "FROM a AS One\nRUN x\nFROM b\nFROM one AS two\nCOPY --from=one / /\n";
    CLEANUP(imagefile_freep) struct imagefile *f = imagefile_parse("I", text, sizeof text - 1);
    assert_int_equal(f->n_stages, 3);
    assert_int_equal(imagefile_find_stage(f, STR("ONE"), 4, true), 0);
    assert_int_equal(imagefile_find_stage(f, STR("one"), 3, false), 0);
    assert_int_equal(imagefile_find_stage(f, STR("one"), 0, false), NO_STAGE);
    assert_int_equal(imagefile_find_stage(f, STR("two"), 4, true), NO_STAGE); // its own stage
    assert_int_equal(imagefile_find_stage(f, STR("two"), f->n_steps, true), 2);
    assert_int_equal(imagefile_find_stage(f, STR("1"), 4, true), 1);
    assert_int_equal(imagefile_find_stage(f, STR("2"), 4, true), NO_STAGE);
    assert_int_equal(imagefile_find_stage(f, STR("1"), 4, false), NO_STAGE);
    assert_false(imagefile_declares(f, STR("X")));
    assert_true(imagefile_declares(f, STR("HTTP_PROXY")));
}

/* Parses and says how it ended: the first error, or NULL. */
static char *first_error(const struct buf *text)
{
    CLEANUP(imagefile_freep) struct imagefile *f = imagefile_parse("I", text->data, text->len);
    for (size_t i = 0; i < f->diags.len; i++)
        if (f->diags.ptr[i].severity == DIAG_ERROR)
            return xstrdup(f->diags.ptr[i].message);
    return NULL;
}

static void long_lines_are_errors(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    buf_adds(&text, "FROM x\nRUN true\nRUN ");
    for (size_t i = 0; i < 10 << 20; i++)
        buf_addc(&text, 'a');
    AUTO_FREE char *one = first_error(&text);
    assert_string_equal(one, "instruction is longer than 1048576 bytes");
    buf_reset(&text);
    buf_adds(&text, "FROM x\nCOPY ");
    for (size_t i = 0; i < 1 << 20; i++)
        buf_adds(&text, "a \\\n");
    AUTO_FREE char *many = first_error(&text);
    assert_string_equal(many, "instruction is longer than 1048576 bytes");
    buf_reset(&text);
    buf_adds(&text, "FROM x\n# ");
    for (size_t i = 0; i < 10 << 20; i++)
        buf_addc(&text, 'a');
    buf_adds(&text, "\nRUN <<EOF\n");
    for (size_t i = 0; i < 10 << 20; i++)
        buf_addc(&text, 'a');
    buf_adds(&text, "\nEOF\n");
    AUTO_FREE char *comment = first_error(&text);
    assert_null(comment); // comments and bodies may be long
}

static void too_much_text_is_an_error(void **state)
{
    (void)state;
    struct buf text = BUF_INIT;
    char *big = xcalloc(1, IMAGEFILE_MAX + 1);
    text.data = big;
    text.len = IMAGEFILE_MAX + 1;
    AUTO_FREE char *error = first_error(&text);
    free(big);
    assert_string_equal(error, "the Imagefile is larger than 64 MiB");
}

static void many_mistakes_are_counted_but_not_all_kept(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    buf_adds(&text, "FROM x\n");
    for (size_t i = 0; i < DIAGS_MAX + 5; i++)
        buf_adds(&text, "RNU x\n");
    CLEANUP(imagefile_freep) struct imagefile *f = imagefile_parse("I", text.data, text.len);
    assert_int_equal(f->diags.errors, DIAGS_MAX + 5);
    assert_int_equal(f->diags.len, DIAGS_MAX);
}

/* Processor time, which other work on the machine does not lengthen. */
static long long cpu_ms(void)
{
    return (long long)clock() * 1000 / CLOCKS_PER_SEC;
}

/* Texts made to be slow; each must stay linear. Generous, for slow machines and sanitizers. */
static void reading_is_linear(void **state)
{
    (void)state;
    static const struct {
        const char *start, *unit, *end;
        size_t n;
    } texts[] = {
        {"FROM x\n",
         "RUN echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
         "aaaaaaaaaaaaaaaaaaaa\n",
         "", 100000},
        {"FROM x\n", "COPY --chown=a a b \\\n c /d/\n", "", 100000},
        {"FROM x\n", "ARG A=${b:-c}\nENV A=\"$A $B\" C=d\n", "", 50000},
        {"", "FROM a AS b\n", "", 100000},
        {"FROM x\n", "X <<A\n", "", 200000},
        {"FROM x\n", "RUN <<A\nb\nA\n", "", 100000},
        {"FROM x\n", "\\\n", "", 500000},
        {"FROM x\nRUN a \\\n", "\n# c\n", "b\n", 500000},
        {"FROM x\nRUN ", "--mount=type=tmpfs,target=/a ", "b\n", 30000},
        {"FROM x\nCOPY ", "--exclude=a ", "b /c\n", 80000},
        {"FROM x\nRUN ", "<<a ", "\n", 200000},
        {"FROM x\nENV A=", "${a:-", "\n", 200000},
        {"FROM x\nCOPY [", "[", "\n", 1000000},
        {"FROM scratch\nDISK 1GB GPT\n", "PARTITION 1 MOUNT /\n", "", 20000},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        CLEANUP(buf_clear) struct buf text = BUF_INIT;
        buf_adds(&text, texts[i].start);
        for (size_t n = 0; n < texts[i].n; n++)
            buf_adds(&text, texts[i].unit);
        buf_adds(&text, texts[i].end);
        long long start = cpu_ms();
        CLEANUP(imagefile_freep) struct imagefile *f = imagefile_parse("I", text.data, text.len);
        long long parsed = cpu_ms();
        imagefile_lint(f);
        print_message("# %.20s...: %zu bytes, parse %lld ms, lint %lld ms\n", texts[i].unit,
                      text.len, parsed - start, cpu_ms() - parsed);
        assert_true(cpu_ms() - start < 8000);
    }
}

/* Words only, one blank apart, without scdoc's backslashes. */
static void add_normal(struct buf *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        if (*p == '\\')
            continue;
        if (!strchr(" \t\n", *p))
            buf_addc(out, *p);
        else if (out->len && out->data[out->len - 1] != ' ')
            buf_addc(out, ' ');
    }
}

static void must_hold(const struct buf *text, const char *where, const char *what)
{
    CLEANUP(buf_clear) struct buf normal = BUF_INIT;
    add_normal(&normal, what);
    if (!strstr(text->data, normal.data))
        fail_msg("%s does not say: %s", where, normal.data);
}

static void help_and_manual_say_what_the_table_says(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf help = BUF_INIT, page = BUF_INIT, raw = BUF_INIT;
    imagefile_help(&raw);
    add_normal(&help, raw.data);
    assert_int_equal(file_read("docs/man/imagefile.5.scd", 1 << 20, &raw, NULL), 0);
    add_normal(&page, raw.data);
    for (size_t i = 0; i < OP_COUNT; i++) {
        const struct instruction *in = &instructions[i];
        AUTO_FREE char *head = xasprintf("%s%s%s", in->name, *in->form ? " " : "", in->form);
        AUTO_FREE char *section = xasprintf("## %s ``` %s ``` %s", in->name, head, in->help);
        assert_int_equal(in->op, i);
        must_hold(&help, "help", head);
        must_hold(&help, "help", in->help);
        must_hold(&page, "imagefile.5.scd", section);
        for (const struct flag *f = in->flags; f && f->name; f++) {
            AUTO_FREE char *item = xasprintf("*%s* %s", f->form, f->help);
            must_hold(&help, "help", f->form);
            must_hold(&help, "help", f->help);
            must_hold(&page, "imagefile.5.scd", item);
        }
    }
}

/* Literal blocks of the manual page that begin with FROM are Imagefiles without a mistake. */
static void examples_of_the_manual_are_right(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf raw = BUF_INIT;
    assert_int_equal(file_read("docs/man/imagefile.5.scd", 1 << 20, &raw, NULL), 0);
    int found = 0;
    for (const char *p = raw.data; (p = strstr(p, "\n```\n"));) {
        p += 5;
        const char *end = strstr(p, "\n```");
        assert_non_null(end);
        if (!strncmp(p, "FROM ", 5) && p[5] != '<' && p[5] != '[') {
            CLEANUP(buf_clear) struct buf text = BUF_INIT;
            for (const char *c = p; c <= end; c++)
                if (!(c[0] == '\\' && c[1] == '\\'))
                    buf_addc(&text, *c);
            CLEANUP(imagefile_freep)
            struct imagefile *f = imagefile_parse("I", text.data, text.len);
            imagefile_lint(f);
            if (f->diags.len)
                fail_msg("%s:\n%s", f->diags.ptr[0].message, text.data);
            found++;
        }
        p = end + 4;
    }
    assert_int_equal(found, 3);
}

static void nearest_names(void **state)
{
    (void)state;
    static const char *const names[] = {"RUN", "COPY", "WORKDIR", "PARTITION", NULL};
    assert_string_equal(nearest_name(STR("rnu"), names), "RUN");
    assert_string_equal(nearest_name(STR("CPOY"), names), "COPY");
    assert_string_equal(nearest_name(STR("partitino"), names), "PARTITION");
    assert_string_equal(nearest_name(STR("WORKDI"), names), "WORKDIR");
    assert_null(nearest_name(STR("MAKE"), names));
    assert_null(nearest_name(STR(""), names));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_expand),
        cmocka_unit_test(an_error_of_expansion_has_its_place),
        cmocka_unit_test(an_expansion_has_a_limit),
        cmocka_unit_test(here_documents_expand),
        cmocka_unit_test(disks_are_evaluated_after_expansion),
        cmocka_unit_test(values_of_build_args_are_evaluated),
        cmocka_unit_test(stages_are_found_by_name_and_number),
        cmocka_unit_test(long_lines_are_errors),
        cmocka_unit_test(too_much_text_is_an_error),
        cmocka_unit_test(many_mistakes_are_counted_but_not_all_kept),
        cmocka_unit_test(reading_is_linear),
        cmocka_unit_test(help_and_manual_say_what_the_table_says),
        cmocka_unit_test(examples_of_the_manual_are_right),
        cmocka_unit_test(nearest_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
