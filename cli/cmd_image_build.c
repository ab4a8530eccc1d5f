// SPDX-License-Identifier: MIT
#include "base/alloc.h"
#include "base/file.h"
#include "builder/build/build.h"
#include "cli/build_agents.h"
#include "cli/build_extras.h"
#include "cli/build_host.h"
#include "cli/build_input.h"
#include "cli/build_results.h"
#include "cli/build_serve.h"
#include "cli/build_ui.h"
#include "cli/cache_options.h"
#include "cli/command.h"
#include "cli/registry_options.h"
#include "cli/store.h"
#include "image/checksum.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SECRET_MAX = 100 * 1024 };

static const struct option_spec options[] = {
    {"name", 'n', "NAME",
     "Name of the new image, and any further ones [default: the build directory's]", "tag,t"},
    {"file", 'f', "IMAGEFILE",
     "Use this instead of BUILD-DIR/Imagefile (or, without one, Dockerfile); - is standard input",
     NULL},
    {"local", 0, NULL, "Store the image as <build-dir>/<NAME>.qcow2 instead of in the backend",
     NULL},
    {"target", 0, "STAGE", "Build this stage instead of the last", NULL},
    {"build-arg", 0, "NAME[=VALUE]", "Set an ARG; without a value: from the environment", NULL},
    {"secret", 0, "id=ID,src=FILE", "A secret for RUN --mount=type=secret; or id=ID,env=VARIABLE",
     NULL},
    {"ssh", 0, "ID[=SOCKET|KEY[,KEY...]]",
     "An ssh-agent, or keys, for RUN --mount=type=ssh: --ssh default is that of SSH_AUTH_SOCK",
     NULL},
    {"no-cache", 0, NULL, "Run every step; ignore the cache", NULL},
    {"no-cache-from", 0, "STEP", "Run the steps from this number on; ignore the cache", NULL},
    {"no-cache-filter", 0, "STAGE[,STAGE...]", "Run the steps of these stages; ignore the cache",
     NULL},
    {"cache-from", 0, "REF", "Take missing layers from oci://HOST/REPOSITORY or oci-layout:DIR",
     NULL},
    {"cache-to", 0, "REF", "Send the image's layers to oci://HOST/REPOSITORY[,mode=all]", NULL},
    {"cache-strict", 0, NULL, "A cache that fails is an error, not a warning", NULL},
    {"require-cached", 0, NULL, "Fail if anything would have to be built", NULL},
    {"explain", 0, NULL, "Say for each step why it was built (always said in plain output)", NULL},
    {"check", 0, NULL, "Only look for mistakes, as 'kiln image check'", NULL},
    {"strict", 0, NULL, "CMD, EXPOSE and their like, which only a container runs, are errors",
     NULL},
    {"label", 0, "NAME[=VALUE]", "Add a LABEL to the image", NULL},
    BUILD_RESULT_OPTIONS,
    BUILD_CONTEXT_OPTION,
    {"add-host", 0, "NAME:ADDRESS", "A line in the /etc/hosts of each RUN, not in the image", NULL},
    {"network", 0, "default|none", "none: no RUN has a network [default: default]", NULL},
    {"platform", 0, "linux/amd64", "Accepted for docker's scripts; others can't be built", NULL},
    {"rm", 0, NULL, "Accepted for docker's scripts; nothing is left behind anyway", "force-rm"},
    {"host", 0, "ssh://[USER@]HOST[:PORT]",
     "Build with the kiln of another machine [default: KILN_HOST]", NULL},
    {"load", 0, NULL, "With --host: bring the image here, too", NULL},
    {"serve", 0, NULL, "The other end of --host: take a build from standard input", NULL},
    {"on-error", 0, "fail|keep|shell", "What to do with a failed step [default: fail]", NULL},
    {"checksum", 0, "SUM", "What FROM's image must have: sha256:…, or a checksum file or URL",
     NULL},
    PULL_OPTION,
    REGISTRY_FETCH_OPTIONS,
    {"step-timeout", 0, "TIME",
     "End a step that takes longer, and fail: 90s, 30m, 2h [default: none]", NULL},
    {"dns", 0, "ADDRESS", "Name server for RUN", NULL},
    {"runner", 0, "auto|vm|guestfs",
     "vm: the builder VM does all steps; guestfs: libguestfs mounts the disk [default: auto]",
     NULL},
    {"accel", 0, "auto|kvm|tcg", "Accelerator of the builder VM [default: KILN_ACCEL or auto]",
     NULL},
    {"memory", 'm', "SIZE", "Memory of the builder VM [default: by the host]", NULL},
    {"cpus", 0, "N", "CPUs of the builder VM [default: by the host]", NULL},
    {"cache-mount-size", 0, "SIZE", "Size of new cache mounts' disks [default: 10G]", NULL},
    {"cache-max-size", 0, "SIZE",
     "Prune layers to this size before the build [default: KILN_CACHE_MAX_SIZE, or no limit]",
     NULL},
    {"json", 0, NULL, "The same as --progress=json", NULL},
    {"progress", 0, "MODE", "auto, tty, plain, json or quiet [default: auto]", NULL},
    {"quiet", 'q', NULL, "As --progress=quiet: print the image's name only", NULL},
    {"ssh-timeout", 0, "S", "Accepted for transient's scripts; kiln builds without SSH", NULL},
    {"qmp-timeout", 0, "S", "Accepted for transient's scripts", NULL},
    {0},
};

