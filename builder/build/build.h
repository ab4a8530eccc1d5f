/* SPDX-License-Identifier: MIT
 *
 * One build: an Imagefile and its build directory become layers and a named image.
 *
 *     // given struct build_options options; struct build_ui ui;
 *     struct build_result r = {0};
 *     if (build_image(session, &options, &ui, &r, &err) < 0) ...
 *     build_result_clear(&r);
 *
 * Steps are walked in order. Each that changes the disk has a key; a layer of that key is used, or
 * else the step is run in a builder VM (restored when a step is missing, and again for each
 * chain of steps) and becomes the layer. What was done stays done when a later step fails.
 */
#ifndef BUILDER_BUILD_BUILD_H
#define BUILDER_BUILD_BUILD_H

#include "base/error.h"
#include "base/vector.h"
#include "builder/transfer/transfer.h"
#include "image/pull.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct session;
struct imagefile;

enum build_on_error {
    ON_ERROR_FAIL,  /* the VM ends, the failed step's changes are gone */
    ON_ERROR_KEEP,  /* they are kept for `kiln shell NAME@failed` */
    ON_ERROR_SHELL, /* a shell in the live VM first */
};

enum build_runner {
    BUILD_RUNNER_AUTO, /* the host where it can (host/runner.h), else the builder VM, else libguestfs */
    BUILD_RUNNER_VM,      /* the builder VM alone */
    BUILD_RUNNER_GUESTFS, /* libguestfs in the builder VM (worker/guestfs.h) */
};

struct build_secret {
    char *id;
    char *bytes; /* owned */
    size_t len;
};

/* An ssh-agent of --ssh, for mounts of type ssh. */
struct build_ssh {
    const char *id;     /* "default", mostly */
    const char *socket; /* path */
};

/* What a name in FROM and --from means beside stages and images. */
struct named_context {
    const char *name;
    const char *dir;   /* a folder, or NULL */
    const char *image; /* else what FROM could name */
};

struct build_options {
    const char *dir;  /* build directory */
    const char *file; /* path of the Imagefile ("-": standard input); NULL = imagefile_path.h */
    const char *shown_file, *shown_dir; /* what messages call them instead; NULL = as they are */
    const char *name;                   /* NULL = last part of the build directory's path */
    const char *target;                 /* stage to build; NULL = the last */
    bool local;           /* <dir>/<name>.qcow2, standalone, and no name in the backend */
    bool no_cache;        /* every step is run */
    size_t no_cache_from; /* steps from this number (1-based, as shown) on; 0 = none */
    const char *const *no_cache_stages; /* names or numbers of stages of which the same holds */
    size_t n_no_cache_stages;
    bool require_cached; /* a step that would have to be run is an error */
    enum build_on_error on_error;
    const char *const *build_args; /* "name=value" or "name" (from the environment) */
    size_t n_build_args;
    const char *const *labels; /* "name=value" or "name", after those of the Imagefile */
    size_t n_labels;
    bool no_network;                      /* for any RUN */
    const char *hosts;                    /* lines for the /etc/hosts of each RUN; NULL = none */
    const struct named_context *contexts; /* --build-context */
    size_t n_contexts;
    bool strict; /* a note about the Imagefile is an error */
    /* Files that the caller writes of the result: not a part of the build directory. */
    const char *const *products;
    size_t n_products;
    const struct build_secret *secrets;
    size_t n_secrets;
    const struct build_ssh *agents;
    size_t n_agents;
    enum build_runner runner;       /* who changes the disk */
    unsigned memory_mb, cpus;       /* of the builder VM; 0 = chosen */
    const char *accel;              /* NULL = KILN_ACCEL or auto */
    const char *const *nameservers; /* for RUN; n_nameservers 0 = the user network's own */
    size_t n_nameservers;
    const char *checksum;             /* of FROM's image (image/pull.h) */
    enum pull_policy pull;            /* when images are fetched again */
    struct transfer_options transfer; /* of images and caches of registries */
    const char *const *cache_from;    /* oci://HOST/REPOSITORY each: layers that are not here */
    size_t n_cache_from;
    const char *cache_to;      /* the same: where its layers go; NULL = nowhere */
    bool cache_all;            /* those of all stages, not only of the target's chain */
    bool cache_strict;         /* a cache that fails is an error, not a warning */
    long long step_timeout_s;  /* a step that takes longer in the VM fails; 0 = none */
    uint64_t cache_mount_size; /* bytes a new cache disk may grow to; 0 = 10 GiB */
};

enum step_state {
    STEP_META,   /* changes no disk: done when shown */
    STEP_CACHED, /* its layer was there */
    STEP_RUNS,   /* is run now; step_done follows */
};

/* A mistake in the Imagefile, or a warning. Borrowed. */
struct build_diagnostic {
    bool is_error;
    const char *path;
    unsigned line, column;      /* 1-based; line 0 = about the whole file */
    const char *message, *help; /* help NULL = none */
    const char *rule;           /* the name of a warning's check; NULL = none */
    const char *text;           /* all of it with the line and a caret, as for a terminal */
};

/* What the user is shown beside the session's events. All members may be NULL. */
struct build_ui {
    void *arg;
    /* `why` (only STEP_RUNS): why no layer was used, such as "conf/app.ini changed". */
    void (*step)(void *arg, size_t n, size_t total, const char *text, enum step_state state,
                 const char *why);
    void (*step_done)(void *arg, size_t n, double seconds, uint64_t layer_bytes);
    /* Before what --on-error asks for; a step that fails earlier has only the build's error. */
    void (*step_failed)(void *arg, size_t n);
    void (*diagnostic)(void *arg, const struct build_diagnostic *d);
};

struct build_result {
    char *name;    /* of the image; owned */
    char *file;    /* with options.local: the path of the image; owned */
    char *layer;   /* id of the top layer; owned */
    size_t steps;  /* that change the disk */
    size_t cached; /* of these */
    double seconds;
};
void build_result_clear(struct build_result *r);

/* A failed RUN is ERR_GUEST with the step's place; mistakes in the Imagefile were given to
 * ui.diagnostic and are ERR_REPORTED. */
int build_image(const struct session *s, const struct build_options *o, const struct build_ui *ui,
                struct build_result *ret, struct error **err);

#endif
