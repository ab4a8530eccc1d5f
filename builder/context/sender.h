/* SPDX-License-Identifier: MIT
 *
 * A sender (send.h) from inside, shared by send.c, which reads entry by entry and archives,
 * send_file.c, which sends files and folders, and send_stream.c, which writes the stream's heads.
 * Functions that return -1 have set snd->error; its caller ends with sender_abort.
 */
#ifndef BUILDER_CONTEXT_SENDER_H
#define BUILDER_CONTEXT_SENDER_H

#include "builder/agent/stream.h"
#include "builder/context/archive.h"
#include "builder/context/selection.h"
#include "builder/context/send.h"

struct stat;

enum source_state {
    AT_ENTRY, /* the next entry is to be begun */
    IN_FILE,
    IN_INLINE,
    IN_ARCHIVE,   /* between the entries of an archive */
    IN_TAR_ENTRY, /* in the data of one */
    IN_ZEROS,     /* in a file that could not be read on */
    ENDED,
};

struct sender {
    const struct session *session;
    const struct selection *sel;
    enum source_state state;
    size_t next_pick;
    uint64_t offset; /* bytes of the stream made so far */

    struct buf out; /* heads of entries */
    size_t out_at;
    uint64_t padding;       /* zeros to come before data */
    struct extents extents; /* of the file at hand */
    size_t extent;
    uint64_t extent_done;
    bool aligned;        /* each extent starts at a multiple of STREAM_ALIGN */
    uint64_t zeros_left; /* IN_ZEROS */

    const struct picked *pick; /* the entry at hand */
    int fd;
    struct sha256 *hash;
    uint64_t hashed; /* how far into the file */
    struct tar *tar;
    const struct item_source *items; /* in its place */
    uint64_t tar_before;             /* progress when it was begun */

    struct buf path, link, xattrs; /* scratch */
    struct error *error;
    uint64_t done, total, entries; /* atomic */
};

/* The entry at hand. */
const struct part *sender_part(const struct sender *snd);
void sender_close_source(struct sender *snd);
void sender_shown_path(struct sender *snd); /* into snd->path, for messages */
/* The source is not what was selected: sets snd->error, returns -1. */
int sender_changed(struct sender *snd);
/* Counts bytes of source files, for sender_progress. */
void sender_add_done(struct sender *snd, uint64_t n);

/* Puts an entry's head into out; h is in the CPU's byte order, without lengths. x: where its data
 * is; NULL = none. */
void sender_put_head(struct sender *snd, struct stream_entry h, struct str path, struct str link,
                     struct str xattrs, const struct extents *x);
/* Zeros from here (or from behind the head) up to where an extent's bytes may start. */
void sender_align(struct sender *snd);
/* How many of n bytes the extent at hand still has; and moves past n of them. */
size_t sender_in_extent(const struct sender *snd, size_t n);
void sender_advance(struct sender *snd, size_t n);
/* STREAM_END, or STREAM_ABORT with a message. */
void sender_end(struct sender *snd, uint8_t type, const char *message);
/* Ends the stream with snd->error, which is set; what is still owed of an entry's data becomes
 * zeros first. */
void sender_abort(struct sender *snd);

/* Opens the node at hand as snd->fd and reads its xattrs. 0 or -1. */
int sender_open_node(struct sender *snd, struct stat *st);
bool sender_same_as_selected(const struct node *n, const struct stat *st);
int sender_open_remote(struct sender *snd);
/* Begin the entry at hand: 0 or -1. */
int sender_begin_node(struct sender *snd);
int sender_begin_remote(struct sender *snd);
void sender_begin_inline(struct sender *snd);
/* Bytes of it, at most n; 0 after a change of state. */
size_t sender_read_file(struct sender *snd, char *bytes, size_t n);
size_t sender_read_inline(struct sender *snd, char *bytes, size_t n);
/* Digest that the content at hand must have. */
const struct digest *sender_expected(const struct sender *snd);

#endif
