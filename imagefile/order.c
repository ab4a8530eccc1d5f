// SPDX-License-Identifier: MIT
// What the instructions must obey together, checked over the list of everything that was seen, so
// that a misspelt or broken instruction is not reported again as a missing one. Each rule is
// reported once a stage. transient's users match on the texts of these errors.
#include "imagefile/parser.h"

#include <strings.h>

static const char needs_disk[] =
    "exactly one DISK instruction must appear in images built from scratch";
static const char needs_partition[] =
    "at least one PARTITION instruction must appear in images built from scratch";
static const char needs_scratch[] =
    "PARTITION instructions can only appear on images built from scratch";
static const char use_disk[] = "use DISK alone to grow an image's disk: DISK +4 GB";

/* What one stage holds. */
struct stage_view {
    const struct seen *from;
    const struct seen *disk, *second_disk, *late_disk; /* first of each kind, or NULL */
    const struct seen *partition, *late_partition;
    size_t partitions;
    bool doubt; /* something in it was not understood */
    bool scratch, maybe_scratch;
};

enum section { SECTION_FROM, SECTION_DISK, SECTION_PARTITION, SECTION_REST };

static void first(const struct seen **slot, const struct seen *s)
{
    if (!*slot)
        *slot = s;
}

static enum section see(struct stage_view *v, const struct seen *s, enum section at)
{
    if (s->step == NO_STEP)
        v->doubt = true;
    if (s->op == OP_DISK) {
        if (v->disk)
            first(&v->second_disk, s);
        else if (at != SECTION_FROM)
            first(&v->late_disk, s);
        first(&v->disk, s);
        return SECTION_DISK;
    }
    if (s->op == OP_PARTITION) {
        v->partitions++;
        first(&v->partition, s);
        if (at != SECTION_DISK && at != SECTION_PARTITION)
            first(&v->late_partition, s);
        return SECTION_PARTITION;
    }
    // ARG may stand before DISK, for DISK $SIZE; what was not understood may have been one of them
    if (s->op == OP_COUNT || (s->op == OP_ARG && at == SECTION_FROM))
        return at;
    return SECTION_REST;
}

/* Whether a stage from scratch may lack its DISK, as it is only to hold files. Of several stages the
 * last one is what is built unless --target names another: the build then says that it can't be. */
static bool may_hold_files(const struct imagefile *f)
{
    return f->n_stages > 1;
}

static void check_scratch(struct parser *p, const struct stage_view *v)
{
    size_t stage = v->from->stage;
    bool files = !v->disk && !v->partition && may_hold_files(p->f);
    if (files && stage + 1 == p->f->n_stages)
        diag_help(diag_warn(&p->f->diags, &p->f->source, RULE_NO_DISK, v->from->at,
                            "the last stage has no DISK: it contains files and is not an image"),
                  "build another stage with --target, or write DISK and PARTITION after FROM");
    if (!v->disk && !v->doubt && !files)
        diag_help(parse_error(p, v->from->at, "%s", needs_disk),
                  "write DISK 4 GB GPT on the next line, then the PARTITION instructions");
    if (v->second_disk)
        parse_error(p, v->second_disk->at, "only one DISK instruction can appear in a stage");
    if (v->late_disk)
        diag_help(
            parse_error(p, v->late_disk->at,
                        "the DISK instruction must appear immediately after FROM instruction"),
            "only ARG may come between them");
    if (v->disk && !v->partition && !v->doubt)
        diag_help(parse_error(p, v->disk->at, "%s", needs_partition),
                  "write PARTITION 1 FORMAT ext4 MOUNT / on the next line");
    if (v->disk && v->late_partition)
        parse_error(p, v->late_partition->at,
                    "PARTITION instructions must appear immediately after DISK instruction");
    if (v->disk && v->partition && !v->doubt && !v->second_disk)
        disk_check_stage(p->f, v->from->stage);
}

static void check_stage(struct parser *p, const struct stage_view *v)
{
    if (v->scratch || (v->maybe_scratch && v->partition))
        check_scratch(p, v);
    else if (v->partition && v->from->step != NO_STEP)
        diag_help(parse_error(p, v->partition->at, "%s", needs_scratch), "%s", use_disk);
}