static const char *const *all(const struct args *a, const char *name, struct strv *into, size_t *n)
{
    const char *v;
    for (size_t i = 0; (v = args_nth(a, name, i)); i++)
        strv_add(into, v);
    *n = into->len;
    return (const char *const *)into->ptr;
}

struct secret_list {
    struct build_secret *ptr;
    size_t len;
};

static void secret_list_clear(struct secret_list *l)
{
    build_secrets_free(l->ptr, l->len);
}

/* "id=ID,src=FILE", "id=ID,env=VARIABLE", "id=ID" (a variable of that name, else a file). */
static int parse_secret(const char *text, struct build_secret *s, struct error **err)
{
    AUTO_FREE char *copy = xstrdup(text);
    const char *id = NULL, *src = NULL, *env = NULL;
    for (char *save = NULL, *p = strtok_r(copy, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
        if (!strncmp(p, "id=", 3))
            id = p + 3;
        else if (!strncmp(p, "src=", 4))
            src = p + 4;
        else if (!strncmp(p, "source=", 7))
            src = p + 7;
        else if (!strncmp(p, "env=", 4))
            env = p + 4;
        else if (strcmp(p, "type=file") && strcmp(p, "type=env"))
            return error_set(err, ERR_USAGE, "argument --secret: '%s' is not id=, src= or env=", p);
    }
    if (!id || !*id)
        return error_set(err, ERR_USAGE, "argument --secret: '%s' has no id=", text);
    s->id = xstrdup(id);
    if (!src && (env || getenv(id))) {
        const char *value = getenv(env ? env : id);
        if (!value)
            return error_set(err, ERR_USER, "secret '%s': variable '%s' is not set", id, env);
        s->bytes = xstrdup(value);
        s->len = strlen(value);
        return 0;
    }
    CLEANUP(buf_clear) struct buf bytes = BUF_INIT;
    if (!src)
        return error_set(err, ERR_USAGE, "argument --secret: '%s' has neither src= nor env=", text);
    if (file_read(src, SECRET_MAX, &bytes, err) < 0)
        return error_wrap(err, "secret '%s'", id);
    s->bytes = buf_detach(&bytes, &s->len);
    return 0;
}

static int parse_secrets(const struct args *a, struct secret_list *l, struct error **err)
{
    const char *text;
    for (size_t i = 0; (text = args_nth(a, "secret", i)); i++) {
        l->ptr = xreallocarray(l->ptr, l->len + 1, sizeof *l->ptr);
        l->ptr[l->len] = (struct build_secret){0};
        if (parse_secret(text, &l->ptr[l->len++], err) < 0)
            return -1;
    }
    return 0;
}

static int check_dns(const struct args *a, struct error **err)
{
    const char *v;
    for (size_t i = 0; (v = args_nth(a, "dns", i)); i++) {
        struct in_addr address; // the builder VM's network has no IPv6
        if (inet_pton(AF_INET, v, &address) != 1)
            return error_set(err, ERR_USAGE, "argument --dns: '%s' is not an IPv4 address", v);
    }
    return 0;
}

static int check_terminal(enum build_on_error on_error, struct error **err)
{
    if (on_error != ON_ERROR_SHELL || (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)))
        return 0;
    error_set(err, ERR_USER, "--on-error=shell needs a terminal");
    return error_hint(err, "--on-error=keep keeps the failed state for 'kiln shell NAME@failed'");
}

