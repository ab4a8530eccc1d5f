/* SPDX-License-Identifier: MIT
 *
 * What a build would fail at later although it can be known before the first step: sources of COPY,
 * ADD and bind mounts that are not in the build directory, checksums that are not one, required
 * secrets that were not given. Where a word uses a variable whose value is not known yet (the base
 * image may set it), nothing is said.
 *
 *     // given struct imagefile *f; struct context *open_context(void *, struct error **);
 *     struct precheck p = {.file = f, .open = open_context, .arg = arg};
 *     if (precheck(&p, &err) < 0) ...
 */
#ifndef BUILDER_BUILD_PRECHECK_H
#define BUILDER_BUILD_PRECHECK_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct context;
struct imagefile;

struct precheck {
    struct imagefile *file; /* evaluated without errors */
    void *arg;              /* of the functions */
    /* Whether a stage is to be built; NULL = all are. */
    bool (*needs)(void *arg, size_t stage);
    /* The build directory, opened when it is first needed; borrowed. NULL with *err: stops the
     * check; NULL without: there is none, and no sources are looked for. */
    struct context *(*open)(void *arg, struct error **err);
    /* Whether --secret or --ssh gave it. NULL = not asked. */
    bool (*has_secret)(void *arg, const char *id);
    bool (*has_ssh)(void *arg, const char *id);
};

/* Adds an error with its place to file->diags for each mistake, and keeps them sorted. -1 with *err
 * only for what is not a mistake in the file: a broken ignore file, a folder that can't be read. */
int precheck(const struct precheck *p, struct error **err);

#endif
