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

DEFINE_VECTOR(offsets, size_t);

struct manifest {
    struct buf text;      /* lines in the order they came */
    struct offsets lines; /* where each begins in text */
};

struct manifest *manifest_new(void)
{
    struct manifest *m = xcalloc(1, sizeof *m);
    buf_init(&m->text);
    return m;
}

static void add_escaped(struct buf *b, const char *s)
{
    if (!s || !*s) {
        buf_addc(b, '-');
        return;
    }
    if (!strcmp(s, "-")) {
        buf_adds(b, "%2D");
        return;
    }
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c < 0x21 || c == 0x7f || c == '%' || c == '\\')
            buf_addf(b, "%%%02X", c);
        else
            buf_addc(b, *s);
    }
}

static void add_digest(struct buf *b, const struct digest *d)
{
    char hex[DIGEST_HEX + 1] = "-";
    if (d)
        digest_hex(d, hex);
    buf_adds(b, hex);
}

void manifest_add(struct manifest *m, const struct manifest_entry *e)
{
    *offsets_push(&m->lines) = m->text.len;
    add_escaped(&m->text, e->path);
    buf_addf(&m->text, "\t%c\t%04o\t", e->type, e->mode);
    add_escaped(&m->text, e->owner);
    buf_addc(&m->text, '\t');
    add_escaped(&m->text, e->link);
    buf_addc(&m->text, '\t');
    add_digest(&m->text, e->xattrs);
    buf_addc(&m->text, '\t');
    add_digest(&m->text, e->content);
    buf_addc(&m->text, '\n');
}

/* A path has no byte below TAB's successor 0x21, so lines sort as their paths do; no line holds a
 * NUL, and each ends with a newline. */
static int by_line(const void *a, const void *b, void *text)
{
    const char *x = (const char *)text + *(const size_t *)a;
    const char *y = (const char *)text + *(const size_t *)b;
    while (*x == *y && *x != '\n')
        x++, y++;
    return (unsigned char)*x - (unsigned char)*y;
}

void manifest_finish(struct manifest *m, struct buf *text, struct digest *digest)
{
    buf_reset(text);
    buf_reserve(text, m->text.len);
    if (m->lines.len)
        qsort_r(m->lines.ptr, m->lines.len, sizeof *m->lines.ptr, by_line, m->text.data);
    vec_foreach (const size_t *, at, &m->lines) {
        const char *line = m->text.data + *at;
        buf_add(text, line, (size_t)(strchr(line, '\n') - line) + 1);
    }
    *digest = digest_of(text->data, text->len);
    manifest_free(m);
}

void manifest_free(struct manifest *m)
{
    if (!m)
        return;
    buf_clear(&m->text);
    offsets_clear(&m->lines);
    free(m);
}
