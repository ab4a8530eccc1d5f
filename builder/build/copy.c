// SPDX-License-Identifier: MIT
//
// COPY and ADD: what goes into the key, and how the files get there: from the build directory and
// from URLs as a stream, from other images by a copy between two disks of the runner.
#include "builder/build/copy.h"
#include "base/alloc.h"
#include "base/path.h"
#include "base/session.h"
#include "base/url.h"
#include "builder/build/prefetch.h"
#include "builder/context/manifest.h"
#include "builder/context/remote.h"
#include "builder/context/send.h"

#include <string.h>

/* Where files go and what they get, as a number in the key: 2 has owner and mode of made folders,
 * links to nothing, and archives' own links; in 3 who may read a made folder may enter it. */
#define COPY_RULES "rules 3"

static void copy_clear(struct copy *c)
{
    copy_gits_free(c->gits);
    selection_free(c->selection);
    copy_containers_free(c);
    disk_state_clear(&c->source);
    strv_clear(&c->sources);
    strv_clear(&c->excludes);
    strv_clear(&c->bodies);
    free(c->dest);
    free(c->chown);
    free(c->chmod);
    free(c->from);
    free(c->checksum);
    free(c->platform);
}

/* An expanded word, or NULL where it was not given; -1 on errors. */
static int optional(struct build *b, struct stage_run *st, const struct word *w, char **ret,
                    struct error **err)
{
    *ret = word_given(w) ? expand_word(b, st, w, err) : NULL;
    return word_given(w) && !*ret ? -1 : 0;
}

static void add_clean(struct buf *path, struct str text)
{
    struct str part;
    for (size_t at = 0; path_part(text, &at, &part);) {
        if (str_is(part, ".."))
            (void)path_pop(path);
        else
            path_push(path, part);
    }
}

/* A source of --from with --parents as the agent reads it: "/a/b" or "/a/./b", with no ".." in it. */
static char *parents_source(const char *text)
{
    const char *cut = strstr(text, "/./");
    CLEANUP(buf_clear) struct buf above = BUF_INIT;
    CLEANUP(buf_clear) struct buf place = BUF_INIT;
    if (cut)
        add_clean(&above, (struct str){text, (size_t)(cut - text)});
    add_clean(&place, str_of(cut ? cut + 3 : text));
    return xasprintf("%s%s/%s%s", above.len ? "/" : "", above.data, above.len ? "./" : "",
                     place.data);
}

static int expand_copy(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                       struct copy *c, struct error **err)
{
    const struct copy_args *a = &step->copy;
    AUTO_FREE char *dest = expand_word(b, st, &a->dest, err);
    if (!dest || optional(b, st, &a->chown, &c->chown, err) < 0 ||
        optional(b, st, &a->chmod, &c->chmod, err) < 0 ||
        optional(b, st, &a->from, &c->from, err) < 0 ||
        optional(b, st, &a->checksum, &c->checksum, err) < 0 ||
        optional(b, st, &a->platform, &c->platform, err) < 0)
        return -1;
    if (c->chmod && imagefile_mode(b->file, &a->chmod, c->chmod, err) < 0)
        return -1;
    c->dest = config_path(&st->config, dest);
    c->parents = a->parents;
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
        strv_add_take(&c->sources, c->from && c->parents ? parents_source(w) : xstrdup(w));
        free(w);
    }
    return 0;
}

/* Where the files come from: the build directory, or the folder that --from names. */
static struct context *copy_context(struct build *b, const struct copy *c, struct error **err)
{
    if (c->named)
        return named_context(b, c->named, err);
    return build_context(b, err) < 0 ? NULL : b->ctx;
}

