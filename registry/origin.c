// SPDX-License-Identifier: MIT
//
// Addresses as libcurl reads them, so that what is compared is what it contacts.
#include "base/alloc.h"
#include "registry/private.h"

#include <curl/curl.h>
#include <strings.h>

static CURLU *parse(const char *url)
{
    CURLU *u = curl_url();
    if (!u)
        alloc_failed();
    if (curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK)
        return u;
    curl_url_cleanup(u);
    return NULL;
}

/* Owned; NULL: the address has none. */
static char *part(const char *url, CURLUPart which, unsigned flags)
{
    CURLU *u = parse(url);
    char *text = NULL, *ret = NULL;
    if (u && curl_url_get(u, which, &text, flags) == CURLUE_OK)
        ret = xstrdup(text);
    curl_free(text);
    curl_url_cleanup(u);
    return ret;
}

char *url_host(const char *url)
{
    return part(url, CURLUPART_HOST, 0);
}

char *url_place(const char *url)
{
    AUTO_FREE char *host = url_host(url), *port = part(url, CURLUPART_PORT, 0);
    return xasprintf("%s%s%s", host ? host : url, port ? ":" : "", port ? port : "");
}

char *url_without_user(const char *url)
{
    CURLU *u = parse(url);
    char *text = NULL, *ret;
    if (u) {
        curl_url_set(u, CURLUPART_USER, NULL, 0);
        curl_url_set(u, CURLUPART_PASSWORD, NULL, 0);
        curl_url_get(u, CURLUPART_URL, &text, 0);
    }
    ret = xstrdup(text ? text : url);
    curl_free(text);
    curl_url_cleanup(u);
    return ret;
}

char *url_resolve(const char *base, const char *location)
{
    CURLU *u = parse(base);
    char *text = NULL, *ret;
    if (u && curl_url_set(u, CURLUPART_URL, location, 0) == CURLUE_OK) {
        curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0);
        curl_url_get(u, CURLUPART_URL, &text, 0);
    }
    ret = url_without_user(text ? text : location);
    curl_free(text);
    curl_url_cleanup(u);
    return ret;
}

bool url_same_origin(const char *a, const char *b)
{
    static const CURLUPart parts[] = {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        AUTO_FREE char *one = part(a, parts[i], CURLU_DEFAULT_PORT);
        AUTO_FREE char *other = part(b, parts[i], CURLU_DEFAULT_PORT);
        if (!one || !other || strcasecmp(one, other) != 0)
            return false;
    }
    return true;
}

bool registry_owns(const struct registry *r, const char *url)
{
    return url_same_origin(r->base, url);
}
