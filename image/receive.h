/* SPDX-License-Identifier: MIT
 *
 * From a source to a file in a folder of ours: fetch, decode and sink put together, on three
 * threads.
 */
#ifndef IMAGE_RECEIVE_H
#define IMAGE_RECEIVE_H

#include "base/digest.h"
#include "base/error.h"
#include "base/session.h"
#include "image/checksum.h"
#include "image/format.h"
#include "image/pull.h"
#include "image/tar_disk.h"

#include <stdbool.h>

struct receive_options {
    const char *dir;   /* folder for "disk" and what a later call can resume from */
    const char *url;   /* or */
    const char *path;  /* a file */
    enum tar_disk tar; /* it is an archive with the disk in it */
    bool
        overlay; /* a qcow2 may name a backing file: whether it is the right one is for the caller */
    const struct checksum *expected;       /* of the file at the source; NULL = any */
    const struct image_pull_options *pull; /* raw, resumable, max_size */
};

struct received {
    enum format format;
    bool changed; /* it failed since the source changed while it was read */
    bool named;   /* it failed with an error that names the source */
    bool has_sha256, has_sha512, has_content;
    struct digest sha256, content; /* of the file at the source; content: image/content.h */
    struct digest512 sha512;
    char *etag, *modified; /* of the server; NULL = none */
};
void received_clear(struct received *r);

/*
 * Fetches into <dir>/disk. *ret starts as {0}; must be cleared in any case. When an http fetch fails in a way that a later call can go on from,
 * the folder holds "state.json" afterwards (so it does after a kill); else the folder is of no use.
 */
int receive(const struct session *s, const struct receive_options *o, struct received *ret,
            struct error **err);

#endif
