/* SPDX-License-Identifier: MIT
 *
 * What the files of one build share: build.c walks the steps, read.c reads the Imagefile, setting.c
 * does ARG, ENV and their like, stage.c resolves FROM, disk.c runs DISK and PARTITION, copy.c COPY
 * and ADD, run.c and mount.c RUN, step.c the others, from.c looks at what --from reads, layer.c finds
 * or makes a step's layer, target.h keeps the builder VM on the right disk.
 */
#ifndef BUILDER_BUILD_PRIVATE_H
#define BUILDER_BUILD_PRIVATE_H

#include "builder/build/build.h"
#include "builder/build/config.h"
#include "builder/build/environment.h"
#include "builder/build/record.h"
#include "builder/build/step_log.h"
#include "builder/build/target.h"
#include "builder/context/context.h"
#include "cache/key.h"
#include "cache/store.h"
#include "imagefile/imagefile.h"

struct build;

/* A layer that was here, and what it was looked for by. */
struct local_layer {
    char key[ID_SIZE], parent[ID_SIZE], id[ID_SIZE];
};
DEFINE_VECTOR(local_layers, struct local_layer);

/* Where a stage's layers are looked for first. A build goes through all its steps again when that
 * changes, so it is not part of the stage. */
struct stage_order {
    bool caches_first;
    bool settled; /* not to be changed again */
    size_t here;  /* layers that were found when the backend came first */
};

/* A stage while it is walked, and what is left of it afterwards. */
struct stage_run {
    struct build *build; /* NULL: nobody is told of undefined variables */
    bool needed, done;
    bool missed;   /* no remote cache had a step's layer, so it has none of the later ones */
    bool no_cache; /* --no-cache-filter names it */
    bool files;    /* from scratch without DISK: it only holds files */
    size_t from;   /* number of its FROM */
    struct config config;
    struct settings
        args; /* declared so far, with their values; an ARG without value is not in it */
    struct settings unset; /* the ones without */
    struct disk_state disk;
    size_t found;                 /* layers that it did not have to make */
    struct local_layers locals;   /* of these the ones that were here, with --cache-from */
    struct partition_spec *parts; /* gathered until the last PARTITION */
    size_t n_parts;
    struct disk_spec spec;
};

struct build {
    const struct session *s;
    const struct build_options *o;
    const struct build_ui *ui;
    struct imagefile *file;
    char *file_path; /* of the Imagefile, as it is shown */
    char *imagefile; /* where it is read */
    char *name;
    int name_lock;
    struct context *ctx;    /* opened when first needed */
    struct context **named; /* those of o->contexts, likewise; NULL = none yet */
    struct store *store;
    struct stage_run *stages; /* file->n_stages */
    struct settings global_args;
    struct prefetched *prefetched; /* files of ADD; NULL = none */
    struct strv pulled; /* names and specs of images that were looked at: once a build is enough */
    size_t step, total; /* number shown, and of how many */
    size_t layers, cached;
    bool *ran;                     /* file->n_steps, by `step` - 1: made here, not found */
    struct stage_order *orders;    /* file->n_stages */
    struct remote_caches *caches;  /* of --cache-from; NULL = not looked at yet */
    struct transfer_cache *upload; /* to --cache-to; NULL = nothing yet */
    char uploaded[ID_SIZE];        /* the layer that it was given last, or is to be */
    struct strv held;              /* ids of layers for it, until the stage's order is settled */
    struct strv sources;           /* ids of layers that the step's --from name */
    bool again; /* what a cache said it has could not be fetched, or a stage_order changed */

    struct target target; /* what the steps change */
    bool host_declined;   /* the host runner has: the VM does the rest */
    struct record record;
    long long step_deadline; /* of the running step, by now_ms; 0 = none */
    struct step_log log;     /* of the running step */
    const struct imagefile_step *current;
};

/* Variables of a stage for imagefile_expand. One that nothing sets is a warning. */
struct imagefile_vars stage_vars(struct stage_run *st);
/* Expansion of one word into an owned C string; NULL with *err. An absent word gives "". */
char *expand_word(struct build *b, struct stage_run *st, const struct word *w, struct error **err);

/* setting.c: ARG, ENV, LABEL, USER and SHELL. */
bool step_is_setting(enum imagefile_op op);
int step_setting(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                 struct error **err);

/* read.c */
/* Sets b->imagefile, b->file_path and b->file, and shows what the parser has to say. ERR_REPORTED when
 * there are mistakes. */
