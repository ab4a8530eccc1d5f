/* SPDX-License-Identifier: MIT
 *
 * What copy.c and copy_git.c share of one COPY or ADD.
 */
#ifndef BUILDER_BUILD_COPY_H
#define BUILDER_BUILD_COPY_H

#include "builder/build/private.h"

struct container;
struct context_source;
struct copy_gits;
DEFINE_VECTOR(containers, struct container *);

/* A COPY or ADD once everything is expanded. */
struct copy {
    char *dest; /* absolute; a final '/' says that it is a folder */
    char *chown, *chmod, *from, *checksum, *platform;
    bool parents;
    const struct named_context *named; /* --from, if it is a folder of --build-context */
    struct strv sources, excludes, bodies;
    struct disk_state source;     /* --from */
    bool listed;                  /* it is keyed by content */
    struct selection *selection;  /* NULL: all sources are git repositories */
    struct copy_gits *gits;       /* NULL: none is */
    struct containers containers; /* container images, which the selection needs */
    struct sender *sender;        /* while it is sent */
    long long shown;              /* when the bar was drawn last, ms */
};

/* Sends what is selected to the place of c. */
int copy_send_selection(struct build *b, struct copy *c, struct selection *selection,
                        struct error **err);

/* A source that is a git repository: asks its server which commit it means. */
int copy_gits_add(struct build *b, struct copy *c, const char *text, bool keep_git_dir,
                  struct error **err);
void copy_gits_put_key(const struct copy_gits *g, const struct copy *c, struct key *key);
/* Fetches and sends them. */
int copy_gits_send(struct build *b, struct copy *c, struct error **err);
void copy_gits_free(struct copy_gits *g); /* NULL is fine */

/* What the parser could not see of sources with variables. ERR_USER: ADD has an option
 * that does not go with a container image, or that needs one. */
int copy_containers_check(const struct imagefile_step *step, const struct copy *c,
                          struct error **err);
/* A source that is a container image: finds its manifest, and makes *source what is in it. */
int copy_container_add(struct build *b, struct copy *c, struct context_source *source,
                       struct error **err);
/* Fetches them and reads their layers. */
int copy_containers_bring(const struct copy *c, struct error **err);
void copy_containers_free(struct copy *c);

#endif
