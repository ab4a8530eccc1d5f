/* SPDX-License-Identifier: MIT
 *
 * Vagrant boxes: the registry's answer about a box. The disk in one: image/tar_disk.h.
 *
 * Box metadata: https://developer.hashicorp.com/vagrant/docs/boxes/format#box-metadata, served at
 * <base>/api/v2/vagrant/<user>/<name>.
 */
#ifndef IMAGE_VAGRANT_H
#define IMAGE_VAGRANT_H

#include "base/digest.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

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

#endif