static int parse_runner(const char *text, enum build_runner *ret, struct error **err)
{
    static const char *const names[] = {
        [BUILD_RUNNER_VM] = "vm", [BUILD_RUNNER_GUESTFS] = "guestfs", [BUILD_RUNNER_AUTO] = "auto"};
    *ret = BUILD_RUNNER_AUTO;
    for (size_t i = 0; text && i < sizeof names / sizeof *names; i++)
        if (!strcmp(text, names[i])) {
            *ret = (enum build_runner)i;
            return 0;
        }
    return text ? error_set(err, ERR_USAGE, "argument --runner: '%s' is not auto, vm or guestfs",
                            text)
                : 0;
}

static int parse_on_error(const char *text, enum build_on_error *ret, struct error **err)
{
    if (!text || !strcmp(text, "fail"))
        *ret = ON_ERROR_FAIL;
    else if (!strcmp(text, "keep"))
        *ret = ON_ERROR_KEEP;
    else if (!strcmp(text, "shell"))
        *ret = ON_ERROR_SHELL;
    else
        return error_set(err, ERR_USAGE, "argument --on-error: '%s' is not fail, keep or shell",
                         text);
    return 0;
}

/* --network, --platform and names that can't be guessed. */
static int check_words(const struct args *a, struct error **err)
{
    static const char *const ours[] = {"linux/amd64", "linux/x86_64", "linux/amd64/v1", "amd64",
                                       "local"};
    const char *network = args_get(a, "network"), *platform = args_get(a, "platform");
    if (network && strcmp(network, "default") != 0 && strcmp(network, "none") != 0) {
        error_set(err, ERR_USAGE, "argument --network: '%s' is not default or none", network);
        return error_hint(err, "a RUN reaches the network through the host anyway: leave it out");
    }
    bool known = !platform;
    for (size_t i = 0; platform && i < sizeof ours / sizeof *ours; i++)
        known |= !strcmp(platform, ours[i]);
    if (!known) {
        error_set(err, ERR_USAGE, "argument --platform: '%s' can't be built", platform);
        return error_hint(err, "the builder VM and its images are linux/amd64");
    }
    if (a->n_pos && !strcmp(a->pos[0], "-") && !args_get(a, "name") && !args_has(a, "check")) {
        error_set(err, ERR_USAGE, "a build directory from standard input gives the image no name");
        return error_hint(err, "-t NAME does");
    }
    return 0;
}

/* The values of --no-cache-filter, cut at their commas. */
static const char *const *stage_list(const struct args *a, struct strv *into, size_t *n)
{
    const char *v;
    for (size_t i = 0; (v = args_nth(a, "no-cache-filter", i)); i++)
        for (; *v; v += strcspn(v, ","), v += *v == ',')
            strv_add_take(into, xstrndup(v, strcspn(v, ",")));
    *n = into->len;
    return (const char *const *)into->ptr;
}

/* `kiln image build --check` */
static int run_check(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(strv_clear) struct strv words = {0};
    const char *v = args_get(a, "file");
    if (v) {
        strv_add(&words, "--file");
        strv_add(&words, v);
    }
    for (size_t i = 0; (v = args_nth(a, "build-arg", i)); i++) {
        strv_add(&words, "--build-arg");
        strv_add(&words, v);
    }
    for (size_t i = 0; (v = args_nth(a, "build-context", i)); i++) {
        strv_add(&words, "--build-context");
        strv_add(&words, v);
    }
    if (args_has(a, "strict"))
        strv_add(&words, "--strict");
    if (a->n_pos)
        strv_add(&words, a->pos[0]);
    CLEANUP(args_clear) struct args check = {0};
    if (args_parse(&cmd_image_check, (int)words.len, words.ptr, &check, err) < 0)
        return -1;
    return cmd_image_check.run(s, &check, err);
}

static const char *shown_mode(const struct args *a)
{
    const char *mode = args_get(a, "progress");
    return args_has(a, "json") ? "json" : args_has(a, "quiet") ? "quiet" : mode ? mode : "auto";
}

/* The options whose values need no room of their own. max_size: what the store may take, bytes; 0 = as
 * configured. */
