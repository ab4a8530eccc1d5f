// SPDX-License-Identifier: MIT
#include "builder/transfer/index.h"

#include "base/alloc.h"
#include "base/json.h"
#include "base/printable.h"
#include "registry/client.h"

#include <string.h>

enum { NESTED_MAX = 3, SHOWN_MAX = 20 };

#define OURS "linux/amd64"

struct platform {
    char *os, *arch, *variant; /* variant NULL = any */
};

static void platform_clear(struct platform *p)
{
    free(p->os);
    free(p->arch);
    free(p->variant);
}

/* One word for each processor, that of Go. */
static const char *arch_word(const char *arch)
{
    static const char *const words[][2] = {
        {"x86_64", "amd64"}, {"x86-64", "amd64"}, {"aarch64", "arm64"}, {"i386", "386"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(arch, words[i][0]))
            return words[i][1];
    return arch;
}

/* "amd64" alone is for linux. False: it is not a platform. */
static bool parse(const char *text, struct platform *ret)
{
    const char *slash = strchr(text, '/'), *second = slash ? strchr(slash + 1, '/') : NULL;
    const char *arch = slash ? slash + 1 : text;
    size_t n = strcspn(arch, "/");
    if (slash == text || !n || (second && (!second[1] || strchr(second + 1, '/'))))
        return false;
    AUTO_FREE char *word = xstrndup(arch, n);
    ret->os = slash ? xstrndup(text, (size_t)(slash - text)) : xstrdup("linux");
    ret->arch = xstrdup(arch_word(word));
    ret->variant = second ? xstrdup(second + 1) : NULL;
    return true;
}

int index_check_platform(const char *platform, struct error **err)
{
    CLEANUP(platform_clear) struct platform p = {0};
    return parse(platform, &p)
               ? 0
               : error_set(err, ERR_USAGE, "argument --platform: '%s' is not OS/ARCH[/VARIANT]",
                           platform);
}

/* What a processor without a variant is; NULL = nothing in particular. */
static const char *plain_variant(const char *arch)
{
    static const char *const words[][2] = {{"amd64", "v1"}, {"arm64", "v8"}, {"arm", "v7"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(arch, words[i][0]))
            return words[i][1];
    return NULL;
}

/* Whether the entry's variant is the one that is wanted, or, where none is, the plain one. */
static bool same_variant(const char *variant, const struct platform *want)
{
    const char *plain = plain_variant(want->arch), *wanted = want->variant ? want->variant : plain;
    variant = variant ? variant : plain;
    return variant && wanted ? !strcmp(variant, wanted) : variant == wanted;
}

/* How well the entry fits; 0 = not at all. */
static int fitness(const json_t *entry, const struct platform *want, size_t entries)
{
    const json_t *p = json_object_get(entry, "platform");
    const char *os = json_str(p, "os"), *arch = json_str(p, "architecture");
    bool same = same_variant(json_str(p, "variant"), want);
    const char *disk = json_str(json_object_get(entry, "annotations"), "disktype");
    if (!p)
        return entries == 1;
    if (!os || !arch || strcmp(os, want->os) != 0 || strcmp(arch_word(arch), want->arch) != 0 ||
        (want->variant && !same))
        return 0;
    return (!disk || !strcmp(disk, "qemu") ? 3 : 1) + same;
}

static int none_fits(const json_t *entries, const char *platform, struct error **err)
{
    CLEANUP(buf_clear) struct buf list = BUF_INIT;
    size_t shown = 0;
    for (size_t i = 0; i < json_array_size(entries) && shown < SHOWN_MAX; i++) {
        const json_t *p = json_object_get(json_array_get(entries, i), "platform");
        const char *os = json_str(p, "os"), *arch = json_str(p, "architecture");
        const char *variant = json_str(p, "variant");
        // attestations are of "unknown/unknown"
        if (os && arch && strcmp(os, "unknown") != 0) {
            AUTO_FREE char *name =
                xasprintf("%s/%s%s%s", os, arch, variant ? "/" : "", variant ? variant : "");
            AUTO_FREE char *line = printable_line(name);
            buf_addf(&list, "%s%s", shown++ ? ", " : "", line);
        }
    }
    error_set(err, ERR_NOT_FOUND, "it has no image for '%s', but for %s", platform,
              shown ? list.data : "none that it names");
    return error_hint(err, "--platform chooses one of them");
}

int index_choose(struct str text, const char *platform, char ret[sizeof "sha256:" + DIGEST_HEX],
                 struct error **err)
{
    CLEANUP(platform_clear) struct platform want = {0};
    json_auto_t *index = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, NULL);
    const json_t *entries = json_object_get(index, "manifests"), *e, *best = NULL;
    size_t i;
    int most = 0;
    if (!json_is_array(entries))
        return 0;
    platform = platform ? platform : OURS;
    if (!parse(platform, &want))
        return index_check_platform(platform, err);
    json_array_foreach (entries, i, e) {
        int fits = fitness(e, &want, json_array_size(entries));
        best = fits > most ? e : best;
        most = fits > most ? fits : most;
    }
    if (!best)
        return none_fits(entries, platform, err);
    const char *digest = json_str(best, "digest");
    struct digest parsed;
    if (!digest_parse_named(digest, &parsed))
        return error_set(err, ERR_USER, "the image's index is not valid: a digest is not SHA-256");
    memcpy(ret, "sha256:", 7);
    digest_hex(&parsed, ret + 7);
    return 1;
}

int index_manifest(struct registry *r, const char *version, const char *platform, struct buf *ret,
                   char digest[DIGEST_HEX + 1], struct error **err)
{
    char next[sizeof "sha256:" + DIGEST_HEX];
    for (unsigned nested = 0; nested < NESTED_MAX; nested++) {
        if (registry_manifest(r, version, ret, digest, err) < 0)
            return -1;
        int chosen = index_choose(buf_str(ret), platform, next, err);
        if (chosen <= 0)
            return chosen;
        version = next;
    }
    return error_set(err, ERR_USER, "the image's index is not valid: it is of indexes of indexes");
}
