/* SPDX-License-Identifier: MIT
 *
 * Options of the commands that talk to a registry.
 *
 *     static const struct option_spec options[] = {REGISTRY_OPTIONS, REGISTRY_JOBS, {0}};
 */
#ifndef CLI_REGISTRY_OPTIONS_H
#define CLI_REGISTRY_OPTIONS_H

#include "builder/transfer/transfer.h"
#include "cli/command.h"

#define REGISTRY_OPTIONS \
    {"plain-http", 0, NULL, "Speak to the registry without TLS", NULL}, \
    { \
        "insecure", 0, NULL, "Don't check the registry's certificate", NULL \
    }
#define REGISTRY_JOBS \
    { \
        "jobs", 'j', "N", "Transfers at a time, at most 8 [default: 4]", NULL \
    }

/* For commands that fetch an image to do something with it. */
#define REGISTRY_FETCH_OPTIONS \
    REGISTRY_OPTIONS, \
    { \
        "jobs", 0, "N", "Transfers from a registry at a time, at most 8 [default: 4]", NULL \
    }

/* --plain-http and --insecure. */
struct registry_options registry_options_of(const struct args *a);
/* These and --jobs. ERR_USAGE. */
int registry_options_take(const struct args *a, struct transfer_options *ret, struct error **err);

#endif
