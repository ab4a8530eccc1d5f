// SPDX-License-Identifier: MIT
//
// What COPY --from and a bind of another image read, by content: a manifest that the agent makes of
// the layer's tree. Layers never change, so a manifest is kept in the layer's folder, by what was
// asked for, and a build that is cached asks no VM; an empty one says that it would be too large. It goes into keys of other chains, so it is
// made in a VM that no step has touched: one that a RUN has taken over could lie about it. A cache in a
// registry has them, too, by a digest of layer and question.
#include "base/alloc.h"
#include "base/file.h"
#include "base/session.h"
#include "builder/build/private.h"
#include "builder/context/manifest.h"

#include <stdio.h>
#include <string.h>

#define SURVEY_VERSION "1" /* of what the agent does */

enum { SURVEY_MAX = 1 << 29 }; /* bytes of a manifest, as of those kept with layers */

/* A pattern, or a path below the root? The whole of an image is known by its id. */
static bool is_part(const char *source)
{
    return source[strspn(source, "/.")] != '\0';
}

bool step_has_from(const struct imagefile_step *step)
{
    if (step->op == OP_COPY || step->op == OP_ADD)
        return word_given(&step->copy.from);
    for (size_t m = 0; step->op == OP_RUN && m < step->run.n_mounts; m++)
        if (word_given(&step->run.mounts[m].fields[MOUNT_FROM]))
            return true;
    return false;
}

bool from_by_content(const struct strv *sources)
{
    for (size_t i = 0; i < sources->len; i++)
        if (!is_part(sources->ptr[i]))
            return false;
    return sources->len > 0;
}

/* The question; about that layer, or about any (NULL). */
static void ask(const char *layer, const struct from_request *r, char hex[ID_SIZE])
{
    struct key *key = key_begin(layer);
    char flags[16];
    (void)snprintf(flags, sizeof flags, "%d", r->flags);
    key_field(key, "survey", SURVEY_VERSION, strlen(SURVEY_VERSION));
    key_field(key, "flags", flags, strlen(flags));
    for (size_t i = 0; i < r->sources->len; i++)
        key_field(key, "source", r->sources->ptr[i], strlen(r->sources->ptr[i]));
    for (size_t i = 0; r->excludes && i < r->excludes->len; i++)
        key_field(key, "exclude", r->excludes->ptr[i], strlen(r->excludes->ptr[i]));
    key_finish(key, hex, NULL);
}

/* Where the answer is kept: <layer>/from-<SHA-256 of the question>; NULL: the layer is not here. */
static char *answer_path(struct build *b, const struct from_request *r)
{
    CLEANUP(layer_freep) struct layer *layer = NULL;
    char hex[ID_SIZE];
    ask(NULL, r, hex);
    return store_get(b->store, r->disk->id, &layer, NULL) < 0
               ? NULL
               : xasprintf("%s/from-%s", layer->folder, hex);
}

static bool is_sound(struct str manifest)
{
    size_t at = 0;
    struct manifest_entry e;
    while (manifest_next(manifest, &at, &e))
        ;
    return at && at == manifest.len;
}

/* A kept answer is its SHA-256 and the manifest. */
static bool read_answer(const char *path, struct buf *ret)
{
    struct digest d;
    buf_reset(ret);
    if (file_read(path, SURVEY_MAX + sizeof d, ret, NULL) < 0 || ret->len < sizeof d)
        return false;
    memcpy(&d, ret->data, sizeof d);
    buf_consume(ret, sizeof d);
    struct digest is = digest_of(ret->data, ret->len);
    return digest_eq(&is, &d) && (!ret->len || is_sound(buf_str(ret)));
}

/* In a backend that we may not write to, it is asked for again next time. */
static void keep_answer(struct build *b, const char *path, struct str manifest)
{
    CLEANUP(error_freep) struct error *why = NULL;
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    struct digest d = digest_of(manifest.ptr, manifest.len);
    buf_add(&out, &d, sizeof d);
    buf_add_str(&out, manifest);
    if (file_write_whole(path, 0644, out.data, out.len, &why) < 0)
        session_debug(b->s, 1, "what --from copies is not kept: %s", why->message);
}

/* a runner_output_fn */
static void take_output(void *manifest, int stream, const char *bytes, size_t n)
{
    struct buf *b = manifest;
    (void)stream;
    if (b->len <= SURVEY_MAX)
        buf_add(b, bytes, n);
}

static int ask_agent(struct build *b, const struct disk_state *for_disk,
                     const struct from_request *r, struct buf *ret, struct error **err)
{
    long long start = now_us();
    if (remote_bring(b, for_disk->id, err) < 0 || remote_bring(b, r->disk->id, err) < 0)
        return -1;
    if (target_untouched(&b->target, for_disk, err) < 0)
        return -1;
    int slot = target_attach(&b->target, r->disk, 0, err);
    if (slot < 0)
        return -1;
    struct runner_sources sources = {slot, r->sources, r->excludes};
    struct runner_wait w = {-1, take_output, ret};
    bool listed;
    buf_reset(ret);
    if (runner_survey(b->target.runner, &sources, r->flags, w, &listed, err) < 0)
        return -1;
    session_timing(b->s, "survey", now_us() - start);
    if (!listed) {
        buf_reset(ret);
        return 0;
    }
    return is_sound(buf_str(ret)) ? 0
                                  : error_set(err, ERR_GUEST,
                                              "the builder VM's list of what --from "
                                              "copies is damaged");
}

/* 1: known here, or to a cache; 0; -1. */
static int find_answer(struct build *b, const struct from_request *r, const char *question,
                       struct buf *ret, struct error **err)
{
    AUTO_FREE char *path = answer_path(b, r);
    if (path && read_answer(path, ret))
        return remote_keep_files(b, question, buf_str(ret), err) < 0 ? -1 : 1;
    int found = remote_files(b, question, ret, err);
    if (found > 0 && ret->len && !is_sound(buf_str(ret)))
        found = 0;
    if (found > 0 && path)
        keep_answer(b, path, buf_str(ret));
    return found;
}

int from_manifest(struct build *b, const struct disk_state *for_disk, const struct from_request *r,
                  struct buf *ret, struct error **err)
{
    char question[ID_SIZE];
    ask(r->disk->id, r, question);
    int found = find_answer(b, r, question, ret, err);
    if (found)
        return found < 0 ? -1 : 0;
    if (b->o->require_cached) {
        error_set(err, ERR_USER, "step %zu is not cached: what --from copies is not known yet",
                  b->step);
        return error_hint(err, "--require-cached asks for a build that does nothing");
    }
    if (ask_agent(b, for_disk, r, ret, err) < 0)
        return -1;
    AUTO_FREE char *path = answer_path(b, r);
    if (path)
        keep_answer(b, path, buf_str(ret));
    return remote_keep_files(b, question, buf_str(ret), err);
}
