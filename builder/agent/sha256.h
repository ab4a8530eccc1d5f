/* SPDX-License-Identifier: MIT
 *
 * SHA-256 (FIPS 180-4) for the agent, which has no libcrypto.
 *
 *     struct agent_sha256 h;
 *     agent_sha256_init(&h);
 *     agent_sha256_add(&h, bytes, n);
 *     unsigned char digest[32];
 *     agent_sha256_end(&h, digest);
 */
#ifndef BUILDER_AGENT_SHA256_H
#define BUILDER_AGENT_SHA256_H

#include <stddef.h>
#include <stdint.h>

struct agent_sha256 {
    uint32_t state[8];
    uint64_t bytes; /* taken so far */
    unsigned char block[64];
};

void agent_sha256_init(struct agent_sha256 *h);
void agent_sha256_add(struct agent_sha256 *h, const void *bytes, size_t n);
void agent_sha256_end(struct agent_sha256 *h, unsigned char digest[32]);

#endif
