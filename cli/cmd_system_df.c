// SPDX-License-Identifier: MIT
#include "base/alloc.h"
#include "base/file.h"
#include "base/session.h"
#include "builder/build/cache_files.h"
#include "builder/worker/cache_disk.h"
#include "cache/prune.h"
#include "cache/store.h"
#include "cli/command.h"
#include "cli/screen.h"
#include "cli/store.h"
#include "cli/vm_disks.h"
#include "image/backend.h"
#include "image/pull.h"
#include "vm/named.h"
#include "vm/warm.h"

#include <sys/stat.h>
#include <unistd.h>

static const struct option_spec options[] = {
    {"json", 0, NULL, "Print the result as JSON", NULL},
    {0},
};

struct df {
    struct store_usage store;
    size_t images;
    uint64_t image_bytes; /* of the images' own files, without layers */
    struct {
        size_t n;
        uint64_t bytes;
    } mounts, downloads, notes, histories, pulls, warm;
    size_t vms; /* named ones */
    uint64_t vm_bytes;
    uint64_t vm; /* the builder VM's own files */
    uint64_t free;
};

static void measure_files(const struct session *s, struct store *st, struct df *df)
{
    CLEANUP(cache_files_freep) struct cache_files *f = cache_files_new(s, st);
    unsigned mounts = 0;
    df->downloads.bytes = cache_files_usage(f, CACHE_FILE_DOWNLOAD, &df->downloads.n);
    df->notes.bytes = cache_files_usage(f, CACHE_FILE_NOTE, &df->notes.n);
    df->histories.bytes = cache_files_usage(f, CACHE_FILE_HISTORY, &df->histories.n);
    df->mounts.bytes = cache_disk_usage(s, &mounts);
    df->mounts.n = mounts;
    df->vm = cache_appliance_usage(s);
    struct saved_sum warm = vm_warm_usage(s);
    df->warm.n = warm.n;
    df->warm.bytes = warm.bytes;
    struct interrupted_pulls pulls = image_pulls_interrupted(s->backend);
    df->pulls.n = pulls.n;
    df->pulls.bytes = pulls.bytes;
    df->store.working -= pulls.bytes < df->store.working ? pulls.bytes : df->store.working;
}

static int measure_vms(const struct session *s, struct df *df, struct error **err)
{
    CLEANUP(strv_clear) struct strv names = {0};
    if (named_vm_list(s->vmstore, &names, err) < 0)
        return -1;
    vec_foreach (char **, name, &names) {
        CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
        int64_t used = named_vm_open(s->vmstore, *name, &vm, NULL) == 0 ? vm_disks_usage(&vm) : 0;
        df->vm_bytes += used > 0 ? (uint64_t)used : 0;
    }
    df->vms = names.len;
    return 0;
}

static int measure(struct session *s, struct df *df, struct error **err)
{
    CLEANUP(store_freep) struct store *st = NULL;
    CLEANUP(backend_images_free) struct backend_images images = {0};
    if (cli_store_to_prune(s, &st, err) < 0 ||
        store_usage(st, cli_store_roots, s, &df->store, err) < 0 ||
        backend_list(s->backend, &images, err) < 0 || measure_vms(s, df, err) < 0)
        return -1;
    vec_foreach (const struct backend_image *, image, &images) {
        struct stat file;
        df->images++;
        if (stat(image->path, &file) == 0)
            df->image_bytes += (uint64_t)file.st_blocks * 512;
    }
    measure_files(s, st, df);
    df->free = free_bytes(s->backend);
    return 0;
}

/* Where the rows' bars stand, and how long one is. */
enum { ROW = 47, BAR_MAX = 40, BAR_MIN = 8 };

/* A row with, on a terminal, a bar as long as its share of the largest one; what is unused is light. */
struct table {
    unsigned bar; /* columns; 0 = none */
    uint64_t most;
    bool utf8;
};

static struct table make_table(const struct df *df)
{
    struct screen screen;
    screen_init(&screen, stdout);
    unsigned room = screen.columns > ROW + 3 ? screen.columns - ROW - 3 : 0;
    bool shown = isatty(STDOUT_FILENO) && room >= BAR_MIN;
    struct table t = {
        .bar = shown ? (room < BAR_MAX ? room : BAR_MAX) : 0, .utf8 = screen.utf8, .most = 1};
    const uint64_t sizes[] = {
        df->image_bytes,     df->store.bytes, df->vm_bytes,        df->mounts.bytes,
        df->downloads.bytes, df->notes.bytes, df->histories.bytes, df->pulls.bytes,
        df->store.working,   df->vm,          df->warm.bytes};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        t.most = sizes[i] > t.most ? sizes[i] : t.most;
    return t;
}

