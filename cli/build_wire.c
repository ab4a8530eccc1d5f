// SPDX-License-Identifier: MIT
#include "cli/build_wire.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "imagefile/imagefile.h"

#include <endian.h>
#include <string.h>

/* Bytes that a request may have. */
enum { HEADER_MAX = 16 << 20, MANIFEST_MAX = 1 << 30, SECRETS_MAX = 16 << 20 };

void build_secrets_free(struct build_secret *secrets, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(secrets[i].id);
        if (secrets[i].bytes)
            explicit_bzero(secrets[i].bytes, secrets[i].len);
        free(secrets[i].bytes);
    }
    free(secrets);
}

void build_request_clear(struct build_request *r)
{
    free(r->copy);
    free(r->file);
    strv_clear(&r->words);
    buf_clear(&r->imagefile);
    buf_clear(&r->manifest);
    build_secrets_free(r->secrets, r->n_secrets);
    *r = (struct build_request)BUILD_REQUEST_INIT;
}

/* NULL: something in it is not UTF-8, which is all that jansson takes. */
static json_t *header_of(const struct build_request *r)
{
    json_auto_t *words = json_array(), *secrets = json_array();
    bool good = true;
    for (size_t i = 0; i < r->words.len; i++)
        good &= json_array_append_new(words, json_string(r->words.ptr[i])) == 0;
    for (size_t i = 0; i < r->n_secrets; i++)
        good &=
            json_array_append_new(secrets, json_pack("{s:s, s:I}", "id", r->secrets[i].id, "bytes",
                                                     (json_int_t)r->secrets[i].len)) == 0;
    if (!good)
        return NULL;
    return json_pack("{s:s, s:s, s:s, s:b, s:b, s:O, s:O, s:I, s:I}", "kiln", KILN_VERSION, "copy",
                     r->copy, "file", r->file, "outside", r->outside, "load", r->load, "words",
                     words, "secrets", secrets, "imagefile", (json_int_t)r->imagefile.len,
                     "manifest", (json_int_t)r->manifest.len);
}

int build_request_write(int fd, const struct build_request *r, struct error **err)
{
    json_auto_t *header = header_of(r);
    if (!header)
        return error_set(err, ERR_USER, "an option or a file's name is not UTF-8: --host needs it");
    AUTO_FREE char *text = json_text(header);
    uint32_t length = htole32((uint32_t)strlen(text));
    bool sent = write_all(fd, &length, sizeof length) == 0 &&
                write_all(fd, text, strlen(text)) == 0 &&
                write_all(fd, r->imagefile.data, r->imagefile.len) == 0;
    for (size_t i = 0; sent && i < r->n_secrets; i++)
        sent = write_all(fd, r->secrets[i].bytes, r->secrets[i].len) == 0;
    if (!sent || write_all(fd, r->manifest.data, r->manifest.len) < 0)
        return error_errno(err, "cannot send the build");
    return 0;
}

static int damaged(struct error **err)
{
    return error_set(err, ERR_USER, "standard input is not the request of a kiln's --host");
}

static int read_bytes(int fd, int64_t n, int64_t max, struct buf *ret, struct error **err)
{
    if (n < 0 || n > max)
        return damaged(err);
    AUTO_FREE char *bytes = xmalloc((size_t)n + 1);
    ssize_t got = read_all(fd, bytes, (size_t)n);
    if (got < 0)
        return error_errno(err, "cannot read the build");
    buf_reset(ret);
    buf_add(ret, bytes, (size_t)got);
    explicit_bzero(bytes, (size_t)got);
    return got == n ? 0 : damaged(err);
}

static int read_secrets(int fd, const json_t *list, struct build_request *ret, struct error **err)
{
    const json_t *item;
    size_t i;
    ret->secrets = xcalloc(json_array_size(list) + 1, sizeof *ret->secrets);
    json_array_foreach (list, i, item) {
        struct buf bytes = BUF_INIT;
        struct build_secret *s = &ret->secrets[ret->n_secrets++];
        if (!json_str(item, "id"))
            return damaged(err);
        s->id = xstrdup(json_str(item, "id"));
        int got = read_bytes(fd, json_int(item, "bytes", -1), SECRETS_MAX, &bytes, err);
        s->bytes = buf_detach(&bytes, &s->len);
        if (got < 0)
            return -1;
    }
    return 0;
}

static int take_header(const json_t *h, struct build_request *ret, struct error **err)
{
    const json_t *word, *words = json_object_get(h, "words");
    const char *version = json_str(h, "kiln"), *copy = json_str(h, "copy"),
               *file = json_str(h, "file");
    size_t i;
    if (!version || !copy || !file || !json_is_array(words))
        return damaged(err);
    if (strcmp(version, KILN_VERSION) != 0) {
        error_set(err, ERR_USER, "the kiln of the host is %s, and this one is %s", KILN_VERSION,
                  version);
        return error_hint(err, "install the same version on both machines");
    }
    if (strlen(copy) != DIGEST_HEX || copy[strspn(copy, "0123456789abcdef")])
        return damaged(err);
    ret->copy = xstrdup(copy);
    ret->file = xstrdup(file);
    ret->outside = json_flag(h, "outside");
    ret->load = json_flag(h, "load");
    json_array_foreach (words, i, word) {
        if (!json_is_string(word))
            return damaged(err);
        strv_add(&ret->words, json_string_value(word));
    }
    return 0;
}

int build_request_read(int fd, struct build_request *ret, struct error **err)
{
    uint32_t length;
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    if (read_all(fd, &length, sizeof length) != sizeof length)
        return damaged(err);
    if (read_bytes(fd, le32toh(length), HEADER_MAX, &text, err) < 0)
        return -1;
    json_auto_t *h = json_loadb(text.data, text.len, 0, NULL);
    if (!h || take_header(h, ret, err) < 0)
        return h ? -1 : damaged(err);
    if (read_bytes(fd, json_int(h, "imagefile", -1), IMAGEFILE_MAX, &ret->imagefile, err) < 0 ||
        read_secrets(fd, json_object_get(h, "secrets"), ret, err) < 0)
        return -1;
    return read_bytes(fd, json_int(h, "manifest", -1), MANIFEST_MAX, &ret->manifest, err);
}

json_t *build_want_new(const struct sync_plan *plan)
{
    json_t *runs = json_array();
    for (size_t i = 0; i < plan->n;) {
        size_t first = i;
        while (i < plan->n && plan->wanted[i])
            i++;
        if (i > first) {
            (void)json_array_append_new(runs, json_integer((json_int_t)first));
            (void)json_array_append_new(runs, json_integer((json_int_t)(i - first)));
        } else
            i++;
    }
    return json_pack("{s:s, s:b, s:o}", "event", "want", "stream", plan->n_wanted || plan->drop.len,
                     "runs", runs);
}

int build_want_read(const json_t *event, size_t n, uint8_t **ret)
{
    const json_t *runs = json_object_get(event, "runs");
    AUTO_FREE uint8_t *wanted = xcalloc(n + 1, 1);
    for (size_t i = 0; i + 1 < json_array_size(runs); i += 2) {
        json_int_t first = json_integer_value(json_array_get(runs, i)),
                   len = json_integer_value(json_array_get(runs, i + 1));
        if (first < 0 || len < 0 || (size_t)first > n || (size_t)len > n - (size_t)first)
            return -1;
        memset(wanted + first, 1, (size_t)len);
    }
    *ret = STEAL(wanted);
    return json_is_array(runs) ? 0 : -1;
}
