// SPDX-License-Identifier: MIT
//
// DISK and PARTITION. DISK and all PARTITIONs of a stage are one layer, made at the last of them.
#include "base/alloc.h"
#include "builder/build/private.h"

static const char *table_name(enum disk_table table)
{
    return table == TABLE_GPT ? "gpt" : table == TABLE_MBR ? "mbr" : NULL;
}

int disk_grow(struct build *b, struct stage_run *st, const struct disk_spec *spec,
              struct error **err)
{
    b->target.mounted = false; // the agent unmounts it
    if (runner_grow(b->target.runner, table_name(spec->table), step_wait(b), err) < 0)
        return -1;
    return target_mount(&b->target, st->disk.mounts, err);
}

/* The size that a DISK asks for, from the image's own. */
static int grown_size(const struct disk_spec *spec, uint64_t now, uint64_t *ret, struct error **err)
{
    CLEANUP(buf_clear) struct buf has = BUF_INIT;
    *ret = spec->more ? now + spec->size : spec->size;
    if (*ret >= now)
        return 0;
    buf_add_size(&has, now);
    error_set(err, ERR_USER, "DISK can't make a disk smaller: the image's has %s", has.data);
    return error_hint(err, "leave DISK out to keep it, or build from an image with a smaller one");
}

static int step_grow(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                     struct disk_spec *spec, struct error **err)
{
    uint64_t size;
    if (grown_size(spec, st->disk.size, &size, err) < 0)
        return -1;
    st->disk.size = size;
    struct key *key = key_begin(st->disk.id);
    const char *table = table_name(spec->table);
    AUTO_FREE char *text =
        xasprintf("DISK grows to %llu %s", (unsigned long long)size, table ? table : "");
    key_field(key, "step", text, strlen(text));
    return step_layer(b, st, step, key, (struct str){"", 0},
                      (struct work){.kind = WORK_GROW, .disk = spec}, err);
}

int step_disk(struct build *b, struct stage_run *st, const struct imagefile_step *step,
              struct error **err)
{
    struct imagefile_vars vars = stage_vars(st);
    struct disk_spec spec;
    if (imagefile_disk(b->file, step, &vars, &spec, err) < 0)
        return -1;
    if (*st->disk.id)
        return step_grow(b, st, step, &spec, err);
    step_shown(b, step, STEP_META, NULL);
    st->spec = spec;
    return imagefile_check_new_disk(b->file, step, &spec, err);
}

int disk_partition(struct build *b, struct stage_run *st, struct error **err)
{
    AUTO_FREE struct runner_partition *parts = xcalloc(st->n_parts, sizeof *parts);
    for (size_t i = 0; i < st->n_parts; i++) {
        const struct partition_spec *p = &st->parts[i];
        parts[i] = (struct runner_partition){p->size, p->fs, p->options, p->mount,
                                             partition_flags_text(p->flags)};
    }
    int rc = runner_make_partitions(b->target.runner, table_name(st->spec.table), parts,
                                    st->n_parts, step_wait(b), err);
    for (size_t i = 0; i < st->n_parts; i++)
        free(parts[i].flags);
    if (rc < 0)
        return -1;
    return target_mount(&b->target, st->disk.mounts, err);
}

static json_t *partition_mounts(const struct stage_run *st)
{
    json_t *mounts = json_array();
    for (size_t i = 0; i < st->n_parts; i++)
        if (st->parts[i].mount && st->parts[i].fs)
            (void)json_array_append_new(
                mounts, json_pack("[I, s]", (json_int_t)st->parts[i].number, st->parts[i].mount));
    return mounts;
}

/* The layer of st->spec and st->parts. */
static int make_disk(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                     struct error **err)
{
    struct key *key = key_begin(NULL);
    AUTO_FREE char *disk = xasprintf("%llu %s", (unsigned long long)st->spec.size,
                                     st->spec.table == TABLE_GPT ? "GPT" : "MBR");
    key_field(key, "DISK", disk, strlen(disk));
    for (size_t i = 0; i < st->n_parts; i++) {
        const struct partition_spec *p = &st->parts[i];
        AUTO_FREE char *flags = partition_flags_text(p->flags);
        AUTO_FREE char *name = xasprintf("PARTITION %u", p->number);
        AUTO_FREE char *text = xasprintf(
            "SIZE %llu FORMAT %s OPTIONS \"%s\" MOUNT %s FLAGS %s", (unsigned long long)p->size,
            p->fs ? p->fs : "-", p->options ? p->options : "", p->mount ? p->mount : "-", flags);
        key_field(key, name, text, strlen(text));
    }
    st->disk.size = st->spec.size;
    json_decref(st->disk.mounts);
    st->disk.mounts = partition_mounts(st);
    return step_layer(b, st, step, key, (struct str){"", 0}, (struct work){.kind = WORK_PARTITION},
                      err);
}

int step_partition(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                   bool last, struct error **err)
{
    struct imagefile_vars vars = stage_vars(st);
    st->parts = xreallocarray(st->parts, st->n_parts + 1, sizeof *st->parts);
    st->parts[st->n_parts] = (struct partition_spec){0};
    if (imagefile_partition(b->file, step, &vars, &st->parts[st->n_parts], err) < 0)
        return -1;
    st->n_parts++;
    if (!st->parts[st->n_parts - 1].number)
        st->parts[st->n_parts - 1].number = (unsigned)st->n_parts;
    if (!last) {
        step_shown(b, step, STEP_META, NULL);
        return 0;
    }
    if (imagefile_check_disk(b->file, step->stage, &st->spec, st->parts, st->n_parts, err) < 0)
        return -1;
    return make_disk(b, st, step, err);
}

/* The disk that a stage without DISK has, so that it can be mounted: nothing of its size is written.
 * Bytes. */
#define FILES_DISK (64ull << 30)

int step_files(struct build *b, struct stage_run *st, const struct imagefile_step *step,
               struct error **err)
{
    st->spec = (struct disk_spec){.size = FILES_DISK, .table = TABLE_GPT};
    st->parts = xcalloc(1, sizeof *st->parts);
    st->parts[0] = (struct partition_spec){
        .number = 1, .fs = "ext4", .options = xstrdup("-m 0"), .mount = xstrdup("/")};
    st->n_parts = 1;
    return make_disk(b, st, step, err);
}
