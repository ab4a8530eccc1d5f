/* SPDX-License-Identifier: MIT
 *
 * What an image says about itself besides its disk: ENV, WORKDIR, USER, SHELL, LABEL. It grows
 * while the steps of a stage are walked, is inherited by FROM, and travels in the image's metadata
 * as
 *
 *   {"env": {"k": "v"}, "workdir": "/", "user": "", "shell": ["/bin/sh", "-c"], "labels": {…}}
 *
 * and, each only if the Imagefile has it, what a container would do (notes):
 *
 *   "cmd", "entrypoint": ["program", "argument"] or "text for a shell",
 *   "expose": ["80/tcp", "53/udp", "7000-7010/tcp"], "volumes": ["/data"],
 *   "healthcheck": "CMD curl …", "stopsignal": "SIGTERM"
 *
 * Strings that are no UTF-8 are kept in memory byte for byte but left out of the JSON.
 */
#ifndef BUILDER_BUILD_CONFIG_H
#define BUILDER_BUILD_CONFIG_H

#include "base/vector.h"

#include <jansson.h>

struct setting {
    char *name, *value; /* owned */
};
/* Sorted by name; a name stands once. */
struct settings {
    struct setting *ptr;
    size_t len, alloc;
};
void settings_set(struct settings *p, const char *name, const char *value);
const char *settings_get(const struct settings *p, const char *name); /* NULL if absent */
void settings_copy(struct settings *to, const struct settings *from); /* adds to what is there */
void settings_clear(struct settings *p);

struct config {
    struct settings env, labels;
    char *workdir;     /* absolute; NULL = "/" */
    char *user;        /* "name[:group]"; NULL = root */
    struct strv shell; /* empty = /bin/sh -c */
    json_t *notes;     /* an object; NULL = none; owned */
};

void config_clear(struct config *c);
void config_copy(struct config *to, const struct config *from); /* replaces what `to` held */
json_t *config_to_json(const struct config *c);                 /* new reference */
void config_from_json(struct config *c, const json_t *v);       /* unknown fields are ignored */
const char *config_workdir(const struct config *c);
/* dir resolved against the working directory: absolute, without "." and ".." parts and double
 * slashes; a final '/' is kept. Owned. */
char *config_path(const struct config *c, const char *dir);

#endif
