// SPDX-License-Identifier: MIT
#include "base/url.h"

#include "base/alloc.h"

char *url_file_name(const char *url)
{
    size_t n = is_url(url) ? strcspn(url, "?#") : strlen(url), from = n;
    while (from && url[from - 1] != '/')
        from--;
    return xstrndup(url + from, n - from);
}
