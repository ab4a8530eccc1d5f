// SPDX-License-Identifier: MIT
#include "image/checksum.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/url.h"
#include "image/fetch.h"

#include <string.h>
#include <unistd.h>

enum { TEXT_MAX = 4 << 20, SECONDS = 30, SECONDS_BESIDE = 10 };

static bool hex_at(struct str s, struct digest *ret)
{
    if (s.len < DIGEST_HEX)
        return false;
    char hex[DIGEST_HEX + 1];
    for (int i = 0; i < DIGEST_HEX; i++)
        hex[i] = (char)(s.ptr[i] >= 'A' && s.ptr[i] <= 'F' ? s.ptr[i] | 0x20 : s.ptr[i]);
    hex[DIGEST_HEX] = '\0';
    return digest_parse(hex, ret);
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

/* "SHA256 (name) = hex" */
static bool bsd_line(struct str s, const char *name, struct digest *ret)
{
    static const char start[] = "SHA256 (", middle[] = ") = ";
    size_t first = sizeof start - 1, gap = sizeof middle - 1;
    if (!str_starts(s, start) || s.len < first + gap + DIGEST_HEX)
        return false;
    size_t close = s.len - DIGEST_HEX - gap;
    struct str written = {s.ptr + first, close - first};
    return !memcmp(s.ptr + close, middle, gap) && names(written, name) &&
           hex_at((struct str){s.ptr + close + gap, DIGEST_HEX}, ret);
}

static bool line_tells(struct str s, const char *name, struct digest *ret)
{
    struct digest d;
    if (bsd_line(s, name, ret))
        return true;
    if (s.len < DIGEST_HEX + 2 || s.ptr[DIGEST_HEX] != ' ' || !hex_at(s, &d))
        return false;
    struct str written = {s.ptr + DIGEST_HEX + 1, s.len - DIGEST_HEX - 1};
    if (*written.ptr == ' ' || *written.ptr == '*')
        written.ptr++, written.len--;
    if (!names(written, name))
        return false;
    *ret = d;
    return true;
}

bool checksum_find(struct str text, const char *name, struct digest *ret)
{
    struct str all = trimmed(text);
    if (all.len == DIGEST_HEX)
        return hex_at(all, ret);
    for (size_t at = 0; at < text.len;) {
        const char *end = memchr(text.ptr + at, '\n', text.len - at);
        size_t n = end ? (size_t)(end - (text.ptr + at)) : text.len - at;
        if (line_tells(trimmed((struct str){text.ptr + at, n}), name, ret))
            return true;
        at += n + 1;
    }
    return false;
}

/* "sha256:<hex>" or "<hex>" */
static bool is_digest(const char *given, struct digest *ret)
{
    const char *hex = !strncmp(given, "sha256:", 7) ? given + 7 : given;
    return strlen(hex) == DIGEST_HEX && hex_at(str_of(hex), ret);
}

int checksum_check(const char *given, struct error **err)
{
    struct digest d;
    if (is_digest(given, &d) || is_url(given))
        return 0;
    bool algorithm = !strncmp(given, "sha256:", 7) || !strncmp(given, "sha512:", 7) ||
                     !strncmp(given, "md5:", 4);
    if (!algorithm && access(given, F_OK) == 0)
        return 0;
    error_set(err, ERR_USER, "invalid checksum '%s'", given);
    return error_hint(err, "use sha256:<64 hex digits>, or the path or URL of a checksum file");
}

int checksum_compare(const struct digest *want, const struct digest *have, struct error **err)
{
    char want_hex[DIGEST_HEX + 1], have_hex[DIGEST_HEX + 1];
    if (digest_eq(want, have))
        return 0;
    digest_hex(want, want_hex);
    digest_hex(have, have_hex);
    return error_set(err, ERR_USER, "wrong checksum: expected sha256:%s, got sha256:%s", want_hex,
                     have_hex);
}

int checksum_resolve(const struct session *s, const char *given, const char *name,
                     struct digest *ret, struct error **err)
{
    if (is_digest(given, ret))
        return 0;
    if (checksum_check(given, err) < 0)
        return -1;
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    int rc = is_url(given) ? fetch_text(s, given, TEXT_MAX, SECONDS, &text, err)
                           : file_read(given, TEXT_MAX, &text, err);
    if (rc < 0)
        return error_wrap(err, "cannot read the checksum file");
    if (!checksum_find(buf_str(&text), name, ret))
        return error_set(err, ERR_USER, "the checksum file '%s' has no SHA-256 for '%s'", given,
                         name);
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

bool checksum_beside(const struct session *s, const char *source, bool url, struct digest *ret)
{
    AUTO_FREE char *name = checksum_name(source, url);
    size_t folder = (url ? strcspn(source, "?#") : strlen(source)) - strlen(name);
    AUTO_FREE char *one = xasprintf("%.*s%s.sha256", (int)folder, source, name);
    AUTO_FREE char *all = xasprintf("%.*sSHA256SUMS", (int)folder, source);
    const char *const places[] = {one, all};
    for (size_t i = 0; i < 2; i++) {
        CLEANUP(buf_clear) struct buf text = BUF_INIT;
        int rc = url ? fetch_text(s, places[i], TEXT_MAX, SECONDS_BESIDE, &text, NULL)
                     : file_read(places[i], TEXT_MAX, &text, NULL);
        if (rc == 0 && checksum_find(buf_str(&text), name, ret))
            return true;
    }
    return false;
}
