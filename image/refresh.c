// SPDX-License-Identifier: MIT
//
// Files are looked at each time: content_digest remembers what it read as long as the file looks the
// same. Servers are asked only on --pull=newer.
#include "image/refresh.h"

#include "base/alloc.h"
#include "image/checksum.h"
#include "image/content.h"
#include "image/fetch.h"
#include "image/source.h"
#include "image/vagrant.h"

#include <stdarg.h>
#include <string.h>

struct look {
    const struct session *s;
    const struct image_spec *spec;
    const struct image_pull_options *o;
    enum pull_policy policy;
    struct image_source known;
    char *from; /* what the spec means, as a record would have it */
    bool same;  /* the record is of that */
};

static void look_clear(struct look *l)
{
    image_source_clear(&l->known);
    free(l->from);
}

/* "me/box:1.0" or "me/box:v1.0" without a source: the name says where it comes from, if it is not there. */
static bool is_box_name(const struct image_spec *spec)
{
    if (spec->kind != SPEC_VAGRANT)
        return false;
    AUTO_FREE char *whole = xasprintf("%s:%s", spec->box, spec->version);
    AUTO_FREE char *with_v = xasprintf("%s:v%s", spec->box, spec->version);
    return !strcmp(whole, spec->name) || !strcmp(with_v, spec->name);
}

static int unknown(const struct look *l)
{
    if (l->policy == PULL_NEWER)
        return 1;
    if (!is_box_name(l->spec))
        session_notice(
            l->s, "Using image '%s' as is: its source is not recorded (--pull=always fetches '%s')",
            l->spec->name, l->from);
    return 0;
}

static int other(const struct look *l)
{
    session_notice(l->s, "Image '%s' is from '%s', but '%s' was requested: fetching it",
                   l->spec->name, l->known.from, l->from);
    return 1;
}

/* The source can't be read. What is there is good enough if it came from there. */
static int gone(const struct look *l, struct error *why, struct error **err)
{
    if (why->kind == ERR_CANCELLED || !l->same) {
        error_hint(&why, "use the existing image '%s' from '%s' with --pull=never", l->spec->name,
                   l->known.from);
        return error_propagate(err, why);
    }
    session_notice(l->s, "Using image '%s' as is: %s", l->spec->name, why->message);
    error_free(why);
    return 0;
}

static int look_at_file(struct look *l, struct error **err)
{
    struct error *why = NULL;
    struct digest is;
    if (content_digest(l->s, l->spec->source, &is, &why) < 0)
        return gone(l, why, err);
    if (l->known.has_content && digest_eq(&is, &l->known.content)) {
        if (l->same)
            return 0;
        // another place with the same content
        free(l->known.from);
        l->known.from = xstrdup(l->from);
        l->known.kind = SPEC_FILE;
        return image_source_write(l->s->backend, l->spec->name, &l->known, err);
    }
    if (!l->same)
        return other(l);
    session_notice(l->s, "'%s' has changed since image '%s' was made from it", l->from,
                   l->spec->name);
    return 1;
}

/* 1 as it was, 0 changed, -1. */
static int ask(const struct look *l, struct error **err)
{
    CLEANUP(vagrant_box_clear) struct vagrant_box box = {0};
    const char *url = l->spec->source;
    if (l->spec->kind == SPEC_VAGRANT) {
        if (vagrant_lookup(l->s, l->o->vagrant_url, l->spec->box, l->spec->version, &box, err) < 0)
            return -1;
        if (box.has_digest && l->known.has_sha256)
            return digest_eq(&box.digest, &l->known.sha256);
        url = box.url;
    }
    if (!l->known.etag && !l->known.modified)
        return 0;
    return fetch_unchanged(l->s, url, l->known.etag, l->known.modified, err);
}

static int look_at_server(const struct look *l, struct error **err)
{
    struct error *why = NULL;
    if (!l->same)
        return other(l);
    if (l->policy == PULL_MISSING)
        return 0;
    int current = ask(l, &why);
    if (current < 0)
        return gone(l, why, err);
    if (!current)
        session_notice(l->s, "'%s' may have changed since image '%s' was made from it", l->from,
                       l->spec->name);
    return !current;
}

int refresh_needed(const struct session *s, const struct image_spec *spec,
                   const struct image_pull_options *o, enum pull_policy policy, struct error **err)
{
    if (policy == PULL_NEVER || policy == PULL_ALWAYS)
        return policy == PULL_ALWAYS;
    CLEANUP(look_clear)
    struct look l = {
        .s = s, .spec = spec, .o = o, .policy = policy, .from = image_source_from(spec)};
    if (!image_source_read(s->backend, spec->name, &l.known))
        return unknown(&l);
    l.same = l.known.kind == spec->kind && !strcmp(l.known.from, l.from);
    if (!l.same && policy == PULL_MISSING && is_box_name(spec))
        return 0; // imported, or fetched from elsewhere, under that name
    return spec->kind == SPEC_FILE ? look_at_file(&l, err) : look_at_server(&l, err);
}

/* The SHA-256 of the source: recorded, or of a file that is still there as it was. */
static bool sha256_of(const struct session *s, const struct image_source *x, struct digest *ret)
{
    struct digest is;
    *ret = x->sha256;
    if (x->has_sha256 || x->kind != SPEC_FILE || !x->has_content)
        return x->has_sha256;
    return content_digest(s, x->from, &is, NULL) == 0 && digest_eq(&is, &x->content) &&
           backend_digest(s, x->from, ret, NULL) == 0;
}

static bool known_checksum(const struct session *s, const struct image_source *x, unsigned size,
                           struct checksum *ret)
{
    struct digest d = {0};
    bool known = size == sizeof d.byte ? sha256_of(s, x, &d) : x->has_sha512;
    *ret = size == sizeof d.byte ? checksum_of(&d) : checksum_of512(&x->sha512);
    return known;
}

static int not_known(const struct image_spec *spec, struct error **err)
{
    error_set(err, ERR_USER,
              "cannot check image '%s' against the checksum: that of its source is unknown",
              spec->name);
    return error_hint(err, "name its source and use --pull=always to fetch and check it");
}

int refresh_verify(const struct session *s, const struct image_spec *spec,
                   const struct image_pull_options *o, struct error **err)
{
    CLEANUP(image_source_clear) struct image_source x = {0};
    struct checksum want, have;
    if (!o->checksum)
        return 0;
    if (!image_source_read(s->backend, spec->name, &x))
        return not_known(spec, err);
    AUTO_FREE char *name = checksum_name(x.from, x.kind == SPEC_HTTP);
    if (checksum_resolve(s, o->checksum, name, &want, err) < 0)
        return -1;
    if (!known_checksum(s, &x, want.size, &have))
        return not_known(spec, err);
    if (checksum_compare(&want, &have, err) == 0)
        return 0;
    error_wrap(err, "image '%s', made from '%s'", spec->name, x.from);
    return error_hint(err, "--pull=always fetches it again");
}
