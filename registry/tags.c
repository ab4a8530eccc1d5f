// SPDX-License-Identifier: MIT
//
// Tags come in pages (OCI distribution spec 1.1, "Listing tags"). The next one is where this one's Link
// leads, on this registry; without one, it begins behind the last tag of this one. A registry that knows no
// pages sends the first one again.
#include "base/alloc.h"
#include "base/json.h"
#include "registry/client.h"
#include "registry/private.h"

#include <curl/curl.h>
#include <string.h>
#include <strings.h>

enum { PAGE_MAX = 16 << 20, TAGS_MAX = 1000000 };

/* Adds a page's tags; returns how many, or -1. */
static int add_page(const struct registry *r, const struct buf *reply, struct strv *ret,
                    struct error **err)
{
    json_auto_t *page = json_loadb(reply->data, reply->len, 0, NULL);
    const json_t *tags = json_object_get(page, "tags"), *tag;
    size_t i, before = ret->len;
    const char *first = json_string_value(json_array_get(tags, 0));
    if (!json_is_object(page) || (tags && !json_is_array(tags) && !json_is_null(tags)))
        return error_set(err, ERR_USER, "registry '%s' does not answer with a list of tags",
                         r->ref.host);
    if (before && first && !strcmp(ret->ptr[0], first))
        return 0;
    json_array_foreach (tags, i, tag) {
        if (json_is_string(tag))
            strv_add(ret, json_string_value(tag));
    }
    return (int)(ret->len - before);
}

/* The address that a Link leads to; NULL: it leads elsewhere, or there is none. */
static char *linked(const struct registry *r, const char *link)
{
    size_t n = strlen(r->base);
    if (link && !strncmp(link, "/v2/", 4))
        return xasprintf("%s%s", r->base, link);
    return link && !strncasecmp(link, r->base, n) && !strncmp(link + n, "/v2/", 4) ? xstrdup(link)
                                                                                   : NULL;
}

static char *address_behind(const struct registry *r, const struct strv *have)
{
    char *last = have->len ? curl_easy_escape(NULL, have->ptr[have->len - 1], 0) : NULL;
    char *url = xasprintf("%s/v2/%s/tags/list?n=1000%s%s", r->base, r->ref.repo,
                          last ? "&last=" : "", last ? last : "");
    curl_free(last);
    return url;
}

/* next: what the last page's Link was, and becomes that of this one. */
static int get_page(struct registry *r, struct strv *ret, char **next, struct error **err)
{
    CLEANUP(answer_clear) struct answer a = {0};
    CLEANUP(buf_clear) struct buf reply = BUF_INIT;
    AUTO_FREE char *url = *next ? STEAL(*next) : address_behind(r, ret);
    struct request q = {REQUEST_INIT, .method = "GET", .url = url, .reply = &reply,
                        .reply_max = PAGE_MAX};
    if (registry_request(r, &q, &a, err) < 0)
        return -1;
    *next = linked(r, a.next);
    AUTO_FREE char *what = xasprintf("the list of tags of '%s'", r->ref.repo);
    if (a.status == 404 && ret->len)
        return 0;
    return a.status == 200 ? add_page(r, &reply, ret, err)
                           : registry_refused(r, what, &a, &reply, err);
}

int registry_tags(struct registry *r, struct strv *ret, struct error **err)
{
    if (r->layout)
        return layout_tags(r->layout, ret, err);
    AUTO_FREE char *next = NULL;
    for (int n = 1; n > 0;) {
        n = get_page(r, ret, &next, err);
        if (n < 0)
            return -1;
        if (ret->len > TAGS_MAX)
            return error_set(err, ERR_USER, "registry '%s' lists more than %d tags", r->ref.host,
                             TAGS_MAX);
    }
    return 0;
}
