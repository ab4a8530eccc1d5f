// SPDX-License-Identifier: MIT
// Lexer, parser, checks, lint and the printing of diagnostics over any bytes. What must hold:
// places lie in the text, steps are in order and in their stages, and printing never fails.
#include "imagefile/imagefile.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_steps(const struct imagefile *f)
{
    for (size_t i = 0; i < f->n_steps; i++) {
        const struct imagefile_step *s = &f->steps[i];
        assert(s->line >= 1 && s->line <= f->source.n_lines && s->column >= 1);
        assert(s->span.start <= s->span.end && s->span.end <= f->source.len);
        assert(!i || s->span.start >= f->steps[i - 1].span.end);
        assert(s->op == OP_FROM || (s->text.len && strlen(s->text.ptr) == s->text.len));
        if (s->stage == NO_STAGE)
            assert(s->op == OP_ARG || f->diags.errors); // before the first FROM
        else
            assert(i >= f->stages[s->stage].first && i < f->stages[s->stage].end);
        assert((s->op != OP_COPY && s->op != OP_ADD) || s->copy.n_sources);
    }
}

static const char *scratch(void *ctx, struct str name)
{
    (void)ctx;
    return name.len == 1 ? "scratch" : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(imagefile_freep)
    struct imagefile *f = imagefile_parse("Imagefile", (const char *)data, size);
    check_steps(f);
    imagefile_lint(f);
    imagefile_evaluate(f, &(struct imagefile_given){.build_args = {scratch, NULL, NULL}});
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    for (size_t i = 0; i < f->diags.len; i++) {
        const struct diag *d = &f->diags.ptr[i];
        assert(d->span.start <= d->span.end && d->span.end <= f->source.len);
        assert(d->message[0] && !strchr(d->message, '\n'));
        assert(!i || d->span.start >= d[-1].span.start);
        buf_reset(&out);
        diag_format(&f->source, d, &out);
    }
    return 0;
}
