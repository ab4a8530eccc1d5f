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
#include "tests/unit/cases_fixture.h"

#include "imagefile/imagefile.h"

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

static void add_diags(struct buf *out, const struct imagefile *f)
{
    for (size_t i = 0; i < f->diags.len; i++)
        diag_format(&f->source, &f->diags.ptr[i], out);
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

static int check_section(const struct one_case *c, const char *tag, bool must,
                         const struct buf *got, struct buf *update)
{
    const struct case_section *s = case_section(c, tag);
    if (!s && !must)
        return 0;
    if (update) {
        if (s || got->len)
            buf_addf(update, "%s\n%s", tag, got->data);
        return 0;
    }
    return case_differs(c, tag + 1, s ? s->text : STR(""), got);
}

static int check_case(const struct one_case *c, const struct str input, struct buf *update,
                      void *arg)
{
    CLEANUP(buf_clear) struct buf steps = BUF_INIT, diags = BUF_INIT, lint = BUF_INIT;
    CLEANUP(imagefile_freep)
    struct imagefile *f = imagefile_parse("Imagefile", input.ptr, input.len);
    bool evaluated = case_section(c, "@EVALUATE"), linted = case_section(c, "@LINT");
    (void)arg;
    for (size_t i = 0; i < f->n_steps; i++)
        add_step(&steps, f, &f->steps[i]);
    add_diags(&diags, f);
    if (evaluated)
        evaluate(f);
    else
        imagefile_lint(f);
    add_diags(&lint, f);
    return check_section(c, "@STEPS", false, &steps, update) |
           check_section(c, "@DIAGNOSTICS", !evaluated && !linted, &diags, update) |
           check_section(c, "@LINT", false, &lint, update) |
           check_section(c, "@EVALUATE", false, &lint, update);
}

int main(void)
{
    return cases_check("tests/imagefile/*.case", check_case, NULL);
}
