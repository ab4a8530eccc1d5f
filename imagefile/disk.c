// SPDX-License-Identifier: MIT
// DISK and PARTITION: their words are expanded, those that come from variables are split again at
// blanks, and the result is read by keyword. The same reading runs when the file is parsed (for
// words without variables, all mistakes are reported) and when it is built (the first mistake is
// the error).
#include "imagefile/parser.h"

#include "base/mode.h"
#include "base/nearest.h"
#include "base/path.h"

#include <stdint.h>
#include <strings.h>

static const char *const file_systems[] = {"ext2",  "ext3", "ext4", "xfs",
                                           "btrfs", "vfat", "swap", NULL};
static const char *const flag_names[] = {"boot", "efi", "bios_grub", NULL}; // bit i
static const char *const part_keywords[] = {"SIZE", "FORMAT", "MOUNT", "OPTIONS", "FLAGS", NULL};
#define MIB ((uint64_t)1 << 20)
#define SIZE_LIMIT ((uint64_t)1 << 50) /* bytes; far above what qcow2 and the tables can hold */

/* A word after expansion. */
struct value {
    struct str text;
    struct span at;
    bool quoted;
};
DEFINE_VECTOR(values, struct value);

struct reader {
    const struct imagefile *f;
    const struct imagefile_step *step;
    struct diags *d;
    struct values values;
    size_t i;             /* the next value */
    struct span mount_at; /* of MOUNT's value */
    struct buf text;      /* what the values point into */
};

#define mistake(r, at, ...) diag_add((r)->d, &(r)->f->source, DIAG_ERROR, at, __VA_ARGS__)

static bool is_word(struct str s, const char *name)
{
    return s.len == strlen(name) && !strncasecmp(s.ptr, name, s.len);
}

static int find_name(struct str s, const char *const *names)
{
    for (int i = 0; names[i]; i++)
        if (is_word(s, names[i]))
            return i;
    return -1;
}

static struct span end_of(const struct reader *r)
{
    return (struct span){r->step->span.end, r->step->span.end};
}

/* Expands the step's words; two passes, since the buffer moves while it grows. */
static int expand_values(struct reader *r, const struct imagefile_vars *vars, struct error **err)
{
    const struct words *w = &r->step->words;
    AUTO_FREE size_t *ends = xcalloc(w->len + 1, sizeof *ends);
    for (size_t i = 0; i < w->len; i++) {
        if (imagefile_expand(r->f, &w->ptr[i], vars, &r->text, err) < 0)
            return -1;
        ends[i] = r->text.len;
    }
    for (size_t i = 0, start = 0; i < w->len; start = ends[i++]) {
        struct str raw = w->ptr[i].raw, rest = {r->text.data + start, ends[i] - start}, word;
        bool quoted = memchr(raw.ptr, '"', raw.len) || memchr(raw.ptr, '\'', raw.len);
        if (quoted || !memchr(raw.ptr, '$', raw.len)) {
            *values_push(&r->values) = (struct value){rest, w->ptr[i].span, quoted};
            continue;
        }
        while (lex_word(&rest, false, &word))
            *values_push(&r->values) = (struct value){word, w->ptr[i].span, false};
    }
    return 0;
}

static void reader_clear(struct reader *r)
{
    values_clear(&r->values);
    buf_clear(&r->text);
}

static const struct value *peek(const struct reader *r)
{
    return r->i < r->values.len ? &r->values.ptr[r->i] : NULL;
}

/* "20 GB", "20GB"; mb and gb are the bytes of the units. false: reported. */
static bool read_size(struct reader *r, uint64_t mb, uint64_t gb, uint64_t *ret)
{
    const struct value *v = peek(r);
    if (!v) {
        diag_help(mistake(r, end_of(r), "a size is missing"), "write a number and MB or GB");
        return false;
    }
    r->i++;
    uint64_t n = 0;
    size_t digits = 0;
    for (; digits < v->text.len && v->text.ptr[digits] >= '0' && v->text.ptr[digits] <= '9';
         digits++)
        n = n < SIZE_LIMIT ? n * 10 + (uint64_t)(v->text.ptr[digits] - '0') : n;
    struct str unit = {v->text.ptr + digits, v->text.len - digits}, clip = str_clip(v->text);
    struct span at = v->at;
    if (!digits || (unit.len && strchr(".,-+_", unit.ptr[0]))) {
        diag_help(mistake(r, at, "invalid size '" STR_FMT "'", STR_ARG(clip)),
                  "write a whole number and MB or GB, such as 20 GB");
        return false;
    }
    if (!unit.len && (v = peek(r)) &&
        !(v->text.len && v->text.ptr[0] >= '0' && v->text.ptr[0] <= '9') &&
        find_name(v->text, part_keywords) < 0 && !is_word(v->text, "GPT") &&
        !is_word(v->text, "MBR")) {
        unit = v->text;
        at = v->at;
        r->i++;
    }
    bool is_mb = is_word(unit, "MB"), is_gb = is_word(unit, "GB");
    clip = str_clip(unit);
    if (!is_mb && !is_gb) {
        if (unit.len)
            diag_help(mistake(r, at, "unknown unit '" STR_FMT "'", STR_ARG(clip)),
                      "the units are MB and GB");
        else
            diag_help(mistake(r, at, "the size has no unit"), "write MB or GB after it");
        return false;
    }
    uint64_t each = is_mb ? mb : gb;
    if (!n || n > SIZE_LIMIT / each) {
        mistake(r, at, n ? "the size is too large" : "the size must not be 0");
        return false;
    }
    *ret = n * each;
    return true;
}

