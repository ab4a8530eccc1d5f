// SPDX-License-Identifier: MIT
//
// ADD of container images: keyed by their manifests, brought and read only when the step has to run.
#include "base/alloc.h"
#include "base/url.h"
#include "builder/build/copy.h"
#include "builder/container/container.h"

int copy_containers_check(const struct imagefile_step *step, const struct copy *c,
                          struct error **err)
{
    const struct copy_args *a = &step->copy;
    bool image = false;
    if (step->op != OP_ADD)
        return 0;
    for (size_t i = 0; i < c->sources.len; i++)
        image |= !a->sources[i].heredoc && str_is_container(str_of(c->sources.ptr[i]));
    if (c->platform && !image)
        return error_set(err, ERR_USER, "--platform is for container images only");
    if (image && c->excludes.len) {
        error_set(err, ERR_USER, "--exclude cannot be combined with a container image");
        return error_hint(err, "remove what is not wanted in a RUN");
    }
    if (image && a->unpack == 0) {
        error_set(err, ERR_USER, "a container image is always unpacked");
        return error_hint(err, "remove --unpack=false");
    }
    return 0;
}

int copy_container_add(struct build *b, struct copy *c, struct context_source *source,
                       struct error **err)
{
    CLEANUP(container_name_clear) struct container_name name = {0};
    CLEANUP(context_place_clear) struct context_place place = {.fd = -1};
    struct container_options o = {.text = source->text,
                                  .place = &place,
                                  .platform = c->platform,
                                  .checksum = c->checksum,
                                  .transfer = &b->o->transfer};
    struct container *image;
    container_split(source->text, &name);
    if (name.path && context_locate(b->ctx, "ADD", name.path, &place, err) < 0)
        return -1;
    if (container_open(b->s, &o, &image, err) < 0)
        return -1;
    *containers_push(&c->containers) = image;
    source->kind = SOURCE_ITEMS;
    source->digest = container_digest(image);
    source->size = container_bytes(image);
    source->items = container_items(image);
    return 0;
}

int copy_containers_bring(const struct copy *c, struct error **err)
{
    vec_foreach (struct container *const *, image, &c->containers)
        if (container_fetch(*image, err) < 0 || container_prepare(*image, err) < 0)
            return -1;
    return 0;
}

void copy_containers_free(struct copy *c)
{
    vec_foreach (struct container **, image, &c->containers)
        container_free(*image);
    containers_clear(&c->containers);
}
