// SPDX-License-Identifier: MIT
//
// The canonical text is never held in memory: it runs into the digest as fields come, while the
// inputs are collected beside it. Manifest lines are made at once and sorted by pointer at the end.
#include "cache/key.h"

#include "base/alloc.h"
#include "base/vector.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct key {
    struct sha256 *hash;
    json_t *inputs;
};

static void add_netstring(struct sha256 *h, const void *bytes, size_t n)
{
    char len[24];
    int digits = snprintf(len, sizeof len, "%zu:", n);
    sha256_add(h, len, (size_t)digits);
    sha256_add(h, bytes, n);
    sha256_add(h, ",", 1);
}

static void add_input(struct key *k, const char *name, const void *bytes, size_t n)
{
    json_t *o = json_object();
    json_object_set_new(o, "name", json_string(name));
    json_t *value = n <= KEY_INPUT_MAX && !memchr(bytes, 0, n) ? json_stringn(bytes, n) : NULL;
    if (value) {
        json_object_set_new(o, "value", value);
    } else {
        char hex[DIGEST_HEX + 1];
        struct digest d = digest_of(bytes, n);
        digest_hex(&d, hex);
        json_object_set_new(o, "sha256", json_string(hex));
        json_object_set_new(o, "size", json_integer((json_int_t)n));
    }
    json_array_append_new(k->inputs, o);
}

struct key *key_begin(const char *parent_id)
{
    const char *parent = parent_id ? parent_id : "";
    struct key *k = xcalloc(1, sizeof *k);
    k->hash = sha256_new();
    k->inputs = json_array();
    add_netstring(k->hash, KEY_VERSION, strlen(KEY_VERSION));
    add_netstring(k->hash, parent, strlen(parent));
    add_input(k, "parent", parent, strlen(parent));
    return k;
}

void key_field(struct key *k, const char *name, const void *bytes, size_t n)
{
    const void *p = n ? bytes : "";
    add_netstring(k->hash, name, strlen(name));
    add_netstring(k->hash, p, n);
    add_input(k, name, p, n);
}

void key_finish(struct key *k, char hex[DIGEST_HEX + 1], json_t **ret_inputs)
{
    struct digest d = sha256_finish(STEAL(k->hash));
    digest_hex(&d, hex);
    if (ret_inputs)
        *ret_inputs = STEAL(k->inputs);
    key_free(k);
}

void key_free(struct key *k)
{
    if (!k)
        return;
    sha256_free(k->hash);
    json_decref(k->inputs);
    free(k);
}