static void print_bar(const struct table *t, uint64_t bytes, uint64_t unused)
{
    double scale = (double)t->bar / (double)t->most;
    unsigned all = (unsigned)((double)bytes * scale + 0.5);
    unsigned light = (unsigned)((double)(unused < bytes ? unused : bytes) * scale + 0.5);
    if (all)
        fputs("  ", stdout);
    for (unsigned i = 0; i < all; i++)
        fputs(i + light < all ? (t->utf8 ? "█" : "#") : (t->utf8 ? "░" : "-"), stdout);
}

static void print_row(const struct table *t, const char *what, size_t count, uint64_t bytes,
                      uint64_t unused)
{
    printf("%-16s %6zu ", what, count);
    cli_print_size(bytes, 11);
    putchar(' ');
    cli_print_size(unused, 11);
    print_bar(t, bytes, unused);
    putchar('\n');
}

static void print_json(const struct df *df)
{
    json_auto_t *o = json_object();
#define SET(name, value) json_object_set_new(o, name, json_integer((json_int_t)(value)))
    SET("images", df->images);
    SET("image_bytes", df->image_bytes);
    SET("layers", df->store.layers);
    SET("bases", df->store.bases);
    SET("failed", df->store.failed);
    SET("damaged", df->store.damaged);
    SET("layer_bytes", df->store.bytes);
    SET("layer_inodes", df->store.inodes);
    SET("needed_bytes", df->store.needed);
    SET("unused_bytes", df->store.unused_bytes);
    SET("working_bytes", df->store.working);
    SET("unfinished_pull_bytes", df->pulls.bytes);
    SET("cache_mount_bytes", df->mounts.bytes);
    SET("download_bytes", df->downloads.bytes);
    SET("note_bytes", df->notes.bytes);
    SET("history_bytes", df->histories.bytes);
    SET("vms", df->vms);
    SET("vm_bytes", df->vm_bytes);
    SET("saved_boots", df->warm.n);
    SET("saved_boot_bytes", df->warm.bytes);
    SET("builder_vm_bytes", df->vm);
    SET("free_bytes", df->free);
#undef SET
    cli_print_json(o);
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    struct df df = {.images = 0};
    if (measure(s, &df, err) < 0)
        return -1;
    if (args_has(a, "json")) {
        print_json(&df);
        return 0;
    }
    const struct table t = make_table(&df);
    printf("%-16s %6s %11s %11s\n", "", "COUNT", "SIZE", "UNUSED");
    print_row(&t, "images", df.images, df.image_bytes, 0);
    print_row(&t, "layers", df.store.layers + df.store.failed, df.store.bytes,
              df.store.unused_bytes);
    print_row(&t, "VMs", df.vms, df.vm_bytes, 0);
    print_row(&t, "saved boots", df.warm.n, df.warm.bytes, df.warm.bytes);
    print_row(&t, "cache mounts", df.mounts.n, df.mounts.bytes, df.mounts.bytes);
    print_row(&t, "downloads", df.downloads.n, df.downloads.bytes, df.downloads.bytes);
    print_row(&t, "notes", df.notes.n, df.notes.bytes, df.notes.bytes);
    print_row(&t, "old histories", df.histories.n, df.histories.bytes, df.histories.bytes);
    print_row(&t, "unfinished pulls", df.pulls.n, df.pulls.bytes, df.pulls.bytes);
    print_row(&t, "unfinished work", 0, df.store.working, 0);
    print_row(&t, "builder VM", 1, df.vm, 0);
    printf("free: ");
    cli_print_size(df.free, 0);
    printf("\n");
    if (df.store.damaged)
        printf("damaged layers: %zu ('kiln prune' removes them)\n", df.store.damaged);
    if (df.store.unused_bytes + df.mounts.bytes + df.downloads.bytes + df.notes.bytes +
        df.histories.bytes + df.pulls.bytes + df.warm.bytes)
        printf("'kiln prune --all' frees what is unused\n");
    return 0;
}

const struct command cmd_system_df = {
    .name = "system df",
    .summary = "Show what images, layers and other cached files take on the disk",
    .usage = "[--json]",
    .detail =
        "Layers are counted without those that share their file with an image. Unused is what\n"
        "no image, VM or running build needs. Notes are indexes of build directories and what is\n"
        "known of images; old histories are those of builds whose image is gone.\n",
    .options = options,
    .run = run,
};
