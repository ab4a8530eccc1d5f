// SPDX-License-Identifier: MIT
//
// Challenges (RFC 9110, section 11.6.1) and tokens as docker's registries give them (distribution
// docs, spec/auth/token). The scope is the one of the challenge, or what we know we need.
#include "base/alloc.h"
#include "base/json.h"
#include "registry/private.h"

#include <curl/curl.h>
#include <openssl/evp.h>
#include <strings.h>

/* The value of name="…" in a challenge, with its quotes undone; NULL if there is none. */
static char *parameter(const char *challenge, const char *name)
{
    size_t len = strlen(name);
    const char *p = challenge + strcspn(challenge, " ");
    while (*p) {
        p += strspn(p, " ,\t");
        size_t key = strcspn(p, "= ,");
        bool found = key == len && !strncasecmp(p, name, len);
        p += key;
        p += strspn(p, " \t");
        if (*p != '=')
            continue;
        p += 1 + strspn(p + 1, " \t");
        bool quoted = *p == '"';
        CLEANUP(buf_clear) struct buf value = BUF_INIT;
        for (p += quoted; *p && (quoted ? *p != '"' : !strchr(", ", *p)); p++) {
            if (quoted && *p == '\\' && p[1])
                p++;
            buf_addc(&value, *p);
        }
        p += quoted && *p;
        if (found)
            return buf_detach(&value, NULL);
    }
    return NULL;
}

static char *basic(const struct credentials *c)
{
    AUTO_FREE char *plain = xasprintf("%s:%s", c->user, c->password);
    size_t n = strlen(plain);
    AUTO_FREE char *text = xcalloc(1, (n + 2) / 3 * 4 + 1);
    EVP_EncodeBlock((unsigned char *)text, (const unsigned char *)plain, (int)n);
    return xasprintf("Basic %s", text);
}

static void add_query(struct buf *b, const char *name, const char *value)
{
    char *text = value ? curl_easy_escape(NULL, value, 0) : NULL;
    if (text)
        buf_addf(b, "%s%s=%s", b->len && b->data[b->len - 1] != '?' ? "&" : "", name, text);
    curl_free(text);
}

static void build_query(const struct registry *r, const char *challenge, struct buf *b)
{
    AUTO_FREE char *service = parameter(challenge, "service");
    AUTO_FREE char *scope = parameter(challenge, "scope");
    AUTO_FREE char *need = xasprintf("repository:%s:pull%s", r->ref.repo ? r->ref.repo : "",
                                     r->options.push ? ",push" : "");
    add_query(b, "service", service);
    if (r->ref.repo)
        add_query(b, "scope", scope ? scope : need);
}

/* Whether the host of an address is the registry's own, whatever the port, or this machine. */
static bool is_near(const struct registry *r, const char *url)
{
    AUTO_FREE char *host = url_host(url), *own = url_host(r->base);
    return host && own && (host_is_loopback(host) || !strcasecmp(host, own));
}

/* The password goes to this address. */
static int check_realm(const struct registry *r, const char *realm, struct error **err)
{
    bool https = !strncasecmp(realm, "https://", 8), http = !strncasecmp(realm, "http://", 7);
    if (https || (http && r->http && (r->options.plain_http || is_near(r, realm))))
        return 0;
    return error_set(err, ERR_USER,
                     "registry '%s' wants a token from '%s', which is not https: not asked",
                     r->ref.host, realm);
}

static int ask(struct registry *r, const char *realm, const char *challenge, struct buf *reply,
               long *status, struct error **err)
{
    CLEANUP(answer_clear) struct answer answer = {0};
    CLEANUP(buf_clear) struct buf url = BUF_INIT, form = BUF_INIT;
    struct request q = {REQUEST_INIT, .method = "GET", .reply = reply, .reply_max = 1 << 20,
                        .for_token = true};
    AUTO_FREE char *with = r->credentials.password ? basic(&r->credentials) : NULL;
    long pause;
    buf_addf(&url, "%s%s", realm, strchr(realm, '?') ? "&" : "?");
    if (r->credentials.identity) {
        add_query(&form, "grant_type", "refresh_token");
        add_query(&form, "client_id", "kiln");
        add_query(&form, "refresh_token", r->credentials.identity);
        build_query(r, challenge, &form);
        q.method = "POST";
        q.type = "application/x-www-form-urlencoded";
        q.body = &form;
        q.url = realm;
    } else {
        add_query(&url, "account", r->credentials.user);
        build_query(r, challenge, &url);
        q.url = url.data;
    }
    int rc = http_once(r, &q, with, &pause, &answer, err);
    *status = answer.status;
    return rc ? error_wrap(err, "no token from '%s'", realm) : 0;
}

static char *bearer(struct registry *r, const char *challenge, struct error **err)
{
    CLEANUP(buf_clear) struct buf reply = BUF_INIT;
    AUTO_FREE char *realm = parameter(challenge, "realm");
    long status = 0;
    if (!realm) {
        error_set(err, ERR_USER, "registry '%s' does not say where it gives tokens", r->ref.host);
        return NULL;
    }
    if (check_realm(r, realm, err) < 0 || ask(r, realm, challenge, &reply, &status, err) < 0)
        return NULL;
    json_auto_t *answer = json_loadb(reply.data, reply.len, 0, NULL);
    const char *token = json_str(answer, "token");
    if (!token)
        token = json_str(answer, "access_token");
    if (token && status == 200 && !strpbrk(token, "\r\n"))
        return xasprintf("Bearer %s", token);
    error_set(err, ERR_USER, "'%s' gives %s no token (%ld)", realm,
              r->credentials.user ? r->credentials.user : "anonymous users", status);
    error_hint(err, "'kiln login %s' stores a user and a password", r->ref.host);
    return NULL;
}

static int look_for_credentials(struct registry *r, struct error **err)
{
    if (r->have_credentials < 0) {
        int found = credentials_find(r->session, r->ref.host, r->ref.repo, &r->credentials, err);
        if (found < 0)
            return -1;
        r->have_credentials = found;
    }
    return 0;
}

char *registry_authorize(struct registry *r, const char *challenge, struct error **err)
{
    if (look_for_credentials(r, err) < 0)
        return NULL;
    if (!strncasecmp(challenge, "bearer ", 7))
        return bearer(r, challenge, err);
    if (!strncasecmp(challenge, "basic", 5) && r->credentials.password)
        return basic(&r->credentials);
    error_set(err, ERR_USER, "registry '%s' wants a user and a password", r->ref.host);
    error_hint(err, "'kiln login %s' stores them", r->ref.host);
    return NULL;
}
