// SPDX-License-Identifier: MIT
//
// Cut from the right: "@digest", then ":tag" behind the last slash, then the host before the first;
// of a layout's folder everything before that.
#include "registry/reference.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/digest.h"
#include "base/file.h"

#include <ctype.h>
#include <string.h>
#include <unistd.h>

enum { REPO_MAX = 255, TAG_MAX = 128, HOST_MAX = 255 };

#define SCHEME "oci://"
#define LAYOUT "oci-layout:"

static bool begins(const char *text, const char *with)
{
    return !strncmp(text, with, strlen(with));
}

bool reference_is(const char *text)
{
    return begins(text, SCHEME) || begins(text, LAYOUT);
}

void reference_clear(struct reference *ref)
{
    free(ref->host);
    free(ref->repo);
    free(ref->layout);
    free(ref->tag);
    free(ref->digest);
    memset(ref, 0, sizeof *ref);
}

static bool lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Components of lower-case letters and digits, '.', '_' and '-' only between them. */
static bool repo_is_good(const char *repo)
{
    char last = '/';
    for (const char *p = repo; *p; last = *p++) {
        if (*p == '/' || *p == '.') {
            if (!lower_or_digit(last))
                return false;
        } else if (*p == '_' || *p == '-') {
            if (!lower_or_digit(last) && last != *p)
                return false;
        } else if (!lower_or_digit(*p)) {
            return false;
        }
    }
    return lower_or_digit(last) && strlen(repo) <= REPO_MAX;
}

static bool tag_is_good(const char *tag)
{
    size_t n = strlen(tag);
    if (!n || n > TAG_MAX || (!isalnum((unsigned char)*tag) && *tag != '_'))
        return false;
    for (const char *p = tag; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("._-", *p))
            return false;
    return true;
}

static bool digest_is_good(const char *text)
{
    struct digest d;
    return digest_parse_named(text, &d);
}

int reference_check_host(const char *host, struct error **err)
{
    size_t name = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    bool good = name && strlen(host) <= HOST_MAX && name <= strlen(host);
    for (size_t i = 0; good && i < name; i++)
        good = isalnum((unsigned char)host[i]) || strchr(*host == '[' ? "[]:." : ".-", host[i]);
    const char *port = good ? host + name : "";
    if (*port)
        good = port[1] && strlen(port) <= 6 && strspn(port + 1, "0123456789") == strlen(port + 1);
    if (good)
        return 0;
    error_set(err, ERR_USER, "'%s' is not the name of a registry host", host);
    if (!strcmp(host, "docker:") || !strcmp(host, "http:") || !strcmp(host, "https:"))
        return error_hint(err, "write oci://HOST/REPOSITORY in place of %s//HOST/REPOSITORY", host);
    return error_hint(err, "write HOST or HOST:PORT, as in ghcr.io or localhost:5000");
}

static int refuse(const char *text, const char *what, const char *part, struct error **err)
{
    if (*part)
        error_set(err, ERR_USER, "the %s '%s' in '%s' is not valid", what, part, text);
    else
        error_set(err, ERR_USER, "'%s' has no %s", text, what);
    return error_hint(err, "write oci://HOST/REPOSITORY:TAG, as in oci://ghcr.io/team/app:1.0");
}

/* A digest's letters become small ones, as registries write them. */
static int check_version(const char *text, struct reference *r, struct error **err)
{
    if (r->tag && !tag_is_good(r->tag))
        return refuse(text, "tag", r->tag, err);
    if (r->digest && !digest_is_good(r->digest))
        return refuse(text, "digest", r->digest, err);
    for (char *p = r->digest; p && *p; p++)
        *p = (char)tolower((unsigned char)*p);
    return 0;
}

/* From the folder we are in, without slashes at the end. */
static char *absolute_folder(const char *path)
{
    AUTO_FREE char *here = *path == '/' ? NULL : getcwd(NULL, 0);
    while (!strncmp(path, "./", 2) || !strncmp(path, "//", 2))
        path += *path == '.' ? 2 : 1;
    char *all = path_join(here ? here : "/", strcmp(path, ".") != 0 ? path : "");
    for (size_t n = strlen(all); n > 1 && all[n - 1] == '/';)
        all[--n] = '\0';
    return all;
}

