// SPDX-License-Identifier: MIT
// The message schedule is kept as a ring of 16 words, computed as the rounds need it, and the rounds
// are unrolled by eight, so that no variable moves: under TCG that is twice as fast.
#include "builder/agent/sha256.h"

#include <endian.h>
#include <string.h>

// FIPS 180-4, 4.2.2
static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotated(uint32_t x, unsigned n)
{
    return x >> n | x << (32 - n);
}

// The next word of the schedule, in the place of the one 16 before it.
static void next_word(uint32_t *w, unsigned t)
{
    uint32_t x = w[(t + 1) % 16], y = w[(t + 14) % 16];
    w[t % 16] += (rotated(x, 7) ^ rotated(x, 18) ^ x >> 3) + w[(t + 9) % 16] +
                 (rotated(y, 17) ^ rotated(y, 19) ^ y >> 10);
}

// One round. What FIPS 180-4 moves by one variable is here the order of the arguments of the next.
#define ROUND(a, b, c, d, e, f, g, h, t) \
    do { \
        h += (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + (g ^ (e & (f ^ g))) + K[t] + \
             w[(t) % 16]; \
        d += h; \
        h += (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) | (c & (a | b))); \
    } while (0)

static void take_block(uint32_t state[8], const unsigned char *block)
{
    uint32_t w[16], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4],
                    f = state[5], g = state[6], h = state[7];
    memcpy(w, block, sizeof w);
    for (unsigned t = 0; t < 16; t++)
        w[t] = be32toh(w[t]);
    for (unsigned t = 0; t < 64; t += 8) {
        for (unsigned i = 0; t >= 16 && i < 8; i++)
            next_word(w, t + i);
        ROUND(a, b, c, d, e, f, g, h, t);
        ROUND(h, a, b, c, d, e, f, g, t + 1);
        ROUND(g, h, a, b, c, d, e, f, t + 2);
        ROUND(f, g, h, a, b, c, d, e, t + 3);
        ROUND(e, f, g, h, a, b, c, d, t + 4);
        ROUND(d, e, f, g, h, a, b, c, t + 5);
        ROUND(c, d, e, f, g, h, a, b, t + 6);
        ROUND(b, c, d, e, f, g, h, a, t + 7);
    }
    const uint32_t sum[8] = {a, b, c, d, e, f, g, h};
    for (unsigned i = 0; i < 8; i++)
        state[i] += sum[i];
}

void agent_sha256_init(struct agent_sha256 *h)
{
    static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(h->state, first, sizeof first);
    h->bytes = 0;
}

void agent_sha256_add(struct agent_sha256 *h, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    size_t have = h->bytes % 64;
    h->bytes += n;
    if (have) {
        size_t part = n < 64 - have ? n : 64 - have;
        memcpy(h->block + have, p, part);
        p += part;
        n -= part;
        if (have + part < 64)
            return;
        take_block(h->state, h->block);
    }
    for (; n >= 64; p += 64, n -= 64)
        take_block(h->state, p);
    memcpy(h->block, p, n);
}

void agent_sha256_end(struct agent_sha256 *h, unsigned char digest[32])
{
    uint64_t bits = htobe64(h->bytes * 8);
    static const unsigned char padding[64] = {0x80};
    size_t have = h->bytes % 64;
    agent_sha256_add(h, padding, have < 56 ? 56 - have : 120 - have);
    agent_sha256_add(h, &bits, sizeof bits);
    for (unsigned i = 0; i < 8; i++) {
        uint32_t word = htobe32(h->state[i]);
        memcpy(digest + 4 * i, &word, sizeof word);
    }
}
