// SPDX-License-Identifier: MIT
#include "cli/vm_warm.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "builder/build/image_chain.h"
#include "image/backend.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

extern const struct command cmd_image_warm;

void vm_warm_request_clear(struct vm_warm_request *r)
{
    free(r->image);
    free(r->backend);
    free(r->id);
    *r = (struct vm_warm_request){0};
}

/* What the name stands for now: its layer, or its own file; owned. NULL: there is no such image. */
static char *identity(const struct session *s, const char *name)
{
    struct backend_image image = {0};
    struct stat st;
    char *id = NULL;
    if (backend_find(s->backend, name, &image, NULL) < 0)
        return NULL;
    if (image.layer)
        id = xstrdup(image.layer);
    else if (stat(image.path, &st) == 0)
        id = xasprintf("%llx %lld.%09ld %lld", (unsigned long long)st.st_ino,
                       (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, (long long)st.st_size);
    backend_image_clear(&image);
    return id;
}

/* KILN_WARM or the option's value: *ret_strict. */
static int mode(const struct session *s, const struct args *a, bool *ret_wanted, bool *ret_strict,
                struct error **err)
{
    const char *env = session_setting(s, "KILN_WARM"), *given = args_get(a, "warm");
    const char *text = given ? (*given ? given : "1") : env ? env : "0";
    *ret_strict = !strcmp(text, "strict");
    *ret_wanted = *ret_strict || !strcmp(text, "1");
    if (*ret_wanted || !strcmp(text, "0") || (given && !strcmp(text, "off")))
        return 0;
    if (given)
        return error_set(err, ERR_USAGE, "argument --warm: '%s' is not strict or off", text);
    return error_set(err, ERR_USER, "KILN_WARM: '%s' is not 1, strict or 0", text);
}

int vm_warm_wanted(const struct session *s, const struct args *a, bool *ret, struct error **err)
{
    bool strict;
    if (mode(s, a, ret, &strict, err) < 0)
        return -1;
    if (!*ret && args_has(a, "ready-when") && a->command != &cmd_image_warm)
        return error_set(err, ERR_USAGE, "argument --ready-when: needs --warm");
    return 0;
}

static int limit(const struct session *s, uint64_t *ret, struct error **err)
{
    const char *text = session_setting(s, "KILN_WARM_MAX_SIZE");
    unsigned long long bytes = 0;
    if (text && (!size_parse(text, &bytes) || !bytes)) {
        error_set(err, ERR_USER, "KILN_WARM_MAX_SIZE: '%s' is not a size", text);
        return error_hint(err, "sizes are 500M or 20GB");
    }
    *ret = bytes;
    return 0;
}

int vm_warm_take(const struct session *s, const struct args *a, const char *image,
                 struct vm_warm_request *ret, struct error **err)
{
    struct vm_warm_wish *w = &ret->wish;
    const char *ready = args_get(a, "ready-when");
    if (vm_warm_wanted(s, a, &ret->wanted, err) < 0)
        return -1;
    ret->wanted |= a->command == &cmd_image_warm;
    bool ignored;
    (void)mode(s, a, &ignored, &w->strict, NULL);
    if (!ret->wanted)
        return 0;
    if (limit(s, &w->max_bytes, err) < 0 ||
        (ready && vm_warm_ready_parse(ready, &w->ready, err) < 0))
        return -1;
    ret->image = xstrndup(image, strcspn(image, ","));
    ret->backend = realpath(s->backend, NULL);
    ret->id = identity(s, ret->image);
    w->ready_text = ready;
    w->image = ret->image;
    w->backend = ret->backend;
    w->layer = ret->id;
    if (ret->id)
        return 0;
    session_notice(s, "only images have saved boots, and '%s' is not the name of one; booting",
                   image);
    ret->wanted = false;
    return 0;
}

void vm_warm_tidy(const struct session *s)
{
    vm_warm_sweep(s, identity);
}
