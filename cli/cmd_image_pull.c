// SPDX-License-Identifier: MIT
//
// `image pull` and `image import`: the same work, from a spec or from a file.
#include "base/alloc.h"
#include "base/file.h"
#include "base/session.h"
#include "base/working.h"
#include "builder/transfer/index.h"
#include "cli/command.h"
#include "cli/known_list.h"
#include "cli/progress.h"
#include "cli/registry_options.h"
#include "image/backend.h"
#include "image/checksum.h"
#include "image/known.h"
#include "image/name.h"
#include "image/pull.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

extern const struct command cmd_image_import;

#define COMMON_OPTIONS \
    {"checksum", 0, "SUM", "sha256:… of the file, or path or URL of a checksum file", NULL}, \
        {"no-checksum", 0, NULL, "Look for no checksum file beside the image", NULL}, \
        {"force", 'f', NULL, "Replace the image if the name exists", NULL}, \
        {"raw", 0, NULL, "Take content of no known format as a raw disk", NULL}, \
    { \
        "max-size", 0, "SIZE", "Most bytes it may have uncompressed [default: 8T and by ratio]", \
            NULL \
    }

static const struct option_spec pull_options[] = {
    COMMON_OPTIONS,
    {"policy", 0, "WHEN", "When to fetch it again: missing, newer, always or never", "pull"},
    {"list", 'l', NULL, "List the images that a bare name can stand for", NULL},
    JSON_OPTION,
    {"resumable", 0, NULL, "Keep compressed bytes until it is done, so that a killed pull resumes",
     NULL},
    {"vagrant-url", 0, "URL", "Vagrant registry [default: KILN_VAGRANT_URL or vagrantcloud.com]",
     NULL},
    {"name", 0, "NAME", "Name for an image of a registry [default: end of its repository]", "n"},
    {"platform", 0, "OS/ARCH", "Which image of an index of several [default: linux/amd64]", NULL},
    REGISTRY_OPTIONS,
    REGISTRY_JOBS,
    {0},
};

static const struct option_spec import_options[] = {
    COMMON_OPTIONS,
    JSON_OPTION,
    {0},
};

static int pull(struct session *s, const struct args *a, const struct image_spec *spec,
                bool *ret_pulled, struct error **err)
{
    CLEANUP(progress_clear) struct progress bar;
    unsigned long long max = 0;
    progress_init(&bar, stderr, PROGRESS_AUTO);
    progress_hear(&bar, s);
    bool import = a->command == &cmd_image_import;
    struct image_pull_options o = {
        .checksum = args_get(a, "checksum"),
        .checksum_beside = !args_has(a, "no-checksum"),
        .import = import,
        .resumable = !import && args_has(a, "resumable"),
        .raw = args_has(a, "raw"),
        .vagrant_url = import ? NULL : args_get(a, "vagrant-url"),
    };
    if (import)
        s->events.notice = NULL; // where it comes from was just typed
    if (args_size(a, "max-size", &max, err) < 0 ||
        (!import && pull_policy_parse(args_get(a, "policy"), &o.policy, err) < 0) ||
        (o.checksum && checksum_check(o.checksum, err) < 0))
        return -1;
    if (args_has(a, "force"))
        o.policy = PULL_ALWAYS;
    o.max_size = max;
    return image_pull(s, spec, &o, ret_pulled, err);
}

static void add_result(const struct args *a, const char *name, bool pulled)
{
    (void)json_object_set_new(a->result, "name", json_string(name));
    (void)json_object_set_new(a->result, "pulled", json_boolean(pulled));
}

