/* SPDX-License-Identifier: MIT
 *
 * Vagrant boxes: the registry's answer about a box, and the disk in a libvirt box.
 *
 * Box metadata: https://developer.hashicorp.com/vagrant/docs/boxes/format#box-metadata, served at
 * <base>/api/v2/vagrant/<user>/<name>. A libvirt box is a tar archive (compressed or not) with
 * box.img and metadata.json in it.
 */
#ifndef IMAGE_VAGRANT_H
#define IMAGE_VAGRANT_H

#include "base/digest.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct session;

#define VAGRANT_URL "https://vagrantcloud.com"

struct vagrant_box {
    char *url; /* of the box file; owned */
    struct digest digest;
    bool has_digest;
};

void vagrant_box_clear(struct vagrant_box *box);

/* Asks the registry at `base` (NULL: KILN_VAGRANT_URL or VAGRANT_URL) for a version of box
 * "user/name" for libvirt or qemu on amd64; a "v" before the version is dropped if the registry has
 * it only without. ERR_NOT_FOUND says what there is instead. */
int vagrant_lookup(const struct session *s, const char *base, const char *box, const char *version,
                   struct vagrant_box *ret, struct error **err);
/* The same from the registry's answer; n bytes of text. */
int vagrant_parse(const char *text, size_t n, const char *box, const char *version,
                  struct vagrant_box *ret, struct error **err);

/* Source and destination of vagrant_extract. */
struct vagrant_io {
    /* The next bytes of the decompressed archive: count, 0 at the end, -1 with *err. They stay
     * valid until the next call. */
    int (*read)(void *arg, const void **ret, size_t *ret_n, struct error **err);
    /* n bytes of the disk (NULL: zeros). */
    int (*write)(void *arg, const void *bytes, uint64_t n, struct error **err);
    void *arg;
};
/* Finds box.img (or box_0.img), in whatever folder, and writes it. */
int vagrant_extract(const struct vagrant_io *io, struct error **err);

#endif