/* As sfdisk takes a size for transient: to the nearest MiB, so that the disks are the same. */
static void read_part_size(struct reader *r, uint64_t *ret)
{
    uint64_t size;
    if (read_size(r, 1000000, 1000000000, &size))
        *ret = size < MIB ? MIB : (size + MIB / 2) / MIB * MIB;
}

/* "+3 GB": the '+' is taken off, and a value that was nothing else is passed over. */
static bool read_plus(struct reader *r)
{
    const struct value *v = peek(r);
    if (!v || !v->text.len || v->text.ptr[0] != '+')
        return false;
    struct value *first = &r->values.ptr[r->i];
    first->text.ptr++;
    first->text.len--;
    first->at.start += first->at.end - first->at.start > first->text.len;
    r->i += !first->text.len;
    return true;
}

static void read_disk(struct reader *r, struct disk_spec *ret)
{
    ret->more = read_plus(r);
    ret->table = TABLE_NOT_GIVEN;
    bool good = read_size(r, MIB, MIB << 10, &ret->size);
    const struct value *v = peek(r);
    if (!v)
        return;
    struct str clip = str_clip(v->text);
    if (is_word(v->text, "MBR"))
        ret->table = TABLE_MBR;
    else if (is_word(v->text, "GPT"))
        ret->table = TABLE_GPT;
    else if (good)
        diag_help(mistake(r, v->at, "unknown partition table '" STR_FMT "'", STR_ARG(clip)),
                  "supported tables are GPT and MBR");
    r->i++;
    if (good && (v = peek(r)))
        diag_help(mistake(r, v->at, "too many arguments for DISK"), "the form is DISK %s",
                  instructions[OP_DISK].form);
}

static void list_names(struct diag *d, const char *const *names, const char *what)
{
    CLEANUP(buf_clear) struct buf all = BUF_INIT;
    for (size_t i = 0; names[i]; i++)
        buf_addf(&all, "%s%s", i ? ", " : "", names[i]);
    diag_help(d, "supported %s are %s", what, all.data);
}

static void read_format(struct reader *r, struct partition_spec *ret)
{
    const struct value *v = peek(r);
    if (!v) {
        mistake(r, end_of(r), "FORMAT needs a file system");
        return;
    }
    r->i++;
    int fs = find_name(v->text, file_systems);
    struct str clip = str_clip(v->text);
    if (fs >= 0)
        ret->fs = file_systems[fs];
    else
        list_names(mistake(r, v->at, "unknown partition format '" STR_FMT "'", STR_ARG(clip)),
                   file_systems, "formats");
    v = peek(r);
    if (!v || v->quoted || !is_word(v->text, "OPTIONS"))
        return;
    r->i++;
    if (!(v = peek(r))) {
        diag_help(mistake(r, end_of(r), "OPTIONS needs a quoted string"),
                  "write OPTIONS \"-L root\"");
        return;
    }
    r->i++;
    free(ret->options);
    ret->options = str_dup(v->text);
}

/* An absolute path without empty and "." parts; NULL if it has "..". transient takes "boot" for
 * "/boot". */
static char *clean_mount(struct str s)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    struct str part;
    for (size_t at = 0; path_part(s, &at, &part);) {
        if (str_is(part, ".."))
            return NULL;
        path_push(&b, part);
    }
    return xasprintf("/%s", b.len ? b.data : "");
}

