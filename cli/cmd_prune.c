// SPDX-License-Identifier: MIT
#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/working.h"
#include "builder/build/cache_files.h"
#include "builder/worker/cache_disk.h"
#include "cache/prune.h"
#include "cache/store.h"
#include "cli/command.h"
#include "cli/store.h"
#include "cli/vm_warm.h"
#include "image/pull.h"

#include <inttypes.h>

static const struct option_spec options[] = {
    {"max-size", 0, "SIZE", "Remove until all that is left takes at most SIZE", NULL},
    {"max-age", 0, "TIME", "Remove what was not used for TIME (12h, 7d)", NULL},
    {"keep-free", 0, "SIZE", "Remove until SIZE is free on the backend's file system", NULL},
    {"all", 'a', NULL, "Remove all that no image, VM or running build needs", NULL},
    {"force", 'f', NULL, "Accepted, as docker has it: nothing is asked anyway", NULL},
    {"dry-run", 'n', NULL, "Only say what would be removed", NULL},
    {"json", 0, NULL, "Print the result as JSON", NULL},
    {0},
};

static int read_options(const struct args *a, struct prune_options *o, struct error **err)
{
    unsigned long long max_size = PRUNE_NO_LIMIT, keep_free = 0;
    long long max_age = -1;
    if (args_size(a, "max-size", &max_size, err) < 0 ||
        args_size(a, "keep-free", &keep_free, err) < 0 ||
        args_seconds(a, "max-age", &max_age, err) < 0)
        return -1;
    o->max_size = max_size;
    o->keep_free = keep_free;
    o->max_age = max_age;
    o->all = args_has(a, "all");
    o->dry_run = args_has(a, "dry-run");
    return 0;
}

static void print_result(const struct prune_options *o, const struct prune_result *r, bool say_why)
{
    size_t i;
    json_t *gone;
    json_array_foreach (r->removed, i, gone) {
        const char *id = json_str(gone, "id"), *file = json_str(gone, "file");
        const char *what = file ? file : json_str(gone, "step");
        printf("%-12.12s  ", id ? id : file ? "file" : "failed step");
        cli_print_size((uint64_t)json_int(gone, "bytes", 0), 11);
        AUTO_FREE char *line =
            xasprintf("  %.*s%s%s", (int)strcspn(what, "\n"), what, say_why ? "  # " : "",
                      say_why ? json_str(gone, "why") : "");
        cli_print_text(line, 0);
        putchar('\n');
    }
    printf("%s %zu layers", o->dry_run ? "would remove" : "removed", r->layers);
    if (r->extras)
        printf(" and %zu other cached things", r->extras);
    printf(": ");
    cli_print_size(r->bytes, 0);
    printf(" in %" PRIu64 " files; ", r->inodes);
    cli_print_size(r->left, 0);
    printf(" are left, ");
    cli_print_size(r->needed, 0);
    printf(" of them in use\n");
}

static void print_json(const struct prune_options *o, const struct prune_result *r, uint64_t mounts,
                       const struct interrupted_pulls *pulls, const struct saved_sum *warm)
{
    json_auto_t *all = json_object();
    json_object_set(all, "removed", r->removed);
    json_object_set_new(all, "layers", json_integer((json_int_t)r->layers));
    json_object_set_new(all, "files", json_integer((json_int_t)r->extras));
    json_object_set_new(all, "bytes", json_integer((json_int_t)r->bytes));
    json_object_set_new(all, "inodes", json_integer((json_int_t)r->inodes));
    json_object_set_new(all, "left", json_integer((json_int_t)r->left));
    json_object_set_new(all, "needed", json_integer((json_int_t)r->needed));
    json_object_set_new(all, "cache_mounts", json_integer((json_int_t)mounts));
    json_object_set_new(all, "unfinished_pulls", json_integer((json_int_t)pulls->bytes));
    json_object_set_new(all, "saved_boots", json_integer((json_int_t)warm->bytes));
    json_object_set_new(all, "dry_run", json_boolean(o->dry_run));
    cli_print_json(all);
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    struct prune_options o = PRUNE_OPTIONS_INIT;
    struct prune_result r = {0};
    CLEANUP(store_freep) struct store *st = NULL;
    o.roots = cli_store_roots;
    o.roots_arg = s;
    CLEANUP(cache_files_freep) struct cache_files *files = NULL;
    if (read_options(a, &o, err) < 0 || cli_store_to_prune(s, &st, err) < 0)
        return -1;
    files = cache_files_new(s, st);
    o.extra = cache_files_extra(files);
    if (store_prune(st, &o, &r, err) < 0)
        return -1;
    // the disks of cache mounts have an age and can go, but a limit on layers says nothing of them
    uint64_t mounts = cache_disk_prune(s, o.all ? 0 : UINT64_MAX, o.max_age, o.dry_run);
    struct interrupted_pulls pulls = image_pulls_prune(s->backend,
                                                       o.all            ? 0
                                                       : o.max_age >= 0 ? o.max_age
                                                                        : INTERRUPTED_PULL_SECONDS,
                                                       o.dry_run);
    AUTO_FREE char *work = path_join(s->cache, "work");
    if (!o.dry_run)
        working_sweep(work); // what a killed kiln left; otherwise the next VM sweeps it
    if (!o.dry_run)
        vm_warm_tidy(s);
    struct saved_sum warm = {0};
    if (o.all || o.max_age >= 0)
        warm = vm_warm_prune(s, o.all ? 0 : o.max_age, o.dry_run);
    if (args_has(a, "json"))
        print_json(&o, &r, mounts, &pulls, &warm);
    else
        print_result(&o, &r, s->verbosity > 0);
    if (mounts && !args_has(a, "json")) {
        printf("%s ", o.dry_run ? "would remove" : "removed");
        cli_print_size(mounts, 0);
        printf(" of cache mounts\n");
    }
    if (pulls.n && !args_has(a, "json")) {
        printf("%s ", o.dry_run ? "would remove" : "removed");
        cli_print_size(pulls.bytes, 0);
        printf(" of unfinished pulls\n");
    }
    if (warm.n && !args_has(a, "json")) {
        printf("%s ", o.dry_run ? "would remove" : "removed");
        cli_print_size(warm.bytes, 0);
        printf(" of saved boots\n");
    }
    if (r.left > o.max_size)
        fprintf(stderr,
                "images, VMs and running builds need more than --max-size: no more can be "
                "removed\n");
    prune_result_clear(&r);
    return 0;
}

const struct command cmd_prune = {
    .name = "prune",
    .summary = "Remove layers and other cached files that are not needed",
    .usage = "[options]",
    .detail =
        "Without a limit only what can never be used again goes: damaged layers and what stands "
        "on\n"
        "them, and layers that a later build of the same step has replaced. With a limit what was\n"
        "least recently used goes first: layers, downloads of ADD, indexes of build directories,\n"
        "notes on images, and what is known of builds whose image is gone. What an image, a VM or\n"
        "a running build needs always stays.\n"
        "--all and --max-age also remove the disks of RUN --mount=type=cache and saved boots\n"
        "(run --warm); those of images that are gone go in any case.\n",
    .options = options,
    .run = run,
};
