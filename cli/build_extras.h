/* SPDX-License-Identifier: MIT
 *
 * --build-context and --add-host of `kiln image build`, and the first of them of `image check`.
 *
 *     // given const struct args *a; struct build_options o;
 *     CLEANUP(build_extras_clear) struct build_extras extras = {0};
 *     if (build_extras_take(a, &extras, &err) < 0) ...
 *     o.contexts = extras.contexts;
 */
#ifndef CLI_BUILD_EXTRAS_H
#define CLI_BUILD_EXTRAS_H

#include "base/vector.h"
#include "builder/build/build.h"

struct args;

struct build_extras {
    struct named_context *contexts; /* owned; their strings are in texts */
    size_t n_contexts;
    struct strv texts;
    char *hosts; /* lines of hosts(5), or NULL */
};

#define BUILD_CONTEXT_OPTION \
    { \
        "build-context", 0, "NAME=FOLDER|IMAGE", \
            "What NAME means in FROM, COPY --from and RUN --mount=from", NULL \
    }

/* NAME=FOLDER, NAME=IMAGE, NAME=docker-image://IMAGE. ERR_USAGE: it is none of these, or a folder that is
 * not there. */
int build_extras_take(const struct args *a, struct build_extras *ret, struct error **err);
/* NAME:ADDRESS or NAME=ADDRESS of a host, else ERR_USAGE. */
int build_extras_hosts(const struct args *a, struct build_extras *ret, struct error **err);
void build_extras_clear(struct build_extras *e);

#endif