static int parse_layout(const char *text, struct reference *ret, struct error **err)
{
    CLEANUP(reference_clear) struct reference r = {0};
    const char *dir = text + strlen(LAYOUT);
    AUTO_FREE char *rest = xstrdup(dir + (begins(dir, "//") ? 2 : 0));
    char *slash = strrchr(rest, '/'), *last = slash ? slash + 1 : rest, *at = strchr(last, '@');
    if (at) {
        *at = '\0';
        r.digest = xstrdup(at + 1);
    }
    char *colon = strrchr(last, ':');
    if (colon) {
        *colon = '\0';
        r.tag = xstrdup(colon + 1);
    } else if (!at) {
        r.tag = xstrdup("latest");
    }
    if (strspn(rest, "/") == strlen(rest)) {
        error_set(err, ERR_USER, "'%s' names no folder", text);
        return error_hint(err, "write oci-layout:DIR:TAG");
    }
    if (check_version(text, &r, err) < 0)
        return -1;
    r.layout = absolute_folder(rest);
    *ret = r;
    r = (struct reference){0};
    return 0;
}

int reference_parse(const char *text, struct reference *ret, struct error **err)
{
    if (begins(text, LAYOUT))
        return parse_layout(text, ret, err);
    AUTO_FREE char *rest = xstrdup(text + (reference_is(text) ? strlen(SCHEME) : 0));
    CLEANUP(reference_clear) struct reference r = {0};
    char *at = strchr(rest, '@'), *slash;
    if (at) {
        *at = '\0';
        r.digest = xstrdup(at + 1);
    }
    if (!(slash = strchr(rest, '/')))
        return refuse(text, "repository", "", err);
    *slash = '\0';
    char *colon = strchr(slash + 1, ':');
    if (colon) {
        *colon = '\0';
        r.tag = xstrdup(colon + 1);
    } else if (!at) {
        r.tag = xstrdup("latest");
    }
    for (char *p = rest; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    r.host = xstrdup(rest);
    r.repo = xstrdup(slash + 1);
    if (reference_check_host(r.host, err) < 0)
        return -1;
    if (!repo_is_good(r.repo))
        return refuse(text, "repository", r.repo, err);
    if (check_version(text, &r, err) < 0)
        return -1;
    *ret = r;
    r = (struct reference){0};
    return 0;
}

const char *reference_version(const struct reference *ref)
{
    return ref->digest ? ref->digest : ref->tag;
}

/* What comes before ":tag" and "@digest". */
static char *place_of(const struct reference *ref)
{
    if (!ref->layout)
        return xasprintf(SCHEME "%s/%s", ref->host, ref->repo);
    bool unclear = strpbrk(reference_basename(ref), ":@");
    return xasprintf(LAYOUT "%s%s", ref->layout, unclear ? "/" : "");
}

static char *written(const struct reference *ref, const char *tag, const char *digest)
{
    AUTO_FREE char *place = place_of(ref);
    return xasprintf("%s%s%s%s%s", place, tag ? ":" : "", tag ? tag : "", digest ? "@" : "",
                     digest ? digest : "");
}

char *reference_text(const struct reference *ref)
{
    return written(ref, ref->tag, ref->digest);
}

char *reference_tagged(const struct reference *ref, const char *tag)
{
    return written(ref, tag, NULL);
}

char *reference_pinned(const struct reference *ref, const char *hex)
{
    AUTO_FREE char *digest = xasprintf("sha256:%s", hex);
    return written(ref, NULL, digest);
}

const char *reference_basename(const struct reference *ref)
{
    const char *all = ref->layout ? ref->layout : ref->repo, *slash = strrchr(all, '/');
    return slash ? slash + 1 : all;
}

bool host_is_loopback(const char *host)
{
    size_t n = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    struct str name = {host, n};
    if (str_is(name, "localhost") || str_is(name, "[::1]"))
        return true;
    return str_starts(name, "127.") && strspn(host, "0123456789.") == n;
}