/* What only other sources take. */
static int check_registry_options(const struct args *a, struct error **err)
{
    static const char *const others[] = {"checksum", "no-checksum", "resumable", "vagrant-url"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (args_has(a, others[i]))
            return error_set(err, ERR_USAGE, "--%s is not for images of registries", others[i]);
    return 0;
}

static int pull_from_registry(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(progress_clear) struct progress bar;
    CLEANUP(reference_clear) struct reference ref = {0};
    struct transfer_options o = {0};
    enum pull_policy policy = PULL_MISSING;
    unsigned long long max = 0;
    progress_init(&bar, stderr, PROGRESS_AUTO);
    progress_hear(&bar, s);
    if (check_registry_options(a, err) < 0 || registry_options_take(a, &o, err) < 0 ||
        args_size(a, "max-size", &max, err) < 0 ||
        pull_policy_parse(args_get(a, "policy"), &policy, err) < 0 ||
        reference_parse(a->pos[0], &ref, err) < 0)
        return -1;
    o.platform = args_get(a, "platform");
    if (o.platform && index_check_platform(o.platform, err) < 0)
        return -1;
    o.raw = args_has(a, "raw");
    o.max_size = max;
    o.again = args_has(a, "force") || policy == PULL_ALWAYS;
    o.replace = o.again || policy == PULL_NEWER;
    const char *name = args_get(a, "name");
    name = name ? name : reference_basename(&ref);
    if (image_name_check(name, err) < 0)
        return -1;
    if (policy == PULL_NEVER && !backend_has(s->backend, name))
        return known_images_not_found(s, name, err);
    int there = policy == PULL_NEVER ? 1 : transfer_pull(s, &ref, name, &o, err);
    if (there >= 0)
        add_result(a, name, !there);
    if (there > 0)
        fprintf(stderr, "Image '%s' is in the backend already\n", name);
    return there < 0 ? -1 : 0;
}

static int run_pull(struct session *s, const struct args *a, struct error **err)
{
    if (args_has(a, "list"))
        return known_list(s, a, err);
    if (!a->n_pos) {
        error_set(err, ERR_USAGE, "an argument is missing: kiln image pull %s", a->command->usage);
        return error_hint(err, "'kiln image pull --list' lists the images that have a name");
    }
    CLEANUP(image_spec_clear) struct image_spec spec = {0};
    bool pulled;
    if (reference_is(a->pos[0]))
        return pull_from_registry(s, a, err);
    if (args_get(a, "name") || args_has(a, "plain-http") || args_has(a, "insecure") ||
        args_get(a, "jobs") || args_get(a, "platform"))
        return error_set(err, ERR_USAGE,
                         "--name, --platform, --plain-http, --insecure and --jobs are for "
                         "oci:// and oci-layout: references");
    if (image_spec_parse(str_of(a->pos[0]), &spec, err) < 0 || pull(s, a, &spec, &pulled, err) < 0)
        return -1;
    add_result(a, spec.name, pulled);
    if (!pulled)
        fprintf(stderr, "Image '%s' is in the backend already\n", spec.name);
    return 0;
}

/* Standard input as a file in w, so that it can be read at any place. */
static int take_stdin(const struct session *s, struct working *w, char **ret, struct error **err)
{
    enum { CHUNK = 1 << 20 };
    AUTO_FREE char *parent = path_join(s->cache, "work"), *chunk = xmalloc(CHUNK);
    if (isatty(STDIN_FILENO))
        return error_set(err, ERR_USAGE, "a disk image is not read from a terminal");
    if (working_open(w, parent, err) < 0)
        return -1;
    AUTO_FREE char *path = path_join(w->dir, "stdin");
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, "cannot create '%s'", path);
    bool empty = true;
    for (ssize_t n; (n = read(STDIN_FILENO, chunk, CHUNK)) != 0;) {
        if (session_cancelled(s))
            return error_set(err, ERR_CANCELLED, "interrupted");
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, "cannot read standard input");
        if (write_all(fd, chunk, (size_t)n) < 0)
            return error_errno(err, "cannot write '%s'", path);
        empty = false;
    }
    if (empty)
        return error_set(err, ERR_USER, "standard input is empty: there is no image to import");
    *ret = STEAL(path);
    return 0;
}

static int exists(const char *name, struct error **err)
{
    error_set(err, ERR_EXISTS, "image '%s' exists", name);
    return error_hint(err, "--force replaces it");
}

static int run_import(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(working_clear) struct working w = WORKING_INIT;
    CLEANUP(image_spec_clear)
    struct image_spec spec = {
        .kind = SPEC_FILE, .name = xstrdup(a->pos[1]), .source = xstrdup(a->pos[0])};
    bool pulled;
    if (image_name_check(spec.name, err) < 0)
        return -1;
    if (!strcmp(spec.source, "-")) {
        if (!args_has(a, "force") && backend_has(s->backend, spec.name))
            return exists(spec.name, err); // before all of it is read
        free(STEAL(spec.source));
        if (take_stdin(s, &w, &spec.source, err) < 0)
            return -1;
    }
    if (pull(s, a, &spec, &pulled, err) < 0)
        return -1;
    add_result(a, spec.name, pulled);
    return pulled ? 0 : exists(spec.name, err);
}

const struct command cmd_image_pull = {
    .name = "image pull",
    .summary = "Fetch an image into the backend",
    .usage = "[options] SPEC | --list",
    .detail =
        "SPEC is a name of --list such as debian-12, or name,http=URL or name,file=PATH or\n"
        "name,vagrant=box:version or box:version,\n"
        "or oci://HOST/REPOSITORY[:TAG][@sha256:...] or oci-layout:DIR[:TAG][@sha256:...] for an\n"
        "image that kiln image push, KubeVirt, sardinecake, vmctl or oras sent to a registry or a "
        "folder.\n"
        "Compression (gzip, bzip2, xz, zstd) and format (qcow2, raw, vmdk, vhdx, vdi) are\n"
        "recognised by content.\n",
    .options = pull_options,
    .max_args = 1,
    .flags = CMD_RESULT | CMD_IMAGES,
    .run = run_pull,
};

const struct command cmd_image_import = {
    .name = "image import",
    .summary = "Copy a disk image file into the backend",
    .usage = "[options] FILE|- NAME",
    .detail =
        "- is standard input. Compression (gzip, bzip2, xz, zstd) and format (qcow2, raw, vmdk, "
        "vhdx, vdi) are\n"
        "recognised by content.\n",
    .options = import_options,
    .min_args = 2,
    .max_args = 2,
    .flags = CMD_RESULT | CMD_IMAGES,
    .run = run_import,
};
