/* SPDX-License-Identifier: MIT
 *
 * SHA-256 (FIPS 180-4) through libcrypto: the only digest that names anything in kiln. SHA-512 is
 * there for the checksums that others publish.
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
bool digest_parse_named(const char *text,
                        struct digest *ret); /* "sha256:" before them; takes NULL */
bool digest_eq(const struct digest *a, const struct digest *b);

struct sha512; /* a running computation, as above */
struct digest512 {
    unsigned char byte[64];
};
#define DIGEST512_HEX 128 /* letters, without the NUL */
struct sha512 *sha512_new(void);
void sha512_add(struct sha512 *h, const void *bytes, size_t n);
struct digest512 sha512_finish(struct sha512 *h); /* frees h */
void sha512_free(struct sha512 *h);
/* n bytes to 2 * n letters and a NUL, and back from exactly so many (false: they are not hex). */
void hex_write(const unsigned char *bytes, size_t n, char *out);
bool hex_read(const char *hex, unsigned char *bytes, size_t n);

#endif
