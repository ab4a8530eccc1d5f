// SPDX-License-Identifier: MIT
//
// One folder .working/pull-<encoded name> a name, and its lock beside it: who holds the lock pulls,
// others wait and then find the image there. The folder stays only if it has a state to resume
// from; folders that nobody came back to for a week go.
#include "image/pull.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/lock.h"
#include "base/url.h"
#include "image/chain.h"
#include "image/checksum.h"
#include "image/content.h"
#include "image/convert.h"
#include "image/fetch.h"
#include "image/known.h"
#include "image/name.h"
#include "image/receive.h"
#include "image/refresh.h"
#include "image/source.h"
#include "image/vagrant.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int pull_policy_parse(const char *text, enum pull_policy *ret, struct error **err)
{
    static const char *const words[] = {[PULL_MISSING] = "missing",
                                        [PULL_NEWER] = "newer",
                                        [PULL_ALWAYS] = "always",
                                        [PULL_NEVER] = "never"};
    *ret = text ? PULL_ALWAYS : PULL_MISSING;
    if (!text || !*text)
        return 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(text, words[i])) {
            *ret = (enum pull_policy)i;
            return 0;
        }
    return error_set(err, ERR_USAGE,
                     "argument --pull: '%s' is not one of missing, newer, always, never", text);
}

/* What a call is about: the spec as given, the one that a record has, or the one of a table. */
struct wanted {
    struct image_spec own;
    const struct image_spec *spec;
    struct known_images table;
    const struct known_image *known; /* the spec's URL is this one's; NULL = of no table */
};

static void wanted_clear(struct wanted *w)
{
    image_spec_clear(&w->own);
    known_images_free(&w->table);
}

/* Where the bytes are, and what they must be. */
struct origin {
    char *url, *path; /* one of them */
    bool box;
    struct checksum checksum;
    bool has_checksum;
};

static void origin_clear(struct origin *x)
{
    free(x->url);
    free(x->path);
}

static int find_box(const struct session *s, const struct image_spec *spec,
                    const struct image_pull_options *o, struct origin *x, struct error **err)
{
    struct vagrant_box box = {0};
    session_notice(s, "Pulling from vagrant cloud: %s:%s", spec->box, spec->version);
    if (vagrant_lookup(s, o->vagrant_url, spec->box, spec->version, &box, err) < 0)
        return -1;
    x->url = box.url;
    x->box = true;
    x->checksum = checksum_of(&box.digest);
    x->has_checksum = box.has_digest;
    return 0;
}

static void find_url(const struct session *s, const char *url, struct origin *x)
{
    AUTO_FREE char *shown = fetch_shown_url(url);
    session_notice(s, "Downloading image from '%s'", shown);
    x->url = xstrdup(url);
}

static int find_checksum(const struct session *s, const struct wanted *w,
                         const struct image_pull_options *o, struct origin *x, struct error **err)
{
    const char *source = x->url ? x->url : x->path;
    const char *given = o->checksum                      ? o->checksum
                        : w->known && o->checksum_beside ? w->known->checksum
                                                         : NULL;
    AUTO_FREE char *name = checksum_name(source, x->url != NULL);
    if (given) {
        x->has_checksum = true;
        return checksum_resolve(s, given, name, &x->checksum, err);
    }
    if (!x->has_checksum && o->checksum_beside)
        x->has_checksum = checksum_beside(s, source, x->url != NULL, &x->checksum);
    return 0;
}

static int find_origin(const struct session *s, const struct wanted *w,
                       const struct image_pull_options *o, struct origin *x, struct error **err)
{
    const struct image_spec *spec = w->spec;
    switch (spec->kind) {
    case SPEC_HTTP:
        find_url(s, spec->source, x);
        break;
    case SPEC_FILE:
        x->path = xstrdup(spec->source);
        session_notice(s, "Copying image from '%s'", x->path);
        break;
    case SPEC_VAGRANT:
        if (find_box(s, spec, o, x, err) < 0)
            return -1;
        break;
    case SPEC_NAME:
    case SPEC_OCI:
        return error_set(err, ERR_NOT_FOUND, "'%s' has no source", spec->name);
    }
    return find_checksum(s, w, o, x, err);
}

static int make_image(const struct session *s, const char *dir, enum format f,
                      const struct image_pull_options *o, struct error **err)
{
    AUTO_FREE char *disk = path_join(dir, "disk");
    if (f != FORMAT_QCOW2 && f != FORMAT_RAW)
        session_notice(s, "Converting the image from %s", format_name(f));
    return convert_in(s, disk, f, o->max_size, err);
}

