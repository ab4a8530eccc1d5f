/* SPDX-License-Identifier: MIT
 *
 * What a build leaves beside the image: --output, --iidfile, --metadata-file.
 */
#ifndef CLI_BUILD_RESULTS_H
#define CLI_BUILD_RESULTS_H

#include "builder/build/build.h"
#include "cli/command.h"
#include "image/format.h"

#define BUILD_RESULT_OPTIONS \
    {"output", 'o', "type=FORMAT,dest=FILE", \
     "Also write the image to a file: qcow2, raw, vmdk, vhdx or vdi", NULL}, \
        {"iidfile", 0, "FILE", "Write the id of the image's top layer to FILE", NULL}, \
    { \
        "metadata-file", 0, "FILE", "Write what was built to FILE, as JSON", NULL \
    }

/* One --output; dest is owned. */
struct build_output {
    enum format format;
    char *dest;
};
DEFINE_VECTOR(build_outputs, struct build_output);
void build_outputs_free(struct build_outputs *o);

/* The values of --output, before anything is built: ERR_USAGE. */
int build_outputs_parse(const struct args *a, struct build_outputs *ret, struct error **err);
/* The files that will be written: their paths are added to *ret. */
void build_results_files(const struct args *a, const struct build_outputs *outputs,
                         struct strv *ret);
/* ERR_USER, ERR_SYSTEM: one of them can't be written; so found before the build. */
int build_results_check(const struct args *a, const struct build_outputs *outputs,
                        struct error **err);
/* Writes them all of the image that was built. */
int build_results_write(const struct session *s, const struct args *a,
                        const struct build_outputs *outputs, const struct build_result *r,
                        struct error **err);

/* --name given several times: each but the last, which the image is built as, is a further name.
 * elsewhere: the image stays on another machine. ERR_USAGE, ERR_USER: one that can't be one. */
int build_names_check(const struct args *a, bool elsewhere, struct error **err);
/* Gives the image that was built its further names. */
int build_names_tag(const struct session *s, const struct args *a, struct error **err);

#endif
