/* SPDX-License-Identifier: MIT
 *
 * SHA-256 (FIPS 180-4) through libcrypto: the only digest that names anything in kiln.
 *
 *     struct sha256 *h = sha256_new();
 *     sha256_add(h, bytes, n);
 *     struct digest d = sha256_finish(h);   // frees h
 */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include "base/cleanup.h"

#include <stdbool.h>
#include <stddef.h>

struct error;
struct sha256; /* a running computation */

struct digest {
    unsigned char byte[32];
};
#define DIGEST_HEX 64 /* letters, without the NUL */

struct sha256 *sha256_new(void);
void sha256_add(struct sha256 *h, const void *bytes, size_t n);
struct digest sha256_finish(struct sha256 *h); /* frees h */
void sha256_free(struct sha256 *h);            /* abandons; NULL is fine */
DEFINE_CLEANUP(struct sha256, sha256_free);

struct digest digest_of(const void *bytes, size_t n);
/* Reads fd from its start to its end with pread; the offset is left alone. Errors: ERR_SYSTEM. */
int digest_of_fd(int fd, struct digest *ret, struct error **err);
void digest_hex(const struct digest *d, char out[DIGEST_HEX + 1]); /* lower case */
bool digest_parse(const char *hex, struct digest *ret);            /* exactly 64 hex letters */
bool digest_eq(const struct digest *a, const struct digest *b);

#endif
