// SPDX-License-Identifier: MIT
#include "cli/vm_warm.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/json.h"
#include "builder/build/image_chain.h"
#include "image/backend.h"
#include "vm/named.h"

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

/* What the option, KILN_WARM or vm.json says. */
struct mode {
    bool wanted, strict, compress;
};

/* "1", "0", "strict", "compress", or both with a comma. */
static bool mode_parse(const char *text, struct mode *ret)
{
    struct mode m = {.wanted = strcmp(text, "0") != 0};
    bool plain = !m.wanted || !strcmp(text, "1");
    for (const char *p = text; !plain; p++) {
        size_t n = strcspn(p, ",");
        if (n == 6 && !strncmp(p, "strict", n))
            m.strict = true;
        else if (n == 8 && !strncmp(p, "compress", n))
            m.compress = true;
        else
            return false;
        p += n;
        if (!*p)
            break;
    }
    *ret = m;
    return true;
}

/* NULL: it is not given, or the command has none of that name. */
static const char *option(const struct args *a, const char *name)
{
    return command_option(a->command, name) ? args_get(a, name) : NULL;
}

/* kept: what was said when the VM was created; NULL = nothing. */
static int mode(const struct session *s, const struct args *a, const char *kept, struct mode *ret,
                struct error **err)
{
    const char *env = session_setting(s, "KILN_WARM"), *given = option(a, "warm");
    const char *text = given ? (*given ? given : "1") : kept ? kept : "0";
    *ret = (struct mode){0};
    if (env && !mode_parse(env, ret)) {
        error_set(err, ERR_USER, "KILN_WARM: '%s' is not 1, 0, strict or compress", env);
        return error_hint(err, "KILN_WARM=strict,compress is both");
    }
    if (option(a, "cold")) {
        *ret = (struct mode){0};
        return 0;
    }
    if (env && !given && (!kept || !ret->wanted))
        return 0;
    if (mode_parse(!strcmp(text, "off") ? "0" : text, ret))
        return 0;
    error_set(err, given ? ERR_USAGE : ERR_USER, "%s: '%s' is not strict, compress or off",
              given ? "argument --warm" : "vm.json: \"warm\"", text);
    return error_hint(err, "--warm=strict,compress is both");
}

int vm_warm_wanted(const struct session *s, const struct args *a, bool *ret, struct error **err)
{
    struct mode m;
    if (mode(s, a, NULL, &m, err) < 0)
        return -1;
    *ret = m.wanted;
    if (m.wanted)
        return 0;
    if (a->command != &cmd_image_warm)
        return args_has(a, "ready-when")
                   ? error_set(err, ERR_USAGE, "argument --ready-when: needs --warm")
                   : 0;
    if (!option(a, "warm"))
        return 0;
    error_set(err, ERR_USAGE, "argument --warm: 'image warm' saves a boot, so it cannot be off");
    return error_hint(err, "--warm=off is for run, create and start; leave it out here");
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

/* What is wanted is taken from m; ready: text of --ready-when, borrowed by *ret, or NULL. */
static int take(const struct session *s, const struct mode *m, const char *image, const char *ready,
                struct vm_warm_request *ret, struct error **err)
{
    struct vm_warm_wish *w = &ret->wish;
    w->strict = m->strict;
    w->compress = m->compress;
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
    ret->wanted = ret->id != NULL;
    return 0;
}

int vm_warm_take(const struct session *s, const struct args *a, const char *image,
                 struct vm_warm_request *ret, struct error **err)
{
    struct mode m;
    bool wanted;
    if (vm_warm_wanted(s, a, &wanted, err) < 0 || mode(s, a, NULL, &m, err) < 0)
        return -1;
    bool ahead = a->command == &cmd_image_warm;
    if (!wanted && !ahead)
        return 0;
    if (take(s, &m, image, args_get(a, "ready-when"), ret, err) < 0)
        return -1;
    if (!ret->wanted && ahead)
        return error_set(err, ERR_USER,
                         "only images have saved boots, and '%s' is not the name of one", image);
    if (!ret->wanted)
        session_notice(s, "only images have saved boots, and '%s' is not the name of one; booting",
                       image);
    return 0;
}

int vm_warm_take_job(const struct session *s, const struct args *a, const char *image,
                     const char *layer, struct vm_warm_request *ret, struct error **err)
{
    const char *env = session_setting(s, "KILN_WARM");
    struct mode m;
    if (mode(s, a, env ? env : "1", &m, err) < 0)
        return -1;
    if (!m.wanted)
        return 0;
    if (take(s, &m, image, args_get(a, "ready-when"), ret, err) < 0)
        return -1;
    ret->wish.quiet = true;
    if (ret->id && !strchr(ret->id, ' ') && strcmp(ret->id, layer) != 0)
        ret->wanted = false; // somebody gave the name to another image
    return 0;
}

/* --- VMs that are created --- */

int vm_warm_note(const struct session *s, const struct args *a, const char *image, json_t *config,
                 struct error **err)
{
    const char *given = args_get(a, "warm"), *env = session_setting(s, "KILN_WARM");
    const char *mode = given && *given ? given : given ? "1" : env;
    AUTO_FREE char *id = identity(s, image);
    bool wanted;
    if (vm_warm_wanted(s, a, &wanted, err) < 0)
        return -1;
    json_t *note = json_pack("{s:s*, s:s*, s:s*}", "mode", wanted ? mode : NULL, "ready",
                             args_get(a, "ready-when"), "id", id);
    return json_object_set_new(config, "warm", note) < 0
               ? error_set(err, ERR_USER, "an argument is not UTF-8")
               : 0;
}

/* Whether the VM's disk is on what the image's name stands for. */
static bool same_image(const struct named_vm *vm, const json_t *kept, const char *id)
{
    const char *then = json_str(kept, "id");
    const char *layer = json_str(vm->config, "layer");
    bool is_layer = id && !strchr(id, ' ');
    return id && then && !strcmp(id, then) && (!is_layer || (layer && !strcmp(id, layer)));
}

int vm_warm_take_vm(const struct session *s, const struct args *a, const struct named_vm *vm,
                    struct vm_warm_request *ret, struct error **err)
{
    const json_t *kept = json_object_get(vm->config, "warm");
    const char *image = json_str(vm->config, "image"), *ready = option(a, "ready-when");
    struct mode m;
    if (mode(s, a, json_str(kept, "mode"), &m, err) < 0)
        return -1;
    if (ready && !m.wanted)
        return error_set(err, ERR_USAGE, "argument --ready-when: needs --warm");
    if (!m.wanted || !image)
        return 0;
    json_auto_t *started = named_vm_noted(vm);
    if (json_object_get(started, "ssh_port")) { // else it was not completed
        if (option(a, "warm"))
            session_notice(s, "only the first start of VM '%s' can be from a saved boot; booting",
                           vm->name);
        return 0;
    }
    if (take(s, &m, image, ready ? ready : json_str(kept, "ready"), ret, err) < 0)
        return -1;
    ret->wish.again = started != NULL;
    if (ret->wanted && same_image(vm, kept, ret->id))
        return 0;
    ret->wanted = false;
    session_notice(s, "no saved boot for VM '%s': the image '%s' is %s; booting", vm->name, image,
                   ret->id ? "another one now" : "gone");
    return 0;
}

void vm_warm_tidy(const struct session *s)
{
    vm_warm_sweep(s, identity);
}