static void read_mount(struct reader *r, struct partition_spec *ret)
{
    const struct value *v = peek(r);
    if (!v || !v->text.len) {
        mistake(r, v ? v->at : end_of(r), "MOUNT needs a folder");
        r->i += v != NULL;
        return;
    }
    r->i++;
    r->mount_at = v->at;
    free(ret->mount);
    ret->mount = clean_mount(v->text);
    if (!ret->mount)
        mistake(r, v->at, "a mount point must not contain '..'");
}

/* "boot,efi", also with blanks around the commas. */
static void read_flags(struct reader *r, struct partition_spec *ret)
{
    const struct value *v;
    size_t found = 0, commas = 0;
    struct span last = end_of(r);
    while ((v = peek(r)) && find_name(v->text, part_keywords) < 0) {
        bool begins = v->text.len && v->text.ptr[0] == ',';
        if (found && commas < found && !begins)
            break; // no comma between: this is not a flag
        r->i++;
        last = v->at;
        for (size_t i = 0, n; i <= v->text.len; i += n + 1) {
            const char *part = v->text.ptr + i, *comma = memchr(part, ',', v->text.len - i);
            n = comma ? (size_t)(comma - part) : v->text.len - i;
            commas += comma != NULL;
            if (!n)
                continue;
            found++;
            struct str name = {part, n}, clip = str_clip(name);
            int flag = find_name(name, flag_names);
            struct span at = v->at;
            if (at.end - at.start == v->text.len) // as it was written
                at = (struct span){at.start + i, at.start + i + n};
            if (flag >= 0)
                ret->flags |= 1U << flag;
            else
                list_names(mistake(r, at, "unknown partition flag '" STR_FMT "'", STR_ARG(clip)),
                           flag_names, "flags");
        }
    }
    if (!found)
        list_names(mistake(r, last, "FLAGS needs a flag"), flag_names, "flags");
}

static void read_number(struct reader *r, struct partition_spec *ret)
{
    const struct value *v = peek(r);
    if (!v) {
        mistake(r, end_of(r), "PARTITION needs a number");
        return;
    }
    unsigned n = 0;
    bool good = v->text.len && v->text.len < 6;
    for (size_t i = 0; i < v->text.len && good; i++) {
        good = v->text.ptr[i] >= '0' && v->text.ptr[i] <= '9';
        n = n * 10 + (unsigned)(v->text.ptr[i] - '0');
    }
    struct str clip = str_clip(v->text);
    if (!good)
        diag_help(mistake(r, v->at, "invalid partition number '" STR_FMT "'", STR_ARG(clip)),
                  "number the partitions in order, from 1");
    ret->number = good ? n : 0;
    if (good || find_name(v->text, part_keywords) < 0)
        r->i++;
}

static void read_partition(struct reader *r, struct partition_spec *ret)
{
    ret->options = xstrdup("");
    read_number(r, ret);
    unsigned seen = 0;
    for (const struct value *v; (v = peek(r));) {
        int k = v->quoted ? -1 : find_name(v->text, part_keywords);
        struct str clip = str_clip(v->text);
        if (k < 0 || !strcmp(part_keywords[k], "OPTIONS")) {
            const char *near = k < 0 ? nearest_name(v->text, part_keywords) : NULL;
            struct diag *d =
                k < 0 ? mistake(r, v->at, "unexpected '" STR_FMT "' in PARTITION", STR_ARG(clip))
                      : mistake(r, v->at, "OPTIONS must follow FORMAT and a file system");
            if (near)
                diag_help(d, "did you mean %s?", near);
            else
                diag_help(d, "the form is PARTITION %s", instructions[OP_PARTITION].form);
            // What follows an unknown word is unknown too, up to the next keyword.
            for (r->i++; (v = peek(r)) && (v->quoted || find_name(v->text, part_keywords) < 0);)
                r->i++;
            continue;
        }
        if (seen & 1U << k)
            mistake(r, v->at, "%s is given twice", part_keywords[k]);
        seen |= 1U << k;
        r->i++;
        if (!strcmp(part_keywords[k], "SIZE"))
            read_part_size(r, &ret->size);
        else if (!strcmp(part_keywords[k], "FORMAT"))
            read_format(r, ret);
        else if (!strcmp(part_keywords[k], "MOUNT"))
            read_mount(r, ret);
        else
            read_flags(r, ret);
    }
    if (ret->fs && !strcmp(ret->fs, "swap") && ret->mount)
        mistake(r, r->mount_at, "swap can't be mounted");
}

