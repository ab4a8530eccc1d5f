/* SPDX-License-Identifier: MIT
 *
 * Images from elsewhere into the backend: fetched (file, http, https, Vagrant), decompressed while
 * they arrive, judged, made a read-only qcow2, registered whole or not at all.
 *
 *     // given struct image_spec spec; struct backend_image image;
 *     struct image_pull_options o = {.policy = PULL_MISSING};
 *     if (image_ensure(session, &spec, &o, &image, &err) < 0) ...
 *
 * What arrives is told by content, never by name: gzip, bzip2, xz, zstd or none; in it qcow2, raw
 * (a partition table or filesystem must be seen), vmdk (monolithicSparse and streamOptimized that
 * name no other file), vhdx or vdi. No QEMU tool sees a file before our own reader has passed it,
 * and each gets an explicit format. No copy of the compressed file is kept.
 *
 * A connection that breaks is resumed where it was (Range with If-Range) without starting the
 * decoder again. After kiln itself was stopped the next pull of the name resumes what was not
 * compressed, and what was compressed if it was pulled with .resumable; otherwise it starts again:
 * decoders of these formats can't be stored. A file that changed on the server in between is
 * started again once.
 */
#ifndef IMAGE_PULL_H
#define IMAGE_PULL_H

#include "base/error.h"
#include "base/session.h"
#include "image/backend.h"
#include "image/spec.h"

#include <stdbool.h>
#include <stdint.h>

/* When an image that is there is fetched again; the words are docker's and podman's. */
enum pull_policy {
    PULL_MISSING, /* if it is missing, its source is a file with other content now, or another
                   * source is meant by the name than the one it came from */
    PULL_NEWER,   /* also if the server says that it has changed; one that does not answer is a
                   * notice */
    PULL_ALWAYS,
    PULL_NEVER, /* only what is there: nothing is looked at, a missing image is ERR_NOT_FOUND */
};
/* NULL: PULL_MISSING; "": PULL_ALWAYS, as docker's bare --pull. ERR_USAGE. */
int pull_policy_parse(const char *text, enum pull_policy *ret, struct error **err);

struct image_pull_options {
    const char *checksum; /* "sha256:<hex>", "sha512:<hex>" or "<hex>" of the file as it is at the
                           * source, or the URL or path of a SHA256SUMS-like file; NULL = none */
    bool checksum_beside; /* without .checksum: that of the table (image/known.h), or a checksum
                           * file beside the source (image/checksum.h); absent there is fine */
    enum pull_policy policy;
    bool import;    /* the user said "import": an image that is there stays but for PULL_ALWAYS */
    bool resumable; /* keep compressed bytes until done, so that a killed pull can resume */
    bool raw;       /* take any content that is not a known format as a raw disk */
    uint64_t max_size;       /* limit of the uncompressed bytes; 0 = 8 TiB, and bounded by ratio */
    const char *vagrant_url; /* base of the registry; NULL = KILN_VAGRANT_URL or Vagrant's own */
};

/* Who logs in to a VM of the image. */
#define IMAGE_LABEL_SSH_USER "kiln.ssh-user"
/* "yes": a VM of the image boots by UEFI. */
#define IMAGE_LABEL_UEFI "kiln.uefi"

/*
 * Makes sure that the image is in the backend and finds it. Where it came from is recorded
 * (image/source.h); an image without a record is used as it is with a notice, and so is one whose
 * source has gone. A spec that names no source means the recorded one for PULL_NEWER and
 * PULL_ALWAYS, and for an image that is missing the one of a table (image/known.h), whose user
 * becomes the label IMAGE_LABEL_SSH_USER. A checksum also applies to what is there.
 */
int image_ensure(const struct session *s, const struct image_spec *spec,
                 const struct image_pull_options *o, struct backend_image *ret, struct error **err);
/* As above without finding. *ret_pulled (may be NULL): false if it was there already. */
int image_pull(const struct session *s, const struct image_spec *spec,
               const struct image_pull_options *o, bool *ret_pulled, struct error **err);

/* Pulls that were interrupted and can be resumed: folders of .working whose lock is free. */
struct interrupted_pulls {
    size_t n;
    uint64_t bytes; /* on disk */
};
#define INTERRUPTED_PULL_SECONDS (7 * 24 * 3600) /* then the next pull or prune removes it */
struct interrupted_pulls image_pulls_interrupted(const char *dir);
/* Removes those not touched for max_age seconds; with dry_run only says what it would. */
struct interrupted_pulls image_pulls_prune(const char *dir, int64_t max_age, bool dry_run);

#endif
