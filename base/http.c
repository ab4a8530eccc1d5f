// SPDX-License-Identifier: MIT
#include "base/http.h"

#include "base/alloc.h"
#include "base/session.h"

enum { CONNECT_SECONDS = 30, STALL_SECONDS = 60, BUFFER = 256 << 10 };

CURL *http_new(void)
{
    CURL *c = curl_easy_init();
    if (!c)
        alloc_failed();
    return c;
}

long http_number(const struct session *s, const char *name, long absent, long min)
{
    const char *v = session_setting(s, name);
    char *end;
    long n = v ? strtol(v, &end, 10) : absent;
    return v && (*end || n < min) ? absent : n;
}

const char *http_bundle(const struct session *s)
{
    const char *bundle = session_setting(s, "CURL_CA_BUNDLE");
    return bundle ? bundle : session_setting(s, "SSL_CERT_FILE");
}

void http_prepare(CURL *c, const struct session *s, const char *url, bool https_only)
{
    const char *bundle = http_bundle(s);
    const char *protocols = https_only ? "https" : "http,https";
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, protocols);
    curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, protocols);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 100L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME,
                     http_number(s, "KILN_HTTP_STALL", STALL_SECONDS, 1));
    curl_easy_setopt(c, CURLOPT_USERAGENT, "kiln/" KILN_VERSION);
    curl_easy_setopt(c, CURLOPT_BUFFERSIZE, (long)BUFFER);
    if (bundle)
        curl_easy_setopt(c, CURLOPT_CAINFO, bundle);
}

static int on_tick(void *session, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    return session_cancelled(session);
}

void http_stop_with(CURL *c, const struct session *s)
{
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_tick);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, s);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
}
