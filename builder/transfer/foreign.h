/* SPDX-License-Identifier: MIT
 *
 * Images of registries that other programs pushed, told by the types of their layers:
 *
 *   sardinecake   application/x-qemu-disk+gzip: qcow2 files, base first, each standing on the one
 *                 before; ";chunk=N" continues the file before it;
 *                 application/vnd.sardinecake.vm.config.v1+json: users and services, with a name and a port each
 *   artifact      application/vnd.cloudnebula.qcow2.layer.v1 (vmctl), application/octet-stream, or a
 *                 title that ends like a disk's (oras, podman machine): one disk, compressed or not
 *   containerDisk tar layers of a container image; the disk is in disk/ of the top-most that has one
 *   tart          application/vnd.cirruslabs.tart.disk.v2: pieces of a raw disk, each as apple_lz4.h
 *                 has it; what boots is a Mac or Linux on ARM
 *
 *     // given struct buf *manifest;
 *     CLEANUP(foreign_clear) struct foreign image = {0};
 *     int is = foreign_parse(buf_str(manifest), &image, &err);    // 1, 0: it is kiln's own, -1
 */
#ifndef BUILDER_TRANSFER_FOREIGN_H
#define BUILDER_TRANSFER_FOREIGN_H

#include "base/buf.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/vector.h"

#include <stdint.h>

struct registry;
struct transfer_options;
struct session;
struct reference;

enum foreign_kind { FOREIGN_SARDE, FOREIGN_ARTIFACT, FOREIGN_CONTAINER, FOREIGN_TART };

struct foreign_blob {
    char hex[DIGEST_HEX + 1];
    uint64_t size;
    size_t disk; /* number of the file that it is a piece of, from 0 */
};
DEFINE_VECTOR(foreign_blobs, struct foreign_blob);

struct foreign {
    enum foreign_kind kind;
    struct foreign_blobs blobs; /* in the order of the manifest */
    size_t disks;               /* files that they are pieces of */
    struct foreign_blob about;  /* sardinecake's description of the VM; size 0 = none */
};
/* 1; 0: an index, or an image of kiln's; -1 with ERR_USER: none of these, with the types of its
 * layers, or something in it is wrong. Takes any text. */
int foreign_parse(struct str manifest, struct foreign *ret, struct error **err);
void foreign_clear(struct foreign *f);

/* What that description says as an image's metadata, JSON text, owned: the first user as
 * IMAGE_LABEL_SSH_USER, services as EXPOSE has them. NULL: nothing of use. Takes any text. */
char *foreign_metadata(struct str text);

/* Where the blobs come from, and what becomes of them. */
struct foreign_pull {
    const struct session *session;
    struct registry *registry;
    const struct transfer_options *options;
    const char *folder; /* for what is fetched; what is in it goes on */
    const char *name;   /* the image's */
    const char *from;   /* the reference, for people */
    const char *digest; /* of the manifest, hex */
};
/* Fetches the image and gives it the name. */
int foreign_fetch(const struct foreign_pull *p, const struct foreign *f, struct error **err);
/* Whether the name stands for that manifest already. */
bool foreign_is_here(const struct session *s, const char *name, const char *digest);

#endif
