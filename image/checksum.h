/* SPDX-License-Identifier: MIT
 *
 * Which SHA-256 a file must have: given as such, or found in a checksum file.
 */
#ifndef IMAGE_CHECKSUM_H
#define IMAGE_CHECKSUM_H

#include "base/buf.h"
#include "base/digest.h"
#include "base/error.h"

struct session;

/*
 * The digest that a checksum file tells for `name` (without folders): lines "<hex>  name", "<hex>
 * *name" (coreutils), "SHA256 (name) = <hex>" (BSD), or a single digest alone. false: none. Names
 * in the file may have folders before them.
 */
bool checksum_find(struct str text, const char *name, struct digest *ret);

/* `given` is "sha256:<hex>", "<hex>", or the path or URL of a checksum file in which `name` is
 * looked up. ERR_USER: it is none of that, or does not tell. */
int checksum_resolve(const struct session *s, const char *given, const char *name,
                     struct digest *ret, struct error **err);

/* Whether `given` has one of these forms, without reading anything but whether a file is there.
 * ERR_USER. */
int checksum_check(const char *given, struct error **err);
/* ERR_USER with both digests unless they are equal. */
int checksum_compare(const struct digest *want, const struct digest *have, struct error **err);

/* Looks for <source>.sha256 and SHA256SUMS beside a file or URL; false when neither tells. */
bool checksum_beside(const struct session *s, const char *source, bool is_url, struct digest *ret);

/* Last component of a path or URL (without query), owned. */
char *checksum_name(const char *source, bool is_url);

#endif
