/* SPDX-License-Identifier: MIT
 *
 * Files that ADD takes from http(s) URLs, kept in <cache>/remote: each under its SHA-256, and for
 * each URL a record (<SHA-256 of the URL>.json) with the digest, ETag and Last-Modified.
 *
 * A file is asked for again at each build ("has it changed?" with If-None-Match and
 * If-Modified-Since, RFC 9110 section 13); a 304 answer costs no download. With a checksum it is
 * content addressed: once it is here nobody is asked. A kept file is only used if the index
 * (index.h) or hashing it again says that it is what its name says. The time of a record is that of
 * its last use; any of these files may be removed at any time (builder/build/cache_files.h).
 */
#ifndef BUILDER_CONTEXT_REMOTE_H
#define BUILDER_CONTEXT_REMOTE_H

#include "base/digest.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct session;

struct remote_file {
    int fd;               /* open for reading: it stays there even if the cache is emptied */
    char *name;           /* for a <dest> that is a folder: the last part of the URL's path; "" when
                           * it has none */
    struct digest digest; /* of the content */
    uint64_t size;
    int64_t mtime; /* Last-Modified, seconds since the epoch; 0 = not told */
};
#define REMOTE_FILE_INIT \
    { \
        -1, NULL, {{0}}, 0, 0 \
    }

/*
 * checksum: what the content must have ("sha256:<64 hex>"), or NULL. The session is told of
 * the progress ("fetching"). Errors: ERR_USER (no such URL form, checksum that is none or does not match),
 * ERR_NOT_FOUND (404, 410), ERR_SYSTEM (network, other answers), ERR_CANCELLED.
 */
int remote_fetch(const struct session *s, const char *url, const char *checksum,
                 struct remote_file *ret, struct error **err);
void remote_file_clear(struct remote_file *f);
/* Another one of the same content, to be cleared as well. ERR_SYSTEM. */
int remote_file_copy(const struct remote_file *from, struct remote_file *ret, struct error **err);

/* "sha256:<64 hex digits>"; ERR_USER. */
int remote_checksum(const char *checksum, struct digest *ret, struct error **err);

#endif
