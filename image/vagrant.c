// SPDX-License-Identifier: MIT
//
// Of a version's providers the one that fits best is taken: libvirt before qemu, amd64 before a
// box that names no architecture.
#include "image/vagrant.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/session.h"
#include "base/url.h"
#include "image/fetch.h"

#include <string.h>

enum { ANSWER_MAX = 4 << 20, VALUES_MAX = 200000, SECONDS = 60, NAMES_SHOWN = 10 };

void vagrant_box_clear(struct vagrant_box *box)
{
    free(box->url);
    *box = (struct vagrant_box){0};
}

static const json_t *find_version(const json_t *versions, const char *version)
{
    size_t i;
    const json_t *v;
    json_array_foreach (versions, i, v) {
        const char *name = json_str(v, "version");
        if (name && !strcmp(name, version))
            return v;
    }
    return NULL;
}

/* How well a provider fits; 0 = not at all. */
static int fitness(const json_t *p)
{
    const char *name = json_str(p, "name"), *arch = json_str(p, "architecture");
    if (!name || (strcmp(name, "libvirt") && strcmp(name, "qemu")))
        return 0;
    int fits = !strcmp(name, "libvirt") ? 2 : 1;
    if (arch && !strcmp(arch, "amd64"))
        return fits + 4;
    return !arch || !strcmp(arch, "unknown") ? fits : 0;
}

static const json_t *best_provider(const json_t *providers)
{
    const json_t *best = NULL, *p;
    size_t i;
    int most = 0;
    json_array_foreach (providers, i, p) {
        if (fitness(p) > most) {
            most = fitness(p);
            best = p;
        }
    }
    return best;
}

/* "1.0, 1.1": the named field of the first elements. */
static void add_names(struct buf *b, const json_t *array, const char *field)
{
    size_t i;
    const json_t *v;
    json_array_foreach (array, i, v) {
        if (i == NAMES_SHOWN) {
            buf_adds(b, ", …");
            return;
        }
        const char *name = json_str(v, field);
        buf_addf(b, "%s%s", i ? ", " : "", name ? name : "?");
    }
}

static int take_provider(const json_t *p, struct vagrant_box *ret, struct error **err)
{
    const char *url = json_str(p, "url");
    if (!url)
        url = json_str(p, "download_url");
    if (!url || !is_url(url))
        return error_set(err, ERR_USER, "the registry's response has no usable URL");
    const char *kind = json_str(p, "checksum_type"), *sum = json_str(p, "checksum");
    ret->has_digest = kind && sum && !strcasecmp(kind, "sha256") && digest_parse(sum, &ret->digest);
    ret->url = xstrdup(url);
    return 0;
}

/* A value takes up to 240 bytes once it is parsed, and two in the text. */
static bool is_plausible(const char *text, size_t n)
{
    size_t values = 0;
    for (size_t i = 0; i < n; i++)
        values += text[i] == ',' || text[i] == '{' || text[i] == '[';
    return values <= VALUES_MAX;
}

int vagrant_parse(const char *text, size_t n, const char *box, const char *version,
                  struct vagrant_box *ret, struct error **err)
{
    json_error_t why = {.text = "it is too large"};
    json_auto_t *answer =
        !is_plausible(text, n) ? NULL : json_loadb(text, n, JSON_REJECT_DUPLICATES, &why);
    const json_t *versions = json_object_get(answer, "versions");
    CLEANUP(buf_clear) struct buf names = BUF_INIT;
    if (!json_is_array(versions))
        return error_set(err, ERR_USER, "invalid registry response for box '%s': %s", box,
                         answer ? "it lists no versions" : why.text);
    const json_t *v = find_version(versions, version);
    if (!v && *version == 'v')
        v = find_version(versions, version + 1);
    if (!v) {
        add_names(&names, versions, "version");
        error_set(err, ERR_NOT_FOUND, "box '%s' has no version '%s'", box, version);
        return error_hint(err, "available versions are %s", names.len ? names.data : "none");
    }
    const json_t *providers = json_object_get(v, "providers"), *p = best_provider(providers);
    if (!p) {
        add_names(&names, providers, "name");
        error_set(err, ERR_NOT_FOUND,
                  "box '%s' version '%s' is not available for libvirt or qemu on amd64", box,
                  version);
        return error_hint(err, "it is available for %s", names.len ? names.data : "nothing");
    }
    return take_provider(p, ret, err);
}

int vagrant_lookup(const struct session *s, const char *base, const char *box, const char *version,
                   struct vagrant_box *ret, struct error **err)
{
    if (!base)
        base = session_setting(s, "KILN_VAGRANT_URL");
    if (!base)
        base = VAGRANT_URL;
    size_t n = strlen(base);
    while (n && base[n - 1] == '/')
        n--;
    AUTO_FREE char *url = xasprintf("%.*s/api/v2/vagrant/%s", (int)n, base, box);
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    if (fetch_text(s, url, ANSWER_MAX, SECONDS, &text, err) < 0)
        return error_wrap(err, "cannot find box '%s'", box);
    return vagrant_parse(text.data, text.len, box, version, ret, err);
}
