// SPDX-License-Identifier: MIT
//
// `kiln image check`: what is wrong with an Imagefile, without building it. The language's own
// checks need only the text; the build directory and the command line's --build-arg are looked at
// here.
#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/printable.h"
#include "base/session.h"
#include "builder/build/base_env.h"
#include "builder/build/image_chain.h"
#include "builder/build/imagefile_path.h"
#include "builder/build/precheck.h"
#include "builder/context/context.h"
#include "cli/build_extras.h"
#include "cli/build_input.h"
#include "cli/command.h"
#include "image/backend.h"
#include "image/known.h"
#include "image/spec.h"
#include "imagefile/imagefile.h"
#include "registry/reference.h"

static const struct option_spec options[] = {
    {"file", 'f', "FILE", "The Imagefile [default: BUILD-DIR/Imagefile, else BUILD-DIR/Dockerfile]",
     NULL},
    {"build-arg", 0, "NAME=VALUE",
     "A value for an ARG, as for image build; may be given several times", NULL},
    BUILD_CONTEXT_OPTION,
    {"strict", 0, NULL, "CMD, EXPOSE and their like, which only a container runs, are errors",
     NULL},
    {"json", 0, NULL, "Print a JSON list for programs", NULL},
    {0},
};

/* A value for which there is no ARG has no place in the file: it is told apart from the others. */
static void check_build_args(const struct args *a, struct imagefile *f)
{
    const char *given;
    for (size_t i = 0; (given = args_nth(a, "build-arg", i)); i++) {
        struct str name = {given, strcspn(given, "=")};
        if (imagefile_declares(f, name))
            continue;
        struct diag *d = diag_add(&f->diags, &f->source, DIAG_WARNING, (struct span){0, 0},
                                  "no ARG declares '" STR_FMT "' of --build-arg", STR_ARG(name));
        diag_help(d, "write ARG " STR_FMT " above the steps that use it", STR_ARG(name));
        if (d)
            d->line = d->column = 0;
    }
}

/* What imagefile_evaluate asks for; base_env_get takes its first member. */
struct given {
    struct base_env env;
    const struct session *session;
    const struct build_extras *extras;
    struct known_images known; /* read when first asked for, as is whether there are images */
    bool looked, silent;
};

/* A name alone is an image of the backend or a well-known one; what is more says where it comes from.
 * Where there is no image at all, nothing is built and nothing said. */
static char *image_missing(void *ctx, const char *image)
{
    struct given *g = ctx;
    const char *backend = g->session->backend;
    if (!g->looked) {
        CLEANUP(backend_images_free) struct backend_images all = {0};
        g->looked = true;
        g->silent = !backend || backend_list(backend, &all, NULL) < 0 || !all.len ||
                    known_images_read(g->session, &g->known, NULL) < 0;
    }
    if (g->silent || reference_is(image) || strpbrk(image, ",:/"))
        return NULL;
    for (size_t i = 0; i < g->extras->n_contexts; i++)
        if (!strcasecmp(g->extras->contexts[i].name, image))
            return NULL;
    AUTO_FREE char *of_step = image_step_name(backend, image);
    if (backend_has(backend, of_step ? of_step : image) || known_images_find(&g->known, image))
        return NULL;
    return known_images_advice(g->session, image, NULL);
}

/* The value that --build-arg gives a name; "--build-arg NAME" alone takes it from the environment.
 */
static const char *build_arg(void *ctx, struct str name)
{
    const struct args *a = ctx;
    const char *given, *value = NULL;
    for (size_t i = 0; (given = args_nth(a, "build-arg", i)); i++) {
        size_t n = strcspn(given, "=");
        if (str_eq(name, (struct str){given, n}))
            value = given[n] ? given + n + 1 : getenv(given);
    }
    return value;
}

/* What the functions of precheck know. */
struct checked {
    struct session session;
    struct context_options options;
    struct context *context;
};

/* A build directory that is not there is no matter when --file names the Imagefile. */
static struct context *open_context(void *arg, struct error **err)
{
    struct checked *c = arg;
    CLEANUP(error_freep) struct error *why = NULL;
    if (!c->context && context_open(&c->session, &c->options, &c->context, &why) < 0 &&
        why->kind != ERR_NOT_FOUND)
        (void)error_propagate(err, STEAL(why));
    return c->context;
}

/* What can only be told from the build directory: sources that are not there, a broken ignore file.
 */
static int check_directory(const struct session *s, struct imagefile *f, const char *path,
                           const struct build_input *in, struct error **err)
{
    struct checked c = {.session = *s,
                        .options = {.dir = in->dir, .shown = in->shown_dir, .imagefile = path}};
    c.session.cache = NULL; // nothing is written
    struct precheck p = {.file = f, .open = open_context, .arg = &c};
    struct error *why = NULL;
    int rc = open_context(&c, &why) || !why ? 0 : error_propagate(err, why);
    if (rc == 0 && !f->diags.errors)
        rc = precheck(&p, err);
    context_free(c.context);
    return rc;
}