static int take_values(const struct args *a, struct build_options *o, unsigned long long *max_size,
                       struct error **err)
{
    long long cpus = 0, from = 0;
    unsigned long long mount_size = 0;
    const char *network = args_get(a, "network");
    *o = (struct build_options){.file = args_get(a, "file"),
                                .name = args_get(a, "name"),
                                .target = args_get(a, "target"),
                                .local = args_has(a, "local"),
                                .no_cache = args_has(a, "no-cache"),
                                .require_cached = args_has(a, "require-cached"),
                                .checksum = args_get(a, "checksum"),
                                .strict = args_has(a, "strict"),
                                .no_network = network && !strcmp(network, "none")};
    if (args_pull(a, &o->pull, err) < 0 || registry_options_take(a, &o->transfer, err) < 0 ||
        (o->checksum && checksum_check(o->checksum, err) < 0) ||
        args_num(a, "cpus", 1, 256, &cpus, err) < 0 ||
        args_num(a, "no-cache-from", 1, 1000000, &from, err) < 0 ||
        args_memory(a, &o->memory_mb, err) < 0 || args_accel(a, &o->accel, err) < 0 ||
        args_size(a, "cache-mount-size", &mount_size, err) < 0 ||
        args_size(a, "cache-max-size", max_size, err) < 0 ||
        args_seconds(a, "step-timeout", &o->step_timeout_s, err) < 0 ||
        parse_on_error(args_get(a, "on-error"), &o->on_error, err) < 0 ||
        parse_runner(args_get(a, "runner"), &o->runner, err) < 0 ||
        check_terminal(o->on_error, err) < 0 || check_dns(a, err) < 0 || check_words(a, err) < 0 ||
        args_names(a, "build-arg", err) < 0 || args_names(a, "label", err) < 0)
        return -1;
    o->cpus = (unsigned)cpus;
    o->no_cache_from = (size_t)from;
    o->cache_mount_size = mount_size;
    return 0;
}

/* A command line taken apart; `o` borrows from the rest. */
struct wanted {
    struct strv build_args, dns, labels, fresh, caches, cache_to, products;
    struct secret_list secrets;
    struct build_outputs outputs;
    struct build_extras extras;
    struct build_agents agents;
    struct build_options o;
    unsigned long long max_size; /* as take_values */
};

static void wanted_clear(struct wanted *w)
{
    struct strv *lists[] = {&w->build_args, &w->dns,      &w->labels,  &w->fresh,
                            &w->caches,     &w->cache_to, &w->products};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        strv_clear(lists[i]);
    secret_list_clear(&w->secrets);
    build_outputs_free(&w->outputs);
    build_extras_clear(&w->extras);
    build_agents_clear(&w->agents);
}

/* What is of no use to --check. */
static int take_agents(const struct session *s, const struct args *a, struct wanted *w,
                       struct error **err)
{
    if (build_agents_take(s, a, &w->agents, err) < 0)
        return -1;
    w->o.agents = w->agents.ptr;
    w->o.n_agents = w->agents.len;
    return 0;
}

static int take_wanted(const struct args *a, struct wanted *w, struct error **err)
{
    struct build_options *o = &w->o;
    if (take_values(a, o, &w->max_size, err) < 0 ||
        cache_options_take(a, &w->caches, &w->cache_to, o, err) < 0 ||
        build_extras_take(a, &w->extras, err) < 0 || build_extras_hosts(a, &w->extras, err) < 0 ||
        build_outputs_parse(a, &w->outputs, err) < 0 || parse_secrets(a, &w->secrets, err) < 0)
        return -1;
    build_results_files(a, &w->outputs, &w->products);
    o->products = (const char *const *)w->products.ptr;
    o->n_products = w->products.len;
    o->labels = all(a, "label", &w->labels, &o->n_labels);
    o->no_cache_stages = stage_list(a, &w->fresh, &o->n_no_cache_stages);
    o->build_args = all(a, "build-arg", &w->build_args, &o->n_build_args);
    o->nameservers = all(a, "dns", &w->dns, &o->n_nameservers);
    o->contexts = w->extras.contexts;
    o->n_contexts = w->extras.n_contexts;
    o->hosts = w->extras.hosts;
    o->secrets = w->secrets.ptr;
    o->n_secrets = w->secrets.len;
    return 0;
}

/* Where the build is done; NULL = here. */
static const char *host_of(const struct session *s, const struct args *a)
{
    const char *host = args_get(a, "host");
    return host ? host : session_setting(s, "KILN_HOST");
}

