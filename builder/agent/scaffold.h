/* SPDX-License-Identifier: MIT
 *
 * Mount points and files that exist in an image only while a command runs: made if they are
 * missing, with their parents, and removed afterwards, so that nothing of them is in the layer (a
 * folder's times are put back too, unless the command has changed the folder itself).
 *
 *     CLEANUP(scaffolds_undo) struct scaffolds s = {0};
 *     AUTO_CLOSE int fd = scaffold_folder(&s, fd, "/mnt/cache", &err);
 */
#ifndef BUILDER_AGENT_SCAFFOLD_H
#define BUILDER_AGENT_SCAFFOLD_H

#include "base/error.h"
#include "base/vector.h"

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

struct scaffold {
    int parent; /* owned */
    char *name;
    bool folder;
    ino_t ino;
    struct timespec made;     /* mtime of the file itself */
    struct timespec times[2]; /* of the parent, before: access, modification */
    struct timespec after;    /* mtime of the parent, after */
};
DEFINE_VECTOR(scaffolds, struct scaffold);

/* An O_PATH descriptor of what is at `path` below root, made when it is missing. A path that is
 * there but of the other kind is an error. */
int scaffold_folder(struct scaffolds *s, int root, const char *path, struct error **err);
int scaffold_file(struct scaffolds *s, int root, const char *path, struct error **err);
/* A file that must not exist yet, with content. */
int scaffold_write(struct scaffolds *s, int root, const char *path, mode_t mode, const char *text,
                   struct error **err);
/* Removes what was made, newest first. What the command has filled or replaced stays. */
void scaffolds_undo(struct scaffolds *s);

#endif