/* No FROM at all, or something before the first one. Returns the index of the first FROM. */
static size_t check_start(struct parser *p)
{
    const struct seen *early = NULL;
    bool doubt = false;
    size_t i = 0;
    for (; i < p->seen.len && p->seen.ptr[i].op != OP_FROM; i++) {
        doubt |= p->seen.ptr[i].op == OP_COUNT;
        if (p->seen.ptr[i].op != OP_ARG)
            first(&early, &p->seen.ptr[i]);
    }
    if (doubt)
        return i; // what was not understood may have been the FROM
    if (i == p->seen.len) {
        size_t at = p->seen.len ? p->seen.ptr[0].at.start : 0;
        diag_help(
            parse_error(p, ((struct span){at, at}),
                        "exactly one FROM instruction must appear in each stage, and there is "
                        "none"),
            "begin with FROM <image> or FROM scratch");
    } else if (early) {
        diag_help(parse_error(p, early->at,
                              "the FROM instruction must appear before any other instructions"),
                  "only ARG may come before it");
    }
    return i;
}

/* Names of stages in an open hash table of twice their number. */
static void check_stage_names(struct parser *p)
{
    struct imagefile *f = p->f;
    size_t room = 2 * f->n_stages + 1;
    AUTO_FREE size_t *table = xcalloc(room, sizeof *table);
    for (size_t i = 0; i < f->n_stages; i++) {
        struct str name = f->stages[i].name;
        if (!name.len)
            continue;
        size_t hash = 5381;
        for (size_t j = 0; j < name.len; j++)
            hash = hash * 33 + (unsigned char)name.ptr[j];
        size_t slot = hash % room;
        while (table[slot] && !str_eq(f->stages[table[slot] - 1].name, name))
            slot = (slot + 1) % room;
        if (!table[slot]) {
            table[slot] = i + 1;
            continue;
        }
        const struct imagefile_step *from = &f->steps[f->stages[i].first];
        struct str clip = str_clip(name);
        diag_help(diag_warn(&f->diags, &f->source, RULE_DUPLICATE_STAGE_NAME, from->span,
                            "the stage '" STR_FMT "' is already defined on line %u", STR_ARG(clip),
                            f->steps[f->stages[table[slot] - 1].first].line),
                  "below this line the name refers to this stage");
        table[slot] = i + 1;
    }
}

void check_order(struct parser *p)
{
    struct imagefile *f = p->f;
    size_t i = check_start(p);
    while (i < p->seen.len) {
        struct stage_view v = {.from = &p->seen.ptr[i]};
        const struct imagefile_stage *stage = &f->stages[v.from->stage];
        struct str image = f->steps[stage->first].from.image.raw;
        v.scratch = stage->scratch;
        v.maybe_scratch = !image.len || memchr(image.ptr, '$', image.len);
        enum section at = SECTION_FROM;
        for (i++; i < p->seen.len && p->seen.ptr[i].op != OP_FROM; i++)
            at = see(&v, &p->seen.ptr[i], at);
        check_stage(p, &v);
    }
    check_stage_names(p);
}

bool imagefile_is_scratch(const char *image)
{
    return !strcasecmp(image, "scratch");
}

bool imagefile_holds_files(const struct imagefile *f, size_t stage, const char *image)
{
    const struct imagefile_stage *st = &f->stages[stage];
    bool disk = false;
    for (size_t i = st->first; i < st->end; i++)
        disk |= f->steps[i].op == OP_DISK;
    return imagefile_is_scratch(image) && !disk;
}

int imagefile_needs_disk(const struct imagefile *f, size_t stage, struct error **err)
{
    const struct imagefile_step *at = &f->steps[f->stages[stage].first];
    error_set(err, ERR_USER, "%s", needs_disk);
    error_hint(err,
               "this stage contains files for COPY --from; build another one with --target, or "
               "write DISK and PARTITION after FROM");
    return error_at(err, f->source.path, at->line, at->column);
}

int imagefile_check_from(const struct imagefile *f, size_t stage, const char *image,
                         struct error **err)
{
    const struct imagefile_stage *st = &f->stages[stage];
    const struct imagefile_step *at = &f->steps[st->first], *disk = NULL, *partition = NULL;
    for (size_t i = st->end; i-- > st->first;) {
        disk = f->steps[i].op == OP_DISK ? &f->steps[i] : disk;
        partition = f->steps[i].op == OP_PARTITION ? &f->steps[i] : partition;
    }
    bool scratch = imagefile_is_scratch(image);
    if (!*image) {
        error_set(err, ERR_USER, "FROM has no image: its variables are empty");
    } else if (scratch && !disk && (partition || !may_hold_files(f))) {
        error_set(err, ERR_USER, "%s", needs_disk);
    } else if (scratch && disk && !partition) {
        error_set(err, ERR_USER, "%s", needs_partition);
    } else if (!scratch && partition) {
        at = partition;
        error_set(err, ERR_USER, "%s", needs_scratch);
        error_hint(err, "%s", use_disk);
    } else {
        return 0;
    }
    return error_at(err, f->source.path, at->line, at->column);
}
