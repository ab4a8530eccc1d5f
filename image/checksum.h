/* SPDX-License-Identifier: MIT
 *
 * Which SHA-256 or SHA-512 a file must have: given as such, or found in a checksum file.
 */
#ifndef IMAGE_CHECKSUM_H
#define IMAGE_CHECKSUM_H

#include "base/buf.h"
#include "base/digest.h"
#include "base/error.h"

struct session;

struct checksum {
    unsigned size; /* bytes: 32 = SHA-256, 64 = SHA-512 */
    unsigned char byte[64];
};
#define CHECKSUM_TEXT (7 + DIGEST512_HEX + 1)
struct checksum checksum_of(const struct digest *d);
struct checksum checksum_of512(const struct digest512 *d);

/*
 * The digest that a checksum file tells for `name` (without folders): lines "<hex>  name", "<hex>
 * *name" (coreutils), "SHA256 (name) = <hex>" (BSD; Fedora's CHECKSUM, which is signed besides), or a
 * single digest alone. false: none. Names in the file may have folders before them.
 */
bool checksum_find(struct str text, const char *name, struct checksum *ret);

/* `given` is "sha256:<hex>", "sha512:<hex>", "<hex>", or the path or URL of a checksum file in which
 * `name` is looked up; one that is called <name>.<anything> and holds one digest may name another
 * file. ERR_USER: it is none of that, or does not tell. */
int checksum_resolve(const struct session *s, const char *given, const char *name,
                     struct checksum *ret, struct error **err);

/* Whether `given` has one of these forms, without reading anything but whether a file is there.
 * ERR_USER. */
int checksum_check(const char *given, struct error **err);
/* ERR_USER with both digests unless they are equal. */
int checksum_compare(const struct checksum *want, const struct checksum *have, struct error **err);

/* Looks for <source>.sha256, SHA256SUMS, <source>.sha512 and SHA512SUMS beside a file or URL; false
 * when none of them tells. */
bool checksum_beside(const struct session *s, const char *source, bool is_url,
                     struct checksum *ret);

/* Last component of a path or URL (without query), owned. */
char *checksum_name(const char *source, bool is_url);

#endif
