/* SPDX-License-Identifier: MIT
 *
 * Well-known images: what a bare name such as debian-12 is fetched from. The tables are the *.json
 * files of the session's table folders; an entry of a folder that comes first hides one of the same
 * name in a later folder, and within a folder one of a later file the earlier one's.
 *
 *   {"debian-12": {"title": "Debian 12 (bookworm)", "user": "debian",
 *                  "url": "https://…/debian-12-genericcloud-amd64.qcow2",
 *                  "checksum": "SHA512SUMS", "also": ["debian:12"]}}
 *
 * url: http, https or an absolute path. checksum (may be left out): as image/pull.h has it; a bare
 * name is that of a file beside the url. user: who logs in. also: other names for it.
 *
 *     CLEANUP(known_images_free) struct known_images known = {0};
 *     // given struct session *session;
 *     if (known_images_read(session, &known, &err) < 0) ...
 *     const struct known_image *k = known_images_find(&known, "debian-12");
 */
#ifndef IMAGE_KNOWN_H
#define IMAGE_KNOWN_H

#include "base/error.h"
#include "base/session.h"
#include "base/vector.h"

struct known_image {
    char *name, *url;
    char *title, *user, *checksum; /* NULL = not told */
    struct strv also;
    char *table; /* the file that tells of it */
};
DEFINE_VECTOR(known_images, struct known_image);
void known_images_free(struct known_images *known);

/* Sorted by name, numbers in it by value. ERR_USER with the file and the entry that is wrong. */
int known_images_read(const struct session *s, struct known_images *ret, struct error **err);
/* By its name or another one; NULL if there is none. */
const struct known_image *known_images_find(const struct known_images *known, const char *name);
/* The name that a misspelt one or one without its version ("debian") may mean; NULL. Borrowed. */
const char *known_images_nearest(const struct known_images *known, const char *name);
/* ERR_NOT_FOUND with a hint: as backend_not_found, or the nearest well-known image. */
int known_images_not_found(const struct session *s, const char *name, struct error **err);
/* The hint alone, owned. *ret_near (may be NULL): an image has nearly this name. */
char *known_images_advice(const struct session *s, const char *name, bool *ret_near);

#endif
