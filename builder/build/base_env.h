/* SPDX-License-Identifier: MIT
 *
 * ENV of the images that are in a backend, for imagefile_evaluate:
 *
 *     CLEANUP(base_env_clear) struct base_env env = {.dir = "/backend"};
 *     const json_t *variables = base_env_get(&env, "debian"); // {"PATH": "/bin"}, or NULL
 */
#ifndef BUILDER_BUILD_BASE_ENV_H
#define BUILDER_BUILD_BASE_ENV_H

#include <jansson.h>

struct base_env {
    const char *dir; /* the backend; NULL: no image is known */
    json_t *known;   /* {"image": {"NAME": "value"…}}, each as it was first asked for */
};
/* `image` is a name or a spec; NULL when the backend has no such image. Borrowed until the clear. */
const json_t *base_env_get(void *env, const char *image);
void base_env_clear(struct base_env *e);

#endif