/* *ret_began: somebody hears of the error. */
static int build(struct session *s, const struct args *a, bool *ret_began, struct error **err)
{
    CLEANUP(wanted_clear) struct wanted w = {.agents = BUILD_AGENTS_INIT};
    CLEANUP(build_input_clear) struct build_input in = BUILD_INPUT_INIT;
    const struct build_host host = {host_of(s, a), args_has(a, "load")};
    if (take_wanted(a, &w, err) < 0)
        return -1;
    if (args_has(a, "check"))
        return run_check(s, a, err);
    if (host.url && build_host_check(a, err) < 0)
        return -1;
    if (take_agents(s, a, &w, err) < 0 || build_names_check(a, host.url && !host.load, err) < 0 ||
        build_results_check(a, &w.outputs, err) < 0 ||
        build_input_open(s, a->n_pos ? a->pos[0] : NULL, &in, err) < 0 ||
        build_input_check(&in, w.o.file, err) < 0)
        return -1;
    w.o.dir = in.dir;
    w.o.shown_dir = in.shown_dir;
    w.o.shown_file = build_input_file(&in, w.o.file);
    CLEANUP(build_shown_clear)
    struct build_shown shown = {.explain = args_has(a, "explain"),
                                .host = host.load ? NULL : host.url};
    if (build_shown_init(&shown, s, shown_mode(a), err) < 0)
        return -1;
    *ret_began = true;
    CLEANUP(build_result_clear) struct build_result r = {0};
    int rc = host.url ? build_on_host(s, &host, a, &w.o, &shown.ui, &r, err)
             : cli_prune_to_limit(s, w.max_size, err) < 0
                 ? -1
                 : build_image(s, &w.o, &shown.ui, &r, err);
    if (rc < 0 || build_names_tag(s, a, err) < 0 ||
        build_results_write(s, a, &w.outputs, &r, err) < 0) {
        build_shown_error(&shown, err ? *err : NULL);
        return -1;
    }
    build_shown_result(&shown, &r);
    return 0;
}

/* What another kiln's --host asks for. All that there is to say goes there. */
static int serve_build(struct session *s, struct build_serve *sv, struct build_shown *shown,
                       struct error **err)
{
    CLEANUP(wanted_clear) struct wanted w = {.agents = BUILD_AGENTS_INIT};
    CLEANUP(build_result_clear) struct build_result r = {0};
    if (build_serve_open(s, sv, err) < 0 || take_wanted(&sv->args, &w, err) < 0 ||
        take_agents(s, &sv->args, &w, err) < 0)
        return -1;
    w.o.dir = ".";
    w.o.file = sv->file;
    w.o.secrets = sv->request.secrets;
    w.o.n_secrets = sv->request.n_secrets;
    if (cli_prune_to_limit(s, w.max_size, err) < 0 || build_image(s, &w.o, &shown->ui, &r, err) < 0)
        return -1;
    build_shown_result(shown, &r);
    return build_serve_close(s, sv, r.name, err);
}

static int serve(struct session *s, struct error **err)
{
    CLEANUP(build_shown_clear) struct build_shown shown = {0};
    CLEANUP(build_serve_clear) struct build_serve sv = BUILD_SERVE_INIT;
    CLEANUP(error_freep) struct error *why = NULL;
    if (build_shown_init(&shown, s, "json", err) < 0)
        return -1;
    if (serve_build(s, &sv, &shown, &why) == 0)
        return 0;
    build_shown_error(&shown, why);
    return error_set(err, ERR_REPORTED, "%s", why->message);
}

/* In JSON an error is the last event, also when nothing has begun. */
static int run(struct session *s, const struct args *a, struct error **err)
{
    bool began = false;
    if (args_has(a, "serve"))
        return serve(s, err);
    int rc = build(s, a, &began, err);
    struct build_shown shown = {.mode = SHOWN_JSON};
    if (rc < 0 && !began && !strcmp(shown_mode(a), "json"))
        build_shown_error(&shown, err ? *err : NULL);
    return rc;
}

const struct command cmd_image_build = {
    .name = "image build",
    .summary = "Build an image from an Imagefile",
    .usage = "[options] [BUILD-DIR]",
    .detail =
        "Relative paths in the Imagefile start at BUILD-DIR [default: the current folder]; - reads "
        "a tar\n"
        "archive or an Imagefile from standard input. Each step that changes the disk becomes a "
        "layer; a\n"
        "step whose inputs have not changed is taken from the cache.\n",
    .options = options,
    .max_args = 1,
    .flags = CMD_IMAGES,
    .run = run,
};
