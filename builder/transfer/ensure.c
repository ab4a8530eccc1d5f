// SPDX-License-Identifier: MIT
//
// An image of a registry that a FROM or `run` names is called in the backend as it is written, with its tag.
#include "base/alloc.h"
#include "base/session.h"
#include "builder/transfer/transfer.h"
#include "image/name.h"

static int ensure_reference(const struct session *s, const char *text,
                            const struct image_pull_options *o,
                            const struct transfer_options *transfer, struct backend_image *ret,
                            struct error **err)
{
    CLEANUP(reference_clear) struct reference ref = {0};
    if (reference_parse(text, &ref, err) < 0)
        return -1;
    AUTO_FREE char *name = reference_text(&ref);
    struct transfer_options to = *transfer;
    to.replace = true;
    bool again = o->policy == PULL_NEWER || o->policy == PULL_ALWAYS;
    if (o->checksum) {
        AUTO_FREE char *pinned = reference_pinned(&ref, "…");
        error_set(err, ERR_USER, "a checksum is not for '%s'", name);
        return error_hint(err, "write '%s' to say which image it must be", pinned);
    }
    if (image_name_check(name, err) < 0)
        return -1;
    bool there = backend_has(s->backend, name);
    if (!there && o->policy != PULL_NEVER)
        session_notice(s, "Unable to find image '%s' in backend", name);
    if ((again || (!there && o->policy != PULL_NEVER)) &&
        transfer_pull(s, &ref, name, &to, err) < 0)
        return -1;
    return backend_find(s->backend, name, ret, err);
}

int transfer_ensure(const struct session *s, const char *text, const struct image_pull_options *o,
                    const struct transfer_options *transfer, struct backend_image *ret,
                    struct error **err)
{
    CLEANUP(image_spec_clear) struct image_spec spec = {0};
    if (reference_is(text))
        return ensure_reference(s, text, o, transfer, ret, err);
    if (image_spec_parse(str_of(text), &spec, err) < 0)
        return -1;
    return image_ensure(s, &spec, o, ret, err);
}
