// SPDX-License-Identifier: MIT
#include "image/checksum.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/url.h"
#include "image/fetch.h"

#include <ctype.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_MAX = 4 << 20, SECONDS = 30, SECONDS_BESIDE = 10 };

/* The digest that s begins with, if it is one and no longer. */
static bool hex_at(struct str s, struct checksum *ret)
{
    size_t n = 0;
    while (n < s.len && isxdigit((unsigned char)s.ptr[n]))
        n++;
    struct checksum c = {.size = (unsigned)n / 2};
    if ((n != DIGEST_HEX && n != DIGEST512_HEX) || !hex_read(s.ptr, c.byte, c.size))
        return false;
    *ret = c;
    return true;
}

/* Whether a name as written, perhaps with folders before it, is `name`. */
static bool names(struct str written, const char *name)
{
    size_t n = strlen(name);
    if (written.len < n || memcmp(written.ptr + written.len - n, name, n))
        return false;
    return written.len == n || written.ptr[written.len - n - 1] == '/';
}

static struct str trimmed(struct str s)
{
    while (s.len && (unsigned char)s.ptr[s.len - 1] <= ' ')
        s.len--;
    while (s.len && (unsigned char)*s.ptr <= ' ')
        s.ptr++, s.len--;
    return s;
}

/* "SHA256 (name) = hex", and so SHA512; name NULL = any. */
static bool bsd_line(struct str s, const char *name, struct checksum *ret)
{
    static const char start[] = "SHA256 (", middle[] = ") = ";
    size_t first = sizeof start - 1, gap = sizeof middle - 1;
    unsigned size = str_starts(s, start) ? 32 : str_starts(s, "SHA512 (") ? 64 : 0;
    if (!size || s.len < first + gap + 2 * size)
        return false;
    size_t close = s.len - 2 * size - gap;
    struct str written = {s.ptr + first, close - first};
    return !memcmp(s.ptr + close, middle, gap) && (!name || names(written, name)) &&
           hex_at((struct str){s.ptr + close + gap, 2 * size}, ret);
}

static bool line_tells(struct str s, const char *name, struct checksum *ret)
{
    struct checksum d;
    if (bsd_line(s, name, ret))
        return true;
    if (!hex_at(s, &d) || s.len < 2 * d.size + 2 || s.ptr[2 * d.size] != ' ')
        return false;
    struct str written = {s.ptr + 2 * d.size + 1, s.len - 2 * d.size - 1};
    if (*written.ptr == ' ' || *written.ptr == '*')
        written.ptr++, written.len--;
    if (name && !names(written, name))
        return false;
    *ret = d;
    return true;
}

/* How many lines tell the digest of name (NULL = of any); *ret is the first one's. */
static size_t find_lines(struct str text, const char *name, struct checksum *ret)
{
    size_t found = 0;
    for (size_t at = 0; at < text.len;) {
        struct checksum d;
        const char *end = memchr(text.ptr + at, '\n', text.len - at);
        size_t n = end ? (size_t)(end - (text.ptr + at)) : text.len - at;
        if (line_tells(trimmed((struct str){text.ptr + at, n}), name, &d) && found++ == 0)
            *ret = d;
        at += n + 1;
    }
    return found;
}

bool checksum_find(struct str text, const char *name, struct checksum *ret)
{
    struct str all = trimmed(text);
    return (hex_at(all, ret) && all.len == 2 * ret->size) || find_lines(text, name, ret) > 0;
}

/* A file that is named after the image and holds one digest tells of the image, whatever name stands
 * in it: that of the build which the image's name is a link to. */
static bool find_in_file(const char *file, bool url, struct str text, const char *name,
                         struct checksum *ret)
{
    AUTO_FREE char *own = checksum_name(file, url);
    size_t n = strlen(name);
    return checksum_find(text, name, ret) ||
           (!strncmp(own, name, n) && own[n] == '.' && find_lines(text, NULL, ret) == 1);
}