static int select_sources(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                          struct copy *c, struct error **err)
{
    const struct copy_args *a = &step->copy;
    struct imagefile_vars vars = stage_vars(st);
    AUTO_FREE struct context_source *sources = xcalloc(a->n_sources, sizeof *sources);
    // bodies first: their bytes must not move while sources point to them
    AUTO_FREE struct buf *bodies = xcalloc(a->n_sources, sizeof *bodies);
    int rc = build_context(b, err);
    size_t n_sources = 0;
    for (size_t i = 0; i < a->n_sources && rc == 0; i++) {
        const struct heredoc *h = a->sources[i].heredoc;
        const char *text = c->sources.ptr[i];
        if (step->op == OP_ADD && !h && imagefile_is_git(str_of(text))) {
            rc = copy_gits_add(b, c, text, a->keep_git_dir, err);
            continue;
        }
        struct context_source *to = &sources[n_sources++];
        to->text = text;
        to->kind = h ? SOURCE_INLINE : SOURCE_PATH;
        if (step->op == OP_ADD && !h && is_url(text)) {
            to->kind = SOURCE_URL;
            to->fetched = prefetched(b, text, c->checksum);
        }
        if (step->op == OP_ADD && !h && str_is_container(str_of(text)))
            rc = copy_container_add(b, c, to, err);
        buf_init(&bodies[i]);
        if (h && rc == 0)
            rc = imagefile_expand_heredoc(b->file, h, &vars, &bodies[i], err);
        if (h && rc == 0) {
            size_t n = bodies[i].len;
            char *kept = buf_detach(&bodies[i], NULL);
            strv_add_take(&c->bodies, kept);
            to->bytes = (struct str){kept, n};
        }
    }
    if (rc < 0 || !n_sources)
        return rc;
    bool files = !c->containers.len;
    struct context_request r = {.instruction = step->op == OP_ADD ? "ADD" : "COPY",
                                .sources = sources,
                                .n_sources = n_sources,
                                .several = a->n_sources > 1,
                                .excludes = (const char *const *)c->excludes.ptr,
                                .n_excludes = c->excludes.len,
                                .dest = c->dest,
                                .parents = c->parents,
                                .unpack_local = step->op == OP_ADD && a->unpack != 0,
                                .unpack_remote = step->op == OP_ADD && a->unpack == 1,
                                .checksum = files ? c->checksum : NULL};
    long long start = now_us();
    struct context *ctx = rc < 0 ? NULL : copy_context(b, c, err);
    rc = ctx ? context_select(ctx, &r, &c->selection, err) : -1;
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

static struct runner_place copy_place(const struct copy *c, const struct selection *selection)
{
    size_t n = strlen(c->dest);
    bool folder = selection ? selection_needs_folder(selection)
                            : c->parents || c->sources.len > 1 || (n && c->dest[n - 1] == '/');
    return (struct runner_place){.dest = c->dest,
                                 .folder = folder,
                                 .keep_owner = c->from != NULL,
                                 .parents = c->parents,
                                 .chown = c->chown,
                                 .chmod = c->chmod};
}

int copy_send_selection(struct build *b, struct copy *c, struct selection *selection,
                        struct error **err)
{
    CLEANUP(sender_freep) struct sender *sender = sender_new(b->s, selection);
    c->sender = sender;
    c->shown = now_ms();
    struct sending p = {b, c};
    struct runner_stream from = {produce, &p};
    long long start = now_us();
    struct runner_place place = copy_place(c, selection);
    CLEANUP(error_freep) struct error *why = NULL;
    int rc = runner_receive(b->target.runner, &from, &place, step_wait(b), &why);
    session_timing(b->s, "receive", now_us() - start);
    // what the sender has to say comes first: the agent's failure then only repeats it
    if (sender_result(sender, err) < 0)
        return -1;
    return rc < 0 ? error_propagate(err, STEAL(why)) : 0;
}

int copy_send(struct build *b, struct copy *c, struct error **err)
{
    if (c->selection &&
        (copy_containers_bring(c, err) < 0 || copy_send_selection(b, c, c->selection, err) < 0))
        return -1;
    return copy_gits_send(b, c, err);
}

int copy_between(struct build *b, const struct copy *c, struct error **err)
{
    int slot = target_attach(&b->target, &c->source, 0, err);
    if (slot < 0)
        return -1;
    struct runner_sources from = {slot, &c->sources, &c->excludes};
    struct runner_place place = copy_place(c, NULL);
    return runner_copy(b->target.runner, &from, &place, step_wait(b), err);
}

static struct key *copy_key(const struct stage_run *st, const struct imagefile_step *step,
                            const struct copy *c)
{
    struct key *key = key_begin(*st->disk.id ? st->disk.id : NULL);
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    buf_addf(&text, "%s " COPY_RULES, imagefile_op_name(step->op));
    if (c->parents)
        buf_adds(&text, " --parents");
    if (c->from || c->parents)
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
                             c->chown ? 0 : RUNNER_KEEP_OWNER};
    if (stage_source(b, c->from, &c->source, err) < 0)
        return -1;
    if (holds_files(b, c->from)) // mkfs made it there, nobody copied it in
        strv_add(&c->excludes, "lost+found");
    // the manifest lacks the folders above
    if (!c->parents && from_by_content(&c->sources) &&
        from_manifest(b, &st->disk, &r, &manifest, err) < 0)
        return -1;
    c->listed = manifest.len;
    struct key *key = copy_key(st, step, c);
    if (c->listed)
        key_manifest(key, buf_str(&manifest));
    return step_layer(b, st, step, key, buf_str(&manifest),
                      (struct work){.kind = WORK_COPY, .copy = c}, err);
}

int step_copy(struct build *b, struct stage_run *st, const struct imagefile_step *step,
              struct error **err)
{
    CLEANUP(copy_clear) struct copy c = {0};
    if (expand_copy(b, st, step, &c, err) < 0 || copy_containers_check(step, &c, err) < 0)
        return -1;
    c.named = c.from ? named_find(b, c.from) : NULL;
    if (c.named && c.named->dir)
        free(STEAL(c.from)); // it is as if it were the build directory
    if (c.from)
        return step_copy_from(b, st, step, &c, err);
    if (select_sources(b, st, step, &c, err) < 0)
        return -1;
    struct key *key = copy_key(st, step, &c);
    copy_gits_put_key(c.gits, &c, key);
    struct str manifest = c.selection ? selection_manifest(c.selection) : (struct str){"", 0};
    if (c.selection)
        key_manifest(key, manifest);
    return step_layer(b, st, step, key, manifest, (struct work){.kind = WORK_SEND, .copy = &c},
                      err);
}
