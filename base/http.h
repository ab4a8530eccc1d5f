/* SPDX-License-Identifier: MIT
 *
 * What all HTTP requests of kiln have in common, set on libcurl's handles.
 *
 *     // given struct session *session;
 *     CURL *c = http_new();
 *     http_prepare(c, session, "https://example.org/", true);
 *     http_stop_with(c, session);
 *     curl_easy_perform(c);
 *     curl_easy_cleanup(c);
 */
#ifndef BASE_HTTP_H
#define BASE_HTTP_H

#include <curl/curl.h>
#include <stdbool.h>

struct session;

CURL *http_new(void); /* never NULL */
/* The address, protocols (https_only: for it and for where it redirects), User-Agent, time limits
 * (30 s to connect, KILN_HTTP_STALL or 60 s without progress), and the certificate authorities of
 * CURL_CA_BUNDLE or SSL_CERT_FILE. url is copied. */
void http_prepare(CURL *c, const struct session *s, const char *url, bool https_only);
/* That file; NULL = the system's. */
const char *http_bundle(const struct session *s);
/* The request ends with CURLE_ABORTED_BY_CALLBACK when the session is interrupted; s may be NULL. */
void http_stop_with(CURL *c, const struct session *s);
/* A setting that is a number of at least `min`; `absent` if it is not set, or anything else. */
long http_number(const struct session *s, const char *name, long absent, long min);

#endif