static void print_text(const struct imagefile *f)
{
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    for (size_t i = 0; i < f->diags.len; i++)
        diag_format(&f->source, &f->diags.ptr[i], &out);
    printable_print(stdout, out.data);
    if (f->diags.errors || f->diags.warnings)
        printf("%zu error%s, %zu warning%s\n", f->diags.errors, f->diags.errors == 1 ? "" : "s",
               f->diags.warnings, f->diags.warnings == 1 ? "" : "s");
}

static json_t *text_json(const char *text)
{
    CLEANUP(buf_clear) struct buf clean = BUF_INIT;
    source_add_utf8(&clean, str_of(text));
    return json_stringn(clean.data, clean.len);
}

/* [{"path", "line", "column", "end_line", "end_column", "severity", "message", "help",
 * "rule"}, …]; a place
 * that a diagnostic has not is null, and so are help and rule. The end is after the last byte. */
static void print_json(const struct imagefile *f)
{
    json_auto_t *list = json_array();
    for (size_t i = 0; i < f->diags.len; i++) {
        const struct diag *d = &f->diags.ptr[i];
        json_t *item = json_object();
        unsigned end_line, end_column;
        source_place(&f->source, d->span.end, &end_line, &end_column);
        json_object_set_new(item, "path", text_json(f->source.path));
        json_object_set_new(item, "line", d->line ? json_integer(d->line) : json_null());
        json_object_set_new(item, "column", d->line ? json_integer(d->column) : json_null());
        json_object_set_new(item, "end_line", d->line ? json_integer(end_line) : json_null());
        json_object_set_new(item, "end_column", d->line ? json_integer(end_column) : json_null());
        json_object_set_new(item, "severity",
                            json_string(d->severity == DIAG_ERROR     ? "error"
                                        : d->severity == DIAG_WARNING ? "warning"
                                                                      : "note"));
        json_object_set_new(item, "message", text_json(d->message));
        json_object_set_new(item, "help", d->help ? text_json(d->help) : json_null());
        json_object_set_new(item, "rule", d->rule ? json_string(d->rule) : json_null());
        json_array_append_new(list, item);
    }
    AUTO_FREE char *text = json_dumps(list, JSON_INDENT(2));
    puts(text);
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(build_input_clear) struct build_input in = BUILD_INPUT_INIT;
    if (args_names(a, "build-arg", err) < 0 ||
        build_input_open(s, a->n_pos ? a->pos[0] : NULL, &in, err) < 0 ||
        build_input_check(&in, args_get(a, "file"), err) < 0)
        return -1;
    const char *file = args_get(a, "file");
    if (!file && imagefile_check_dir(in.dir, err) < 0)
        return -1;
    AUTO_FREE char *path = imagefile_path(in.dir, file);
    const char *shown = build_input_file(&in, args_get(a, "file"));
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    if (file_read(path, IMAGEFILE_MAX, &text, err) < 0)
        return imagefile_hint(file, err);
    CLEANUP(imagefile_freep)
    struct imagefile *f = imagefile_parse_checked(shown ? shown : path, text.data, text.len,
                                                  build_arg((void *)a, STR(IMAGEFILE_CHECK_ARG)));
    imagefile_lint(f);
    CLEANUP(build_extras_clear) struct build_extras extras = {0};
    if (build_extras_take(a, &extras, err) < 0)
        return -1;
    struct given given = {.env = {.dir = s->backend}, .session = s, .extras = &extras};
    imagefile_evaluate(f, &(struct imagefile_given){.build_args = {build_arg, (void *)a, NULL},
                                                    .image_env = base_env_get,
                                                    .ctx = &given,
                                                    .image_missing = image_missing});
    base_env_clear(&given.env);
    known_images_free(&given.known);
    if (check_directory(s, f, path, &in, err) < 0)
        return -1;
    check_build_args(a, f);
    if (args_has(a, "strict"))
        diags_strict(&f->diags);
    if (args_has(a, "json"))
        print_json(f);
    else
        print_text(f);
    return f->diags.errors ? 1 : 0;
}

const struct command cmd_image_check = {
    .name = "image check",
    .summary = "Check an Imagefile without building it",
    .usage = "[options] [BUILD-DIR]",
    .detail =
        "Prints every error and warning with its place, in the form that compilers use. Exits\n"
        "with 1 if there are errors. BUILD-DIR is the current folder unless it is given; - reads a "
        "tar\n"
        "archive or an Imagefile from standard input.\n",
    .options = options,
    .max_args = 1,
    .flags = CMD_NO_HOME,
    .run = run,
};
