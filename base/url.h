/* SPDX-License-Identifier: MIT
 *
 * What kiln takes for the address of a file on a server: http and https, in either case of letters
 * (RFC 3986, section 3.1).
 */
#ifndef BASE_URL_H
#define BASE_URL_H

#include "base/buf.h"

#include <stdbool.h>
#include <strings.h>

static inline bool str_is_url(struct str s)
{
    return (s.len > 7 && !strncasecmp(s.ptr, "http://", 7)) ||
           (s.len > 8 && !strncasecmp(s.ptr, "https://", 8));
}

static inline bool is_url(const char *text)
{
    return str_is_url(str_of(text));
}

/* A container image that ADD unpacks (builder/container/container.h), by how it begins. */
static inline bool str_is_container(struct str s)
{
    return str_starts(s, "oci://") || str_starts(s, "oci-layout:") ||
           str_starts(s, "docker-archive:") || str_starts(s, "oci-archive:");
}

/* The last part of a URL's path, or of a file's: "debian-12.qcow2"; "" if it ends in '/'. Without
 * what a server could be given behind '?' or '#'. Owned. */
char *url_file_name(const char *url);

#endif