int imagefile_disk(const struct imagefile *f, const struct imagefile_step *step,
                   const struct imagefile_vars *vars, struct disk_spec *ret, struct error **err)
{
    CLEANUP(diags_clear) struct diags d = {0};
    CLEANUP(reader_clear) struct reader r = {.f = f, .step = step, .d = &d, .text = BUF_INIT};
    struct disk_spec disk = {0};
    if (expand_values(&r, vars, err) < 0)
        return -1;
    read_disk(&r, &disk);
    if (d.errors)
        return diags_to_error(&d, &f->source, err);
    *ret = disk;
    return 0;
}

int imagefile_partition(const struct imagefile *f, const struct imagefile_step *step,
                        const struct imagefile_vars *vars, struct partition_spec *ret,
                        struct error **err)
{
    CLEANUP(diags_clear) struct diags d = {0};
    CLEANUP(reader_clear) struct reader r = {.f = f, .step = step, .d = &d, .text = BUF_INIT};
    CLEANUP(partition_spec_clear) struct partition_spec part = {0};
    if (expand_values(&r, vars, err) < 0)
        return -1;
    read_partition(&r, &part);
    if (d.errors)
        return diags_to_error(&d, &f->source, err);
    *ret = part;
    part = (struct partition_spec){0};
    return 0;
}

void partition_spec_clear(struct partition_spec *p)
{
    free(p->options);
    free(p->mount);
    *p = (struct partition_spec){0};
}

char *partition_flags_text(unsigned flags)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    for (unsigned i = 0; flag_names[i]; i++)
        if (flags & 1U << i)
            buf_addf(&b, "%s%s", b.len ? "," : "", flag_names[i]);
    return buf_detach(&b, NULL);
}

static bool has_variables(const struct imagefile_step *s)
{
    for (size_t i = 0; i < s->words.len; i++)
        if (memchr(s->words.ptr[i].raw.ptr, '$', s->words.ptr[i].raw.len))
            return true;
    return false;
}

static void check_new(struct reader *r, const struct disk_spec *disk)
{
    struct span at = r->step->words.ptr[0].span;
    if (disk->more)
        diag_help(mistake(r, at, "DISK with '+' needs an existing disk"),
                  "write the size without '+'");
    else if (disk->table == TABLE_NOT_GIVEN)
        diag_help(mistake(r, end_of(r), "DISK needs a partition table"), "write GPT or MBR");
}

void disk_check(struct imagefile *f, const struct imagefile_step *s)
{
    if (has_variables(s))
        return;
    CLEANUP(reader_clear) struct reader r = {.f = f, .step = s, .d = &f->diags, .text = BUF_INIT};
    CLEANUP(partition_spec_clear) struct partition_spec part = {0};
    struct disk_spec disk = {0};
    size_t errors = f->diags.errors;
    if (expand_values(&r, NULL, NULL) < 0)
        return; // expand_check has told it
    if (s->op == OP_DISK)
        read_disk(&r, &disk);
    else
        read_partition(&r, &part);
    bool scratch = s->stage != NO_STAGE && f->stages[s->stage].scratch;
    if (s->op == OP_DISK && f->diags.errors == errors && scratch)
        check_new(&r, &disk);
    if (s->op == OP_DISK || f->diags.errors != errors)
        return;
    struct diag *warning = NULL;
    if (part.mount && !part.fs) {
        warning = diag_warn(&f->diags, &f->source, RULE_PARTITION_NOT_FORMATTED, r.values.ptr[0].at,
                            "this partition is mounted at %s but has no FORMAT", part.mount);
        diag_help(warning, "without a file system on it the mount fails");
    }
    if (!part.number) {
        warning = diag_warn(&f->diags, &f->source, RULE_PARTITION_ZERO, r.values.ptr[0].at,
                            "partitions are numbered from 1");
        diag_help(warning, "0 is treated as the next number");
    }
}

