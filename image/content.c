// SPDX-License-Identifier: MIT
#include "image/content.h"

#include "base/alloc.h"
#include "base/zero.h"

#include <endian.h>
#include <string.h>

enum { BLOCK = 64 * 1024 };

struct content_hash {
    struct sha256 *sha;
    uint64_t at; /* bytes so far */
    unsigned char block[BLOCK];
};

struct content_hash *content_hash_new(void)
{
    struct content_hash *h = xcalloc(1, sizeof *h);
    h->sha = sha256_new();
    return h;
}

void content_hash_free(struct content_hash *h)
{
    if (h)
        sha256_free(h->sha);
    free(h);
}

static void add_number(struct content_hash *h, uint64_t n)
{
    n = htole64(n);
    sha256_add(h->sha, &n, sizeof n);
}

/* A block at offset `at`; the last one of a file may be short. */
static void add_block(struct content_hash *h, const unsigned char *p, size_t n, uint64_t at)
{
    if (is_zero(p, n))
        return;
    add_number(h, at);
    sha256_add(h->sha, p, n);
}

void content_hash_add(struct content_hash *h, const void *bytes, uint64_t n)
{
    for (const unsigned char *p = bytes; n;) {
        size_t have = h->at % BLOCK, take = n < BLOCK - have ? (size_t)n : BLOCK - have;
        if (!p && !have && n >= BLOCK) { // whole blocks of zeros
            h->at += n - n % BLOCK;
            n %= BLOCK;
            continue;
        }
        if (p && take == BLOCK) {
            add_block(h, p, BLOCK, h->at);
        } else {
            if (p)
                memcpy(h->block + have, p, take);
            else
                memset(h->block + have, 0, take);
            if (have + take == BLOCK)
                add_block(h, h->block, BLOCK, h->at - have);
        }
        h->at += take;
        p = p ? p + take : NULL;
        n -= take;
    }
}

struct digest content_hash_finish(struct content_hash *h)
{
    size_t have = h->at % BLOCK;
    if (have)
        add_block(h, h->block, have, h->at - have);
    add_number(h, h->at);
    struct digest d = sha256_finish(h->sha);
    h->sha = NULL;
    content_hash_free(h);
    return d;
}
