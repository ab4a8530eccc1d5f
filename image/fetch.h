/* SPDX-License-Identifier: MIT
 *
 * Bytes from a local file or over http(s) into a flow, by a thread of their own.
 *
 *     // given struct fetch_options options; struct flow *flow; struct digest digest;
 *     struct fetch *f;
 *     if (fetch_start(&options, flow, &f, &err) < 0) ...
 *     ...                             // take from the flow; fetch_status(f) for the bar
 *     fetch_finish(f, &digest, NULL, NULL);     // after flow_stop, or when the flow has ended
 *
 * HTTP: at most 10 redirects (never from https to http), proxies from the environment (http_proxy,
 * https_proxy, no_proxy), ~/.netrc, TLS verified (SSL_CERT_FILE or CURL_CA_BUNDLE name another
 * bundle). A connection that breaks, stalls (under 100 bytes/s for KILN_HTTP_STALL seconds, default
 * 60) or is refused with 408, 425, 429 or 5xx is tried again after a growing pause
 * (KILN_HTTP_RETRY_MS, default 500, doubled each time), up to 6 times in a row without progress, 4
 * if nothing came at all. It goes on 16 KiB before where it broke, and those bytes must be the same:
 * Range with If-Range (RFC 9110, 13.1.5, 14.2) on a strong ETag or Last-Modified. A server that sends
 * everything again is skipped through if those are unchanged.
 */
#ifndef IMAGE_FETCH_H
#define IMAGE_FETCH_H

#include "base/digest.h"
#include "image/flow.h"

#include <stdbool.h>
#include <stdint.h>

struct fetch;
struct session;

/* What an earlier fetch left: the first `bytes` bytes in `path`, and how to tell that the rest
 * still belongs to them. */
struct fetch_part {
    const char *path;
    uint64_t bytes;
    uint64_t total;              /* 0 = not known */
    const char *etag, *modified; /* NULL = none */
};

struct fetch_options {
    const struct session *session; /* for its environment; borrowed */
    const char *url;               /* http or https; NULL: */
    const char *path;              /* a local file */
    bool digest;                   /* compute SHA-256 of all bytes */
    bool digest512;                /* compute SHA-512, too */
    bool content;                  /* compute image/content.h's digest; local files only */
    const struct fetch_part *part; /* NULL = none; http only. Used if the server agrees */
    const char *spool; /* http only: append what arrives to this file (it is cut to what was
                        * resumed); NULL = no */
};

struct fetch_status {
    uint64_t done, total; /* bytes, the resumed ones too; total 0 = not known */
    uint64_t resumed;     /* bytes that came from the part; valid once a byte has come */
    bool changed;         /* the error is that the source changed: start again from nothing */
    bool failed;          /* the flow ended with an error of its own, which names the source */
    bool http;            /* over the network: a resumable error may leave a part */
};

int fetch_start(const struct fetch_options *o, struct flow *out, struct fetch **ret,
                struct error **err);
struct fetch_status fetch_status(struct fetch *f);
/* The validators of what is being fetched, owned or NULL; valid once a byte has come. */
void fetch_validators(struct fetch *f, char **ret_etag, char **ret_modified);
/* Waits for the thread (stop the flow first, unless it has ended) and frees f. *ret, *ret_content
 * and *ret_512 (may be NULL) are the digests if they were asked for and everything came. NULL is fine. */
void fetch_finish(struct fetch *f, struct digest *ret, struct digest *ret_content,
                  struct digest512 *ret_512);

/* Asks whether the file at the URL is still the one that had these validators (not both NULL), with
 * a conditional GET (RFC 9110, 13.1): 1 yes, 0 no, -1. */
int fetch_unchanged(const struct session *s, const char *url, const char *etag,
                    const char *modified, struct error **err);
/* A small text, in one attempt of at most `seconds`; more than limit bytes is an error.
 * ERR_NOT_FOUND: the server says 404 or 410. */
int fetch_text(const struct session *s, const char *url, size_t limit, unsigned seconds,
               struct buf *ret, struct error **err);
/* The URL without user name and password, for messages; owned. */
char *fetch_shown_url(const char *url);

#endif
