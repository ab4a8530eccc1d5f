// SPDX-License-Identifier: MIT
#include "builder/build/base_env.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "builder/build/image_chain.h"
#include "image/backend.h"
#include "image/spec.h"

static json_t *read_env(const char *dir, const char *image)
{
    struct image_spec spec = {0};
    struct backend_image found = {0};
    if (image_spec_parse(str_of(image), &spec, NULL) < 0)
        return NULL;
    AUTO_FREE char *of_step = image_step_name(dir, image);
    int rc = backend_find(dir, of_step ? of_step : spec.name, &found, NULL);
    image_spec_clear(&spec);
    if (rc < 0)
        return NULL;
    json_auto_t *m = json_parse_object(found.metadata);
    json_t *env = json_object_get(json_object_get(m, "config"), "env");
    env = json_is_object(env) ? json_incref(env) : json_object();
    backend_image_clear(&found);
    return env;
}

const json_t *base_env_get(void *env, const char *image)
{
    struct base_env *e = env;
    if (!e->dir)
        return NULL;
    if (!e->known)
        e->known = json_object();
    json_t *known = json_object_get(e->known, image);
    if (!known) {
        json_t *fresh = read_env(e->dir, image);
        known = fresh ? fresh : json_null();
        if (json_object_set_new(e->known, image, known) < 0) // a name that is not UTF-8
            return NULL;
    }
    return json_is_object(known) ? known : NULL;
}

void base_env_clear(struct base_env *e)
{
    json_decref(e->known);
    e->known = NULL;
}
