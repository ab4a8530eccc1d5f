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

void digest_hex(const struct digest *d, char out[DIGEST_HEX + 1])
{
    static const char letter[] = "0123456789abcdef";
    for (size_t i = 0; i < sizeof d->byte; i++) {
        out[2 * i] = letter[d->byte[i] >> 4];
        out[2 * i + 1] = letter[d->byte[i] & 15];
    }
    out[DIGEST_HEX] = '\0';
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool digest_parse(const char *hex, struct digest *ret)
{
    struct digest d;
    if (strlen(hex) != DIGEST_HEX)
        return false;
    for (size_t i = 0; i < sizeof d.byte; i++) {
        int hi = nibble(hex[2 * i]), lo = nibble(hex[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return false;
        d.byte[i] = (unsigned char)(hi << 4 | lo);
    }
    *ret = d;
    return true;
}

bool digest_eq(const struct digest *a, const struct digest *b)
{
    return !memcmp(a->byte, b->byte, sizeof a->byte);
}