/* Once more from nothing if the source changed under us. */
static int receive_image(const struct session *s, const char *dir, const struct origin *x,
                         const struct image_pull_options *o, struct received *ret,
                         struct error **err)
{
    AUTO_FREE char *shown = x->url ? fetch_shown_url(x->url) : xstrdup(x->path);
    struct receive_options r = {.dir = dir,
                                .url = x->url,
                                .path = x->path,
                                .tar = x->box ? TAR_DISK_BOX : TAR_DISK_NONE,
                                .expected = x->has_checksum ? &x->checksum : NULL,
                                .pull = o};
    for (int attempt = 1;; attempt++) {
        CLEANUP(error_freep) struct error *why = NULL;
        received_clear(ret);
        if (make_dirs(dir, 0700, err) < 0)
            return -1;
        if (receive(s, &r, ret, &why) == 0)
            return make_image(s, dir, ret->format, o, err) < 0 ? error_wrap(err, "'%s'", shown) : 0;
        if (!ret->changed || attempt == 2) {
            if (!ret->named)
                error_wrap(&why, "'%s'", shown);
            return error_propagate(err, STEAL(why));
        }
        session_notice(s, "The file changed on the server: starting over");
        if (remove_tree(dir, err) < 0)
            return -1;
    }
}

static int write_source(const struct session *s, const struct image_spec *spec,
                        const struct received *got, struct error **err)
{
    AUTO_FREE char *from = image_source_from(spec);
    struct image_source x = {.kind = spec->kind,
                             .from = from,
                             .has_content = got->has_content,
                             .has_sha256 = got->has_sha256,
                             .content = got->content,
                             .sha256 = got->sha256,
                             .has_sha512 = got->has_sha512,
                             .sha512 = got->sha512,
                             .etag = got->etag,
                             .modified = got->modified};
    return image_source_write(s->backend, spec->name, &x, err);
}

/* Puts the label kiln.ssh-user into an image that has no metadata of its own. */
static int label_user(const struct session *s, const char *disk, const char *user,
                      struct error **err)
{
    json_auto_t *m = json_pack("{s:{s:{s:s}}}", "config", "labels", IMAGE_LABEL_SSH_USER, user);
    AUTO_FREE char *text = m ? json_text(m) : NULL;
    return text ? convert_describe(s, disk, text, err) : 0;
}

static int fetch_image(const struct session *s, const struct wanted *w, const char *dir,
                       const struct image_pull_options *o, struct error **err)
{
    const struct image_spec *spec = w->spec;
    CLEANUP(origin_clear) struct origin x = {0};
    CLEANUP(received_clear) struct received got = {0};
    struct stat before;
    if (find_origin(s, w, o, &x, err) < 0)
        return -1;
    bool file = x.path && stat(x.path, &before) == 0;
    if (receive_image(s, dir, &x, o, &got, err) < 0)
        return -1;
    if (session_cancelled(s))
        return error_set(err, ERR_CANCELLED, "interrupted");
    if (file && got.has_content)
        content_remember(s->cache, x.path, &before, &got.content);
    AUTO_FREE char *disk = path_join(dir, "disk");
    if (w->known && w->known->user && label_user(s, disk, w->known->user, err) < 0)
        return -1;
    if (backend_register_file(s->backend, spec->name, disk, err) < 0)
        return -1;
    return write_source(s, spec, &got, err);
}

/* What can't be resumed goes, and what can stays. */
static void leave(const char *dir, const char *lock, bool done)
{
    AUTO_FREE char *state = path_join(dir, "state.json");
    if (!done && access(state, F_OK) == 0)
        return;
    if (remove_tree(dir, NULL) == 0)
        (void)unlink(lock);
}

/* The lock of a name; *ret_waited: somebody else had it. */
static int take_lock(const struct session *s, const char *lock, const char *name, bool *ret_waited,
                     struct error **err)
{
    CLEANUP(error_freep) struct error *why = NULL;
    int fd = lock_try(lock, LOCK_EXCLUSIVE, &why);
    *ret_waited = fd < 0 && why->kind == ERR_BUSY;
    if (fd >= 0)
        return fd;
    if (!*ret_waited)
        return error_propagate(err, STEAL(why));
    session_notice(s, "Waiting for another process that is pulling '%s'", name);
    return lock_wait(lock, LOCK_EXCLUSIVE, s->cancel_fd, err);
}

/* A spec without a source that is to be fetched again means the source it had. */
static void use_record(const struct session *s, struct wanted *w)
{
    CLEANUP(image_source_clear) struct image_source x = {0};
    const char *name = w->spec->name, *url = w->known ? w->known->url : "";
    bool has = image_source_read(s->backend, name, &x);
    if (!has || strcmp(x.from, url) != 0 || strcmp(name, w->known->name) != 0)
        w->known = NULL;
    if (has && x.kind != SPEC_OCI) {
        struct image_spec had = {0};
        image_source_spec(&x, name, &had);
        image_spec_clear(&w->own);
        w->own = had;
        w->spec = &w->own;
    }
}

