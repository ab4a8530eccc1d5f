/* SPDX-License-Identifier: MIT
 *
 * Puts the entries of a stream into a tree: what the agent's place.h does in the builder VM, with
 * the same result. Where the agent would report an error, this one gives one that only says that it
 * does not go on: the step is then run in the VM, which says it in full.
 *
 *     // given struct tree tree; struct tap tap; struct entry entry;
 *     CLEANUP(place_clear) struct place p;
 *     place_init(&p, &tree, &(struct place_spec){.dest = "/opt/app", .folder = true});
 *     place_entry(&p, &tap, &entry, &err);       // content is read from the tap
 *     folders_finish(tree.folders, &err);
 *     place_finish(&p, &err);                    // times of folders
 */
#ifndef BUILDER_EXT4_PLACE_H
#define BUILDER_EXT4_PLACE_H

#include "builder/ext4/tap.h"
#include "builder/ext4/tree.h"

struct place_spec {
    const char *dest; /* absolute */
    bool folder;      /* entries go below it, whatever it is */
    bool has_owner;
    uid_t uid;
    gid_t gid;
    const char *chmod; /* base/mode.h; NULL = as in the entries; borrowed */
};

struct placed {
    ext2_ino_t ino;
    struct timespec mtime;
};
DEFINE_VECTOR(placed_list, struct placed);

struct place {
    struct tree *tree;
    struct place_spec spec;
    char *dest; /* without '/' at its end; "" = the root */
    bool below; /* entries go below dest */

    struct folder *parent; /* of the last entry; NULL = none */
    struct buf parent_path, path;
    struct placed_list dirs;
    struct made_links made; /* links that archives made */
    struct buf within;      /* dest without links, as it was before the first of them */
    char *piece;            /* a buffer for content */
};

void place_init(struct place *p, struct tree *t, const struct place_spec *spec);
void place_clear(struct place *p);
int place_entry(struct place *p, struct tap *tap, const struct entry *e, struct error **err);
int place_finish(struct place *p, struct error **err);

#endif
