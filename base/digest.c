// SPDX-License-Identifier: MIT
#include "base/digest.h"

#include "base/alloc.h"
#include "base/error.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

/* An EVP_MD_CTX under our own name, so that callers need not know libcrypto. */
static EVP_MD_CTX *ctx(struct sha256 *h)
{
    return (EVP_MD_CTX *)h;
}

struct sha256 *sha256_new(void)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    if (!c || EVP_DigestInit_ex(c, EVP_sha256(), NULL) != 1)
        alloc_failed();
    return (struct sha256 *)c;
}

void sha256_add(struct sha256 *h, const void *bytes, size_t n)
{
    if (EVP_DigestUpdate(ctx(h), bytes, n) != 1)
        alloc_failed();
}

struct digest sha256_finish(struct sha256 *h)
{
    struct digest d;
    if (EVP_DigestFinal_ex(ctx(h), d.byte, NULL) != 1)
        alloc_failed();
    sha256_free(h);
    return d;
}

void sha256_free(struct sha256 *h)
{
    EVP_MD_CTX_free(ctx(h));
}

struct sha512 *sha512_new(void)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    if (!c || EVP_DigestInit_ex(c, EVP_sha512(), NULL) != 1)
        alloc_failed();
    return (struct sha512 *)c;
}

void sha512_add(struct sha512 *h, const void *bytes, size_t n)
{
    if (EVP_DigestUpdate((EVP_MD_CTX *)h, bytes, n) != 1)
        alloc_failed();
}

struct digest512 sha512_finish(struct sha512 *h)
{
    struct digest512 d;
    if (EVP_DigestFinal_ex((EVP_MD_CTX *)h, d.byte, NULL) != 1)
        alloc_failed();
    sha512_free(h);
    return d;
}

void sha512_free(struct sha512 *h)
{
    EVP_MD_CTX_free((EVP_MD_CTX *)h);
}

struct digest digest_of(const void *bytes, size_t n)
{
    struct sha256 *h = sha256_new();
    sha256_add(h, bytes, n);
    return sha256_finish(h);
}

int digest_of_fd(int fd, struct digest *ret, struct error **err)
{
    enum { CHUNK = 256 * 1024 };
    CLEANUP(sha256_freep) struct sha256 *h = sha256_new();
    AUTO_FREE char *chunk = xmalloc(CHUNK);
    for (off_t at = 0;;) {
        ssize_t n = pread(fd, chunk, CHUNK, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, "cannot read");
        if (n == 0)
            break;
        sha256_add(h, chunk, (size_t)n);
        at += n;
    }
    *ret = sha256_finish(STEAL(h));
    return 0;
}

void hex_write(const unsigned char *bytes, size_t n, char *out)
{
    static const char letter[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = letter[bytes[i] >> 4];
        out[2 * i + 1] = letter[bytes[i] & 15];
    }
    out[2 * n] = '\0';
}

void digest_hex(const struct digest *d, char out[DIGEST_HEX + 1])
{
    hex_write(d->byte, sizeof d->byte, out);
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hex_read(const char *hex, unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int hi = nibble(hex[2 * i]), lo = hi < 0 ? -1 : nibble(hex[2 * i + 1]);
        if (lo < 0)
            return false;
        bytes[i] = (unsigned char)(hi << 4 | lo);
    }
    return true;
}

bool digest_parse(const char *hex, struct digest *ret)
{
    struct digest d = {0};
    if (strlen(hex) != DIGEST_HEX || !hex_read(hex, d.byte, sizeof d.byte))
        return false;
    *ret = d;
    return true;
}

bool digest_parse_named(const char *text, struct digest *ret)
{
    static const char name[] = "sha256:";
    return text && !strncmp(text, name, strlen(name)) && digest_parse(text + strlen(name), ret);
}

bool digest_eq(const struct digest *a, const struct digest *b)
{
    return !memcmp(a->byte, b->byte, sizeof a->byte);
}
