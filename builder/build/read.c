// SPDX-License-Identifier: MIT
// The Imagefile: found, read, parsed, and its mistakes shown.

#include "base/alloc.h"
#include "base/file.h"
#include "base/session.h"
#include "base/url.h"
#include "builder/build/imagefile_path.h"
#include "builder/build/private.h"

#include <errno.h>
#include <sys/stat.h>

void build_show_diagnostic(const struct build *b, const struct diag *d)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    diag_format(&b->file->source, d, &text);
    struct build_diagnostic shown = {.is_error = d->severity == DIAG_ERROR,
                                     .path = b->file_path,
                                     .line = d->line,
                                     .column = d->column,
                                     .message = d->message,
                                     .help = d->help,
                                     .rule = d->rule,
                                     .text = text.data};
    if (b->ui->diagnostic)
        b->ui->diagnostic(b->ui->arg, &shown);
}

/* Shows the diagnostics from that severity on; -1 when there are errors. */
int build_report(struct build *b, enum diag_severity least, struct error **err)
{
    for (size_t i = 0; i < b->file->diags.len; i++)
        if (least != DIAG_ERROR || b->file->diags.ptr[i].severity == DIAG_ERROR)
            build_show_diagnostic(b, &b->file->diags.ptr[i]);
    if (!b->file->diags.errors)
        return 0;
    return error_set(err, ERR_REPORTED, "%zu mistake%s in '%s'", b->file->diags.errors,
                     b->file->diags.errors == 1 ? "" : "s", b->file_path);
}

/* BuildKit's way to give the check directive from outside. */
static const char *check_option(const struct build_options *o)
{
    static const char name[] = IMAGEFILE_CHECK_ARG "=";
    for (size_t i = o->n_build_args; i-- > 0;)
        if (!strncmp(o->build_args[i], name, sizeof name - 1))
            return o->build_args[i] + sizeof name - 1;
    return NULL;
}

int build_read(struct build *b, struct error **err)
{
    b->imagefile = imagefile_path(b->o->dir, b->o->file);
    b->file_path = xstrdup(b->o->shown_file ? b->o->shown_file : b->imagefile);
    if (imagefile_check_dir(b->o->dir, err) < 0)
        return -1;
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    if (file_read(b->imagefile, IMAGEFILE_MAX, &text, err) < 0)
        return imagefile_hint(b->o->file, err);
    const char *base = strrchr(b->file_path, '/');
    if (!b->o->file && !strcmp(base ? base + 1 : b->file_path, "Dockerfile"))
        session_notice(b->s, "no Imagefile here: using the Dockerfile");
    b->file = imagefile_parse_checked(b->file_path, text.data, text.len, check_option(b->o));
    imagefile_lint(b->file);
    named_hide_stages(b);
    check_variables(b);
    for (size_t i = 0; i < b->o->n_build_args; i++) {
        const char *arg = b->o->build_args[i];
        struct str name = {arg, strcspn(arg, "=")};
        if (!imagefile_declares(b->file, name)) {
            AUTO_FREE char *line =
                xasprintf("warning: no ARG declares '" STR_FMT "' of --build-arg\n", STR_ARG(name));
            session_warning(b->s, line);
        }
    }
    if (b->o->strict)
        diags_strict(&b->file->diags);
    return build_report(b, DIAG_NOTE, err);
}