int build_read(struct build *b, struct error **err);
/* Shows the diagnostics from that severity on: ERR_REPORTED when there are errors. */
int build_report(struct build *b, enum diag_severity least, struct error **err);
struct diag;
void build_show_diagnostic(const struct build *b, const struct diag *d);
void build_output(void *build, int stream, const char *bytes, size_t n); /* a runner_output_fn */
/* check.c */
/* Mistakes that show once variables have values; they are in b->file's diagnostics. */
void check_variables(struct build *b);
/* ERR_USER: a --build-context that is neither a folder nor an image, whether it is used or not. */
int check_contexts(struct build *b, struct error **err);
/* A FROM or --from, at w, that is not a stage: an image of the backend, or one that can be fetched.
 */
int check_image(struct build *b, const char *name, const struct imagefile_step *step,
                const struct word *w, struct error **err);
/* Warns of a variable that nothing sets (missing of struct imagefile_vars; ctx is the stage). */
void variable_missing(void *stage, struct str name, struct span at);

/* note.c */
/* CMD, EXPOSE and their like: into st->config.notes. */
int step_note(struct build *b, struct stage_run *st, const struct imagefile_step *step,
              struct error **err);

/* stage.c */
int stages_choose(struct build *b, struct error **err); /* marks the needed ones, counts steps */
int stage_from(struct build *b, struct stage_run *st, const struct imagefile_step *step,
               struct error **err);
/* The image was looked at: once a build is enough. */
void note_pulled(struct build *b, const char *text);
/* The disk that --from= names: an earlier stage or an image. */
int stage_source(struct build *b, const char *name, struct disk_state *ret, struct error **err);
/* An image (by name or spec) as a disk; config is NULL for a --from: the option --checksum is about
 * what FROM fetches. */
int image_disk(struct build *b, const char *spec, struct disk_state *ret, struct config *config,
               struct error **err);

/* layer.c */
/* Until the step's deadline, as of now; output is shown and logged. */
struct runner_wait step_wait(struct build *b);
int step_left_ms(const struct build *b); /* until the step's deadline; -1 = it has none */
/* What a step does to the disk, once everything is expanded. All borrowed. */
struct work {
    enum { WORK_GROW, WORK_PARTITION, WORK_SEND, WORK_COPY, WORK_MKDIR, WORK_RUN } kind;
    union {
        const struct disk_spec *disk; /* GROW */
        struct copy *copy;            /* SEND, COPY */
        const char *path;             /* MKDIR */
        struct run *run;              /* RUN */
    };
};
/* A step that changes the disk: finds its layer or makes it. Takes key. manifest may be empty. */
int step_layer(struct build *b, struct stage_run *st, const struct imagefile_step *step,
               struct key *key, struct str manifest, struct work work, struct error **err);

/* from.c */
/* What is read of another image. All borrowed. */
struct from_request {
    const struct disk_state *disk;
    const struct strv *sources, *excludes; /* as COPY has them; excludes may be NULL */
    int flags;                             /* enum runner_owners */
};
/* Whether a step reads of another stage or image. */
bool step_has_from(const struct imagefile_step *step);
/* Whether these sources are keyed by content: not those that are a whole image. */
bool from_by_content(const struct strv *sources);
/* The manifest of what is read into *ret (emptied first); for_disk is what the step stands on.
 * It stays empty if that is too much to be looked at: then the layer's id stands for it.
 * Errors: a source that is not there (ERR_USER); it would have to be looked at, and the build is
 * --require-cached. */
int from_manifest(struct build *b, const struct disk_state *for_disk, const struct from_request *r,
                  struct buf *ret, struct error **err);

/* The last needed stage, whose state the build hands out. */
struct stage_run *target_stage(struct build *b);

/* remote.c */
/* The layer of the key, here or in a --cache-from. 1, 0, -1. One of a cache is not fetched: its folder
 * and record are NULL, and its id is good for keys only, until remote_bring. -1 with b->again: a cache
 * has another layer under a key of the stage, and perhaps more on top of that than there is here. */
int remote_find(struct build *b, struct stage_run *st, const char *key, struct layer **ret,
                struct error **err);
/* Whether that is what is known of a layer. */
bool remote_is_away(struct build *b, const char *id);
/* Fetches it and all below it; a layer that is here, and "", are fine. -1 with b->again: the cache
 * failed and is not used any more, so what was found in it must be found or made anew. */
