// SPDX-License-Identifier: MIT
#include "base/session.h"
#include "cache/store.h"
#include "cli/command.h"
#include "cli/image_use.h"
#include "cli/progress.h"
#include "image/convert.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct option_spec options[] = {
    {"format", 'f', "FORMAT",
     "qcow2, raw, vmdk, vhdx or vdi [default: as FILE ends (.img is raw), else qcow2]", NULL},
    {"compress", 0, "METHOD", "zstd or zlib for qcow2, zlib for vmdk", NULL},
    QUIET_OPTION,
    JSON_OPTION,
    {0},
};

/* text: of --format; NULL = the end of the file's name says it. */
static int parse_format(const char *text, const char *file, enum format *ret, struct error **err)
{
    *ret = text ? format_by_name(text) : format_by_ending(file);
    if (*ret != FORMAT_UNKNOWN)
        return 0;
    if (text)
        return error_set(err, ERR_USAGE,
                         "argument --format: '%s' is not one of qcow2, raw, vmdk, vhdx, vdi", text);
    error_set(err, ERR_USAGE, "the format of '%s' is none that kiln writes", file);
    return error_hint(err, "name it .qcow2, .raw, .vmdk, .vhdx or .vdi, or give --format");
}

/* No /dev/stdout or pipe, whose reader wants the image alone. */
static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(store_freep) struct store *st = NULL;
    CLEANUP(progress_clear) struct progress bar;
    progress_init(&bar, stderr, PROGRESS_AUTO);
    struct image_export o = {.compress = args_get(a, "compress")};
    progress_hear(&bar, s);
    if (parse_format(args_get(a, "format"), a->pos[1], &o.format, err) < 0)
        return -1;
    if (!strcmp(a->pos[1], "-") && isatty(STDOUT_FILENO))
        return error_set(err, ERR_USAGE, "a disk image is not written to a terminal");
    if (!strcmp(a->pos[1], "-") && args_has(a, "json"))
        return error_set(err, ERR_USAGE, "--json is not for '-': standard output is the image");
    (void)json_object_set_new(a->result, "name", json_string(a->pos[0]));
    (void)json_object_set_new(a->result, "file", json_string(a->pos[1]));
    if (image_lease(s, a->pos[0], &st, err) < 0)
        return -1;
    if (!strcmp(a->pos[1], "-"))
        return image_export_to(s, a->pos[0], STDOUT_FILENO, &o, err);
    if (image_export(s, a->pos[0], a->pos[1], &o, err) < 0)
        return -1;
    if (is_file(a->pos[1]))
        args_say(a, "Exported image '%s' to '%s'", a->pos[0], a->pos[1]);
    return 0;
}

const struct command cmd_image_export = {
    .name = "image export",
    .summary = "Write an image with all its layers to one file",
    .usage = "[--format FORMAT] [--compress METHOD] NAME FILE|-",
    .detail =
        "- is standard output, a qcow2 without --format. What is zero takes no space in the file. "
        "A qcow2 keeps the image's "
        "metadata.\n",
    .options = options,
    .min_args = 2,
    .max_args = 2,
    .flags = CMD_RESULT,
    .run = run,
};
