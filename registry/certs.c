// SPDX-License-Identifier: MIT
#include "registry/certs.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/http.h"
#include "base/session.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MAX = 1 << 20, BUNDLE_MAX = 16 << 20 };

void certs_clear(struct certs *c)
{
    buf_clear(&c->authorities);
    buf_clear(&c->warnings);
    free(c->cert);
    free(c->key);
    *c = (struct certs){.authorities = BUF_INIT, .warnings = BUF_INIT};
}

static bool ends(const char *name, const char *with)
{
    size_t n = strlen(name), len = strlen(with);
    return n > len && !strcmp(name + n - len, with);
}

static int add_authority(struct certs *c, const char *path, size_t max, struct error **err)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    if (file_read(path, max, &text, err) < 0)
        return -1;
    buf_add(&c->authorities, text.data, text.len);
    buf_addc(&c->authorities, '\n');
    return 0;
}

/* The other half of a pair: where `path` ends with its own ending, with that one. */
static char *partner(const char *path, const char *own, const char *other)
{
    return xasprintf("%.*s%s", (int)(strlen(path) - strlen(own)), path, other);
}

static int take_pair(struct certs *c, const char *path, struct error **err)
{
    bool is_cert = ends(path, ".cert");
    AUTO_FREE char *other =
        is_cert ? partner(path, ".cert", ".key") : partner(path, ".key", ".cert");
    if (access(other, F_OK) < 0)
        return error_set(err, ERR_USER, "'%s' has no '%s' beside it", path, other);
    if (c->cert || !is_cert)
        return 0;
    if (access(path, R_OK) < 0 || access(other, R_OK) < 0)
        return error_errno(err, "cannot read '%s' and '%s'", path, other);
    c->cert = xstrdup(path);
    c->key = STEAL(other);
    return 0;
}

static int take_file(struct certs *c, const char *path, struct error **err)
{
    if (ends(path, ".crt"))
        return add_authority(c, path, FILE_MAX, err);
    return ends(path, ".cert") || ends(path, ".key") ? take_pair(c, path, err) : 0;
}

/* What this user may not read is not for him. 0, or -1: it is another error. */
static int pass_over(struct certs *c, struct error *why, struct error **err)
{
    if (why->errnum != EACCES)
        return error_propagate(err, why);
    buf_addf(&c->warnings, "warning: %s\n", why->message);
    error_free(why);
    return 0;
}

/* 1; 0: no such folder; -1. */
static int look_in(const char *dir, struct certs *ret, struct error **err)
{
    struct error *why = NULL;
    struct dirent **list;
    int n = scandir(dir, &list, NULL, alphasort), rc = 1;
    if (n < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    if (n < 0) {
        (void)error_errno(&why, "cannot read '%s'", dir);
        return pass_over(ret, why, err);
    }
    for (int i = 0; i < n; i++) {
        AUTO_FREE char *path = path_join(dir, list[i]->d_name);
        if (rc > 0 && take_file(ret, path, &why) < 0 && pass_over(ret, STEAL(why), err) < 0)
            rc = -1;
        free(list[i]);
    }
    free(list);
    return rc;
}

/* Authorities of certs.d take the place of the bundle that http_prepare names, unless they have it. */
static int add_bundle(const struct session *s, struct certs *c, struct error **err)
{
    const char *bundle = http_bundle(s);
    return c->authorities.len && bundle ? add_authority(c, bundle, BUNDLE_MAX, err) : 0;
}

int certs_find(const struct session *s, const char *host, struct certs *ret, struct error **err)
{
    const char *config = session_setting(s, "XDG_CONFIG_HOME"), *home = session_setting(s, "HOME");
    AUTO_FREE char *own = config ? xstrdup(config) : home ? path_join(home, ".config") : NULL;
    const char *const above[] = {own, "/etc", "/etc"};
    static const char *const below[] = {"containers", "containers", "docker"};
    *ret = (struct certs){.authorities = BUF_INIT, .warnings = BUF_INIT};
    for (size_t i = 0; i < sizeof below / sizeof *below; i++) {
        AUTO_FREE char *dir =
            above[i] ? xasprintf("%s/%s/certs.d/%s", above[i], below[i], host) : NULL;
        int found = dir ? look_in(dir, ret, err) : 0;
        if (found)
            return found < 0 ? -1 : add_bundle(s, ret, err);
    }
    return 0;
}

struct certs_host {
    struct certs_host *next;
    struct certs certs;
    char name[];
};

void certs_known_init(struct certs_known *k)
{
    *k = (struct certs_known){0};
    pthread_mutex_init(&k->mutex, NULL);
}

void certs_known_clear(struct certs_known *k)
{
    for (struct certs_host *h = k->first, *next; h; h = next) {
        next = h->next;
        certs_clear(&h->certs);
        free(h);
    }
    k->first = NULL;
    pthread_mutex_destroy(&k->mutex);
}

static struct certs_host *look_for(const struct session *s, const char *name, struct error **err)
{
    size_t size = strlen(name) + 1;
    struct certs_host *h = xcalloc(1, sizeof *h + size);
    memcpy(h->name, name, size);
    if (certs_find(s, name, &h->certs, err) < 0) {
        certs_clear(&h->certs);
        free(h);
        return NULL;
    }
    if (h->certs.warnings.len)
        session_warning(s, h->certs.warnings.data);
    return h;
}

int certs_known_find(struct certs_known *k, const struct session *s, const char *host,
                     const struct certs **ret, struct error **err)
{
    pthread_mutex_lock(&k->mutex);
    struct certs_host *h = k->first;
    while (h && strcmp(h->name, host) != 0)
        h = h->next;
    if (!h && (h = look_for(s, host, err))) {
        h->next = k->first;
        k->first = h;
    }
    pthread_mutex_unlock(&k->mutex);
    if (!h)
        return -1;
    *ret = &h->certs;
    return 0;
}
