// SPDX-License-Identifier: MIT
//
// What is held back is always a proper prefix of some secret, so at each position it is enough to
// ask: does a whole secret start here, or could one? The longest secret wins.
#include "builder/build/mask.h"

#include "base/vector.h"

#include <assert.h>
#include <openssl/evp.h>

struct secret {
    char *bytes;
    size_t len;
};
DEFINE_VECTOR(secrets, struct secret);

struct mask {
    struct secrets secrets;
    struct buf held[2];
};

struct mask *mask_new(void)
{
    struct mask *m = xcalloc(1, sizeof *m);
    buf_init(&m->held[0]);
    buf_init(&m->held[1]);
    return m;
}

void mask_free(struct mask *m)
{
    if (!m)
        return;
    vec_foreach (struct secret *, s, &m->secrets)
        free(s->bytes);
    secrets_clear(&m->secrets);
    buf_clear(&m->held[0]);
    buf_clear(&m->held[1]);
    free(m);
}

static void add(struct mask *m, const char *bytes, size_t n)
{
    if (n >= MASK_MIN)
        *secrets_push(&m->secrets) = (struct secret){xmemdup(bytes, n), n};
}

static void add_base64(struct mask *m, const char *bytes, size_t n)
{
    enum { WRAP = 76, LINE_MIN = 16 };
    if (n < MASK_MIN)
        return;
    AUTO_FREE char *text = xmalloc(n / 3 * 4 + 5);
    int len = EVP_EncodeBlock((unsigned char *)text, (const unsigned char *)bytes, (int)n);
    add(m, text, (size_t)len);
    for (int at = 0; len > WRAP && at < len; at += WRAP)
        if (len - at >= LINE_MIN)
            add(m, text + at, (size_t)(len - at < WRAP ? len - at : WRAP));
}

void mask_secret(struct mask *m, const char *bytes, size_t n)
{
    add_base64(m, bytes, n);
    // a file's last newline is rarely printed with it
    while (n && (bytes[n - 1] == '\n' || bytes[n - 1] == '\r'))
        n--;
    add(m, bytes, n);
    add_base64(m, bytes, n);
    for (const char *p = bytes, *end = bytes + n; p < end;) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        size_t line = (size_t)((eol ? eol : end) - p);
        if (line < n)
            add(m, p, line && p[line - 1] == '\r' ? line - 1 : line);
        p += line + 1;
    }
}

/* Length of the longest secret that starts at p; *ret_could: one might, with more bytes. */
static size_t match(const struct mask *m, const char *p, size_t n, bool *ret_could)
{
    size_t best = 0;
    *ret_could = false;
    for (size_t i = 0; i < m->secrets.len; i++) {
        const struct secret *s = &m->secrets.ptr[i];
        if (memcmp(p, s->bytes, n < s->len ? n : s->len))
            continue;
        if (n < s->len)
            *ret_could = true;
        else if (s->len > best)
            best = s->len;
    }
    return best;
}

static void pass(struct mask *m, struct buf *held, bool last, struct buf *out)
{
    size_t at = 0;
    while (at < held->len) {
        bool could;
        size_t n = match(m, held->data + at, held->len - at, &could);
        if (could && !last)
            break;
        if (n)
            buf_adds(out, "****");
        else
            buf_addc(out, held->data[at]);
        at += n ? n : 1;
    }
    buf_consume(held, at);
}

void mask_add(struct mask *m, int stream, const char *bytes, size_t n, struct buf *out)
{
    assert(stream == 1 || stream == 2);
    struct buf *held = &m->held[stream - 1];
    buf_add(held, bytes, n);
    pass(m, held, false, out);
}

void mask_flush(struct mask *m, int stream, struct buf *out)
{
    pass(m, &m->held[stream - 1], true, out);
}