/* "sha256:<hex>", "sha512:<hex>" or "<hex>" */
static bool is_digest(const char *given, struct checksum *ret)
{
    unsigned size = !strncmp(given, "sha256:", 7) ? 32 : !strncmp(given, "sha512:", 7) ? 64 : 0;
    const char *hex = size ? given + 7 : given;
    return hex_at(str_of(hex), ret) && strlen(hex) == 2 * ret->size && (!size || size == ret->size);
}

int checksum_check(const char *given, struct error **err)
{
    struct checksum d;
    if (is_digest(given, &d) || is_url(given))
        return 0;
    bool algorithm = !strncmp(given, "sha256:", 7) || !strncmp(given, "sha512:", 7) ||
                     !strncmp(given, "md5:", 4);
    if (!algorithm && access(given, F_OK) == 0)
        return 0;
    error_set(err, ERR_USER, "invalid checksum '%s'", given);
    return error_hint(err,
                      "use sha256:<64 hex digits>, sha512:<128 hex digits>, or the path or "
                      "URL of a checksum file");
}

/* "sha256:<hex>" */
static void put(const struct checksum *c, char out[CHECKSUM_TEXT])
{
    memcpy(out, c->size == 64 ? "sha512:" : "sha256:", 7);
    hex_write(c->byte, c->size, out + 7);
}

int checksum_compare(const struct checksum *want, const struct checksum *have, struct error **err)
{
    char want_text[CHECKSUM_TEXT], have_text[CHECKSUM_TEXT];
    if (want->size == have->size && !memcmp(want->byte, have->byte, want->size))
        return 0;
    put(want, want_text);
    put(have, have_text);
    return error_set(err, ERR_USER, "wrong checksum: expected %s, got %s", want_text, have_text);
}

struct checksum checksum_of(const struct digest *d)
{
    struct checksum c = {.size = sizeof d->byte};
    memcpy(c.byte, d->byte, sizeof d->byte);
    return c;
}

struct checksum checksum_of512(const struct digest512 *d)
{
    struct checksum c = {.size = sizeof d->byte};
    memcpy(c.byte, d->byte, sizeof d->byte);
    return c;
}

int checksum_resolve(const struct session *s, const char *given, const char *name,
                     struct checksum *ret, struct error **err)
{
    if (is_digest(given, ret))
        return 0;
    if (checksum_check(given, err) < 0)
        return -1;
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    bool url = is_url(given);
    int rc = url ? fetch_text(s, given, TEXT_MAX, SECONDS, &text, err)
                 : file_read(given, TEXT_MAX, &text, err);
    if (rc < 0)
        return error_wrap(err, "cannot read the checksum file");
    if (!find_in_file(given, url, buf_str(&text), name, ret))
        return error_set(err, ERR_USER, "the checksum file '%s' has no SHA-256 or SHA-512 for '%s'",
                         given, name);
    return 0;
}

char *checksum_name(const char *source, bool url)
{
    size_t n = url ? strcspn(source, "?#") : strlen(source);
    size_t start = n;
    while (start && source[start - 1] != '/')
        start--;
    return xstrndup(source + start, n - start);
}

bool checksum_beside(const struct session *s, const char *source, bool url, struct checksum *ret)
{
    static const struct {
        bool named; // after the image
        const char *end;
    } places[] = {
        {true, ".sha256"}, {false, "SHA256SUMS"}, {true, ".sha512"}, {false, "SHA512SUMS"}};
    AUTO_FREE char *name = checksum_name(source, url);
    int folder = (int)((url ? strcspn(source, "?#") : strlen(source)) - strlen(name));
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        AUTO_FREE char *place =
            xasprintf("%.*s%s%s", folder, source, places[i].named ? name : "", places[i].end);
        CLEANUP(buf_clear) struct buf text = BUF_INIT;
        int rc = url ? fetch_text(s, place, TEXT_MAX, SECONDS_BESIDE, &text, NULL)
                     : file_read(place, TEXT_MAX, &text, NULL);
        if (rc == 0 && find_in_file(place, url, buf_str(&text), name, ret))
            return true;
    }
    return false;
}