int remote_bring(struct build *b, const char *id, struct error **err);
int remote_bring_sources(struct build *b, struct error **err); /* the same of all b->sources */
void remote_begin_again(struct build *b);                      /* ends b->again */
/* What a cache knows that a --from reads, by a digest of layer and question; unchecked. 1, 0, -1. */
int remote_files(struct build *b, const char *question, struct buf *ret, struct error **err);
/* It goes to --cache-to. */
int remote_keep_files(struct build *b, const char *question, struct str text, struct error **err);
/* After each step: its stage's layers go to --cache-to, while the build goes on. */
int remote_store(struct build *b, const struct stage_run *st, struct error **err);
/* Waits for them. */
int remote_finish(struct build *b, struct error **err);
void remote_caches_free(struct remote_caches *c); /* NULL is fine */

/* failure.c: what is left of a step that failed, whose output is in `log`: it is kept for
 * `kiln image log NAME failed`, shown again if nobody saw it, and *err says what to do next. */
void build_failed(struct build *b, const struct stage_run *st, const struct imagefile_step *step,
                  const char *log, struct error **err);

/* The work of each kind, on the target of b; step.c has the table. */
int step_work(struct build *b, struct stage_run *st, const struct imagefile_step *step,
              const struct work *w, struct error **err);
int disk_grow(struct build *b, struct stage_run *st, const struct disk_spec *spec,
              struct error **err);
int disk_partition(struct build *b, struct stage_run *st, struct error **err);
int copy_send(struct build *b, struct copy *c, struct error **err);
int copy_between(struct build *b, const struct copy *c, struct error **err);
int run_command(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                struct run *r, struct error **err);
/* A field that is left out when value is NULL. */
void key_optional(struct key *key, const char *name, const char *value);

/* disk.c, copy.c, step.c, run.c: one function an instruction */
int step_disk(struct build *b, struct stage_run *st, const struct imagefile_step *step,
              struct error **err);
int step_partition(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                   bool last, struct error **err);
/* FROM scratch of a stage without DISK. */
int step_files(struct build *b, struct stage_run *st, const struct imagefile_step *step,
               struct error **err);
int step_copy(struct build *b, struct stage_run *st, const struct imagefile_step *step,
              struct error **err);
int step_workdir(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                 struct error **err);
int step_run(struct build *b, struct stage_run *st, const struct imagefile_step *step,
             struct error **err);
int step_inspect(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                 struct error **err);
/* mount.c: the mounts of one RUN. `run` must outlive them. */
struct mounts;
struct mounts *mounts_new(struct build *b, struct stage_run *st, const struct run_args *run,
                          struct error **err);
void mounts_free(struct mounts *m); /* NULL is fine; a cache that was not detached is lost */
DEFINE_CLEANUP(struct mounts, mounts_free);
/* ERR_USER: --secret does not give what a mount requires. Returns -1. */
int secret_missing(const char *id, struct error **err);
/* The same of --ssh. */
int ssh_missing(const char *id, struct error **err);
const struct build_ssh *ssh_find(const struct build *b, const char *id); /* or NULL */
/* The one of --secret with this id, or NULL. */
const struct build_secret *secret_find(const struct build *b, const char *id);
/* The secrets among them, one a call, NULL at the end; *i is 0 at first. */
const struct build_secret *mounts_secret(const struct mounts *m, size_t *i);
/* All that belongs to the key: neither caches, secrets nor ssh-agents do. */
void mounts_put_key(const struct mounts *m, struct key *key);
/* Makes all of them ready in the VM, adds them to the command; waits for caches. */
int mounts_attach(struct build *b, struct mounts *m, struct runner_exec *e, struct error **err);
/* After the command: the caches are whole again and free for others. */
int mounts_detach(struct build *b, struct mounts *m, struct error **err);
/* What the image's metadata keeps is JSON, where other bytes would be lost without a word: ERR_USER
 * names `what` if the value is not UTF-8. */
int check_utf8(const char *what, const char *value, struct error **err);
/* The step as the Imagefile has it, owned, for JSON: what is not UTF-8 is U+FFFD. */
char *step_text(const struct imagefile_step *step);
int build_context(struct build *b, struct error **err); /* opens it if need be */
/* The --build-context of this name; NULL: there is none. */
const struct named_context *named_find(const struct build *b, const char *name);
/* Its folder, opened if need be; borrowed. */
struct context *named_context(struct build *b, const struct named_context *n, struct error **err);
/* Stages of the name of a --build-context are not meant by it any more. */
void named_hide_stages(struct build *b);
void named_clear(struct build *b);
void step_shown(struct build *b, const struct imagefile_step *step, enum step_state state,
                const char *why);

#endif