/* A name that is not in the backend may be in a table, also as another name of what is there. */
static void use_table(const struct session *s, struct wanted *w)
{
    const struct known_image *k = w->known;
    if (!k)
        return;
    bool there = backend_has(s->backend, k->name);
    w->own = (struct image_spec){.kind = there            ? SPEC_NAME
                                         : is_url(k->url) ? SPEC_HTTP
                                                          : SPEC_FILE,
                                 .name = xstrdup(k->name),
                                 .source = there ? NULL : xstrdup(k->url)};
    w->spec = &w->own;
}

static int want(const struct session *s, const struct image_spec *given,
                const struct image_pull_options *o, struct wanted *w, struct error **err)
{
    bool there = backend_has(s->backend, given->name);
    bool again = o->policy == PULL_NEWER || o->policy == PULL_ALWAYS;
    w->spec = given;
    if (given->kind != SPEC_NAME || (there && !again))
        return 0;
    if (known_images_read(s, &w->table, err) < 0)
        return -1;
    w->known = known_images_find(&w->table, given->name);
    if (!there)
        use_table(s, w);
    if (again && backend_has(s->backend, w->spec->name))
        use_record(s, w);
    return 0;
}

/* 1: fetch, 0: what is there is to be used and fits the checksum, -1. */
static int is_needed(const struct session *s, const struct image_spec *spec,
                     const struct image_pull_options *o, enum pull_policy policy,
                     struct error **err)
{
    bool there = backend_has(s->backend, spec->name);
    if (!there && (spec->kind == SPEC_NAME || policy == PULL_NEVER))
        return known_images_not_found(s, spec->name, err);
    bool leave_it = spec->kind == SPEC_NAME || (o->import && policy != PULL_ALWAYS);
    int needed = !there ? 1 : leave_it ? 0 : refresh_needed(s, spec, o, policy, err);
    return needed ? needed : refresh_verify(s, spec, o, err);
}

/* With the lock of the name, which is then left. */
static int pull_locked(const struct session *s, const struct wanted *w,
                       const struct image_pull_options *o, const char *parent, bool *ret_pulled,
                       struct error **err)
{
    const struct image_spec *spec = w->spec;
    bool waited, there = backend_has(s->backend, spec->name);
    AUTO_FREE char *file = image_name_encode(spec->name);
    AUTO_FREE char *dir = xasprintf("%s/pull-%s", parent, file), *lock = xasprintf("%s.lock", dir);
    AUTO_CLOSE int fd = take_lock(s, lock, spec->name, &waited, err);
    if (fd < 0)
        return -1;
    // the one we waited for, or one just before us, may have done the work
    int needed = 1;
    if (backend_has(s->backend, spec->name) && (waited || !there))
        needed = is_needed(s, spec, o, PULL_MISSING, err);
    if (needed <= 0) {
        leave(dir, lock, false);
        return needed;
    }
    int rc = fetch_image(s, w, dir, o, err);
    leave(dir, lock, rc == 0);
    *ret_pulled = rc == 0;
    return rc < 0
               ? error_wrap(err, "cannot %s image '%s'", o->import ? "import" : "pull", spec->name)
               : 0;
}

static int pull(const struct session *s, const struct wanted *w, const struct image_pull_options *o,
                bool *ret_pulled, struct error **err)
{
    *ret_pulled = false;
    int needed = is_needed(s, w->spec, o, o->policy, err);
    if (needed <= 0)
        return needed;
    if (!backend_has(s->backend, w->spec->name))
        session_notice(s, "Unable to find image '%s' in backend", w->spec->name);
    AUTO_FREE char *parent = path_join(s->backend, WORKING);
    if (make_dirs_inside(parent, err) < 0)
        return -1;
    (void)image_pulls_prune(s->backend, INTERRUPTED_PULL_SECONDS, false);
    return pull_locked(s, w, o, parent, ret_pulled, err);
}

int image_pull(const struct session *s, const struct image_spec *given,
               const struct image_pull_options *o, bool *ret_pulled, struct error **err)
{
    CLEANUP(wanted_clear) struct wanted w = {0};
    bool ignored;
    return want(s, given, o, &w, err) < 0 ? -1
                                          : pull(s, &w, o, ret_pulled ? ret_pulled : &ignored, err);
}

int image_ensure(const struct session *s, const struct image_spec *spec,
                 const struct image_pull_options *o, struct backend_image *ret, struct error **err)
{
    CLEANUP(wanted_clear) struct wanted w = {0};
    bool ignored;
    if (want(s, spec, o, &w, err) < 0 || pull(s, &w, o, &ignored, err) < 0)
        return -1;
    return backend_find(s->backend, w.spec->name, ret, err);
}