/* What DISK and PARTITION steps break together; at is the place of each. */
static void check_together(const struct imagefile *f, const struct imagefile_step *const *steps,
                           const struct disk_spec *disk, const struct partition_spec *parts,
                           size_t n, struct diags *d)
{
    struct reader r = {.f = f, .d = d};
    uint64_t used = MIB; // sfdisk leaves the first one free
    bool root = false;
    size_t limit = disk->table == TABLE_MBR ? 4 : 128;
    for (size_t i = 0; i < n; i++) {
        struct span at = steps[i]->span;
        at.end = at.start + strlen("PARTITION");
        if (parts[i].number && parts[i].number != i + 1)
            diag_help(
                mistake(&r, at, "found PARTITION %u, expected number %zu", parts[i].number, i + 1),
                "number the partitions in order, from 1");
        if (i == limit)
            diag_help(mistake(&r, at, "%s holds at most %zu partitions",
                              disk->table == TABLE_MBR ? "an MBR" : "a GPT", limit),
                      "%s", disk->table == TABLE_MBR ? "use GPT" : "use fewer");
        if (!parts[i].size && i + 1 < n)
            diag_help(mistake(&r, at, "only the last PARTITION can be without SIZE"),
                      "without SIZE it takes the remaining space");
        if (parts[i].flags & PARTITION_BIOS_GRUB && disk->table == TABLE_MBR)
            diag_help(mistake(&r, at, "the flag bios_grub needs a GPT"),
                      "on an MBR, GRUB needs no separate partition");
        used += parts[i].size;
        if (used > disk->size || (!parts[i].size && used + MIB > disk->size)) {
            CLEANUP(buf_clear) struct buf has = BUF_INIT;
            buf_add_size(&has, disk->size);
            mistake(&r, at, "the partitions up to this one do not fit on the disk of %s", has.data);
            used = 0; // once
        }
        root |= parts[i].mount && !strcmp(parts[i].mount, "/");
        for (size_t j = 0; parts[i].mount && j < i && i < limit; j++)
            if (parts[j].mount && !strcmp(parts[i].mount, parts[j].mount))
                mistake(&r, at, "PARTITION %zu is already mounted at %s", j + 1, parts[i].mount);
    }
    if (!root && n) {
        struct span at = {steps[0]->span.start, steps[0]->span.start + strlen("PARTITION")};
        diag_help(mistake(&r, at, "at least one PARTITION must mount at /"),
                  "add MOUNT / to the root partition");
    }
}

/* The PARTITION steps of a stage, in order; *ret_n of them. Owned array of borrowed steps. */
static const struct imagefile_step **partitions_of(const struct imagefile *f, size_t stage,
                                                   const struct imagefile_step **ret_disk,
                                                   size_t *ret_n)
{
    const struct imagefile_stage *st = &f->stages[stage];
    const struct imagefile_step **list = xcalloc(st->end - st->first, sizeof *list);
    *ret_n = 0;
    *ret_disk = NULL;
    for (size_t i = st->first; i < st->end; i++) {
        if (f->steps[i].op == OP_PARTITION)
            list[(*ret_n)++] = &f->steps[i];
        if (f->steps[i].op == OP_DISK)
            *ret_disk = &f->steps[i];
    }
    return list;
}

int imagefile_check_new_disk(const struct imagefile *f, const struct imagefile_step *step,
                             const struct disk_spec *disk, struct error **err)
{
    CLEANUP(diags_clear) struct diags d = {0};
    check_new(&(struct reader){.f = f, .step = step, .d = &d}, disk);
    return diags_to_error(&d, &f->source, err);
}

int imagefile_check_disk(const struct imagefile *f, size_t stage, const struct disk_spec *disk,
                         const struct partition_spec *parts, size_t n, struct error **err)
{
    CLEANUP(diags_clear) struct diags d = {0};
    const struct imagefile_step *disk_step;
    size_t found;
    AUTO_FREE const struct imagefile_step **steps = partitions_of(f, stage, &disk_step, &found);
    check_together(f, steps, disk, parts, n < found ? n : found, &d);
    return diags_to_error(&d, &f->source, err);
}

void disk_check_stage(struct imagefile *f, size_t stage)
{
    const struct imagefile_step *disk_step;
    size_t n;
    AUTO_FREE const struct imagefile_step **steps = partitions_of(f, stage, &disk_step, &n);
    bool known = disk_step && !has_variables(disk_step);
    for (size_t i = 0; i < n && known; i++)
        known = !has_variables(steps[i]);
    struct disk_spec disk;
    if (!known || imagefile_disk(f, disk_step, NULL, &disk, NULL) < 0)
        return;
    AUTO_FREE struct partition_spec *parts = xcalloc(n, sizeof *parts);
    for (size_t i = 0; i < n && known; i++)
        known = imagefile_partition(f, steps[i], NULL, &parts[i], NULL) == 0;
    if (known)
        check_together(f, steps, &disk, parts, n, &f->diags);
    for (size_t i = 0; i < n; i++)
        partition_spec_clear(&parts[i]);
}

int imagefile_mode(const struct imagefile *f, const struct word *w, const char *text,
                   struct error **err)
{
    mode_t ignored;
    if (mode_apply(text, 0, false, &ignored))
        return 0;
    unsigned line, column;
    source_place(&f->source, w->span.start, &line, &column);
    error_set(err, ERR_USER, "invalid mode '%.60s'", text);
    error_hint(err, "use an octal mode such as 0644, or a symbolic one such as u=rwX,go=rX");
    return error_at(err, f->source.path, line, column);
}
