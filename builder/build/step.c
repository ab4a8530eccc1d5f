// SPDX-License-Identifier: MIT
//
// DISK and PARTITION, COPY and ADD, WORKDIR, INSPECT: what goes into each key, and the requests
// that carry it out. DISK and all PARTITIONs of a stage are one layer, made at the last of them.
#include "base/alloc.h"
#include "base/session.h"
#include "base/url.h"
#include "builder/build/private.h"
#include "builder/context/manifest.h"
#include "builder/context/remote.h"
#include "builder/context/send.h"

#include <string.h>
#include <unistd.h>

static const char *table_name(enum disk_table table)
{
    return table == TABLE_GPT ? "gpt" : table == TABLE_MBR ? "mbr" : NULL;
}

static int grow_work(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                     void *arg, struct error **err)
{
    const struct disk_spec *spec = arg;
    (void)step;
    b->target.mounted = false; // the agent unmounts it
    if (guest_grow(b->target.vm, table_name(spec->table), step_wait(b), err) < 0)
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
    return step_layer(b, st, step, key, (struct str){"", 0}, grow_work, spec, err);
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

static int partition_work(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                          void *arg, struct error **err)
{
    AUTO_FREE struct guest_partition *parts = xcalloc(st->n_parts, sizeof *parts);
    (void)step;
    (void)arg;
    for (size_t i = 0; i < st->n_parts; i++) {
        const struct partition_spec *p = &st->parts[i];
        parts[i] = (struct guest_partition){p->size, p->fs, p->options, p->mount,
                                            partition_flags_text(p->flags)};
    }
    int rc = guest_make_partitions(b->target.vm, table_name(st->spec.table), parts, st->n_parts,
                                   step_wait(b), err);
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
    return step_layer(b, st, step, key, (struct str){"", 0}, partition_work, NULL, err);
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

/* Where files go and what they get, as a number in the key: 2 has owner and mode of made folders,
 * links to nothing, and archives' own links; in 3 who may read a made folder may enter it. */
#define COPY_RULES "rules 3"

/* A COPY or ADD once everything is expanded. */
struct copy {
    char *dest; /* absolute; a final '/' says that it is a folder */
    char *chown, *chmod, *from, *checksum;
    struct strv sources, excludes, bodies;
    struct disk_state source; /* --from */
    bool listed;              /* it is keyed by content */
    struct selection *selection;
    struct sender *sender; /* while it is sent */
    long long shown;       /* when the bar was drawn last, ms */
};

static void copy_clear(struct copy *c)
{
    selection_free(c->selection);
    disk_state_clear(&c->source);
    strv_clear(&c->sources);
    strv_clear(&c->excludes);
    strv_clear(&c->bodies);
    free(c->dest);
    free(c->chown);
    free(c->chmod);
    free(c->from);
    free(c->checksum);
}

/* An expanded word, or NULL where it was not given; -1 on errors. */
static int optional(struct build *b, struct stage_run *st, const struct word *w, char **ret,
                    struct error **err)
{
    *ret = word_given(w) ? expand_word(b, st, w, err) : NULL;
    return word_given(w) && !*ret ? -1 : 0;
}

static int expand_copy(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                       struct copy *c, struct error **err)
{
    const struct copy_args *a = &step->copy;
    AUTO_FREE char *dest = expand_word(b, st, &a->dest, err);
    if (!dest || optional(b, st, &a->chown, &c->chown, err) < 0 ||
        optional(b, st, &a->chmod, &c->chmod, err) < 0 ||
        optional(b, st, &a->from, &c->from, err) < 0 ||
        optional(b, st, &a->checksum, &c->checksum, err) < 0)
        return -1;
    if (c->chmod && imagefile_mode(b->file, &a->chmod, c->chmod, err) < 0)
        return -1;
    c->dest = config_path(&st->config, dest);
    for (size_t i = 0; i < a->excludes.len; i++) {
        char *w = expand_word(b, st, &a->excludes.ptr[i], err);
        if (!w)
            return -1;
        strv_add_take(&c->excludes, w);
    }
    for (size_t i = 0; i < a->n_sources; i++) {
        char *w = expand_word(b, st, &a->sources[i].path, err);
        if (!w)
            return -1;
        strv_add_take(&c->sources, w);
    }
    return 0;
}

static int select_sources(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                          struct copy *c, struct error **err)
{
    const struct copy_args *a = &step->copy;
    struct imagefile_vars vars = stage_vars(st);
    AUTO_FREE struct context_source *sources = xcalloc(a->n_sources, sizeof *sources);
    // bodies first: their bytes must not move while sources point to them
    AUTO_FREE struct buf *bodies = xcalloc(a->n_sources, sizeof *bodies);
    int rc = 0;
    for (size_t i = 0; i < a->n_sources && rc == 0; i++) {
        const struct heredoc *h = a->sources[i].heredoc;
        sources[i].text = c->sources.ptr[i];
        sources[i].kind = h ? SOURCE_INLINE : SOURCE_PATH;
        if (step->op == OP_ADD && !h && is_url(c->sources.ptr[i]))
            sources[i].kind = SOURCE_URL;
        buf_init(&bodies[i]);
        if (h)
            rc = imagefile_expand_heredoc(b->file, h, &vars, &bodies[i], err);
        if (h && rc == 0) {
            size_t n = bodies[i].len;
            char *kept = buf_detach(&bodies[i], NULL);
            strv_add_take(&c->bodies, kept);
            sources[i].bytes = (struct str){kept, n};
        }
    }
    struct context_request r = {.instruction = step->op == OP_ADD ? "ADD" : "COPY",
                                .sources = sources,
                                .n_sources = a->n_sources,
                                .excludes = (const char *const *)c->excludes.ptr,
                                .n_excludes = c->excludes.len,
                                .dest = c->dest,
                                .unpack_local = step->op == OP_ADD && a->unpack != 0,
                                .unpack_remote = step->op == OP_ADD && a->unpack == 1,
                                .checksum = c->checksum};
    long long start = now_us();
    if (rc == 0)
        rc = build_context(b, err);
    if (rc == 0)
        rc = context_select(b->ctx, &r, &c->selection, err);
    session_timing(b->s, "select", now_us() - start);
    return rc;
}

/* What a stream is made from. */
struct sending {
    struct build *b;
    struct copy *c;
};

/* sender_read, and now and then a look at the bar. */
static ssize_t produce(void *arg, void *bytes, size_t n)
{
    struct sending *p = arg;
    ssize_t got = sender_read(p->c->sender, bytes, n);
    long long now = now_ms();
    if (now - p->c->shown >= 100 || got <= 0) {
        struct sender_progress at;
        sender_progress(p->c->sender, &at);
        session_progress(p->b->s, "copying", at.done, at.total, got <= 0);
        p->c->shown = now;
    }
    return got;
}

static struct guest_place copy_place(const struct copy *c)
{
    size_t n = strlen(c->dest);
    bool folder = c->selection ? selection_needs_folder(c->selection)
                               : c->sources.len > 1 || (n && c->dest[n - 1] == '/');
    return (struct guest_place){c->dest, folder, c->from != NULL, c->chown, c->chmod};
}

static int send_work(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                     void *arg, struct error **err)
{
    struct copy *c = arg;
    CLEANUP(sender_freep) struct sender *sender = sender_new(b->s, c->selection);
    (void)st;
    (void)step;
    c->sender = sender;
    c->shown = now_ms();
    struct sending p = {b, c};
    uint64_t offset;
    long long start = now_us();
    if (builder_vm_stream_begin(b->target.vm, produce, &p, &offset, err) < 0)
        return -1;
    struct guest_place place = copy_place(c);
    CLEANUP(error_freep) struct error *why = NULL;
    int rc = guest_receive(b->target.vm, offset, &place, step_wait(b), &why);
    builder_vm_stream_end(b->target.vm);
    session_timing(b->s, "receive", now_us() - start);
    // what the sender has to say comes first: the agent's failure then only repeats it
    if (sender_result(sender, err) < 0)
        return -1;
    return rc < 0 ? error_propagate(err, STEAL(why)) : 0;
}

static int copy_work(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                     void *arg, struct error **err)
{
    struct copy *c = arg;
    (void)st;
    (void)step;
    int slot = target_attach(&b->target, &c->source, 0, err);
    if (slot < 0)
        return -1;
    struct guest_sources from = {slot, &c->sources, &c->excludes};
    struct guest_place place = copy_place(c);
    return guest_copy(b->target.vm, &from, &place, step_wait(b), err);
}

static void key_optional(struct key *key, const char *name, const char *value)
{
    if (value)
        key_field(key, name, value, strlen(value));
}

static struct key *copy_key(const struct stage_run *st, const struct imagefile_step *step,
                            const struct copy *c)
{
    struct key *key = key_begin(*st->disk.id ? st->disk.id : NULL);
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    buf_addf(&text, "%s " COPY_RULES, imagefile_op_name(step->op));
    if (c->from)
        for (size_t i = 0; i < c->sources.len; i++)
            buf_addf(&text, " %s", c->sources.ptr[i]);
    buf_addf(&text, " to %s", c->dest);
    if (step->op == OP_ADD)
        buf_addf(&text, " unpack %d", step->copy.unpack);
    key_field(key, "step", text.data, text.len);
    key_optional(key, "--chown", c->chown);
    key_optional(key, "--chmod", c->chmod);
    for (size_t i = 0; c->from && i < c->excludes.len; i++)
        key_optional(key, "--exclude", c->excludes.ptr[i]);
    if (c->from && !c->listed)
        key_optional(key, "the source of --from", c->source.id);
    return key;
}

static void key_manifest(struct key *key, struct str manifest)
{
    struct digest d = digest_of(manifest.ptr, manifest.len);
    char hex[ID_SIZE];
    digest_hex(&d, hex);
    key_field(key, "files", hex, DIGEST_HEX);
}

/* Whether --from names a stage without DISK, or one that begins from such a stage. */
static bool holds_files(const struct build *b, const char *name)
{
    size_t at = (size_t)(b->current - b->file->steps);
    size_t stage = imagefile_find_stage(b->file, str_of(name), at, true);
    return stage != NO_STAGE && b->stages[stage].files;
}

static int step_copy_from(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                          struct copy *c, struct error **err)
{
    CLEANUP(buf_clear) struct buf manifest = BUF_INIT;
    struct from_request r = {&c->source, &c->sources, &c->excludes,
                             c->chown ? 0 : GUEST_KEEP_OWNER};
    if (stage_source(b, c->from, &c->source, err) < 0)
        return -1;
    if (holds_files(b, c->from)) // mkfs made it there, nobody copied it in
        strv_add(&c->excludes, "lost+found");
    if (from_by_content(&c->sources) && from_manifest(b, &st->disk, &r, &manifest, err) < 0)
        return -1;
    c->listed = manifest.len;
    struct key *key = copy_key(st, step, c);
    if (c->listed)
        key_manifest(key, buf_str(&manifest));
    return step_layer(b, st, step, key, buf_str(&manifest), copy_work, c, err);
}

int step_copy(struct build *b, struct stage_run *st, const struct imagefile_step *step,
              struct error **err)
{
    CLEANUP(copy_clear) struct copy c = {0};
    if (expand_copy(b, st, step, &c, err) < 0)
        return -1;
    if (c.from)
        return step_copy_from(b, st, step, &c, err);
    if (select_sources(b, st, step, &c, err) < 0)
        return -1;
    struct key *key = copy_key(st, step, &c);
    key_manifest(key, selection_manifest(c.selection));
    return step_layer(b, st, step, key, selection_manifest(c.selection), send_work, &c, err);
}

static int workdir_work(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                        void *arg, struct error **err)
{
    (void)step;
    return guest_mkdir(b->target.vm, arg, st->config.user, step_wait(b), err);
}

int step_workdir(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                 struct error **err)
{
    AUTO_FREE char *dir = expand_word(b, st, &step->word, err);
    if (!dir || check_utf8("WORKDIR", dir, err) < 0)
        return -1;
    char *path = config_path(&st->config, dir);
    size_t n = strlen(path);
    if (n > 1 && path[n - 1] == '/')
        path[n - 1] = '\0';
    free(st->config.workdir);
    st->config.workdir = path;
    if (!strcmp(path, "/")) {
        step_shown(b, step, STEP_META, NULL);
        return 0;
    }
    struct key *key = key_begin(st->disk.id);
    AUTO_FREE char *text = xasprintf("WORKDIR %s", path);
    key_field(key, "step", text, strlen(text));
    key_optional(key, "USER", st->config.user); // what is made belongs to the user
    return step_layer(b, st, step, key, (struct str){"", 0}, workdir_work, path, err);
}

/* What is done in the shell is thrown away: a layer above would hold it under a key that does not
 * know of it. */
int step_inspect(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                 struct error **err)
{
    step_shown(b, step, STEP_META, NULL);
    if (!isatty(b->s->in) || !isatty(b->s->out)) {
        error_set(err, ERR_USER, "INSPECT needs a terminal, and there is none");
        return error_hint(err, "take the INSPECT line out for builds without one");
    }
    if (target_ready(&b->target, &st->disk, err) < 0 ||
        target_detach_others(&b->target, 0, err) < 0)
        return -1;
    b->target.dirty = true;
    session_notice(b->s,
                   "INSPECT: a shell in the image; changes are thrown away; the build goes on when "
                   "it exits");
    CLEANUP(guest_exec_clear) struct guest_exec e = GUEST_EXEC_INIT;
    environment_put_shell(b->s, &e);
    environment_put(b->s, b->o, &st->config, &st->args, &e);
    int status;
    return guest_terminal(b->target.vm, &e, &status, err);
}
